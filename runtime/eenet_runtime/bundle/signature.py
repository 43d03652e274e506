"""Who made a bundle: an Ed25519 signature over the bytes of its manifest, checked against a key that the site pinned.

The manifest holds the hash of every other file, so a signature over it covers the whole bundle. `manifest.json.sig` has
two lines: the signature in base64, and which key it claims to be of. Signing is the export room's work; here it is only
checked, and only where somebody gave a public key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eenet_runtime.errors import BundleError
from eenet_runtime.files.atomic import read_limited

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE_SUFFIX: Final = ".sig"
"""Goes behind the name of the signed file."""
SIGN_INSTALL: Final = 'signatures need the package cryptography; install it with: pip install "eenet[sign]"'

_MAX_BYTES: Final = 16 << 10
"""Neither a key nor a signature is larger; more is not read."""
_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True)
class Signature:
    """What stands in a `.sig` file.

    Attributes:
        value: the 64 bytes of an Ed25519 signature.
        fingerprint: of the key that it claims to be of; not proved by anything, it serves messages only.
    """

    value: bytes
    fingerprint: str

    def to_text(self) -> str:
        """The text of the `.sig` file."""
        return f"{base64.b64encode(self.value).decode('ascii')}\nkey {self.fingerprint}\n"

    @staticmethod
    def from_text(text: str, source: str) -> Signature:
        """Parse a `.sig` file.

        Raises:
            BundleError: it is none.
        """
        lines = text.split("\n")
        try:
            value = base64.b64decode(lines[0], validate=True)
        except (binascii.Error, ValueError):
            value = b""
        if len(lines) != 3 or lines[2] or not lines[1].startswith("key ") or len(value) != _SIGNATURE_BYTES:
            raise BundleError(f"{source}: no Ed25519 signature found, expected a file made by eenet-export sign")
        return Signature(value, lines[1].removeprefix("key "))


def signature_path(signed: Path) -> Path:
    """Where the signature of a file stands: beside it."""
    return signed.with_name(signed.name + SIGNATURE_SUFFIX)


def fingerprint_of(raw_public_key: bytes) -> str:
    """A key's name in reports: the first 32 hexadecimal digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(raw_public_key).hexdigest()[:32]


def verify_signature(content: bytes, signed: Path, public_key: Path) -> str:
    """Check the signature of a file against a public key.

    Args:
        content: the bytes that will be used; never read again from the disk, where they may change.
        signed: the file they came from; its signature stands beside it.
        public_key: a PEM file with an Ed25519 public key.

    Returns:
        The key's fingerprint.

    Raises:
        BundleError: no signature, one of another key or of other bytes, an unusable key, or no cryptography package.
    """
    key, fingerprint = _load_public_key(public_key)
    from cryptography.exceptions import InvalidSignature

    path = signature_path(signed)
    if not path.exists():
        raise BundleError(f"{path}: no signature found, expected one of key {fingerprint} ({public_key})")
    signature = Signature.from_text(_read_small(path).decode("ascii", "replace"), str(path))
    try:
        key.verify(signature.value, content)
    except InvalidSignature:
        found = "changed after it was signed" if signature.fingerprint == fingerprint else "not signed with this key"
        raise BundleError(
            f"{signed}: {found}; a signature of key {signature.fingerprint[:32]!r} found, expected a valid one of key "
            f"{fingerprint} ({public_key})"
        ) from None
    return fingerprint


def _load_public_key(path: Path) -> tuple[Ed25519PublicKey, str]:
    """A public key and its fingerprint."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise BundleError(f"{path}: cannot be used; {SIGN_INSTALL}") from error
    content = _read_small(path)
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(f"{path}: no Ed25519 public key found, expected the .pub file of eenet-export sign --new-key")
    return key, fingerprint_of(key.public_bytes_raw())


def _read_small(path: Path) -> bytes:
    return read_limited(path, _MAX_BYTES, f"more than {_MAX_BYTES} bytes found, expected a key or a signature")
