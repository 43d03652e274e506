"""The thread that decides: looks at studies that have become quiet, one after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from eenet_gateway.config.settings import Readiness
from eenet_gateway.decide.looking import Look, LookRequest
from eenet_gateway.decide.readiness import Turn, decide, turn_of
from eenet_gateway.process.child import Child, RefusedError, StumbledError
from eenet_gateway.process.logs import LOGGER
from eenet_gateway.store.database import Database
from eenet_gateway.store.states import State
from eenet_gateway.store.studies import StudyRow, studies_in

_LOOK_S: Final = 120.0
MEMORY_MB: Final = 4000


class Decider:
    """Decides about every study in the state `receiving`."""

    def __init__(
        self,
        db: Database,
        child: Child[LookRequest, Look],
        settings: Readiness,
        being_received: Callable[[], set[str]],
        request_for: Callable[[StudyRow], LookRequest],
        stop: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take what it needs; `run` does the work, in one thread."""
        self._db, self._child, self._settings = db, child, settings
        self._being_received, self._request_for, self._stop, self._clock = being_received, request_for, stop, clock
        self._seen: dict[str, int] = {}

    def run(self) -> None:
        """Until the stop."""
        try:
            while not self._stop.wait(0.2):
                self.decide_once()
        finally:
            self._child.close()

    def decide_once(self) -> None:
        """Look at all studies for which it is time."""
        waiting = studies_in(self._db, State.RECEIVING)
        if not waiting:
            return
        open_studies = self._being_received()
        for row in waiting:
            if self._stop.is_set():
                return
            turn = turn_of(row, row.key in open_studies, self._clock(), self._settings)
            if turn is Turn.WAIT or (turn is Turn.TRY and self._seen.get(row.key) == row.revision):
                continue
            self._decide(row, turn)

    def _decide(self, row: StudyRow, turn: Turn) -> None:
        self._seen[row.key] = row.revision
        try:
            seen = self._child.call(self._request_for(row), _LOOK_S, self._stop.is_set)
        except RefusedError as error:
            seen = Look({}, str(error))
        except StumbledError as error:
            seen = Look({}, f"its headers cannot be read: {error}")
        state = decide(self._db, row.key, seen, turn, row.revision, self._clock())
        if state is not State.RECEIVING:
            self._seen.pop(row.key, None)
            words = f": {seen.reason}" if seen.reason and state in (State.HELD, State.IGNORED) else ""
            LOGGER.log(30 if state is State.HELD else 20, "study %s: %s%s", row.key, state, words)
