"""Ways in which a file of a case can be there by name and yet not be read, and a user whom permissions stop."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

NOBODY: Final = 65534
"""The number that systems give to the user without rights."""


def _dangle(path: Path) -> None:
    path.symlink_to(path.parent / ".annex" / "no-such-object")


def _circle(path: Path) -> None:
    other = path.with_name(f".{path.name}")
    other.symlink_to(path)
    path.symlink_to(other)


def _folder(path: Path) -> None:
    path.mkdir()
    (path / path.name).write_bytes(b"what an archive program made of one file")


LOST: Final[dict[str, tuple[Callable[[Path], object], str]]] = {
    "a link without a target": (_dangle, "a link without a target found, expected a regular file"),
    "links in a circle": (_circle, "links in a circle found, expected a regular file"),
    "a pipe": (os.mkfifo, "a pipe found, expected a regular file"),
    "a socket": (lambda path: os.mknod(path, stat.S_IFSOCK | 0o600), "a socket found, expected a regular file"),
    "a folder": (_folder, "a folder found, expected a regular file"),
}
"""What may stand in place of a file: how to make it, and what is said about it."""

ERRORS: Final = (errno.EACCES, errno.EIO, errno.ESTALE, errno.ENAMETOOLONG)
"""What a system says of files that it does not give: permissions, a broken disk, a network drive, a name too long."""


def lose(path: Path, what: str) -> str:
    """Put something else in place of a file; returns what is said about it."""
    path.unlink()
    make, said = LOST[what]
    make(path)
    return said


def fail(monkeypatch: pytest.MonkeyPatch, call: str, name: str, number: int) -> None:
    """Let a call of `os` fail for every path of this name, as no file system does that a test could make."""
    original = getattr(os, call)

    def failing(path: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(path, str | Path) and Path(path).name == name:
            raise OSError(number, os.strerror(number), str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(os, call, failing)


@contextlib.contextmanager
def as_another_user() -> Iterator[None]:
    """Inside the block permissions count: root becomes somebody else, anybody else stays who he is."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
