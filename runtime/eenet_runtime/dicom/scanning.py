"""Finding the DICOM files of a study: a folder tree, a medium with a DICOMDIR, or a ZIP of one; headers only.

No path is ever built from a tag or from a name inside an archive: folders are walked, entries of an archive are read
into memory by their place in it.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from eenet_runtime.dicom.guarded_reader import silence_pydicom
from eenet_runtime.dicom.instance import FileSource, Instance, InstanceSource, NotReadableError, read_instance
from eenet_runtime.errors import DatasetError
from eenet_runtime.machine.parallel import map_in_threads

DIRECTORY_NAME: Final = "DICOMDIR"


@dataclass(frozen=True)
class ScanLimits:
    """What a study may cost before anything is known of it (docs/dicom.md).

    Attributes:
        files: most files, or entries of an archive.
        depth: deepest folder.
        entry_bytes: largest file of an archive once it is unpacked, and largest file of a folder.
        archive_bytes: most bytes of all entries once unpacked.
        ratio: most bytes that one byte of an entry may unpack to; small entries may do as they like.
        directory_bytes: largest list of contents of an archive.
    """

    files: int = 50_000
    depth: int = 32
    entry_bytes: int = 1 << 30
    archive_bytes: int = 1 << 33
    ratio: int = 200
    small_bytes: int = 1 << 20
    directory_bytes: int = 1 << 24


DEFAULT_SCAN_LIMITS: Final = ScanLimits()


@dataclass(frozen=True)
class Scan:
    """What was found.

    Attributes:
        instances: readable DICOM files, those that are there twice once.
        other_files: how many are no DICOM.
        unreadable: reason -> how many DICOM files could not be used for it.
    """

    instances: tuple[Instance, ...]
    other_files: int
    unreadable: dict[str, int]


@dataclass(frozen=True)
class ZipSource:
    """An entry of an archive, by its place: its name is never used."""

    archive: Path
    place: int

    def open(self) -> BinaryIO:
        """Unpack it into memory, which `scan` has found to be within the limits."""
        with _open_archive(self.archive, DEFAULT_SCAN_LIMITS) as archive:
            return io.BytesIO(archive.read(archive.infolist()[self.place]))


def scan(study: Path, limits: ScanLimits = DEFAULT_SCAN_LIMITS, threads: int | None = None) -> Scan:
    """Read the headers of all DICOM files in a folder tree or a ZIP, or of one file.

    Raises:
        DatasetError: it is not there, cannot be read, or costs more than the limits allow.
    """
    silence_pydicom()
    try:
        kind = study.stat().st_mode
        if stat.S_ISDIR(kind):
            found = _read_all(_walk(study, limits), threads)
        elif stat.S_ISREG(kind) and zipfile.is_zipfile(study):
            found = _read_archive(study, limits)
        elif stat.S_ISREG(kind) and study.name.upper() == DIRECTORY_NAME:
            found = _read_all(_walk(study.parent, limits), threads)
        elif stat.S_ISREG(kind):
            found = _read_all([FileSource(study)], threads)
        else:
            raise DatasetError(f"{study}: expected a folder, a ZIP or a DICOM file")
    except FileNotFoundError as error:
        raise DatasetError(f"{study}: no such folder or file") from error
    except OSError as error:
        raise DatasetError(f"{study}: cannot be read ({error.strerror or 'input error'})") from error
    return _summary(found)


def _walk(folder: Path, limits: ScanLimits) -> list[InstanceSource]:
    """Regular files, and links to some, in order of names; links to folders are not followed."""
    found: list[InstanceSource] = []

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        here = Path(place)
        if len(here.relative_to(folder).parts) > limits.depth:
            raise DatasetError(f"{folder}: folders nested deeper than {limits.depth}, expected a study")
        for name in sorted(names):
            path = here / name
            try:
                size, mode = path.stat().st_size, path.stat().st_mode
            except OSError:
                continue  # a link without a target
            if stat.S_ISREG(mode) and size <= limits.entry_bytes:
                found.append(FileSource(path))
        if len(found) > limits.files:
            raise DatasetError(f"{folder}: more than {limits.files} files, expected one study or a few")
    return found


def _open_archive(path: Path, limits: ScanLimits) -> zipfile.ZipFile:
    try:
        # The list of contents is read in one piece, whatever its size is said to be.
        if _directory_bytes(path) > limits.directory_bytes:
            raise DatasetError(f"{path}: a list of contents of more than {limits.directory_bytes} bytes")
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeError) as error:
        raise DatasetError(f"{path}: damaged ZIP") from error


def _directory_bytes(path: Path) -> int:
    """At most so many bytes lie between where the list of contents says that it begins and the end of the archive."""
    with path.open("rb") as raw:
        size = raw.seek(0, io.SEEK_END)
        tail = min(size, 22 + 65_535)
        raw.seek(size - tail)
        end = raw.read(tail)
    at = end.rfind(b"PK\x05\x06")
    if at < 0:
        return 0
    announced = int.from_bytes(end[at + 12 : at + 16], "little")
    large = end.rfind(b"PK\x06\x06", 0, at)
    if announced == 0xFFFF_FFFF and large >= 0:
        return int.from_bytes(end[large + 40 : large + 48], "little")
    return announced


def _read_archive(path: Path, limits: ScanLimits) -> list[Instance | str | None]:
    found: list[Instance | str | None] = []
    with _open_archive(path, limits) as archive:
        entries = archive.infolist()
        if len(entries) > limits.files:
            raise DatasetError(f"{path}: {len(entries)} entries, expected at most {limits.files}")
        if sum(entry.file_size for entry in entries) > limits.archive_bytes:
            raise DatasetError(f"{path}: unpacks to more than {limits.archive_bytes} bytes, expected a study")
        for place, entry in enumerate(entries):
            if entry.is_dir():
                continue
            if entry.flag_bits & 1:
                raise DatasetError(f"{path}: encrypted, expected a ZIP without a password")
            allowed = max(limits.small_bytes, entry.compress_size * limits.ratio)
            if entry.file_size > min(limits.entry_bytes, allowed):
                raise DatasetError(
                    f"{path}: an entry of {entry.compress_size} bytes unpacks to {entry.file_size}, expected at most "
                    f"{limits.ratio} for one"
                )
            try:
                content = archive.read(entry)
            # Damaged entries raise what zlib, bz2, lzma and zipfile have.
            except Exception:
                found.append("damaged entry of the ZIP")
                continue
            found.append(_read_one(ZipSource(path, place), content))
    return found


def _read_all(sources: list[InstanceSource], threads: int | None) -> list[Instance | str | None]:
    return map_in_threads(partial(_read_one, content=None), sources, threads)


@dataclass(frozen=True)
class _Unpacked:
    content: bytes

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)


def _read_one(source: InstanceSource, content: bytes | None) -> Instance | str | None:
    """The header; None for what is no DICOM; why it cannot be used."""
    try:
        if content is None:
            return read_instance(source)
        found = read_instance(_Unpacked(content))
        return found and replace(found, source=source)
    except NotReadableError as error:
        return str(error)
    except OSError:
        return "cannot be read"


def _summary(found: list[Instance | str | None]) -> Scan:
    instances: dict[str, Instance] = {}
    unreadable: dict[str, int] = {}
    for one in found:
        if isinstance(one, str):
            unreadable[one] = unreadable.get(one, 0) + 1
        elif one is not None:
            instances.setdefault(one.sop_uid, one)
    return Scan(tuple(instances.values()), sum(one is None for one in found), unreadable)
