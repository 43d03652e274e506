"""Dice by region, computed where there is something, is Dice over the whole volume."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eenet_runtime.volumes.dice import dice, dice_by_region
from eenet_runtime.volumes.labels import Label, Region

LABELS = arrays(np.uint8, (4, 5, 3), elements=st.sampled_from([0, 0, 0, 0, 0, 1, 2, 3]))


@given(prediction=LABELS, truth=LABELS)
def test_it_is_the_dice_of_the_whole_volumes(prediction: np.ndarray, truth: np.ndarray) -> None:
    whole = {region: dice(region.mask(prediction), region.mask(truth)) for region in Region}
    assert dice_by_region(prediction, truth) == whole
    assert dice_by_region(np.asfortranarray(prediction), truth) == whole


def test_two_empty_masks_agree_and_an_empty_one_misses_everything() -> None:
    empty = np.zeros((3, 3, 3), np.uint8)
    assert dice_by_region(empty, empty) == dict.fromkeys(Region, 1.0)
    tumour = empty.copy()
    tumour[1, 1, 1] = Label.ED
    assert dice_by_region(empty, tumour) == {Region.ET: 1.0, Region.TC: 1.0, Region.WT: 0.0}


def test_boxes_of_two_masks_may_lie_apart() -> None:
    first, second = np.zeros((2, 9, 9, 9), np.uint8)
    first[1:4, 1:4, 1:4] = Label.ET
    second[3:6, 3:6, 3:6] = Label.ET
    assert dice_by_region(first, second)[Region.ET] == pytest.approx(2 * 1 / 54)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4, 5)])
def test_arrays_of_any_number_of_axes_are_compared_voxel_by_voxel(shape: tuple[int, ...]) -> None:
    first, second = np.random.default_rng(0).integers(0, 4, (2, *shape)).astype(np.uint8)
    expected = {region: dice(region.mask(first), region.mask(second)) for region in Region}
    assert dice_by_region(first, second) == expected
