"""Opening a file that a stranger may have put there: a regular file, of bounded size, read once and hashed on the way.

gzip streams are read with ISA-L (docs/decisions/0020) to their end, where their checksum and length are.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from isal import igzip, isal_zlib

from eenet_runtime.codes import Reason
from eenet_runtime.errors import CaseError

_GZIP_MAGIC: Final = b"\x1f\x8b"
_CHUNK_BYTES: Final = 1 << 22
_PIECE_BYTES: Final = 1 << 18
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True)
class ReadLimits:
    """What one image file may cost (docs/hostile-input.md gives the reasons).

    Attributes:
        file_bytes: largest file on disk.
        voxel_bytes: most bytes of voxels, as stored and as they are once read.
        voxels: most voxels, all channels together.
        axis: most voxels along one axis.
        header_bytes: most bytes of header and extensions before the first voxel.
        padding_bytes: most zeros after the last voxel. Without a checksum more bytes than announced may as well be
            bytes that slipped in between the voxels, so none are taken by default.
        small_bytes: up to here a file may be compressed as far as gzip can.
        ratio: most bytes of voxels for one byte of a file, beyond `small_bytes`.
        seconds: longest time for one file.
    """

    file_bytes: int = 1 << 30
    voxel_bytes: int = 1 << 30
    voxels: int = 1 << 28
    axis: int = 2048
    header_bytes: int = 1 << 24
    padding_bytes: int = 0
    small_bytes: int = 1 << 28
    ratio: int = 200
    seconds: float = 120.0


DEFAULT_LIMITS: Final = ReadLimits()


class Digest(Protocol):
    """A hash in the making, as hashlib has them."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take in more bytes."""


