"""Lesion-wise metrics of 2023, rule by rule; `test_agreement` has the same figures from a second implementation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_bench.evaluation.lesionwise import (
    BRATS_2023_GLIOMA,
    LesionMetrics,
    LesionRules,
    grouped_lesion_metrics,
)
from eenet_train.metrics.surfaces import WORST_DIRECTED_HD95_MM, MaskPair

MM = (1.0, 1.0, 1.0)
SHAPE = (60, 20, 20)


def _cubes(*cubes: tuple[int, int], y: int = 5) -> NDArray[np.bool_]:
    """Cubes along X: where each begins, and how long its edge is."""
    mask = np.zeros(SHAPE, np.bool_)
    for start, edge in cubes:
        mask[start : start + edge, y : y + edge, 5 : 5 + edge] = True
    return mask


def _metrics(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing: tuple[float, float, float] = MM,
    rules: LesionRules = BRATS_2023_GLIOMA,
) -> LesionMetrics:
    return grouped_lesion_metrics(MaskPair.cut(prediction, truth, spacing), rules)


def _counts(metrics: LesionMetrics) -> tuple[int, int, int]:
    return metrics.true_positives, metrics.false_positives, metrics.false_negatives


def test_no_lesion_and_no_prediction_is_perfect() -> None:
    assert _metrics(_cubes(), _cubes()) == LesionMetrics(1.0, 0.0, 0, 0, 0)


def test_a_missed_lesion_halves_the_figure_of_two() -> None:
    metrics = _metrics(_cubes((5, 6)), _cubes((5, 6), (30, 6)))
    assert metrics == LesionMetrics(0.5, WORST_DIRECTED_HD95_MM / 2, 1, 0, 1)


def test_a_false_lesion_counts_as_much_as_a_true_one_however_small() -> None:
    metrics = _metrics(_cubes((5, 6), (30, 1)), _cubes((5, 6)))
    assert metrics == LesionMetrics(0.5, WORST_DIRECTED_HD95_MM / 2, 1, 1, 0)


def test_a_prediction_without_any_lesion_has_the_worst_figures() -> None:
    assert _metrics(_cubes((30, 1)), _cubes()) == LesionMetrics(0.0, WORST_DIRECTED_HD95_MM, 0, 1, 0)


@pytest.mark.parametrize(("gap", "lesions"), [(6, 1), (7, 2)])
def test_pieces_whose_dilated_surroundings_touch_are_one_lesion(gap: int, lesions: int) -> None:
    # Three voxels from either side; at six between them the two surroundings are neighbours.
    truth = _cubes((5, 6), (11 + gap, 6))
    assert _counts(_metrics(truth, truth)) == (lesions, 0, 0)


@pytest.mark.parametrize(("gap", "expected"), [(2, (1, 0, 0)), (3, (0, 1, 1))])
def test_what_lies_within_three_voxels_of_a_lesion_belongs_to_it(gap: int, expected: tuple[int, int, int]) -> None:
    metrics = _metrics(_cubes((11 + gap, 4)), _cubes((5, 6)))
    assert _counts(metrics) == expected
    # Belonging is not overlapping: Dice stays 0 either way, but a near miss has a distance of its own.
    assert metrics.dice == 0.0
    assert metrics.hd95_mm is not None
    assert (metrics.hd95_mm < 20) == (gap == 2)


@pytest.mark.parametrize(("step", "found"), [((3, 3, 0), True), ((3, 3, 2), False), ((2, 2, 2), True)])
def test_the_dilation_goes_across_faces_and_edges_and_not_across_corners(
    step: tuple[int, int, int], found: bool
) -> None:
    # Three steps to 18 neighbours change the three indices by 6 in all, and each by at most 3.
    truth, prediction = np.zeros((2, 20, 20, 20), np.bool_)
    truth[8, 8, 8] = True
    prediction[8 + step[0], 8 + step[1], 8 + step[2]] = True
    rules = LesionRules(dilations=3, ignored_mm3=0.0)
    assert (_metrics(prediction, truth, rules=rules).true_positives == 1) == found


@pytest.mark.parametrize("found", [True, False])
def test_a_lesion_of_50_cubic_millimetres_is_left_out_and_so_is_what_was_found_of_it(found: bool) -> None:
    truth = np.zeros(SHAPE, np.bool_)
    truth[5:10, 5:10, 5:7] = True
    assert _metrics(truth if found else _cubes(), truth) == LesionMetrics(1.0, 0.0, 0, 0, 0)
    truth[10, 5, 5] = True
    assert _counts(_metrics(truth if found else _cubes(), truth)) == ((1, 0, 0) if found else (0, 0, 1))


def test_the_limit_is_a_volume_and_not_a_number_of_voxels() -> None:
    truth = _cubes((5, 3))
    assert _counts(_metrics(truth, truth)) == (0, 0, 0)
    assert _counts(_metrics(truth, truth, (1.0, 1.0, 2.0))) == (1, 0, 0)


def test_a_prediction_that_joins_two_lesions_belongs_to_both() -> None:
    truth = _cubes((5, 6), (30, 6))
    bridge = truth.copy()
    bridge[5:36, 5, 5] = True
    metrics = _metrics(bridge, truth)
    assert _counts(metrics) == (2, 0, 0)
    # Each lesion of 216 voxels is measured against the whole of the 432 and the 19 between them.
    assert metrics.dice == pytest.approx(2 * 216 / (216 + 451))


def test_pieces_of_a_prediction_on_one_lesion_are_measured_together() -> None:
    truth = _cubes((5, 10))
    halves = truth.copy()
    halves[9:11] = False
    metrics = _metrics(halves, truth)
    assert _counts(metrics) == (1, 0, 0)
    assert metrics.dice == pytest.approx(2 * 800 / 1800)


def test_other_challenges_set_other_rules() -> None:
    truth = _cubes((5, 6), (15, 3))
    # Meningioma: one dilation. Metastases: one dilation, lesions above 2 cubic millimetres.
    assert _counts(_metrics(truth, truth, rules=LesionRules(1, 50.0))) == (1, 0, 0)
    assert _counts(_metrics(truth, truth, rules=LesionRules(1, 2.0))) == (2, 0, 0)


def test_the_edge_of_the_volume_changes_nothing() -> None:
    middle, edge = _cubes((5, 6), (18, 6)), np.zeros((19, 6, 6), np.bool_)
    edge[:6] = edge[13:] = True
    moved = edge.copy()
    moved[0] = False
    inside = middle.copy()
    inside[5] = False
    assert _metrics(moved, edge) == _metrics(inside, middle)
