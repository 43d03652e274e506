"""Standard output and error that cannot fail the work: closed, full or with nobody at the other end.

A run over a night must not lose its masks because its log's disk filled up or `head` had read enough. What cannot be
written is dropped, the work goes on, and its exit code says how the work ended.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final, TextIO, cast

STANDARD_DESCRIPTORS: Final = (0, 1, 2)


class LenientStream:
    """A text stream that drops what cannot be written, from the first failure on.

    Attributes:
        failure: why the stream took no more; None while it works, and where its reader simply left (a broken pipe).
    """

    def __init__(self, stream: TextIO) -> None:
        """Stand before a stream; it stays open."""
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or drop."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop what was held back."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):
            self.failure = error
        # What Python holds back goes the same way: it tries again at its end, would complain and exit with 120.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def protect_standard_streams() -> None:
    """Make `print` and its like safe for the rest of this process.

    A closed descriptor is opened on nothing first: the next file that the program opens would otherwise get its number,
    and a library that writes to standard error would write into a mask.
    """
    for descriptor in STANDARD_DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is taken, which is this one.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _protected(sys.stdout, 1)
    sys.stderr = _protected(sys.stderr, 2)


def tell_what_was_lost() -> None:
    """One line on standard error where standard output could not be written; the same never for a reader who left."""
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    if failure is not None:
        sys.stderr.write(f"standard output could not be written ({failure.strerror}): what is printed is incomplete\n")
    sys.stderr.flush()


def _protected(stream: TextIO | LenientStream | None, descriptor: int) -> TextIO:
    if stream is None:
        # Python found it closed when it started.
        stream = open(descriptor, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    return cast(TextIO, stream if isinstance(stream, LenientStream) else LenientStream(stream))
