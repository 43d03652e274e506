"""When a study is looked at, and what is decided of what was seen."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, Final

from eenet_gateway.config.settings import Readiness
from eenet_gateway.decide.looking import Look
from eenet_gateway.process.faults import fault_point
from eenet_gateway.store.database import Database
from eenet_gateway.store.images import ImageRow, Standing, images_of, inputs_of
from eenet_gateway.store.results import has_results, settle_delivery
from eenet_gateway.store.states import Happening, State
from eenet_gateway.store.studies import StudyRow, known_study, step

CONTRADICTION: Final = "an image came twice under one UID with different bytes: `release` keeps the first, `drop` none"
GONE: Final = "images that it needs were deleted after their delivery: send the whole study again"


class Turn(StrEnum):
    """What is to be done about a study that is being received."""

    WAIT = "wait"
    TRY = "try"
    """It may be complete: computed if it is."""
    DECIDE = "decide"
    """Nothing more is expected: computed, or held."""


def turn_of(study: StudyRow, being_received: bool, now: float, settings: Readiness) -> Turn:
    """Whether it is time to look at a study.

    Args:
        study: in the state `receiving`.
        being_received: an association is open that has sent images of it.
        now: seconds since 1970.
        settings: the site's times.
    """
    quiet = now - study.last
    asked_by_hand = study.decided < 0 and study.entered > study.last
    if quiet >= settings.study_quiet_s or now - study.entered >= settings.give_up_s or asked_by_hand:
        return Turn.DECIDE
    return Turn.TRY if quiet >= settings.series_quiet_s and not being_received else Turn.WAIT


def decide(db: Database, key: str, seen: Look, turn: Turn, revision: int, now: float) -> State:
    """Commit what becomes of a study after a look at it.

    Args:
        db: the store.
        key: the study.
        seen: what was seen.
        turn: whether what is incomplete waits or is held.
        revision: of the study when its folder was looked at.
        now: seconds since 1970.

    Returns:
        Its state; still `receiving` where it waits for more, or images came while it was looked at.
    """
    with db.transaction():
        row = known_study(db, key)
        overtaken = row.revision != revision and turn is Turn.TRY
        if row.state is not State.RECEIVING or overtaken:
            return row.state
        images = images_of(db, key)
        reason = _obstacle(images, seen)
        if seen.complete and not reason:
            state = _complete(db, row, images, seen, revision, now)
        elif turn is Turn.TRY:
            return row.state
        elif not seen.ours and not reason:
            state = step(db, key, Happening.NOT_OURS, now, seen.reason, reason=seen.reason, decided=revision)
        else:
            reason = reason or seen.reason
            state = step(db, key, Happening.UNCLEAR, now, reason, reason=reason, decided=revision)
        fault_point("before-decision-commit")
    fault_point("after-decision-commit")
    return state


def _complete(db: Database, row: StudyRow, images: list[ImageRow], seen: Look, revision: int, now: float) -> State:
    inputs = inputs_of(images, seen.roles)
    if inputs == row.inputs and has_results(db, row):
        step(db, row.key, Happening.UNCHANGED, now, reason="", decided=revision)
        settle_delivery(db, row.key, now)
        return known_study(db, row.key).state
    changes: dict[str, Any] = {"reason": "", "decided": revision}
    if inputs != row.inputs:
        changes |= {
            "generation": row.generation + 1,
            "inputs": inputs,
            "roles": json.dumps(dict(seen.roles)),
            "attempts": 0,
            "interrupted": 0,
            "next_try": 0.0,
        }
    return step(db, row.key, Happening.COMPLETE, now, **changes)


def _obstacle(images: list[ImageRow], seen: Look) -> str:
    """What no header shows."""
    if any(image.standing is Standing.CONFLICT for image in images):
        return CONTRADICTION
    needed = set(seen.roles.values()) or {image.series_uid for image in images}
    if any(not image.kept and image.series_uid in needed for image in images):
        return GONE
    return ""
