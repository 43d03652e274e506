"""What the gateway looks like from outside, for a person, a page and a monitor: figures and keys, nobody's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders
from eenet_gateway.store.results import deliveries_of
from eenet_gateway.store.states import State
from eenet_gateway.store.studies import StudyRow, counts_by_state, events_of, studies_in, study

WAITING: Final = (State.RECEIVING, State.READY, State.RUNNING, State.DELIVERING)
"""States in which the gateway owes something."""
_TROUBLES: Final = 10
_PREVIEWS: Final = 4
PREVIEW: Final = "preview.png"
"""What the runtime calls a study's picture."""
_HOUR_S: Final = 3600.0


@dataclass(frozen=True)
class DestinationReport:
    """One destination: when it was last asked, how long its answer took, and what waits for it."""

    name: str
    asked: float | None
    answered_s: float | None
    words: str
    pending: int
    refused: int


@dataclass(frozen=True)
class Report:
    """The gateway at a moment; times are seconds since 1970, ages are seconds."""

    time: float
    studies: dict[str, int]
    oldest_s: float
    """Age of the oldest study that is not over."""
    done_last_hour: int
    counters: dict[str, int]
    free_bytes: int
    destinations: tuple[DestinationReport, ...]
    troubles: tuple[dict[str, Any], ...]
    """Studies that wait for somebody, the latest first: key, state, reason, since."""
    previews: tuple[str, ...] = ()
    """Keys of the latest studies that have a picture, the latest first."""


def report(db: Database, folders: Folders, destinations: Sequence[str], now: float) -> Report:
    """Look at the whole gateway."""
    waiting = studies_in(db, *WAITING)
    troubled = sorted(studies_in(db, State.HELD, State.FAILED), key=lambda row: -row.entered)
    done = db.value("SELECT count(*) FROM study WHERE state = 'done' AND entered > ?", now - _HOUR_S)
    return Report(
        time=now,
        studies={str(state): count for state, count in counts_by_state(db).items()},
        oldest_s=max((now - row.received for row in waiting), default=0.0),
        done_last_hour=int(done),
        counters={str(row[0]): int(row[1]) for row in db.rows("SELECT name, value FROM counter ORDER BY name")},
        free_bytes=folders.free_bytes(),
        destinations=tuple(_destination(db, name) for name in destinations),
        troubles=tuple(
            {"study": row.key, "state": str(row.state), "reason": row.reason, "since": row.entered}
            for row in troubled[:_TROUBLES]
        ),
        previews=_previews(db, folders),
    )


def preview_of(db: Database, folders: Folders, key: str) -> bytes | None:
    """The picture of a study's latest result, PNG; None where there is none. It shows a head, and no name."""
    row = study(db, key)
    if row is None:
        return None
    try:
        return (folders.result(row.key, row.generation) / PREVIEW).read_bytes()
    except OSError:
        return None


def _previews(db: Database, folders: Folders) -> tuple[str, ...]:
    latest = reversed(studies_in(db, State.DONE)[-_PREVIEWS:])
    return tuple(row.key for row in latest if (folders.result(row.key, row.generation) / PREVIEW).is_file())


def _destination(db: Database, name: str) -> DestinationReport:
    echo = db.row("SELECT time, answered, words FROM echo WHERE destination = ?", name)
    counts = {
        str(row[0]): int(row[1])
        for row in db.rows(
            "SELECT d.state, count(*) FROM delivery AS d JOIN study AS s ON s.key = d.study "
            "AND s.generation = d.generation WHERE d.destination = ? GROUP BY d.state",
            name,
        )
    }
    return DestinationReport(
        name=name,
        asked=None if echo is None else echo["time"],
        answered_s=None if echo is None else echo["answered"],
        words="not asked yet" if echo is None else echo["words"],
        pending=counts.get("pending", 0),
        refused=counts.get("dead", 0),
    )


def study_report(db: Database, row: StudyRow) -> dict[str, Any]:
    """All that is known of one study, but for its identifiers."""
    images = db.row("SELECT count(*), sum(bytes), count(DISTINCT series_uid) FROM instance WHERE study = ?", row.key)
    assert images is not None
    return {
        "study": row.key,
        "state": str(row.state),
        "reason": row.reason,
        "since": row.entered,
        "images": images[0],
        "bytes": images[1] or 0,
        "series": images[2],
        "generation": row.generation,
        "attempts": row.attempts,
        "deliveries": [
            {name: one[name] for name in ("generation", "kind", "destination", "state", "attempts", "last_status")}
            for one in deliveries_of(db, row.key)
        ],
        "events": [
            {"time": one["time"], "what": one["what"], "detail": one["detail"]} for one in events_of(db, row.key)
        ],
    }
