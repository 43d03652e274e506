"""BraTS metrics: conventions for empty masks, and distances that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_bench.metrics import WORST_HD95_MM, hausdorff95_mm, region_metrics
from eenet_runtime.labels import Label, Region

MM = (1.0, 1.0, 1.0)


def _mask(*voxels: tuple[int, int, int]) -> NDArray[np.bool_]:
    mask = np.zeros((9, 9, 9), np.bool_)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def test_two_empty_masks_agree_and_one_empty_mask_is_as_far_as_it_gets() -> None:
    assert hausdorff95_mm(_mask(), _mask(), MM) == 0.0
    assert hausdorff95_mm(_mask((1, 1, 1)), _mask(), MM) == WORST_HD95_MM
    assert hausdorff95_mm(_mask(), _mask((1, 1, 1)), MM) == WORST_HD95_MM


def test_the_distance_of_two_voxels_is_in_millimetres_of_the_grid() -> None:
    first, second = _mask((1, 2, 3)), _mask((4, 2, 7))
    assert hausdorff95_mm(first, second, MM) == pytest.approx(5.0)
    assert hausdorff95_mm(first, second, (2.0, 1.0, 0.5)) == pytest.approx(np.hypot(6, 2))


def test_only_the_surface_counts() -> None:
    full = np.zeros((9, 9, 9), np.bool_)
    full[2:7, 2:7, 2:7] = True
    hollow = full.copy()
    hollow[4, 4, 4] = False
    # The new inner surface (six voxels around the hole) is one voxel beside nothing of the outer one.
    assert hausdorff95_mm(full, full, MM) == 0.0
    assert hausdorff95_mm(full, hollow, MM) <= 1.0


@given(st.integers(0, 2**32 - 1))
def test_the_distance_equals_a_brute_force_over_all_pairs_of_surface_voxels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, 5, 6, 4)) < 0.3
    spacing = (1.0, 2.0, 0.7)
    if first.any() and second.any():
        expected = _brute_force(first, second, spacing)
        assert hausdorff95_mm(first, second, spacing) == pytest.approx(expected, abs=1e-9)


def _brute_force(first: NDArray[np.bool_], second: NDArray[np.bool_], spacing: tuple[float, float, float]) -> float:
    def surface(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        padded = np.pad(mask, 1)
        inner = padded[1:-1, 1:-1, 1:-1].copy()
        for axis in range(3):
            for step in (-1, 1):
                inner &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
        points: NDArray[np.float64] = np.argwhere(mask & ~inner) * np.array(spacing)
        return points

    points = surface(first), surface(second)
    pairs = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
    return float(max(np.percentile(pairs.min(axis=1), 95), np.percentile(pairs.min(axis=0), 95)))


def test_sensitivity_and_specificity_count_what_was_found_and_left_out() -> None:
    truth = np.zeros((4, 4, 4), np.uint8)
    truth[0, 0, :2] = Label.ET
    prediction = np.zeros_like(truth)
    prediction[0, 0, 1:3] = Label.ET
    metrics = region_metrics(prediction, truth, Region.ET, MM)
    assert metrics.dice == pytest.approx(0.5)
    assert metrics.sensitivity == pytest.approx(0.5)
    assert metrics.specificity == pytest.approx(61 / 62)


def test_a_region_that_is_empty_in_both_is_perfect() -> None:
    empty = np.zeros((4, 4, 4), np.uint8)
    metrics = region_metrics(empty, empty, Region.ET, MM)
    assert (metrics.dice, metrics.hd95_mm, metrics.sensitivity, metrics.specificity) == (1.0, 0.0, 1.0, 1.0)