class InputFile:
    """The bytes of a file, uncompressed where they are compressed. Made by `open_input`; serves one thread.

    Attributes:
        path: where it lies.
        size: bytes on disk.
        compressed: whether it is a gzip stream; the content decides, not the name.
    """

    def __init__(self, path: Path, raw: io.FileIO, limits: ReadLimits, digest: Digest | None) -> None:
        self.path = path
        self._hashed = _HashedFile(path, raw, limits, digest)
        self.size = self._hashed.size
        self.compressed = self._hashed.starts_with(_GZIP_MAGIC)
        self._stream: _HashedFile | igzip.IGzipFile = (
            igzip.IGzipFile(fileobj=self._hashed, mode="rb")  # type: ignore[no-untyped-call]
            if self.compressed
            else self._hashed
        )

    def read(self, size: int) -> bytes:
        """The next bytes; fewer than asked for only at the end of the file, which a gzip stream has proved then.

        Raises:
            CaseError: a damaged or truncated gzip stream, a file that cannot be read, or one that takes too long.
        """
        with _refusing(self.path):
            return self._stream.read(size)

    def read_into(self, buffer: memoryview) -> int:
        """Fill a buffer of bytes with the next ones; as `read`.

        Returns:
            How many there were: fewer than the buffer has room for only at the end of the file.
        """
        filled = 0
        # In pieces that stay in the cache: the gzip reader's own `readinto` would make one more copy of the whole.
        while filled < len(buffer) and (piece := self.read(min(len(buffer) - filled, _PIECE_BYTES))):
            buffer[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def skip(self, size: int) -> None:
        """Pass over bytes; as `read`."""
        while size > 0 and (piece := self.read(min(size, _CHUNK_BYTES))):
            size -= len(piece)

    def finish(self) -> None:
        """Let what is left pass into the digest, and check that the file did not change meanwhile.

        Raises:
            CaseError: as `read`; or the file was written to while it was read.
        """
        with _refusing(self.path):
            self._hashed.finish()


@contextmanager
def open_input(path: Path, limits: ReadLimits = DEFAULT_LIMITS, digest: Digest | None = None) -> Iterator[InputFile]:
    """Open a regular file for one pass from its first byte to its last; a pipe or a device never blocks.

    Args:
        path: the file; a link is followed.
        limits: what it may cost.
        digest: takes every byte on disk as it passes.

    Raises:
        CaseError: it is missing, not a regular file, empty, too large or not readable.
    """
    with _refusing(path):
        # Before it is opened: opening a device can already do something.
        _check_kind(path, path.stat().st_mode)
        raw = io.FileIO(path, "rb", opener=_open_without_waiting)
    with raw:
        with _refusing(path):
            found = os.fstat(raw.fileno())
            _check_kind(path, found.st_mode)
            if found.st_size == 0:
                raise CaseError(f"{path}: the file is empty, expected a NIfTI file", code="empty-file")
            if found.st_size > limits.file_bytes:
                raise CaseError(
                    f"{path}: {found.st_size} bytes on disk, expected a head MRI of at most {limits.file_bytes}",
                    code="too-large",
                )
            file = InputFile(path, raw, limits, digest)
        yield file


class _HashedFile:
    """What the gzip reader takes its bytes from: each passes once, is hashed, counted and timed."""

    def __init__(self, path: Path, raw: io.FileIO, limits: ReadLimits, digest: Digest | None) -> None:
        self._path = path
        self._raw = raw
        self._limits = limits
        self._deadline = time.monotonic() + limits.seconds
        self._digest = digest
        self._passed = 0
        self._before = _identity(raw)
        self.size = os.fstat(raw.fileno()).st_size

    def starts_with(self, magic: bytes) -> bool:
        """Whether the file begins so; nothing has passed yet afterwards."""
        found = self._raw.read(len(magic)) == magic
        self._raw.seek(0)
        return found

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, as `io.RawIOBase.readinto`."""
        count = self._raw.readinto(buffer) or 0
        self._pass(memoryview(buffer)[:count])
        return count

    def read(self, size: int = -1) -> bytes:
        """The next bytes, fewer than asked for only at the end."""
        wanted = min(size, self.size - self._passed) if size >= 0 else self.size - self._passed
        pieces = []
        while wanted > 0 and (piece := self._raw.read(wanted)):
            self._pass(piece)
            pieces.append(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> None:
        while self.read(_CHUNK_BYTES):
            pass
        if self._passed != self.size or self._raw.read(1) or _identity(self._raw) != self._before:
            raise CaseError(
                f"{self._path}: the file was changed while it was read; try again when it is complete",
                code="changed-file",
            )

    def _pass(self, piece: bytes | memoryview) -> None:
        if self._digest is not None:
            self._digest.update(piece)
        self._passed += len(piece)
        if time.monotonic() > self._deadline:
            raise CaseError(
                f"{self._path}: not read within {self._limits.seconds:g} s, expected a quicker disk", code="slow-file"
            )


def _identity(raw: io.FileIO) -> tuple[int, int]:
    found = os.fstat(raw.fileno())
    return found.st_size, found.st_mtime_ns


def obstacle_of_kind(mode: int) -> Reason | None:
    """What is wrong with a thing of this mode (`st_mode`) as an input; None for a regular file."""
    if stat.S_ISREG(mode):
        return None
    kind = next((name for test, name in _KINDS if test(mode)), "something else")
    return Reason("not-a-file", f"{kind} found, expected a regular file")


def obstacle_of_error(path: Path, error: OSError, expected: str = "a regular file") -> Reason:
    """Why the system does not let a path be read, without its name."""
    if error.errno == errno.ENOENT:
        if path.is_symlink():
            return Reason("broken-link", f"a link without a target found, expected {expected}")
        return Reason("file-missing", "file not found")
    if error.errno == errno.ELOOP:
        return Reason("broken-link", f"links in a circle found, expected {expected}")
    return Reason("unreadable-file", f"cannot be read ({error.strerror or error})")


def _check_kind(path: Path, mode: int) -> None:
    obstacle = obstacle_of_kind(mode)
    if obstacle is not None:
        raise CaseError(f"{path}: {obstacle}", code=obstacle.code)


def _open_without_waiting(path: str, flags: int) -> int:
    # Between the look at it and the opening, a file can become a pipe: then nobody waits for its other end.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, isal_zlib.IsalError, OverflowError) as error:  # type: ignore[misc]
        raise CaseError(f"{path}: damaged or truncated gzip stream ({error})", code="damaged-gzip") from error
    except OSError as error:
        obstacle = obstacle_of_error(path, error)
        raise CaseError(f"{path}: {obstacle}", code=obstacle.code) from error
    except ValueError as error:  # a name with a zero byte
        raise CaseError(f"{path}: no name of a file ({error})", code="unreadable-file") from error
