"""Lesion-wise Dice and HD95 of one region by the rules of BraTS today: pieces are matched one to one.

The rules of the package `brats-evaluation` 0.0.10 (https://github.com/BraTS/BraTS_evaluation, 2026, the official
implementation of its challenges by its own words), with its configuration for glioma and its table `seg`, as read from
it and from panoptica 2.1, which computes them. Its table for metastases, `mets`, has other rules.

1. Every component of the truth (26 neighbours) is a lesion, and every component of the prediction a candidate. Nothing
   is dilated, and no lesion is too small to count.
2. Each lesion gets one candidate at most and each candidate one lesion at most, so that the sum of their Dice over all
   pairs is the largest. A pair needs a Dice of at least 0.000001.
3. Pairs are true positives, lesions without a candidate false negatives, candidates without a lesion false positives.
4. Dice and the pooled HD95 are the means over the true positives alone: a missed or false lesion changes the counts and
   not the means.
5. Without a true positive Dice is 0 and HD95 infinite; here it is the worst value, so that means over cases exist.
6. Without lesions and candidates neither has a value, and the case is left out of the means over cases.

Unlike the rules of 2023 (`lesionwise`): no dilation, no least volume, no several pieces for one lesion, no penalty.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import cc3d
import numpy as np
from numpy.typing import NDArray

from eenet_bench.evaluation.lesionwise import LesionMetrics
from eenet_train.metrics.surfaces import WORST_POOLED_HD95_MM, MaskPair, surface_distances

_CONNECTIVITY: Final = 26
_LEAST_DICE: Final = 1e-6


class _Match(NamedTuple):
    """A lesion and the candidate that it got, by the numbers of their voxels from 1, and their Dice."""

    lesion: int
    candidate: int
    dice: float


def matched_lesion_metrics(pair: MaskPair) -> LesionMetrics:
    """Lesion-wise metrics of one region by the rules of today; the module's text has them."""
    lesions, lesion_count = cc3d.connected_components(pair.truth, connectivity=_CONNECTIVITY, return_N=True)
    candidates, candidate_count = cc3d.connected_components(pair.prediction, connectivity=_CONNECTIVITY, return_N=True)
    if not lesion_count and not candidate_count:
        return LesionMetrics(None, None, 0, 0, 0)
    matches = _best_matches(lesions, candidates)
    missed, invented = lesion_count - len(matches), candidate_count - len(matches)
    if not matches:
        return LesionMetrics(0.0, WORST_POOLED_HD95_MM, 0, invented, missed)
    # Pieces that are apart do not change each other's surface, so a lesion's surface is its share of the whole one.
    true, predicted = pair.truth_surface, pair.prediction_surface
    lesion_of, candidate_of = lesions[tuple(true.T)], candidates[tuple(predicted.T)]
    distances = [
        surface_distances(predicted[candidate_of == match.candidate], true[lesion_of == match.lesion], pair.spacing_mm)
        for match in matches
    ]
    return LesionMetrics(
        dice=float(np.mean([match.dice for match in matches])),
        hd95_mm=float(np.mean([between.pooled_hd95_mm() for between in distances])),
        true_positives=len(matches),
        false_positives=invented,
        false_negatives=missed,
    )


def _best_matches(lesions: NDArray[np.unsignedinteger], candidates: NDArray[np.unsignedinteger]) -> list[_Match]:
    """The pairs whose Dice add up to the most, among those that have voxels in common."""
    from scipy.optimize import linear_sum_assignment

    both = (lesions > 0) & (candidates > 0)
    pairs, voxels = np.unique(np.stack([lesions[both], candidates[both]]), axis=1, return_counts=True)
    sizes = np.bincount(lesions.ravel())[pairs[0]] + np.bincount(candidates.ravel())[pairs[1]]
    lesion_numbers, rows = np.unique(pairs[0], return_inverse=True)
    candidate_numbers, columns = np.unique(pairs[1], return_inverse=True)
    dice = np.zeros((lesion_numbers.size, candidate_numbers.size))
    dice[rows, columns] = 2.0 * voxels / sizes
    return [
        _Match(int(lesion_numbers[row]), int(candidate_numbers[column]), float(dice[row, column]))
        for row, column in zip(*linear_sum_assignment(dice, maximize=True), strict=True)
        if dice[row, column] >= _LEAST_DICE
    ]
