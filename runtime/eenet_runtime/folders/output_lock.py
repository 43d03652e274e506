"""One run at a time in an output folder: two would compute every case twice and remove each other's temporary files.

A run holds an advisory lock (`flock`) on a hidden file in the folder. The system gives it back when the process ends,
however it ends, so that no lock is ever stale; a file that a killed program left says nothing by itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from eenet_runtime.errors import OutputError
from eenet_runtime.folders.shards import Shard
from eenet_runtime.log import LOGGER

_GUARD: Final = ".eenet-run.lock"
"""Held for a moment by whoever looks at the other locks, takes one or gives one back."""
_LOCK: Final = re.compile(r"\.eenet-run-([0-9]{1,6})-of-([0-9]{1,6})\.lock")


@contextlib.contextmanager
def sole_run(output: Path, shard: Shard) -> Iterator[None]:
    """Inside the block no other run writes into a folder, but for the other parts of the same division.

    Where the file system or the operating system has no such locks the block is entered all the same, and the log says
    so. No file is left behind, unless the program is killed or the folder cannot be written any more.

    Args:
        output: the folder; it is there.
        shard: the part that this run does.

    Raises:
        OutputError: another run is there: one of the whole folder, of the same part, or of a part of another division.
    """
    lock: int | None = None
    try:
        lock = _lock_part(output, shard)
    except OSError as error:
        # No more of the error: its text names the folder, and names of folders may be those of patients.
        LOGGER.warning("the output folder cannot be locked (%s); see that no other run uses it", error.strerror)
    try:
        yield
    finally:
        if lock is not None:
            _unlock_part(output, shard, lock)


def _lock_part(output: Path, shard: Shard) -> int:
    """Lock a part of a folder; returns the descriptor that holds the lock."""
    if os.name != "posix":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    with _guard(output):
        for path in output.glob(".eenet-run-*.lock"):
            match = _LOCK.fullmatch(path.name)
            if match is None:
                continue
            index, count = int(match[1]), int(match[2])
            if not _is_held(path):
                # A killed run's. Only under the guard are these files made and removed, so nobody is about to lock it.
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            elif count != shard.count or index == shard.index:
                who = "another run" if count == 1 else f"a run of shard {index}/{count}"
                raise OutputError(
                    f"{output}: {who} is writing into this folder; wait until it has ended, or choose another folder"
                )
        descriptor = _open(_lock_path(output, shard))
        try:
            _flock(descriptor, wait=False)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _unlock_part(output: Path, shard: Shard, lock: int) -> None:
    """Remove the file of a lock, and the lock with it."""
    try:
        with _guard(output):
            _lock_path(output, shard).unlink(missing_ok=True)
    except OSError:
        pass  # The folder is gone or read-only by now. What counts is the lock, not the file.
    finally:
        os.close(lock)


@contextlib.contextmanager
def _guard(output: Path) -> Iterator[None]:
    """Look at the locks of a folder, and change them, one process at a time."""
    path = output / _GUARD
    while True:
        descriptor = _open(path)
        try:
            _flock(descriptor, wait=True)
            # The one who had it before removed the file: then this is a lock on a file that nobody else will find.
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                break
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _is_held(path: Path) -> bool:
    """Whether somebody holds the lock on a file."""
    descriptor = _open(path)
    try:
        _flock(descriptor, wait=False)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock_path(output: Path, shard: Shard) -> Path:
    return output / f".eenet-run-{shard.index}-of-{shard.count}.lock"


def _open(path: Path) -> int:
    """Open a lock's file and make it where it is not there; one of another user, who was killed, for reading only."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)


def _flock(descriptor: int, *, wait: bool) -> None:
    """Lock a file.

    Raises:
        BlockingIOError: somebody else has it, and this one does not wait.
        OSError: the file system has no locks.
    """
    import fcntl  # not on every operating system

    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
