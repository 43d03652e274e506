"""The folders of a gateway's data, and writing an image into them so that a power cut cannot take it away."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eenet_gateway.process.faults import fault_point

PART: Final = ".part"
"""Ends the name of a file that is being written."""


@dataclass(frozen=True)
class Folders:
    """Where things lie below the data folder. Names are hashes and numbers, never a text from a header."""

    data: Path

    @property
    def database(self) -> Path:
        """The database."""
        return self.data / "gateway.sqlite"

    @property
    def incoming(self) -> Path:
        """Images while they are written."""
        return self.data / "incoming"

    @property
    def studies(self) -> Path:
        """A folder for each study's images."""
        return self.data / "studies"

    @property
    def aside(self) -> Path:
        """Images that contradict another one of the same UID."""
        return self.data / "aside"

    @property
    def work(self) -> Path:
        """What the worker sees of a study, by links, and results while they are written."""
        return self.data / "work"

    @property
    def results(self) -> Path:
        """A folder for each study's results, and in it one for each generation."""
        return self.data / "results"

    def image(self, key: str, sha256: str, aside: bool = False) -> Path:
        """Where one image lies."""
        return (self.aside if aside else self.studies) / key / f"{sha256}.dcm"

    def result(self, key: str, generation: int) -> Path:
        """Where one generation's results lie."""
        return self.results / key / str(generation)

    def make(self) -> None:
        """Make all folders, for this user alone.

        Raises:
            OSError: one cannot be made.
        """
        for folder in (self.data, self.incoming, self.studies, self.aside, self.work, self.results):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def free_bytes(self) -> int:
        """Free space for this user where the data lie."""
        found = os.statvfs(self.data)
        return found.f_bavail * found.f_frsize

    def remove_results(self, key: str) -> None:
        """Delete a study's results, and folders of it that are empty."""
        shutil.rmtree(self.results / key, ignore_errors=True)
        for folder in (self.studies / key, self.aside / key):
            with contextlib.suppress(OSError):
                folder.rmdir()


def write_image(folders: Folders, path: Path, content: bytes) -> None:
    """Write an image so that it is there, whole and under its name, when this returns; else there is nothing of it.

    Raises:
        OSError: the disk is full, or something else of the kind; nothing is left.
    """
    part = folders.incoming / f"{path.stem}{PART}"
    try:
        _write_and_flush(part, content)
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700)
            flush_folder(path.parent.parent)
        part.replace(path)
        flush_folder(path.parent)
    except OSError:
        for leftover in (part, path):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)
        raise


def _write_and_flush(path: Path, content: bytes) -> None:
    half = len(content) // 2
    with path.open("wb", buffering=0) as stream:
        _write_all(stream.write, memoryview(content)[:half])
        fault_point("mid-file")
        _write_all(stream.write, memoryview(content)[half:])
        os.fsync(stream.fileno())


def _write_all(write: Callable[[memoryview], int | None], content: memoryview) -> None:
    # Without a buffer, one call writes 2 GiB at most, and less where the disk fills up.
    while content:
        content = content[write(content) or 0 :]


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: the disk does not do it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Make all files of a folder tree durable, and their names.

    Raises:
        OSError: the disk does not do it.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            with (Path(place) / name).open("rb") as stream:
                os.fsync(stream.fileno())
        flush_folder(Path(place))
