"""A strip bundle: the networks that find the brain in a raw head, and what a head must look like for them.

Two networks of one kind work one after the other: the first sees the whole head and says where the brain is, the second
sees that box alone and says which voxels are brain. Everything that the runtime does around them stands in the manifest
as figures, so that a site may bring networks of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from eenet_runtime.bundle.bundle_files import (
    MANIFEST_NAME,
    BundleFile,
    Kind,
    read_manifest,
    sealed_json,
    unsealed_json,
    verify_file,
)
from eenet_runtime.errors import BundleError

STRIP_SCHEMA_VERSION: Final = 1
"""Version of a strip bundle's manifest that this runtime reads."""

LARGEST_EDGE: Final = 320
"""Voxels along an axis of what a network may ask for: 256 cost a gigabyte already."""


@dataclass(frozen=True)
class StripNetwork:
    """One of the two networks.

    Attributes:
        path: its ONNX graph, weights inside, any three sizes that are multiples of 32: float32 (1, 1, X, Y, Z), axes
            RAS, to the log-odds of brain, float32 of the same shape.
        edge: voxels along each axis that it was trained with.
        input_name, output_name: its tensors.
    """

    path: str
    edge: int
    input_name: str = "volume"
    output_name: str = "log_odds"


@dataclass(frozen=True)
class StripPreprocessing:
    """What becomes of a head before the networks see it.

    Attributes:
        low, high: quantiles of the whole head, sampled to `find`'s edge, that become 0 and 1; what is beyond is cut.
        mean, deviation: mean and standard deviation of what a network sees, after that.
        margin: by how much of its size the brain's box is widened on either side.
        filled: share of a plane that is brain, from which on the plane belongs to the box.
        threshold: probability above which a voxel is brain.
    """

    low: float = 0.005
    high: float = 0.995
    mean: float = 0.449
    deviation: float = 0.226
    margin: float = 0.1
    filled: float = 0.02
    threshold: float = 0.5


@dataclass(frozen=True)
class StripParity:
    """How one engine agreed with the original network on one head, before the bundle got its name.

    Attributes:
        head: which head.
        engine: which engine, with its version.
        dice: of the two masks, right behind the networks.
        different_voxels: in which they differ.
        brain_voxels: of the original's mask.
    """

    head: str
    engine: str
    dice: float
    different_voxels: int
    brain_voxels: int


@dataclass(frozen=True)
class StripManifest:
    """Everything that the manifest of a strip bundle says.

    Attributes:
        name: the bundle's name.
        find: sees the whole head.
        cut: sees the brain's box.
        files: every file of the bundle but the manifest and its card.
        golden: file with a head that was never anybody's and what the original networks make of it.
        preprocessing: what becomes of a head before.
        source: what it was made from: package, version, hashes, address.
        licence: of the weights, an SPDX name.
        notice: the file with the licence's text.
        parity: agreement with the original networks.
        tools: versions of the packages that made it.
        created: UTC time, ISO 8601.
    """

    name: str
    find: StripNetwork
    cut: StripNetwork
    files: tuple[BundleFile, ...]
    golden: str
    preprocessing: StripPreprocessing = field(default_factory=StripPreprocessing)
    source: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    notice: str = ""
    parity: tuple[StripParity, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    created: str = ""

    def to_json(self) -> str:
        """The text of the manifest, with its own checksum."""
        return sealed_json({"schema_version": STRIP_SCHEMA_VERSION, "kind": Kind.STRIP.value, **asdict(self)})

    @staticmethod
    def from_json(text: str, source: str) -> StripManifest:
        """Parse and check a manifest.

        Raises:
            BundleError: not a strip bundle's manifest of this schema, a wrong checksum, a field that is missing or has
                an impossible value.
        """
        content = unsealed_json(text, source, Kind.STRIP, STRIP_SCHEMA_VERSION)
        try:
            manifest = StripManifest(
                name=str(content["name"]),
                find=StripNetwork(**content["find"]),
                cut=StripNetwork(**content["cut"]),
                files=tuple(BundleFile(**entry) for entry in content["files"]),
                golden=str(content["golden"]),
                preprocessing=StripPreprocessing(
                    **{name: float(value) for name, value in content["preprocessing"].items()}
                ),
                source=dict(content["source"]),
                licence=str(content["licence"]),
                notice=str(content["notice"]),
                parity=tuple(StripParity(**entry) for entry in content["parity"]),
                tools=dict(content["tools"]),
                created=str(content["created"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"{source}: a field is missing or has the wrong type ({error})") from error
        _refuse_impossible(manifest, source)
        return manifest


@dataclass(frozen=True)
class StripBundle:
    """A strip bundle on disk, verified.

    Attributes:
        folder: where it is.
        manifest: what it says.
        bundle_id: the first 16 digits of the manifest's SHA-256; through the hashes in it, of everything.
        signed_by: fingerprint of the key that its signature was verified with; empty where nobody gave a key.
    """

    folder: Path
    manifest: StripManifest
    bundle_id: str
    signed_by: str = ""

    def listed(self, name: str) -> BundleFile:
        """What the manifest says about one of its own files."""
        return next(entry for entry in self.manifest.files if entry.path == name)


def open_strip_bundle(folder: Path, public_key: Path | None = None) -> StripBundle:
    """Read a strip bundle's manifest and verify every file it names.

    Args:
        folder: the bundle.
        public_key: a PEM file; with it the manifest must be signed by that key.

    Raises:
        BundleError: see `StripManifest.from_json`; or a file is missing, is not the one that was exported or is not
            listed; or, with a key, the signature is missing or wrong.
    """
    text, bundle_id, signed_by = read_manifest(folder, public_key)
    path = folder / MANIFEST_NAME
    manifest = StripManifest.from_json(text, str(path))
    for entry in manifest.files:
        verify_file(folder, entry)
    listed = {entry.path for entry in manifest.files}
    for name in (manifest.find.path, manifest.cut.path, manifest.golden, manifest.notice):
        if name not in listed:
            raise BundleError(f"{path}: {name or 'a file'} is not among the hashed files")
    return StripBundle(folder, manifest, bundle_id, signed_by)


def _refuse_impossible(manifest: StripManifest, source: str) -> None:
    figures = manifest.preprocessing
    if not all(math.isfinite(value) for value in asdict(figures).values()):
        raise BundleError(f"{source}: preprocessing with NaN or infinity found, expected figures")
    if not (0 <= figures.low < figures.high <= 1 and figures.deviation > 0):
        raise BundleError(f"{source}: quantiles {figures.low} and {figures.high} found, expected two that rise")
    if not (0 <= figures.margin <= 1 and 0 < figures.threshold < 1 and 0 < figures.filled < 1):
        raise BundleError(f"{source}: a margin, threshold or share found that is none")
    for network in (manifest.find, manifest.cut):
        if type(network.edge) is not int or network.edge % 32 or not 32 <= network.edge <= LARGEST_EDGE:
            raise BundleError(
                f"{source}: {network.path} with {network.edge} voxels along an axis found, expected a multiple of 32 "
                f"up to {LARGEST_EDGE}"
            )
