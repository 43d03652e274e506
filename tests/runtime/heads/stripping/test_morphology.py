"""Closing and filling."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eenet_runtime.heads.stripping.brain_mask import clean_mask
from eenet_runtime.heads.stripping.morphology import closed, filled, surface
from tests.strip_stand_in import ball

SHAPE = (60, 60, 60)
CENTRE = (29.5, 29.5, 29.5)


def test_a_cavity_that_opens_to_the_surface_by_four_millimetres_stays_in() -> None:
    brain = ball(SHAPE, 25)
    cavity = ball(SHAPE, 8, (43, 29.5, 29.5))
    mouth = np.zeros(SHAPE, np.bool_)
    mouth[43:, 28:32, 28:32] = True
    open_brain = brain & ~cavity & ~mouth
    kept = clean_mask(open_brain)
    assert kept[cavity & ball(SHAPE, 24)].all()
    assert (kept != brain).sum() < 0.01 * brain.sum()


def test_a_hole_is_filled_and_a_stray_piece_dropped() -> None:
    brain = ball(SHAPE, 20) & ~ball(SHAPE, 8)
    stray = ball(SHAPE, 3, (4, 4, 4))
    assert np.array_equal(clean_mask(brain | stray), closed(ball(SHAPE, 20), 3))


def test_an_empty_mask_stays_empty() -> None:
    assert not clean_mask(np.zeros(SHAPE, np.bool_)).any()


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_closing_only_adds_and_closing_twice_adds_nothing(seed: int, radius: int) -> None:
    mask = np.random.default_rng(seed).random((9, 11, 10)) < 0.3
    once = closed(mask, radius)
    assert (once | mask).sum() == once.sum()
    assert np.array_equal(closed(once, radius), once)


def test_closing_is_that_of_a_ball_done_by_definition() -> None:
    mask = np.random.default_rng(3).random((12, 12, 12)) < 0.08
    offsets = np.argwhere(ball((5, 5, 5), 2)) - 2
    padded = np.pad(mask, 6)
    grown = np.any([np.roll(padded, tuple(step), (0, 1, 2)) for step in offsets], axis=0)
    shrunk = np.all([np.roll(grown, tuple(step), (0, 1, 2)) for step in offsets], axis=0)
    inside = (slice(6, -6),) * 3
    assert np.array_equal(closed(mask, 2), shrunk[inside])


def test_a_hole_at_the_volumes_face_is_open() -> None:
    mask = np.ones((5, 5, 5), np.bool_)
    mask[2, 2, 0] = mask[2, 2, 2] = False
    full = filled(mask)
    assert not full[2, 2, 0]
    assert full[2, 2, 2]


def test_the_faces_of_the_volume_are_surface() -> None:
    assert surface(np.ones((4, 4, 4), np.bool_)).sum() == 64 - 8
