"""A drop folder: cases are taken one by one, when they are complete and nobody writes to them any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.discovery import Discovery, RefusedCase, look_for_cases
from eenet_runtime.errors import DatasetError
from eenet_runtime.folders.stopping import StopRequest
from eenet_runtime.log import LOGGER
from eenet_runtime.volumes.labels import Modality

Signature: TypeAlias = tuple[tuple[str, int, int, int], ...]
"""What a case's files look like from outside: name, size, time of change and inode of each."""


@dataclass(frozen=True)
class WatchSettings:
    """How a drop folder is watched. The folder is looked at again and again: that works on every file system.

    Attributes:
        settle_s: seconds for which a case's files must have kept size, time and place before it is taken.
        poll_s: seconds between two looks.
        stop_after_idle_s: seconds without any change after which the watch ends; None for never.
    """

    settle_s: float = 10.0
    poll_s: float = 2.0
    stop_after_idle_s: float | None = None


@dataclass
class _Seen:
    """What is known of one case.

    Attributes:
        state: what it looked like at the last look.
        since: when it began to look like that.
        taken: what it looked like when it was taken, None if it never was.
    """

    state: object
    since: float
    taken: object = None


class DropFolder:
    """Remembers what a folder looked like, and says at each look which cases are ready.

    A case is ready when it is complete and its files have looked the same for a while. It is ready again only when they
    look different from when it was taken, whatever became of it. A case that lacks something, or is in a folder that
    cannot be read, is told as refused after the same while, once for each reason, and taken when it is complete.
    Files that vanish between two looks are forgotten. While the folder itself cannot be read nothing is.
    """

    def __init__(
        self,
        folder: Path,
        settle_s: float,
        allow_missing: Collection[Modality] = (),
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        """Look at nothing yet.

        Args:
            folder: where cases arrive.
            settle_s: see `WatchSettings`.
            allow_missing: modalities of which a case may lack one.
            on_trouble: told when the folder cannot be read, once for each reason, and when it can be again; by default
                the log says so, without its name.
        """
        self._folder = folder
        self._settle_s = settle_s
        self._allow_missing = allow_missing
        self._seen: dict[str, _Seen] = {}
        self._on_trouble = on_trouble or _log_trouble
        self._trouble: str | None = None
        self.ignored: tuple[Path, ...] = ()

    def look(self, now: float) -> tuple[list[CaseFiles | RefusedCase], bool]:
        """Look at the folder once.

        Args:
            now: seconds, by a clock that only grows.

        Returns:
            The cases that are ready, in order of their names, and whether anything is still on its way.
        """
        found = self._find()
        if found is None:
            return [], False
        self.ignored = found.ignored
        entries: list[tuple[CaseFiles | RefusedCase, object]] = []
        for case in found.cases:
            signature = _signature(case)
            if signature is not None:
                entries.append((case, signature))
        entries += [(refused, refused.reason) for refused in found.refused]
        known = {entry.case_id for entry, _ in entries}
        # A case whose inputs were taken away after it was done, and come back, is a new one.
        self._seen = {name: seen for name, seen in self._seen.items() if name in known}
        ready = []
        for entry, state in sorted(entries, key=lambda item: item[0].case_id):
            seen = self._seen.setdefault(entry.case_id, _Seen(state, now))
            if seen.state != state:
                seen.state, seen.since = state, now
            if seen.taken != state and now - seen.since >= self._settle_s:
                seen.taken = state
                ready.append(entry)
        pending = any(seen.taken != seen.state for seen in self._seen.values())
        return ready, pending

    def _find(self) -> Discovery | None:
        """What lies in the folder; None while nobody can tell, as on a network drive that is away for a moment."""
        found: Discovery | None = None
        trouble: str | None = None
        try:
            found = look_for_cases(self._folder, self._allow_missing, links_out=False)
        except (DatasetError, OSError) as error:
            trouble = str(error)
        if trouble != self._trouble:
            self._trouble = trouble
            self._on_trouble(f"{trouble}; waiting for it" if trouble else f"{self._folder}: can be read again")
        return found


def _log_trouble(_message: str) -> None:
    # Not the message: it names the folder, and names of folders may be those of patients.
    LOGGER.warning("the watched folder became unreadable, or readable again; see that it is there")


def watch_cases(
    drop: DropFolder, settings: WatchSettings, stop: StopRequest, clock: Callable[[], float] = time.monotonic
) -> Iterator[CaseFiles | RefusedCase]:
    """The cases of a drop folder as they become ready, until somebody stops it or nothing has come for a while.

    Args:
        drop: the folder.
        settings: how often to look, and when to end.
        stop: ends it.
        clock: seconds that only grow.
    """
    last_change = clock()
    while not stop.requested:
        ready, pending = drop.look(clock())
        yield from ready
        now = clock()
        if ready or pending:
            last_change = now
        elif settings.stop_after_idle_s is not None and now - last_change >= settings.stop_after_idle_s:
            return
        stop.wait(settings.poll_s)


def _signature(case: CaseFiles) -> Signature | None:
    """What the case's files look like, None if one of its images has just vanished."""
    try:
        entries = [_look_of(path) for path in sorted({source.path for source in case.images.values()})]
    except OSError:
        return None
    if case.label is not None:
        try:
            entries.append(_look_of(case.label))
        except OSError as error:  # a label that cannot be read is no reason to wait for it
            entries.append((str(case.label), 0, 0, error.errno or 0))
    return tuple(entries)


def _look_of(path: Path) -> tuple[str, int, int, int]:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns, status.st_ino
