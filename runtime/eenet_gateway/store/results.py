"""Results and their deliveries in the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from eenet_gateway.store.database import Database
from eenet_gateway.store.states import Happening
from eenet_gateway.store.studies import StudyRow, known_study, step

KINDS: Final = ("seg", "sr", "sc")
"""Results that are delivered, in the order in which they are."""


@dataclass(frozen=True)
class ResultFile:
    """A DICOM object that was made of a study.

    Attributes:
        kind: one of `KINDS`.
        file: its name in the folder of the generation's results.
        syntax: its transfer syntax.
        sha256: of the file.
    """

    kind: str
    file: str
    sop_uid: str
    sop_class: str
    syntax: str
    sha256: str


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"
    """The destination refuses it for good, or it was tried for too long."""


@dataclass(frozen=True)
class DeliveryRow:
    """One result on its way to one destination."""

    study: str
    generation: int
    sop_uid: str
    sop_class: str
    syntax: str
    kind: str
    file: str
    sha256: str
    destination: str
    attempts: int
    first_try: float | None


def record_results(
    db: Database, row: StudyRow, results: Sequence[ResultFile], destinations: Mapping[str, Sequence[str]], now: float
) -> None:
    """Commit the results of a study's generation, inside a transaction, and what is to be delivered where.

    Args:
        db: inside a transaction.
        row: the study.
        results: what was made.
        destinations: name -> kinds of results that it gets.
        now: seconds since 1970.
    """
    ordered = sorted(results, key=lambda one: KINDS.index(one.kind))
    for table in ("delivery", "result"):
        db.run(f"DELETE FROM {table} WHERE study = ? AND generation = ?", row.key, row.generation)
    for place, one in enumerate(ordered):
        db.run(
            "INSERT INTO result VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(row.key, row.generation, place, one.kind, one.sop_uid, one.sop_class, one.syntax, one.file, one.sha256),
        )
        for name, kinds in destinations.items():
            if one.kind in kinds:
                db.run(
                    "INSERT INTO delivery (study, generation, sop_uid, destination, next_try) VALUES (?, ?, ?, ?, ?)",
                    *(row.key, row.generation, one.sop_uid, name, now),
                )


def has_results(db: Database, row: StudyRow) -> bool:
    """Whether there are results of a study's present generation."""
    return db.row("SELECT 1 FROM result WHERE study = ? AND generation = ?", row.key, row.generation) is not None


def results_of(db: Database, row: StudyRow) -> list[ResultFile]:
    """The results of the present generation, in order of delivery."""
    rows = db.rows(
        "SELECT kind, file, sop_uid, sop_class, syntax, sha256 FROM result WHERE study = ? AND generation = ? "
        "ORDER BY place",
        *(row.key, row.generation),
    )
    return [ResultFile(*one) for one in rows]


_PENDING: Final = """
    FROM delivery AS d
    JOIN study AS s ON s.key = d.study AND s.generation = d.generation AND s.state = 'delivering'
    WHERE d.destination = ? AND d.state = 'pending'
"""


def next_delivery(db: Database, destination: str, now: float) -> list[DeliveryRow]:
    """What is to be sent next to one destination: all that is pending of one study, in order; fresh ones first."""
    row = db.row(
        f"SELECT d.study {_PENDING} GROUP BY d.study HAVING max(d.next_try) <= ? "
        "ORDER BY max(d.attempts) > 0, max(d.next_try) LIMIT 1",
        *(destination, now),
    )
    if row is None:
        return []
    rows = db.rows(
        """
        SELECT d.study, d.generation, d.sop_uid, r.sop_class, r.syntax, r.kind, r.file, r.sha256, d.destination,
            d.attempts, d.first_try
        FROM delivery AS d
        JOIN result AS r ON r.study = d.study AND r.generation = d.generation AND r.sop_uid = d.sop_uid
        JOIN study AS s ON s.key = d.study AND s.generation = d.generation
        WHERE d.destination = ? AND d.state = 'pending' AND d.study = ?
        ORDER BY r.place
        """,
        *(destination, row["study"]),
    )
    return [DeliveryRow(*one) for one in rows]


def record_sent(db: Database, one: DeliveryRow, status: str, now: float) -> None:
    """Commit that a destination has a result."""
    with db.transaction():
        _update(db, one, now, "state = 'sent', sent = ?, last_status = ?", now, status)
        db.count("results sent")


def record_dead(db: Database, one: DeliveryRow, status: str, now: float) -> None:
    """Commit that a destination will not get a result."""
    with db.transaction():
        _update(db, one, now, "state = 'dead', last_status = ?", status)
        db.count("results refused")


def record_later(db: Database, one: DeliveryRow, status: str, now: float, next_try: float) -> None:
    """Commit that a delivery did not work and when it is tried again."""
    with db.transaction():
        _update(db, one, now, "next_try = ?, last_status = ?", next_try, status)
        db.count("deliveries postponed")


def _update(db: Database, one: DeliveryRow, now: float, changes: str, *values: object) -> None:
    db.run(
        f"UPDATE delivery SET {changes}, attempts = attempts + 1, first_try = coalesce(first_try, ?) "
        "WHERE study = ? AND generation = ? AND sop_uid = ? AND destination = ?",
        *(*values, now, one.study, one.generation, one.sop_uid, one.destination),
    )


def settle_delivery(db: Database, key: str, now: float) -> bool:
    """End the delivery of a study of which nothing is pending: done, or failed where a destination refused something.

    Returns:
        Whether it ended; it did not where something is pending, or the study is no longer being delivered.
    """
    with db.transaction():
        row = known_study(db, key)
        if row.state != "delivering":
            return False
        rows = db.rows(
            "SELECT destination, state, last_status FROM delivery WHERE study = ? AND generation = ?",
            *(key, row.generation),
        )
        if any(one["state"] == DeliveryState.PENDING for one in rows):
            return False
        dead = sorted({f"{one['destination']}: {one['last_status']}" for one in rows if one["state"] == "dead"})
        if dead:
            step(db, key, Happening.UNDELIVERABLE, now, "; ".join(dead), reason="; ".join(dead))
        else:
            step(db, key, Happening.DELIVERED, now)
        return True


def deliver_again(db: Database, row: StudyRow, now: float) -> None:
    """Try dead deliveries of the present generation again, inside a transaction."""
    db.run(
        "UPDATE delivery SET state = 'pending', attempts = 0, first_try = NULL, next_try = ? "
        "WHERE study = ? AND generation = ? AND state = 'dead'",
        *(now, row.key, row.generation),
    )


def deliveries_of(db: Database, key: str) -> Sequence[sqlite3.Row]:
    """All deliveries of a study, for a report."""
    return db.rows(
        "SELECT d.generation, r.kind, d.sop_uid, d.destination, d.state, d.attempts, d.last_status, d.sent "
        "FROM delivery AS d JOIN result AS r USING (study, generation, sop_uid) WHERE d.study = ? "
        "ORDER BY d.generation, r.place, d.destination",
        key,
    )
