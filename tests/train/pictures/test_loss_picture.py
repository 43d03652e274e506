"""The picture of a run's losses."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eenet_runtime.pictures.colours import RUN_COLOURS
from eenet_train.pictures.loss_picture import draw_losses, loss_ceiling


def _count(picture: bytes, colour: tuple[int, ...]) -> int:
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    return int((np.abs(pixels - np.array(colour)).max(axis=-1) < 30).sum())


def test_both_losses_are_drawn_and_a_missing_one_is_not() -> None:
    training, held_out = [(10, 2.0), (20, 1.0), (30, 0.5)], [(10, 1.5), (30, 0.7)]
    both, alone = draw_losses("run", training, held_out), draw_losses("run", training, [])
    assert min(_count(both, RUN_COLOURS[0]), _count(both, RUN_COLOURS[1])) > 200
    assert _count(alone, RUN_COLOURS[1]) == 0
    assert draw_losses("run", training, held_out) == both


def test_one_point_and_none_can_be_drawn() -> None:
    assert _count(draw_losses("run", [(5, 0.3)], []), RUN_COLOURS[0]) > 5
    assert draw_losses("run", [], []).startswith(b"\x89PNG")


@given(st.floats(1e-6, 1e6))
def test_the_axis_ends_above_the_largest_loss_but_not_far_above(loss: float) -> None:
    top = loss_ceiling([loss, loss / 3])
    assert top >= loss
    assert top <= 2.01 * loss or top == pytest.approx(10 ** np.ceil(np.log10(loss)))
