"""What an operator may do with a study, from any process; the running gateway sees it within a second."""

from __future__ import annotations

import json
from collections.abc import Mapping

from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders
from eenet_gateway.store.images import Standing, delete_files
from eenet_gateway.store.results import deliver_again
from eenet_gateway.store.states import Happening, State, TransitionError
from eenet_gateway.store.studies import StudyRow, named_study, step
from eenet_runtime.errors import GatewayError


def retry(db: Database, name: str, now: float) -> State:
    """Decide a study again, and compute or deliver what was given up.

    Raises:
        GatewayError: there is no such study, or its state does not allow it.
    """
    with db.transaction():
        row = named_study(db, name)
        found = _ask(db, row, Happening.RETRY, now)
        db.run("UPDATE study SET attempts = 0, interrupted = 0, next_try = 0, decided = -1 WHERE key = ?", row.key)
        deliver_again(db, row, now)
        return found


def release(db: Database, name: str, choices: Mapping[str, str], now: float) -> State:
    """Let a study that is held go on: of two images of one UID the first one counts, series are those chosen here.

    Args:
        db: the store.
        name: the study's UID or key.
        choices: contrast (`t1`, `t1ce`, `t2`, `flair`) -> Series Instance UID or series number; may be empty.
        now: seconds since 1970.

    Raises:
        GatewayError: there is no such study, or it is not held.
    """
    with db.transaction():
        row = named_study(db, name)
        found = _ask(db, row, Happening.RELEASE, now)
        db.run(
            "UPDATE instance SET standing = ? WHERE study = ? AND standing = ?",
            *(Standing.SET_ASIDE, row.key, Standing.CONFLICT),
        )
        db.run(
            "UPDATE study SET choices = ?, attempts = 0, interrupted = 0, decided = -1 WHERE key = ?",
            *(json.dumps({**row.choices, **choices}), row.key),
        )
        return found


def drop(db: Database, folders: Folders, name: str, now: float) -> State:
    """Take a study out: its images and results are deleted; sent again, it is a new one.

    Raises:
        GatewayError: there is no such study.
    """
    with db.transaction():
        row = named_study(db, name)
        found = _ask(db, row, Happening.DROP, now)
        # Files first, and only those with a row: an image that arrives this moment has none yet, and stays.
        delete_files(db, folders, row.key)
        for table in ("delivery", "instance"):
            db.run(f"DELETE FROM {table} WHERE study = ?", row.key)
        db.run(
            "UPDATE study SET reason = 'dropped by hand', kept = 0, choices = '{}', inputs = '' WHERE key = ?", row.key
        )
    return found


def _ask(db: Database, row: StudyRow, happening: Happening, now: float) -> State:
    try:
        return step(db, row.key, happening, now, "by hand", reason="")
    except TransitionError as error:
        raise GatewayError(f"study {row.key} is {row.state}: it cannot be asked to {happening}") from error
