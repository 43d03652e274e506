"""The window in which a tumour is mixed: the lesion's box, wider by a margin and never beyond the head's grid."""

from __future__ import annotations

import numpy as np
import pytest

from eenet_train.phantom.scanner import _window_of

SHAPE = (20, 30, 40)


@pytest.mark.parametrize("place", [(0, 0, 0), (10, 15, 20), (19, 29, 39)])
def test_the_window_of_a_voxel_holds_its_margin_as_far_as_there_is_room(place: tuple[int, int, int]) -> None:
    mask = np.zeros(SHAPE, dtype=np.bool_)
    mask[place] = True
    window = _window_of(mask, margin=6)
    for part, at, size in zip(window, place, SHAPE, strict=True):
        assert (part.start, part.stop) == (max(at - 6, 0), min(at + 7, size))


def test_the_window_of_nothing_is_the_whole_head() -> None:
    assert [part.indices(99)[:2] for part in _window_of(np.zeros(SHAPE, dtype=np.bool_), 6)] == [(0, s) for s in SHAPE]
