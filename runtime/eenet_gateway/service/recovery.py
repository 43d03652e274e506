"""Going on where a killed gateway stopped: by the database alone."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from eenet_gateway.process.faults import fault_point
from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders
from eenet_gateway.store.images import Standing
from eenet_gateway.store.results import settle_delivery
from eenet_gateway.store.states import Happening, State
from eenet_gateway.store.studies import note, step, studies_in

MOST_INTERRUPTIONS: Final = 10
"""So often a computation may be running when the gateway itself ends; then its study is suspected."""


@dataclass(frozen=True)
class Recovered:
    """What was found.

    Attributes:
        studies: were being computed, and are again.
        leftovers: files that were never acknowledged, now deleted.
        missing: acknowledged images that are not on the disk: somebody deleted them.
    """

    studies: int
    leftovers: int
    missing: int


def recover(db: Database, folders: Folders, destinations: Collection[str], now: float) -> Recovered:
    """Bring store and disk to where work can go on. Nothing else may use the folders meanwhile.

    Args:
        db, folders: the store.
        destinations: names of those that there are; what waits for another one waits no longer.
        now: seconds since 1970.

    Raises:
        OSError: the disk cannot be read or written.
    """
    restarted = _restart(db, now)
    fault_point("mid-recovery")
    for place in (*folders.incoming.iterdir(), *folders.work.iterdir()):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    leftovers = _delete_strays(db, folders)
    missing = _note_missing(db, folders, now)
    _end_deliveries_to_others(db, destinations)
    for row in studies_in(db, State.DELIVERING):
        settle_delivery(db, row.key, now)
    return Recovered(restarted, leftovers, missing)


def _restart(db: Database, now: float) -> int:
    rows = studies_in(db, State.RUNNING)
    with db.transaction():
        for row in rows:
            interrupted = row.interrupted + 1
            if interrupted > MOST_INTERRUPTIONS:
                words = f"the gateway ended {interrupted} times while it was computed"
                step(db, row.key, Happening.SPENT, now, words, reason=words, interrupted=0)
            else:
                # A power cut is not the study's fault.
                attempts = max(row.attempts - 1, 0)
                step(db, row.key, Happening.RESTARTED, now, attempts=attempts, interrupted=interrupted)
    return len(rows)


def _end_deliveries_to_others(db: Database, destinations: Collection[str]) -> None:
    with db.transaction():
        for row in db.rows("SELECT DISTINCT destination FROM delivery WHERE state = 'pending'"):
            if row["destination"] not in destinations:
                db.run(
                    "UPDATE delivery SET state = 'dead', last_status = 'no longer among the destinations' "
                    "WHERE state = 'pending' AND destination = ?",
                    row["destination"],
                )


def _delete_strays(db: Database, folders: Folders) -> int:
    """Files without a row: their transaction never ended, so nobody was told that they are here."""
    rows = db.rows("SELECT study, sha256, standing FROM instance WHERE kept = 1")
    known = {
        folders.image(row["study"], row["sha256"], aside)
        for row in rows
        for aside in ((False,) if row["standing"] == Standing.USED else (True,))
    }
    strays = [path for top in (folders.studies, folders.aside) for path in top.glob("*/*") if path not in known]
    for path in strays:
        path.unlink()
    generations = {folders.result(row[0], row[1]) for row in db.rows("SELECT DISTINCT study, generation FROM result")}
    for place in folders.results.glob("*/*"):
        if place not in generations:
            shutil.rmtree(place)
            strays.append(place)
    for top in (folders.studies, folders.aside, folders.results):
        for place in top.iterdir():
            with contextlib.suppress(OSError):
                place.rmdir()
    return len(strays)


def _note_missing(db: Database, folders: Folders, now: float) -> int:
    """Rows without a file: an image that is needed again must be sent again."""
    missing = 0
    for row in db.rows("SELECT study, sop_uid, sha256, standing FROM instance WHERE kept = 1"):
        aside = row["standing"] != Standing.USED
        if folders.image(row["study"], row["sha256"], aside).is_file():
            continue
        missing += 1
        with db.transaction():
            db.run("UPDATE instance SET kept = 0 WHERE sop_uid = ? AND sha256 = ?", row["sop_uid"], row["sha256"])
            note(db, row["study"], now, "an image is no longer on the disk")
    return missing
