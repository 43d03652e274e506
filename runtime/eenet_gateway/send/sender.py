"""The thread that delivers to one destination: study after study, each in order, fresh ones before repeats."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from pynetdicom.association import Association

from eenet_gateway.config.settings import Delivery, Destination
from eenet_gateway.process.faults import fault_point
from eenet_gateway.process.logs import LOGGER, describe
from eenet_gateway.send.associating import NoAssociationError, NothingAcceptedError, association_to
from eenet_gateway.send.statuses import Verdict, judge, pause_s
from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders
from eenet_gateway.store.results import (
    DeliveryRow,
    next_delivery,
    record_dead,
    record_later,
    record_sent,
    settle_delivery,
)
from eenet_gateway.store.studies import known_study
from eenet_runtime.errors import GatewayError
from eenet_runtime.files.atomic import sha256_of_file

_HOUR_S: Final = 3600.0


class Sender:
    """Delivers to one destination. Results have UIDs that follow from their inputs: sending one twice is harmless."""

    def __init__(
        self,
        db: Database,
        folders: Folders,
        destination: Destination,
        settings: Delivery,
        stop: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take what it needs; `run` does the work, in one thread."""
        self._db, self._folders, self._destination, self._settings = db, folders, destination, settings
        self._stop, self._clock = stop, clock
        self._chance = random.Random()

    def run(self) -> None:
        """Until the stop."""
        while not self._stop.is_set():
            try:
                worked = self.send_next()
            except sqlite3.Error as error:
                LOGGER.error("deliveries to %s: the database fails: %s", self._destination.name, describe(error))
                worked = False
            if not worked:
                self._stop.wait(0.2)

    def send_next(self) -> bool:
        """Send what is pending of one study; False where nothing is due."""
        rows = next_delivery(self._db, self._destination.name, self._clock())
        if not rows:
            return False
        offered = [(one.sop_class, one.syntax) for one in rows]
        try:
            with association_to(self._destination, offered, self._settings.timeout_s) as association:
                fault_point("before-send")
                self._send_all(association, rows)
        except NothingAcceptedError as error:
            for one in rows:
                self._conclude(one, Verdict.DEAD, str(error))
        except (NoAssociationError, GatewayError) as error:
            # All of them were tried: their time to be given up runs for all.
            for one in rows:
                self._conclude(one, Verdict.LATER, str(error))
        key = rows[0].study
        if settle_delivery(self._db, key, self._clock()):
            fault_point("after-done")
            LOGGER.info("study %s: %s", key, known_study(self._db, key).state)
        return True

    def _send_all(self, association: Association, rows: Sequence[DeliveryRow]) -> None:
        """In order; what comes after one that must be sent again waits for it."""
        accepted = {
            (str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in association.accepted_contexts
        }
        for place, one in enumerate(rows):
            if self._stop.is_set():
                return
            if place:
                fault_point("mid-send")
            if (one.sop_class, one.syntax) not in accepted:
                self._conclude(one, Verdict.DEAD, "no presentation context accepted")
                continue
            verdict, words = self._send(association, one)
            fault_point("after-send")
            verdict = self._conclude(one, verdict, words)
            fault_point("after-send-commit")
            if verdict is Verdict.LATER:
                return

    def _send(self, association: Association, one: DeliveryRow) -> tuple[Verdict, str]:
        path = self._folders.result(one.study, one.generation) / one.file
        try:
            if sha256_of_file(path) != one.sha256:
                return Verdict.DEAD, "its file was changed on the disk"
            answer = association.send_c_store(path)
        except FileNotFoundError:
            return Verdict.DEAD, "its file is no longer on the disk"
        except OSError as error:
            return Verdict.LATER, describe(error)
        # What pynetdicom raises of an association that ended meanwhile.
        except (RuntimeError, ValueError, AttributeError) as error:
            return Verdict.LATER, f"the association ended ({describe(error)})"
        status = int(answer.Status) if "Status" in answer else None
        return judge(status), "no answer" if status is None else f"status {status:04X}"

    def _conclude(self, one: DeliveryRow, verdict: Verdict, words: str) -> Verdict:
        now = self._clock()
        first = now if one.first_try is None else one.first_try
        if verdict is Verdict.LATER and now - first >= self._settings.give_up_h * _HOUR_S:
            verdict, words = Verdict.DEAD, f"given up after {self._settings.give_up_h:g} h: {words}"
        if verdict is Verdict.SENT:
            record_sent(self._db, one, words, now)
        elif verdict is Verdict.DEAD:
            record_dead(self._db, one, words, now)
            LOGGER.error("study %s: %s for %s is refused: %s", one.study, one.kind, one.destination, words)
        else:
            pause = pause_s(one.attempts, self._settings, self._chance)
            record_later(self._db, one, words, now, now + pause)
            LOGGER.warning(
                "study %s: %s for %s: %s, again in %.0f s", one.study, one.kind, one.destination, words, pause
            )
        return verdict
