"""What lies in a folder, told so that nothing vanishes: links without a target, pipes, and what the system keeps back.

`Path.is_file` answers False to all of these, and raises for some. Here each is an entry with the reason why it cannot
be read, so that whoever asked for it can refuse it by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

from eenet_runtime.codes import Reason
from eenet_runtime.errors import DatasetError
from eenet_runtime.files.input_file import obstacle_of_error, obstacle_of_kind
from eenet_runtime.files.nifti import is_nifti_name


@dataclass(frozen=True)
class FoundFile:
    """A name in a folder that a case may want to read.

    Attributes:
        path: where it is.
        obstacle: why it cannot be read, without its name; None for a regular file.
        is_folder: whether it is a folder, or a link to one.
        leads_out: whether a link takes it out of the folder that is searched, where that is not allowed. Then
            `obstacle` says so and nothing else: what lies out there is nobody's business.
    """

    path: Path
    obstacle: Reason | None = None
    is_folder: bool = False
    leads_out: bool = False


@dataclass(frozen=True)
class Listing:
    """What lies directly in a folder, hidden names (a leading dot) left out, in order of names.

    Attributes:
        files: everything whose name ends like a NIfTI file's, whatever it is.
        folders: all other folders, and links to some.
        lost: other entries that may have been a folder of cases and that nobody can look into.
    """

    files: tuple[FoundFile, ...]
    folders: tuple[Path, ...]
    lost: tuple[FoundFile, ...]


def require_folder(path: Path) -> None:
    """Refuse what is no folder, with the reason.

    Raises:
        DatasetError: it is not there, something else, or cannot be looked at.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: {'a link without a target' if path.is_symlink() else 'no such folder'}") from error
    except OSError as error:
        raise DatasetError(f"{path}: the folder cannot be read ({error.strerror or error})") from error
    if not S_ISDIR(found.st_mode):
        raise DatasetError(f"{path}: not a folder")


def list_folder(folder: Path, boundary: Path | None = None) -> Listing:
    """List a folder.

    Args:
        folder: where to look.
        boundary: what links of files may not lead out of; None where they may lead anywhere.

    Raises:
        OSError: the folder cannot be listed to its end.
    """
    files, folders, lost = [], [], []
    folder_leads_out = boundary is not None and leads_out(folder, boundary)
    with os.scandir(folder) as entries:
        visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in visible:
        path = folder / entry.name
        if is_nifti_name(path):
            if boundary is None or entry.is_symlink():
                files.append(look_at(path, boundary))
            else:  # a file that is no link lies where its folder does
                files.append(_out_of(path, boundary) if folder_leads_out else look_at(path))
            continue
        try:
            is_folder = entry.is_dir()
            hangs = not is_folder and entry.is_symlink() and not path.exists()
        except OSError:
            is_folder, hangs = False, True
        if is_folder:
            folders.append(path)
        elif hangs and not path.suffix[1:].isalpha():  # `notes.txt` was meant to be something else
            lost.append(look_at(path, boundary, expected="a folder of cases"))
    return Listing(tuple(files), tuple(folders), tuple(lost))


def look_at(path: Path, boundary: Path | None = None, expected: str = "a regular file") -> FoundFile:
    """Find out whether a path can be read as a file; nothing is opened.

    Args:
        path: what to look at.
        boundary: what a link may not lead out of; None where it may lead anywhere.
        expected: what it should be.
    """
    if boundary is not None and leads_out(path, boundary):
        return _out_of(path, boundary)
    try:
        mode = path.stat().st_mode
        obstacle, is_folder = obstacle_of_kind(mode), S_ISDIR(mode)
    except OSError as error:
        obstacle, is_folder = obstacle_of_error(path, error, expected), False
    return FoundFile(path, obstacle, is_folder)


def _out_of(path: Path, boundary: Path) -> FoundFile:
    """A path that a link takes out of a folder; what lies there is nobody's business, but whether it is a folder."""
    obstacle = Reason("link-out", f"a link that leads out of {boundary}, expected the file itself or a copy")
    try:
        is_folder = S_ISDIR(path.stat().st_mode)
    except OSError:
        is_folder = False
    return FoundFile(path, obstacle, is_folder, leads_out=True)


def is_there(path: Path) -> bool:
    """Whether anything has this name. A name that cannot be looked at counts: reading it will say why."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def is_link(path: Path) -> bool:
    """Whether this is a link, as far as the system tells; unlike `Path.is_symlink` it never raises."""
    try:
        return path.is_symlink()
    except OSError:
        return False


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path, its links followed as far as they lead, lies outside of a folder."""
    # Not `Path.resolve`: that raises for a link in a circle.
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def in_words(files: Iterable[FoundFile]) -> list[Reason]:
    """What stands in the way of files of one folder: one line for each obstacle, which names all that have it."""
    by_obstacle: dict[Reason, list[Path]] = {}
    for file in files:
        if file.obstacle is not None:
            by_obstacle.setdefault(file.obstacle, []).append(file.path)
    return [
        Reason(
            obstacle.code,
            f"{paths[0]}: {obstacle}"
            if len(paths) == 1
            else f"{paths[0].parent}: {', '.join(path.name for path in paths)}: {obstacle}",
        )
        for obstacle, paths in by_obstacle.items()
    ]
