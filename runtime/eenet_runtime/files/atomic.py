"""Writing files so that a reader never sees half of one, and hashing them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from eenet_runtime.errors import BundleError, OutputError

_PREFIX: Final = ".eenet-"
"""Begins the name of every temporary file, and then eight hexadecimal digits."""
_PREFIX_LENGTH: Final = len(_PREFIX) + 9
"""Of what stands before the final name: the digits, and the dot after them, too."""
PROBE_PREFIX: Final = ".writable-"
"""Begins the name of the file with which `make_output_folder` proves that a folder takes files."""
_HASH_CHUNK_BYTES = 1 << 20


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def read_limited(path: Path, limit_bytes: int, too_large: str) -> bytes:
    """A whole file of a bundle, or one that goes with it, read once; never more of it than is allowed.

    Args:
        path: the file.
        limit_bytes: its largest size.
        too_large: what to say of a larger one, after its name.

    Raises:
        BundleError: it cannot be read, or is larger.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(limit_bytes + 1)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(content) > limit_bytes:
        raise BundleError(f"{path}: {too_large}")
    return content


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name in the same folder, flush it to the disk, then rename it.

    Raises:
        OutputError: the folder is missing or not writable, or the disk is full. Nothing is left behind.
    """
    with open_for_replace(path) as temporary:
        temporary.write_bytes(content)


def temporary_beside(path: Path) -> Path:
    """A name under which a file can be written before it takes its final one, `path`. It is 16 bytes longer."""
    # The final suffix stays at the end: some writers choose the format by it.
    return path.with_name(f"{_PREFIX}{secrets.token_hex(4)}.{path.name}")


@contextlib.contextmanager
def open_for_replace(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it takes the final name, otherwise it is removed.

    Raises:
        OutputError: anything the operating system refuses (permissions, space, a missing folder).
    """
    temporary = temporary_beside(path)
    try:
        try:
            yield temporary
            _flush_to_disk(temporary)
            temporary.replace(path)
            _flush_to_disk(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def remove_leftovers(folder: Path, is_mine: Callable[[str], bool] = lambda name: True) -> None:
    """Remove temporary files that a killed program left in a folder.

    Args:
        folder: where to look.
        is_mine: whether a file of this final name is written by the caller alone. By default all are: then nobody
            else may be writing into the folder.

    Raises:
        OutputError: one of them cannot be removed.
    """
    for path in filter(is_leftover, folder.glob(".*")):
        if not is_mine(path.name[_PREFIX_LENGTH:]):
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: cannot be removed ({error.strerror or error})") from error


def is_leftover(path: Path) -> bool:
    """Whether a path has the name of a temporary file of `open_for_replace`."""
    return re.match(rf"{re.escape(_PREFIX)}[0-9a-f]{{8}}\.", path.name) is not None


def make_output_folder(path: Path) -> None:
    """Create a folder (and its parents) and prove that files can be written into it.

    Raises:
        OutputError: it cannot be made, is not a folder, or does not take a file.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f"{path}: a file stands where the output folder should be") from error
    except OSError as error:
        raise OutputError(f"{path}: the output folder cannot be made ({error.strerror or error})") from error
    prove_writable(path)


def prove_writable(folder: Path) -> None:
    """Write an empty file into a folder and take it away.

    Raises:
        OutputError: the folder is not there or does not take it.
    """
    write_atomically(folder / f"{PROBE_PREFIX}{secrets.token_hex(4)}", b"")
    for probe in folder.glob(f"{PROBE_PREFIX}*"):
        with contextlib.suppress(OSError):
            probe.unlink()


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
