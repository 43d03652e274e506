"""What the store knows of studies, and moving one from state to state."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from eenet_gateway.store.database import Database
from eenet_gateway.store.states import Happening, State, after
from eenet_runtime.errors import GatewayError


@dataclass(frozen=True)
class StudyRow:
    """One study; the columns are explained in `schema.sql`."""

    key: str
    uid: str
    state: State
    entered: float
    received: float
    last: float
    revision: int
    decided: int
    generation: int
    inputs: str
    roles: Mapping[str, str]
    choices: Mapping[str, str]
    reason: str
    attempts: int
    interrupted: int
    next_try: float
    kept: bool

    @classmethod
    def of(cls, row: sqlite3.Row) -> Self:
        """From a row of the table."""
        values = dict(row)
        values["state"] = State(values["state"])
        values["kept"] = bool(values["kept"])
        for name in ("roles", "choices"):
            values[name] = json.loads(values[name])
        return cls(**values)


def study(db: Database, key: str) -> StudyRow | None:
    """One study by its key."""
    row = db.row("SELECT * FROM study WHERE key = ?", key)
    return None if row is None else StudyRow.of(row)


def known_study(db: Database, key: str) -> StudyRow:
    """One study that must be there.

    Raises:
        KeyError: it is not.
    """
    found = study(db, key)
    if found is None:
        raise KeyError(key)
    return found


def named_study(db: Database, name: str) -> StudyRow:
    """The study that an operator means: its Study Instance UID, or its key or the begin of it.

    Raises:
        GatewayError: there is none, or there are several.
    """
    rows = db.rows("SELECT * FROM study WHERE uid = ? OR substr(key, 1, ?) = ?", name, len(name), name)
    if len(rows) != 1 or not name:
        raise GatewayError(f"{len(rows)} studies called {name!r}, expected one: `status` lists them")
    return StudyRow.of(rows[0])


def studies_in(db: Database, *states: State) -> list[StudyRow]:
    """All studies in some states, those first that have been there the longest."""
    marks = ", ".join("?" * len(states))
    rows = db.rows(f"SELECT * FROM study WHERE state IN ({marks}) ORDER BY entered", *states)
    return [StudyRow.of(row) for row in rows]


def step(db: Database, key: str, happening: Happening, now: float, /, detail: str = "", **changes: Any) -> State:
    """Let something happen to a study; it gets the state of the table, and other columns with it.

    Args:
        db: inside a transaction, for what belongs to the step must be durable with it.
        key: the study.
        happening: what happens.
        now: seconds since 1970.
        detail: for the list of events.
        changes: further columns.

    Raises:
        KeyError: there is no such study.
        TransitionError: its state does not allow it.
    """
    row = db.row("SELECT state FROM study WHERE key = ?", key)
    if row is None:
        raise KeyError(key)
    before = State(row["state"])
    following = after(before, happening)
    if following is not before:
        changes = {"state": str(following), "entered": now, **changes}
        note(db, key, now, f"{before} -> {following}: {happening}", detail)
    if changes:
        columns = ", ".join(f"{name} = ?" for name in changes)
        db.run(f"UPDATE study SET {columns} WHERE key = ?", *changes.values(), key)
    return following


def note(db: Database, key: str, now: float, what: str, detail: str = "") -> None:
    """Add to the list of events, inside a transaction. Nothing of a patient may be in the words."""
    db.run("INSERT INTO event (time, study, what, detail) VALUES (?, ?, ?, ?)", now, key, what, detail)


def events_of(db: Database, key: str) -> Sequence[sqlite3.Row]:
    """What happened to a study, in order."""
    return db.rows("SELECT time, what, detail FROM event WHERE study = ? ORDER BY number", key)


def counts_by_state(db: Database) -> dict[State, int]:
    """How many studies are in each state; 0 for those without one."""
    found = {State(row[0]): int(row[1]) for row in db.rows("SELECT state, count(*) FROM study GROUP BY state")}
    return {state: found.get(state, 0) for state in State}


def forget(db: Database, key: str) -> None:
    """Delete all that is known of a study, inside a transaction."""
    db.run("DELETE FROM event WHERE study = ?", key)
    db.run("DELETE FROM study WHERE key = ?", key)
