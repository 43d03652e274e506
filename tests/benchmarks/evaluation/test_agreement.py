"""All metrics of 20 pairs against a second implementation that shares no code and no method with the first.

The second one is slow and plain: sets of voxel indices in Python for overlaps, growth and components, and distance
transforms over the whole volume for surface distances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from eenet_bench.evaluation.metrics import CaseMetrics, case_metrics
from eenet_runtime.volumes.labels import BRATS2020, Label, Region
from tests.places import EXAMPLES

Voxel: TypeAlias = tuple[int, int, int]
Spacing: TypeAlias = tuple[float, float, float]
Labels: TypeAlias = NDArray[np.uint8]

DICE_TOLERANCE = 1e-6
HD95_TOLERANCE_MM = 0.01
SHAPE = (34, 30, 26)

_OFFSETS: list[Voxel] = [(x, y, z) for x, y, z in product((-1, 0, 1), repeat=3) if (x, y, z) != (0, 0, 0)]
_18_OFFSETS = [offset for offset in _OFFSETS if sum(map(abs, offset)) <= 2]


@dataclass(frozen=True)
class Pair:
    prediction: Labels
    truth: Labels
    spacing: Spacing = (1.0, 1.0, 1.0)


def _tumour(seed: int, size: float, shape: Voxel = SHAPE) -> Labels:
    """Nested classes in the hills of a smooth random field: pieces of many sizes, some at the volume's edge."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.5)
    levels = np.quantile(field, [1 - size, 1 - size / 2, 1 - size / 4])
    labels: Labels = np.array([0, Label.ED, Label.ET, Label.NCR], np.uint8)[np.searchsorted(levels, field)]
    return labels


def _perturbed(truth: Labels, seed: int) -> Labels:
    """The truth, moved by a voxel, with a bite taken out, holes, and stray pieces."""
    rng = np.random.default_rng(seed)
    labels = np.roll(truth, rng.integers(-1, 2, 3), axis=(0, 1, 2))
    corner = rng.integers(0, 10, 3)
    labels[corner[0] : corner[0] + 12, corner[1] : corner[1] + 12, corner[2] :] = 0
    labels[rng.random(labels.shape) < 0.01] = 0
    for x, y, z in rng.integers(2, 20, (4, 3)):
        labels[x : x + 3, y : y + 3, z : z + 2] = Label.ET
    return labels


def _blank(*voxels: Voxel) -> Labels:
    labels = np.zeros(SHAPE, np.uint8)
    for voxel in voxels:
        labels[voxel] = Label.ET
    return labels


def _example(name: str, move: Voxel) -> Pair:
    """The labels of a phantom around its core, at every second voxel, against themselves moved and thinned."""
    values = np.asarray(nib.load(EXAMPLES / name / f"{name}_seg.nii.gz").dataobj)
    labels = BRATS2020.from_file(values, name)
    core = np.argwhere(Region.TC.mask(labels))
    low, high = core.min(axis=0) - 12, core.max(axis=0) + 13
    truth = labels[low[0] : high[0] : 2, low[1] : high[1] : 2, low[2] : high[2] : 2]
    return Pair(_perturbed(np.roll(truth, move, axis=(0, 1, 2)), 5), truth, (2.0, 2.0, 2.0))


SMALL = (15, 13, 11)
FULL = np.full(SMALL, Label.ET, np.uint8)
EMPTY = np.zeros(SMALL, np.uint8)
ANISOTROPIC = (0.5, 1.2, 3.0)

PAIRS: dict[str, Callable[[], Pair]] = {
    "empty and empty": lambda: Pair(_blank(), _blank()),
    "empty and full": lambda: Pair(EMPTY, FULL),
    "full and empty": lambda: Pair(FULL, EMPTY),
    "full and full": lambda: Pair(FULL, FULL),
    "full and a tumour": lambda: Pair(FULL, _tumour(1, 0.05, SMALL), ANISOTROPIC),
    "one voxel and the same": lambda: Pair(_blank((5, 6, 7)), _blank((5, 6, 7))),
    "one voxel and another": lambda: Pair(_blank((5, 6, 7)), _blank((20, 3, 9)), ANISOTROPIC),
    "one voxel and a tumour": lambda: Pair(_blank((17, 15, 13)), _tumour(2, 0.1)),
    "a tumour and one voxel": lambda: Pair(_tumour(3, 0.1), _blank((0, 0, 0)), ANISOTROPIC),
    "one voxel in a corner and nothing": lambda: Pair(_blank((0, 0, 0)), _blank()),
    "the same tumour": lambda: Pair(_tumour(4, 0.1), _tumour(4, 0.1)),
    "a large tumour": lambda: Pair(_perturbed(_tumour(5, 0.3), 5), _tumour(5, 0.3)),
    "a small tumour": lambda: Pair(_perturbed(_tumour(6, 0.05), 6), _tumour(6, 0.05)),
    "many lesions": lambda: Pair(_perturbed(_tumour(7, 0.03), 7), _tumour(7, 0.03), (2.0, 2.0, 2.0)),
    "thick slices": lambda: Pair(_perturbed(_tumour(8, 0.1), 8), _tumour(8, 0.1), (1.0, 1.0, 5.0)),
    "anisotropic": lambda: Pair(_perturbed(_tumour(9, 0.1), 9), _tumour(9, 0.1), ANISOTROPIC),
    "another tumour": lambda: Pair(_tumour(10, 0.1), _tumour(11, 0.1), ANISOTROPIC),
    "noise": lambda: Pair(_perturbed(_blank(), 12), _tumour(12, 0.02)),
    "a phantom": lambda: _example("Phantom_0003_0004", (1, 0, -1)),
    "another phantom": lambda: _example("Phantom_0003_0006", (0, 2, 1)),
}


