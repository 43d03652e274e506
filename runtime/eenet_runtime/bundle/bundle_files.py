"""What bundles of every kind have in common: hashed files, and a manifest that carries a checksum of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from eenet_runtime.bundle.signature import verify_signature
from eenet_runtime.errors import BundleError
from eenet_runtime.files.atomic import read_limited, sha256_of_file

MANIFEST_NAME: Final = "manifest.json"

READ_LIMIT_BYTES: Final = 1 << 30
"""Largest file that `read_listed` takes into memory: a plan of this network has about 60 MB in FP32."""


class Kind(StrEnum):
    """What a bundle's network does; manifests that do not say it segment."""

    SEGMENTATION = "segmentation"
    STRIP = "strip"


@dataclass(frozen=True)
class BundleFile:
    """One file of the bundle: its name inside the folder, its SHA-256 and its size."""

    path: str
    sha256: str
    bytes: int


def describe_files(folder: Path, names: tuple[str, ...]) -> tuple[BundleFile, ...]:
    """Hash files of a bundle in the making."""
    return tuple(BundleFile(name, sha256_of_file(folder / name), (folder / name).stat().st_size) for name in names)


def read_manifest(folder: Path, public_key: Path | None = None) -> tuple[str, str, str]:
    """The text of a bundle's manifest, the first 16 digits of its SHA-256, and the fingerprint of who signed it.

    Args:
        folder: the bundle.
        public_key: a PEM file; with it the manifest must be signed by that key. Without it the fingerprint is empty.

    Raises:
        BundleError: there is none, or it cannot be read, or, with a key, the signature is missing or wrong.
    """
    path = folder / MANIFEST_NAME
    try:
        content = path.read_bytes()
        signed_by = "" if public_key is None else verify_signature(content, path, public_key)
        return content.decode("utf-8"), hashlib.sha256(content).hexdigest()[:16], signed_by
    except FileNotFoundError as error:
        raise BundleError(f"{folder}: no {MANIFEST_NAME} found, expected a folder made by eenet-export") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: cannot be read ({error})") from error


def sealed_json(content: Mapping[str, Any]) -> str:
    """The text of a manifest, with its own checksum."""
    return json.dumps({**content, "checksum": _checksum(content)}, indent=2) + "\n"


def unsealed_json(text: str, source: str, kind: Kind, schema_version: int) -> dict[str, Any]:
    """Parse what `sealed_json` made.

    Args:
        text: of the manifest.
        source: the file, for messages.
        kind: what the bundle must be.
        schema_version: the one that the caller reads; any other may mean something else.

    Raises:
        BundleError: not JSON, a bundle of another kind, another schema, or a wrong checksum.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise BundleError(f"{source}: not JSON ({error})") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise BundleError(f"{source}: no schema_version found, expected a manifest made by eenet-export")
    assert isinstance(content, dict)
    if (found := content.get("kind", Kind.SEGMENTATION)) != kind:
        raise BundleError(f"{source}: a bundle of kind {found} found, expected one of kind {kind}")
    if version != schema_version:
        mend = "update eenet" if version > schema_version else "export the model again"
        raise BundleError(f"{source}: schema version {version} found, this runtime reads {schema_version}; {mend}")
    if content.get("checksum") != _checksum(content):
        raise BundleError(f"{source}: its checksum does not fit, the manifest was changed after the export")
    return content


def verify_file(folder: Path, entry: BundleFile) -> None:
    """Hold a file of a bundle against what its manifest lists.

    Raises:
        BundleError: it lies outside the bundle, cannot be read, or has another size or hash.
    """
    path = folder / entry.path
    if Path(entry.path).is_absolute() or ".." in Path(entry.path).parts:
        raise BundleError(f"{folder}: the manifest names {entry.path}, a file outside the bundle")
    try:
        size, found = path.stat().st_size, sha256_of_file(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error})") from error
    if size != entry.bytes or found != entry.sha256:
        raise BundleError(
            f"{path}: {size} bytes with SHA-256 {found[:12]} found, the manifest says {entry.bytes} bytes with "
            f"{entry.sha256[:12]}; copy the bundle again"
        )


def read_listed(path: Path, sha256: str) -> bytes:
    """A file that a manifest lists, read once, for those that run native code from it.

    The bundle was verified when it was opened, but a file may be exchanged after that: the bytes that are returned are
    the bytes that were hashed.

    Args:
        path: the file.
        sha256: its hash in the manifest.

    Raises:
        BundleError: it cannot be read, is larger than `READ_LIMIT_BYTES`, or is not the one that the manifest lists.
    """
    too_large = f"more than {READ_LIMIT_BYTES >> 20} MiB found, which is no engine of this network"
    content = read_limited(path, READ_LIMIT_BYTES, too_large)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BundleError(f"{path}: its SHA-256 is not the manifest's {sha256[:12]}; copy the bundle again")
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of the manifest without its checksum, in one canonical spelling."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
