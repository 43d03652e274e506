"""A file between a stranger and pydicom's parser: what one header may cost is counted while it is read.

pydicom believes lengths: it asks for as many bytes as an element announces, makes an object of every item of a sequence
and quotes values in its warnings. Here a read never goes beyond the end of the file, bytes, reads and items are
limited, and no warning and no log line of pydicom leaves the process.
"""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import dataclass
from typing import BinaryIO, Final

_ITEM: Final = b"\xfe\xff\x00\xe0"
"""An item of a sequence, (FFFE,E000), in the usual byte order, and in the other one."""
_ITEM_BIG: Final = b"\xff\xfe\xe0\x00"


@dataclass(frozen=True)
class HeaderLimits:
    """What the header of one DICOM file may cost (docs/dicom.md gives the reasons).

    Attributes:
        header_bytes: most bytes that are read before the pixels; what is skipped does not count.
        reads: most reads, of which every element takes at least one.
        items: most items of sequences, of any depth.
    """

    header_bytes: int = 1 << 24
    reads: int = 400_000
    items: int = 100_000


DEFAULT_HEADER_LIMITS: Final = HeaderLimits()


class HeaderTooLargeError(Exception):
    """A header costs more than its limits allow; the message names the limit and no value of the file."""


class GuardedReader(io.RawIOBase):
    """A seekable binary file as pydicom reads it, with `HeaderLimits` over all that is read. Serves one thread."""

    def __init__(self, raw: BinaryIO, limits: HeaderLimits = DEFAULT_HEADER_LIMITS) -> None:
        """Stand before an open file; it stays the caller's to close."""
        super().__init__()
        self._raw = raw
        self._limits = limits
        self._size = raw.seek(0, io.SEEK_END)
        raw.seek(0)
        self._bytes = self._reads = self._items = 0

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, fewer than asked for at the end of the file.

        Raises:
            HeaderTooLargeError: a limit is reached.
        """
        left = max(self._size - self._raw.tell(), 0)
        wanted = left if size is None or size < 0 else min(size, left)
        self._count(wanted)
        found = self._raw.read(wanted)
        self._items += found.count(_ITEM) + found.count(_ITEM_BIG)
        if self._items > self._limits.items:
            raise HeaderTooLargeError(f"more than {self._limits.items} items of sequences")
        return found

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, as files do."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """Where the next byte comes from."""
        return self._raw.tell()

    def _count(self, wanted: int) -> None:
        self._bytes += wanted
        self._reads += 1
        if self._bytes > self._limits.header_bytes:
            raise HeaderTooLargeError(f"a header of more than {self._limits.header_bytes} bytes")
        if self._reads > self._limits.reads:
            raise HeaderTooLargeError(f"more than {self._limits.reads} elements")


def silence_pydicom() -> None:
    """Let no warning and no log line of pydicom out: they quote values of headers, which name patients.

    Cheap and the same however often it is called; it does so for the whole process, for a filter that is taken back
    would not be safe among threads.
    """
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