def _set_of(mask: NDArray[np.bool_]) -> set[Voxel]:
    return {(int(x), int(y), int(z)) for x, y, z in np.argwhere(mask)}


def _mask_of(voxels: set[Voxel], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, np.bool_)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def _around(voxel: Voxel, offsets: list[Voxel]) -> Iterator[Voxel]:
    for offset in offsets:
        yield voxel[0] + offset[0], voxel[1] + offset[1], voxel[2] + offset[2]


def _grown(voxels: set[Voxel], shape: tuple[int, ...]) -> set[Voxel]:
    """Three rounds of 18 neighbours, inside the volume only."""
    for _ in range(3):
        reached = {near for voxel in voxels for near in _around(voxel, _18_OFFSETS)} | voxels
        voxels = {v for v in reached if all(0 <= index < size for index, size in zip(v, shape, strict=True))}
    return voxels


def _pieces(voxels: set[Voxel]) -> list[set[Voxel]]:
    """Connected by 26 neighbours, by flooding."""
    left, pieces = set(voxels), []
    while left:
        piece, front = set(), {left.pop()}
        while front:
            piece |= front
            front = {near for voxel in front for near in _around(voxel, _OFFSETS)} & left
            left -= front
        pieces.append(piece)
    return pieces


def _plain_dice(found: set[Voxel], true: set[Voxel]) -> float:
    return 2 * len(found & true) / (len(found) + len(true)) if found or true else 1.0


def _plain_hd95(found: set[Voxel], true: set[Voxel], shape: tuple[int, ...], spacing: Spacing) -> float:
    if not found or not true:
        return 0.0 if found == true else 373.13
    return max(float(np.percentile(distances, 95)) for distances in _plain_distances(found, true, shape, spacing))


def _plain_pooled(found: set[Voxel], true: set[Voxel], shape: tuple[int, ...], spacing: Spacing) -> float | None:
    if not found and not true:
        return None
    if not found & true:
        return 373.0
    return float(np.percentile(np.concatenate(_plain_distances(found, true, shape, spacing)), 95))


def _plain_distances(
    found: set[Voxel], true: set[Voxel], shape: tuple[int, ...], spacing: Spacing
) -> list[NDArray[np.float64]]:
    # Zeros around the volume make its edge an outside; erosion by faces takes the surface away.
    masks = [np.pad(_mask_of(voxels, shape), 1) for voxels in (found, true)]
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
    return [ndimage.distance_transform_edt(~other, sampling=spacing)[one] for one, other in (surfaces, surfaces[::-1])]


def _plain_lesions(
    found: set[Voxel], true: set[Voxel], shape: tuple[int, ...], spacing: Spacing
) -> tuple[float, float, tuple[int, int, int]]:
    """Dice, HD95 and (TP, FP, FN), lesion after lesion as the challenge's description goes."""
    pieces = _pieces(found)
    dice, hd95, free, missed = [], [], set(range(len(pieces))), 0
    for surroundings in _pieces(_grown(true, shape)):
        lesion = surroundings & true
        around = _grown(lesion, shape)
        own = [number for number, piece in enumerate(pieces) if piece & around]
        free -= set(own)
        if len(lesion) * float(np.prod(spacing)) <= 50:
            continue
        together = set().union(*(pieces[number] for number in own))
        dice.append(_plain_dice(together, lesion))
        hd95.append(_plain_hd95(together, lesion, shape, spacing))
        missed += not own
    found_lesions = len(dice) - missed
    dice += [0.0] * len(free)
    hd95 += [373.13] * len(free)
    counts = (found_lesions, len(free), missed)
    return (float(np.mean(dice)), float(np.mean(hd95)), counts) if dice else (1.0, 0.0, counts)


