"""Hashes that need not be computed again: by name, size, time of change and inode of the files that they are of.

A finished case is proved by the hashes of all its files. On ten thousand cases over a network drive that takes hours
at every start. Who says `--trust-timestamps` lets a run believe that a file whose size, time of change (nanoseconds)
and inode are what they were has the bytes that it had. That is a trade, not a proof: whoever sets a file's time back
after changing it in place, and a file system whose clock is coarse, can deceive it. By default everything is hashed.

The index is a hidden file beside the results, one line of JSON for each file, only ever added to: a run that is killed
leaves at most half a line, which the next one passes over. Each part of a folder writes a file of its own, and reads
those of all.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO, TypeAlias

from eenet_runtime.errors import CaseError, OutputError
from eenet_runtime.files.nifti import files_of_image, hash_or_none
from eenet_runtime.folders.shards import Shard

Stamp: TypeAlias = tuple[tuple[int, int, int], ...]
"""Size, time of change in nanoseconds and inode of a file; of a pair, of both."""

_NAMES: Final = ".eenet-run-index-*.jsonl"


def stamp_of(path: Path) -> Stamp | None:
    """What an image's file, or the two of a pair, look like from outside; None where one cannot be looked at."""
    try:
        found = [os.stat(part) for part in files_of_image(path)]  # noqa: PTH116  (ten thousand times a second)
    except (OSError, CaseError, ValueError):
        return None
    return tuple((status.st_size, status.st_mtime_ns, status.st_ino) for status in found)


class HashIndex:
    """The index of an output folder, for one run. Any thread may ask."""

    def __init__(self, output: Path, shard: Shard) -> None:
        """Read what earlier runs left; lines that make no sense are passed over.

        Args:
            output: the folder; it is there.
            shard: the part that this run does.

        Raises:
            OutputError: the run's own file cannot be written.
        """
        self._lock = threading.Lock()
        self._here = os.getcwd()  # noqa: PTH109  (as text)
        self._known: dict[str, tuple[str, Stamp]] = {}
        for path in sorted(output.glob(_NAMES)):
            self._known.update(_read(path))
        self._path = output / f".eenet-run-index-{shard.index}-of-{shard.count}.jsonl"
        try:
            self._stream: TextIO = self._path.open("a", encoding="ascii")
            if self._stream.tell():
                self._stream.write("\n")  # the end of a line that a killed run could not end
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({error.strerror or error})") from error

    def sha256(self, path: Path) -> str | None:
        """A file's hash, from the index where the file looks as it did, else computed; as `hash_or_none`."""
        stamp = stamp_of(path)
        known = self._known.get(self._key(path))
        if stamp is not None and known is not None and known[1] == stamp:
            return known[0]
        # Looked at before it is read: what is written meanwhile makes it look otherwise the next time.
        sha256 = hash_or_none(path)
        self.learn(path, sha256, stamp)
        return sha256

    def learn(self, path: Path, sha256: str | None, stamp: Stamp | None) -> None:
        """Note the hash of a file as it looked before it was read, or after it was written."""
        if sha256 is None or stamp is None:
            return
        key = self._key(path)
        self._known[key] = (sha256, stamp)
        # A full disk ends the run where results are written; an index that lacks a line only costs time.
        with self._lock, contextlib.suppress(OSError):
            self._stream.write(f"{json.dumps([key, sha256, stamp], separators=(',', ':'))}\n")

    def _key(self, path: Path) -> str:
        """A file's name from the root on. Two spellings of one file are two entries, which costs a hash and no more."""
        return str(path) if path.is_absolute() else os.path.join(self._here, path)  # noqa: PTH118  (much quicker)

    def flush(self) -> None:
        """Hand what was learnt to the operating system: a kill of this process loses nothing of it."""
        with self._lock, contextlib.suppress(OSError):
            self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()


def _read(path: Path) -> dict[str, tuple[str, Stamp]]:
    try:
        with path.open(encoding="ascii", errors="replace") as lines:
            return dict(_entries(lines))
    except OSError:
        return {}


def _entries(lines: Iterable[str]) -> Iterable[tuple[str, tuple[str, Stamp]]]:
    for line in lines:
        try:
            key, sha256, stamp = json.loads(line)
            yield str(key), (str(sha256), tuple((int(size), int(when), int(inode)) for size, when, inode in stamp))
        except (ValueError, TypeError):
            continue
