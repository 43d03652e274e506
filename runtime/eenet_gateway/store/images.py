"""Received images in the store: what an arriving one is to what is there, and what a study consists of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders
from eenet_gateway.store.states import Happening, State
from eenet_gateway.store.studies import note, step


@dataclass(frozen=True)
class ReceivedImage:
    """An image as it came: the identifiers of its header, and the hash of its bytes."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sha256: str
    bytes: int
    calling_ae: str


class Arrival(StrEnum):
    """What an arriving image is."""

    NEW = "new"
    SAME = "same"
    """The same bytes are here already."""
    RETURNED = "returned"
    """The same bytes were here, and were deleted after they had been delivered."""
    CONFLICT = "conflict"
    """Other bytes of the same SOP Instance UID are here."""


class Standing(StrEnum):
    """Whether an image counts."""

    USED = "used"
    CONFLICT = "conflict"
    """It contradicts another one of its UID; until somebody decides, its study is held."""
    SET_ASIDE = "set aside"
    """Somebody decided for the other one."""


@dataclass(frozen=True)
class ImageRow:
    """One image of a study."""

    sop_uid: str
    sha256: str
    series_uid: str
    received: float
    standing: Standing
    kept: bool


def arrival_of(db: Database, sop_uid: str, sha256: str) -> Arrival:
    """What an arriving image would be."""
    rows = db.rows("SELECT sha256, standing, kept FROM instance WHERE sop_uid = ?", sop_uid)
    same = next((row for row in rows if row["sha256"] == sha256), None)
    if same is not None:
        return Arrival.SAME if same["kept"] else Arrival.RETURNED
    return Arrival.CONFLICT if rows else Arrival.NEW


def is_own_result(db: Database, sop_uid: str) -> bool:
    """Whether this gateway made an object of that UID."""
    return db.row("SELECT 1 FROM result WHERE sop_uid = ?", sop_uid) is not None


def record_image(db: Database, image: ReceivedImage, arrival: Arrival, now: float) -> str:
    """Commit an image whose file is on the disk; its study is received (again). The key of its study."""
    key = db.key_of(image.study_uid)
    with db.transaction():
        found = db.row("SELECT state FROM study WHERE key = ?", key)
        if found is None:
            db.run(
                "INSERT INTO study (key, uid, state, entered, received, last, revision) VALUES (?, ?, ?, ?, ?, ?, 1)",
                *(key, image.study_uid, State.RECEIVING, now, now, now),
            )
            note(db, key, now, "first image")
        elif arrival is Arrival.RETURNED and found["state"] == State.DONE:
            # Its results stand: an image that comes back is kept, for a new one may need it, and changes nothing.
            db.run("UPDATE study SET kept = 1 WHERE key = ?", key)
        else:
            step(db, key, Happening.IMAGE, now, reason="")
            db.run("UPDATE study SET revision = revision + 1, last = ?, kept = 1 WHERE key = ?", now, key)
        if arrival is Arrival.RETURNED:
            db.run(
                "UPDATE instance SET kept = 1, received = ? WHERE sop_uid = ? AND sha256 = ?",
                *(now, image.sop_uid, image.sha256),
            )
        else:
            standing = Standing.CONFLICT if arrival is Arrival.CONFLICT else Standing.USED
            db.run(
                "INSERT INTO instance VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)",
                *(key, image.sop_uid, image.sha256, image.series_uid, image.bytes, image.calling_ae, now, standing),
            )
        if arrival is Arrival.CONFLICT:
            note(db, key, now, "an image came again with other bytes")
        db.count(f"images {arrival}")
    return key


def images_of(db: Database, key: str) -> list[ImageRow]:
    """All images of a study."""
    rows = db.rows(
        "SELECT sop_uid, sha256, series_uid, received, standing, kept FROM instance WHERE study = ? ORDER BY sop_uid",
        key,
    )
    return [ImageRow(r[0], r[1], r[2], r[3], Standing(r[4]), bool(r[5])) for r in rows]


def delete_files(db: Database, folders: Folders, key: str) -> None:
    """Delete a study's images and results from the disk, inside a transaction; the rows say that they were here.

    A kill before the end of the transaction leaves rows without files, which the next start notes (`recovery`).
    """
    for image in images_of(db, key):
        if image.kept:
            aside = image.standing is not Standing.USED
            folders.image(key, image.sha256, aside).unlink(missing_ok=True)
    folders.remove_results(key)
    db.run("UPDATE instance SET kept = 0 WHERE study = ?", key)
    db.run("UPDATE study SET kept = 0 WHERE key = ?", key)


def inputs_of(images: Sequence[ImageRow], roles: Mapping[str, str]) -> str:
    """A hash over what a result is made of: which series is which contrast, and the bytes of their images."""
    wanted = set(roles.values())
    used = sorted(
        (image.series_uid, image.sop_uid, image.sha256)
        for image in images
        if image.standing is Standing.USED and image.series_uid in wanted
    )
    return hashlib.sha256(json.dumps([dict(sorted(roles.items())), used]).encode()).hexdigest()