def _plain_matched(
    found: set[Voxel], true: set[Voxel], shape: tuple[int, ...], spacing: Spacing
) -> tuple[float | None, float | None, tuple[int, int, int]]:
    """The same by today's rules: every way to give lesions their candidates is tried."""
    lesions, candidates = _pieces(true), _pieces(found)
    near = [[number for number, piece in enumerate(candidates) if piece & lesion] for lesion in lesions]
    dice = 0.0
    pairs: list[tuple[int, int]] = []
    for group in _groups(near):
        best, chosen = _best_way(group, near, lesions, candidates, frozenset())
        dice, pairs = dice + best, pairs + chosen
    counts = (len(pairs), len(candidates) - len(pairs), len(lesions) - len(pairs))
    if not pairs:
        return (0.0, 373.0, counts) if found or true else (None, None, counts)
    hd95 = [_plain_pooled(candidates[candidate], lesions[lesion], shape, spacing) for lesion, candidate in pairs]
    return dice / len(pairs), float(np.mean([value for value in hd95 if value is not None])), counts


def _groups(near: list[list[int]]) -> list[list[int]]:
    """Lesions that may want the same candidates."""
    groups: list[tuple[list[int], set[int]]] = []
    for lesion, wanted in enumerate(near):
        rivals = [group for group in groups if group[1] & set(wanted)]
        groups = [group for group in groups if group not in rivals]
        groups.append((sum((g[0] for g in rivals), [lesion]), set(wanted).union(*(g[1] for g in rivals))))
    return [group[0] for group in groups]


def _best_way(
    group: list[int],
    near: list[list[int]],
    lesions: list[set[Voxel]],
    candidates: list[set[Voxel]],
    taken: frozenset[int],
) -> tuple[float, list[tuple[int, int]]]:
    """The largest sum of Dice over a group, and the pairs of lesion and candidate that give it."""
    if not group:
        return 0.0, []
    first, rest = group[0], group[1:]
    best = _best_way(rest, near, lesions, candidates, taken)
    for candidate in set(near[first]) - taken:
        dice, pairs = _best_way(rest, near, lesions, candidates, taken | {candidate})
        dice += _plain_dice(candidates[candidate], lesions[first])
        best = max(best, (dice, [(first, candidate), *pairs]), key=lambda way: way[0])
    return best


def _same(found: float | None, expected: float | None, tolerance: float) -> bool:
    if found is None or expected is None:
        return found is expected
    return abs(found - expected) <= tolerance


def _check(pair: Pair, metrics: CaseMetrics) -> None:
    shape = pair.truth.shape
    for region in Region:
        found, true = _set_of(region.mask(pair.prediction)), _set_of(region.mask(pair.truth))
        whole, lesions, matched = (
            metrics.regions[region],
            metrics.grouped_lesions[region],
            metrics.matched_lesions[region],
        )
        hd95 = _plain_hd95(found, true, shape, pair.spacing)
        assert whole.dice == pytest.approx(_plain_dice(found, true), rel=0, abs=DICE_TOLERANCE)
        assert whole.directed_hd95_mm == pytest.approx(hd95, rel=0, abs=HD95_TOLERANCE_MM)
        pooled = _plain_pooled(found, true, shape, pair.spacing)
        assert _same(whole.pooled_hd95_mm, pooled, HD95_TOLERANCE_MM)
        dice, hd95, counts = _plain_lesions(found, true, shape, pair.spacing)
        assert lesions.dice == pytest.approx(dice, rel=0, abs=DICE_TOLERANCE)
        assert lesions.hd95_mm == pytest.approx(hd95, rel=0, abs=HD95_TOLERANCE_MM)
        assert (lesions.true_positives, lesions.false_positives, lesions.false_negatives) == counts
        dice_today, hd95_today, counts = _plain_matched(found, true, shape, pair.spacing)
        assert _same(matched.dice, dice_today, DICE_TOLERANCE)
        assert _same(matched.hd95_mm, hd95_today, HD95_TOLERANCE_MM)
        assert (matched.true_positives, matched.false_positives, matched.false_negatives) == counts


def test_there_are_20_pairs() -> None:
    assert len(PAIRS) == 20


@pytest.mark.parametrize("name", PAIRS)
def test_every_figure_agrees_with_an_independent_implementation(name: str) -> None:
    pair = PAIRS[name]()
    _check(pair, case_metrics(pair.prediction, pair.truth, pair.spacing))


def test_the_comparison_notices_a_shift_of_one_voxel() -> None:
    pair = PAIRS["thick slices"]()
    moved = np.roll(pair.prediction, 1, axis=0)
    with pytest.raises(AssertionError):
        _check(pair, case_metrics(moved, pair.truth, pair.spacing))


def test_the_pairs_hold_found_missed_and_false_lesions() -> None:
    counts = []
    for make in PAIRS.values():
        pair = make()
        metrics = case_metrics(pair.prediction, pair.truth, pair.spacing)
        counts.append([*metrics.grouped_lesions.values(), *metrics.matched_lesions.values()])
    for rules in zip(*counts, strict=True):
        assert max(lesions.true_positives for lesions in rules) > 1
        assert max(lesions.false_positives for lesions in rules) > 1
        assert max(lesions.false_negatives for lesions in rules) > 1
