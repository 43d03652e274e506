"""One received object: checked, written, committed, and only then acknowledged."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from eenet_gateway.process.faults import fault_point
from eenet_gateway.process.logs import LOGGER, describe
from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders, write_image
from eenet_gateway.store.images import Arrival, ReceivedImage, arrival_of, is_own_result, record_image
from eenet_runtime.dicom.identity import Identity, read_identity
from eenet_runtime.dicom.instance import MR_CLASSES, NotReadableError

_LOCKS: Final = 64


class Status(IntEnum):
    """What is answered to a C-STORE (DICOM PS3.4, table B.2-1)."""

    STORED = 0x0000
    NO_ROOM = 0xA700
    NOT_WHAT_IT_SAYS = 0xA900
    NOT_UNDERSTOOD = 0xC000


@dataclass(frozen=True)
class Received:
    """An object as a peer sent it.

    Attributes:
        sop_class, sop_uid: as the request has them.
        content: the whole DICOM file; the dataset begins at `dataset_at`.
    """

    sop_class: str
    sop_uid: str
    syntax: str
    calling_ae: str
    content: bytes
    dataset_at: int


class Storing:
    """Takes objects from any number of threads."""

    def __init__(self, db: Database, folders: Folders, least_free_bytes: int, clock: Callable[[], float]) -> None:
        """Write below `folders` as long as so much space is left."""
        self._db, self._folders, self._least_free, self._clock = db, folders, least_free_bytes, clock
        # Two threads may receive one image: the loser must not take away what the winner acknowledges.
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))

    def store(self, received: Received) -> tuple[Status, str | None]:
        """Take one object. What is answered, and the key of the study that it now belongs to."""
        try:
            return self._store(received)
        except NotReadableError as error:
            LOGGER.warning("an image from %s is refused: %s", received.calling_ae, error)
            return Status.NOT_UNDERSTOOD, None
        except (OSError, sqlite3.Error) as error:
            LOGGER.error("an image from %s cannot be stored: %s", received.calling_ae, describe(error))
            return Status.NO_ROOM, None

    def _store(self, received: Received) -> tuple[Status, str | None]:
        if received.sop_class not in MR_CLASSES:
            self._drop(received)
            return Status.STORED, None
        identity = read_identity(received.content, received.syntax)
        if (identity.sop_class, identity.sop_uid) != (received.sop_class, received.sop_uid):
            return Status.NOT_WHAT_IT_SAYS, None
        digest = _digest(received)
        with self._locks[hash(identity.sop_uid) % _LOCKS]:
            arrival = arrival_of(self._db, identity.sop_uid, digest)
            if arrival is Arrival.SAME:
                with self._db.transaction():
                    self._db.count(f"images {arrival}")
                return Status.STORED, self._db.key_of(identity.study_uid)
            if self._folders.free_bytes() < self._least_free + len(received.content):
                LOGGER.error("an image from %s is refused: the disk is full", received.calling_ae)
                return Status.NO_ROOM, None
            return Status.STORED, self._keep(received, identity, digest, arrival)

    def _keep(self, received: Received, identity: Identity, digest: str, arrival: Arrival) -> str:
        key = self._db.key_of(identity.study_uid)
        path = self._folders.image(key, digest, aside=arrival is Arrival.CONFLICT)
        fault_point("before-file")
        write_image(self._folders, path, received.content)
        fault_point("after-file")
        image = ReceivedImage(
            identity.study_uid,
            identity.series_uid,
            identity.sop_uid,
            digest,
            len(received.content),
            received.calling_ae,
        )
        try:
            record_image(self._db, image, arrival, self._clock())
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        fault_point("after-instance-commit")
        if arrival is Arrival.CONFLICT:
            LOGGER.warning("study %s: an image came again with other bytes, and is kept aside", key)
        return key

    def _drop(self, received: Received) -> None:
        own = is_own_result(self._db, received.sop_uid)
        with self._db.transaction():
            self._db.count("own results returned" if own else "other objects dropped")


def _digest(received: Received) -> str:
    """Over what the peer sent; the file's own header names the library that wrote it."""
    digest = hashlib.sha256(received.syntax.encode())
    digest.update(memoryview(received.content)[received.dataset_at :])
    return digest.hexdigest()
