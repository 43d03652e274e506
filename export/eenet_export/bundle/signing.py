"""Signing a bundle, and making the key for it; `eenet_runtime.bundle.signature` says what a signature looks like."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eenet_runtime.bundle.manifest import MANIFEST_NAME, open_bundle
from eenet_runtime.bundle.signature import SIGN_INSTALL, Signature, fingerprint_of, signature_path
from eenet_runtime.errors import ExportError, OutputError
from eenet_runtime.files.atomic import write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True)
class KeyPair:
    """The files of a new key.

    Attributes:
        private: PEM (PKCS 8, not encrypted), readable by its owner only.
        public: PEM, for the sites that shall trust bundles signed with it.
        fingerprint: the key's name in reports.
    """

    private: Path
    public: Path
    fingerprint: str


def new_key_pair(private: Path) -> KeyPair:
    """Make an Ed25519 key pair: `private`, and `<private>.pub` beside it.

    Raises:
        ExportError: one of the two exists, or the cryptography package is missing.
        OutputError: they cannot be written.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise ExportError(SIGN_INSTALL) from error
    public = private.with_name(private.name + ".pub")
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise ExportError(f"{path}: exists already; a key is never overwritten, choose another name")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_secret(private, secret)
    try:
        write_atomically(
            public,
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        )
    except OutputError:
        private.unlink()
        raise
    return KeyPair(private, public, fingerprint_of(key.public_key().public_bytes_raw()))


def sign_bundle(folder: Path, private_key: Path) -> str:
    """Verify a bundle and sign its manifest; an older signature is replaced.

    Returns:
        The key's fingerprint.

    Raises:
        BundleError: the bundle is damaged; it is not signed.
        ExportError: the key is unusable, or the cryptography package is missing.
        OutputError: the signature cannot be written.
    """
    key = _load_private_key(private_key)
    bundle = open_bundle(folder)
    manifest = folder / MANIFEST_NAME
    content = manifest.read_bytes()
    if not hashlib.sha256(content).hexdigest().startswith(bundle.bundle_id):
        raise ExportError(f"{manifest}: changed while it was being signed; try again when nothing else writes to it")
    fingerprint = fingerprint_of(key.public_key().public_bytes_raw())
    signature = Signature(key.sign(content), fingerprint)
    write_atomically(signature_path(manifest), signature.to_text().encode("ascii"))
    return fingerprint


def _load_private_key(path: Path) -> Ed25519PrivateKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise ExportError(SIGN_INSTALL) from error
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror or error})") from error
    except TypeError as error:
        raise ExportError(f"{path}: the key is encrypted, expected one without a password") from error
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ExportError(f"{path}: no Ed25519 private key found, expected one of eenet-export sign --new-key")
    return key


def _write_secret(path: Path, content: bytes) -> None:
    """Write a file that nobody else could read at any moment; it must not exist."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
