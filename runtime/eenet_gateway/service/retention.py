"""What goes from the disk, and when: only what every destination has, or what nobody wants."""

from __future__ import annotations

from typing import Final

from eenet_gateway.config.settings import Disk
from eenet_gateway.process.logs import LOGGER
from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders
from eenet_gateway.store.images import delete_files
from eenet_gateway.store.states import State
from eenet_gateway.store.studies import StudyRow, forget, known_study, note, studies_in

_HOUR_S: Final = 3600.0
_DAY_S: Final = 86_400.0
_OVER: Final = (State.DONE, State.IGNORED)


def tidy(db: Database, folders: Folders, settings: Disk, now: float) -> int:
    """Delete images and results of studies that are over, the oldest first; how many studies.

    By age; and below the watermark, whatever their age. What is held, failed or not yet delivered stays.
    """
    cleaned = 0
    for row in studies_in(db, *_OVER):
        old = now - row.entered >= settings.keep_h * _HOUR_S
        if row.kept and (old or folders.free_bytes() < settings.least_free_mb << 20):
            cleaned += _delete(db, folders, row, now)
    for row in studies_in(db, *_OVER):
        if not row.kept and now - row.entered >= settings.remember_days * _DAY_S:
            with db.transaction():
                if known_study(db, row.key).state in _OVER:
                    forget(db, row.key)
    return cleaned


def _delete(db: Database, folders: Folders, row: StudyRow, now: float) -> int:
    with db.transaction():
        # An image may have come this moment.
        if known_study(db, row.key).state not in _OVER:
            return 0
        delete_files(db, folders, row.key)
        note(db, row.key, now, "images and results deleted from the disk")
    LOGGER.info("study %s: images and results deleted from the disk", row.key)
    return 1
