"""BraTS metrics: against brute force, the conventions for empty masks, and distances that can be counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import spatial

from eenet_bench.evaluation.metrics import RegionMetrics, case_metrics, region_metrics
from eenet_bench.evaluation.truth import read_labels
from eenet_runtime.volumes.labels import BRATS2020, Label, Region
from eenet_train.metrics.surfaces import WORST_DIRECTED_HD95_MM, WORST_POOLED_HD95_MM, MaskPair
from tests.places import EXAMPLES

MM = (1.0, 1.0, 1.0)
SHAPE = (5, 6, 4)

label_volumes = hnp.arrays(np.uint8, SHAPE, elements=st.integers(0, 3))
# Sparse as well as dense: at random, hardly any mask of this size would be empty or have only one voxel.
thresholds = st.sampled_from([0.01, 0.05, 0.3, 0.9])
spacings = st.tuples(*[st.sampled_from([0.5, 1.0, 1.2, 3.0])] * 3)


def _mask(*voxels: tuple[int, int, int]) -> NDArray[np.bool_]:
    mask = np.zeros((9, 9, 9), np.bool_)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def _random_mask(seed: int, density: float) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = np.random.default_rng(seed).random(SHAPE) < density
    return mask


def _surface_points(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> list[NDArray[np.float64]]:
    """Voxel by voxel: inside, with a neighbour across a face that is outside the mask or the volume."""
    points = []
    for index in map(tuple, np.argwhere(mask)):
        for axis in range(3):
            for step in (-1, 1):
                neighbour = list(index)
                neighbour[axis] += step
                outside = not 0 <= neighbour[axis] < mask.shape[axis]
                if outside or not mask[tuple(neighbour)]:
                    points.append(np.array(index) * np.array(spacing))
                    break
            else:
                continue
            break
    return points


def _brute_force_distances(
    first: NDArray[np.bool_], second: NDArray[np.bool_], spacing: tuple[float, float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, other = np.array(_surface_points(first, spacing)), np.array(_surface_points(second, spacing))
    pairs = np.linalg.norm(one[:, None] - other[None], axis=-1)
    return pairs.min(axis=1), pairs.min(axis=0)


def _brute_force_hd95(
    first: NDArray[np.bool_], second: NDArray[np.bool_], spacing: tuple[float, float, float]
) -> float:
    return max(float(np.percentile(distances, 95)) for distances in _brute_force_distances(first, second, spacing))


def directed_hd95_mm(first: NDArray[np.bool_], second: NDArray[np.bool_], spacing: tuple[float, float, float]) -> float:
    return MaskPair.cut(first, second, spacing).directed_hd95_mm


def pooled_hd95_mm(
    first: NDArray[np.bool_], second: NDArray[np.bool_], spacing: tuple[float, float, float]
) -> float | None:
    return MaskPair.cut(first, second, spacing).pooled_hd95_mm


@given(st.integers(0, 2**32 - 1), thresholds, thresholds, spacings)
def test_the_distance_equals_a_brute_force_over_all_pairs_of_surface_voxels(
    seed: int, first_density: float, second_density: float, spacing: tuple[float, float, float]
) -> None:
    first, second = _random_mask(seed, first_density), _random_mask(seed + 1, second_density)
    if first.any() and second.any():
        expected = _brute_force_hd95(first, second, spacing)
        assert directed_hd95_mm(first, second, spacing) == pytest.approx(expected, abs=1e-9)
        if (first & second).any():
            pooled = np.percentile(np.concatenate(_brute_force_distances(first, second, spacing)), 95)
            assert pooled_hd95_mm(first, second, spacing) == pytest.approx(float(pooled), abs=1e-9)


@given(st.integers(0, 2**32 - 1), thresholds, spacings)
def test_the_distance_is_symmetric_and_0_to_itself(
    seed: int, density: float, spacing: tuple[float, float, float]
) -> None:
    first, second = _random_mask(seed, density), _random_mask(seed + 1, 0.3)
    assert directed_hd95_mm(first, second, spacing) == directed_hd95_mm(second, first, spacing)
    assert directed_hd95_mm(first, first, spacing) == 0.0
    assert pooled_hd95_mm(first, second, spacing) == pooled_hd95_mm(second, first, spacing)
    assert pooled_hd95_mm(first, first, spacing) == (0.0 if first.any() else None)


@given(label_volumes, label_volumes, st.sampled_from(Region))
def test_counts_equal_a_brute_force_over_voxels(
    prediction: NDArray[np.uint8], truth: NDArray[np.uint8], region: Region
) -> None:
    hit = wrong = missed = left = 0
    for found, true in zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True):
        match (found in region.labels, true in region.labels):
            case (True, True):
                hit += 1
            case (True, False):
                wrong += 1
            case (False, True):
                missed += 1
            case _:
                left += 1
    metrics = region_metrics(prediction, truth, region, MM)
    if hit + missed and left + wrong:
        assert metrics.dice == pytest.approx(2 * hit / (2 * hit + wrong + missed))
        assert metrics.sensitivity == pytest.approx(hit / (hit + missed))
        assert metrics.specificity == pytest.approx(left / (left + wrong))


def test_the_worst_distance_is_the_diagonal_of_a_brats_volume() -> None:
    assert pytest.approx(math.hypot(240, 240, 155), abs=0.005) == WORST_DIRECTED_HD95_MM


def test_one_voxel_each_is_their_distance_in_millimetres_of_the_grid() -> None:
    first, second = _mask((1, 2, 3)), _mask((4, 2, 7))
    assert directed_hd95_mm(first, second, MM) == pytest.approx(5.0)
    assert directed_hd95_mm(first, second, (2.0, 1.0, 0.5)) == pytest.approx(math.hypot(6, 2))
    assert directed_hd95_mm(first, first, MM) == 0.0


def test_masks_without_a_common_voxel_have_the_worst_pooled_distance_and_a_measured_directed_one() -> None:
    first, second = _mask((1, 2, 3)), _mask((4, 2, 7))
    assert pooled_hd95_mm(first, second, MM) == WORST_POOLED_HD95_MM == 373.0
    assert directed_hd95_mm(first, second, MM) == pytest.approx(5.0)
    assert pooled_hd95_mm(first, _mask((1, 2, 3), (4, 2, 7)), MM) != WORST_POOLED_HD95_MM


def test_both_directions_count_together_in_the_pooled_distance() -> None:
    # Of ten voxels one is far: a twentieth of both directions together, a tenth of the direction that has it.
    first = _mask(*[(x, 1, 1) for x in range(9)], (0, 2, 1))
    second = first.copy()
    second[0, 2, 1], second[0, 8, 1] = False, True
    distances = _brute_force_distances(first, second, MM)
    assert sorted(np.concatenate(distances).tolist()) == [0.0] * 18 + [1.0, 6.0]
    assert pooled_hd95_mm(first, second, MM) == pytest.approx(np.percentile([0.0] * 18 + [1.0, 6.0], 95))
    assert directed_hd95_mm(first, second, MM) == pytest.approx(np.percentile([0.0] * 9 + [6.0], 95))


def test_the_larger_direction_counts() -> None:
    # Every voxel of the one lies on the other, but the other has a far part of its own.
    assert directed_hd95_mm(_mask((1, 1, 1)), _mask((1, 1, 1), (1, 1, 7)), MM) == pytest.approx(0.95 * 6)


def test_a_twentieth_of_the_surface_may_be_anywhere() -> None:
    plane = np.zeros((30, 30, 30), np.bool_)
    plane[:, :, 0] = True
    stray = plane.copy()
    stray[:6, :5, 29] = True
    assert directed_hd95_mm(plane, stray, MM) == 0.0
    stray[:, :, 29] = True
    assert directed_hd95_mm(plane, stray, MM) == 29.0


def test_only_the_surface_counts() -> None:
    full = np.zeros((9, 9, 9), np.bool_)
    full[2:7, 2:7, 2:7] = True
    hollow = full.copy()
    hollow[4, 4, 4] = False
    # The six voxels around the hole are surface now, and lie 1 mm below the outer one.
    assert directed_hd95_mm(full, hollow, MM) == pytest.approx(_brute_force_hd95(full, hollow, MM))
    assert 0 <= directed_hd95_mm(full, hollow, MM) <= 1.0


def test_the_edge_of_the_volume_is_a_surface() -> None:
    filled = np.ones((7, 7, 7), np.bool_)
    assert directed_hd95_mm(filled, _mask((3, 3, 3))[:7, :7, :7], MM) == pytest.approx(
        _brute_force_hd95(filled, _mask((3, 3, 3))[:7, :7, :7], MM)
    )


def test_sensitivity_and_specificity_count_what_was_found_and_left_out() -> None:
    truth = np.zeros((4, 4, 4), np.uint8)
    truth[0, 0, :2] = Label.ET
    prediction = np.zeros_like(truth)
    prediction[0, 0, 1:3] = Label.ET
    metrics = region_metrics(prediction, truth, Region.ET, MM)
    # Distances 0 and 1 mm in either direction; the percentile lies between the two.
    assert metrics.directed_hd95_mm == pytest.approx(0.95)
    assert metrics.pooled_hd95_mm == pytest.approx(1.0)
    assert (metrics.dice, metrics.sensitivity, metrics.specificity) == (0.5, 0.5, 61 / 62)


@pytest.mark.parametrize(
    ("true_voxels", "found_voxels", "expected"),
    [
        (0, 0, RegionMetrics(1.0, None, 0.0, 1.0, 1.0)),
        (0, 2, RegionMetrics(0.0, 373.0, 373.13, 0.0, 62 / 64)),
        (2, 0, RegionMetrics(0.0, 373.0, 373.13, 0.0, 1.0)),
        (64, 64, RegionMetrics(1.0, 0.0, 0.0, 1.0, 1.0)),
    ],
)
def test_empty_masks_follow_the_conventions_of_brats(
    true_voxels: int, found_voxels: int, expected: RegionMetrics
) -> None:
    truth, prediction = np.zeros((2, 4, 4, 4), np.uint8)
    truth.ravel()[:true_voxels] = Label.ET
    prediction.ravel()[:found_voxels] = Label.ET
    assert region_metrics(prediction, truth, Region.ET, MM) == expected


def test_regions_are_nested() -> None:
    truth = np.zeros((4, 4, 4), np.uint8)
    truth[0, 0] = (Label.NCR, Label.ED, Label.ET, Label.BACKGROUND)
    prediction = np.where(truth == Label.NCR, np.uint8(Label.ET), truth)
    dice = {region: region_metrics(prediction, truth, region, MM).dice for region in Region}
    # Necrosis taken for enhancing tumour: the core and the whole do not notice.
    assert dice == {Region.ET: pytest.approx(2 / 3), Region.TC: 1.0, Region.WT: 1.0}


def test_a_case_of_full_size_searches_each_surface_three_times_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    # Counted, not timed: a clock says more about who else computes than about us.
    path = EXAMPLES / "Phantom_0003_0006" / "Phantom_0003_0006_seg.nii.gz"
    truth, grid = read_labels(path, BRATS2020)
    assert truth.shape == (240, 240, 155)
    prediction = np.roll(truth, (2, -1, 1), axis=(0, 1, 2))
    # Stray pieces stretch the box over the head and make lesions of their own.
    for x, y, z in np.random.default_rng(1).integers(40, 120, (8, 3)):
        prediction[x : x + 5, y : y + 5, z : z + 5] = Label.ET
    searched = 0
    query = spatial.KDTree.query

    def counted(tree: spatial.KDTree, points: NDArray[np.float64]) -> object:
        nonlocal searched
        searched += len(points)
        return query(tree, points)

    monkeypatch.setattr(spatial.KDTree, "query", counted)
    metrics = case_metrics(prediction, truth, grid.spacing_mm)
    pairs = [MaskPair.cut(region.mask(prediction), region.mask(truth), grid.spacing_mm) for region in Region]
    surface = sum(len(pair.prediction_surface) + len(pair.truth_surface) for pair in pairs)
    # Once for the region as a whole, once for its matched lesions and once for its grouped ones.
    assert surface < searched <= 3 * surface
    assert metrics.matched_lesions[Region.WT].false_positives > 1
    assert metrics.grouped_lesions[Region.WT].false_positives > 1
