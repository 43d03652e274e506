"""Lesion-wise Dice and HD95 of one region by the rules of BraTS 2023: pieces near each other are grouped to lesions.

A patient with one large and five small lesions: whole-region Dice hardly notices whether the small ones were found.
These figures count each lesion as much as any other. The rules, as read from the challenge's code
(https://github.com/rachitsaluja/BraTS-2023-Metrics, `brats_metrics.py`, and Synapse syn51156910, thread 10357):

1. The true mask is dilated by a structure of 18 neighbours (those across a face or an edge), three times for glioma.
   True voxels whose dilated surroundings hang together (26 neighbours) are one lesion, however many pieces it has.
   Only the grouping comes from the dilation; the true voxels stay as they are.
2. Every component (26 neighbours) of the prediction that touches a lesion's dilated surroundings belongs to that
   lesion; a component may belong to several.
3. A lesion with such components is a true positive. It gets the Dice and HD95 of its voxels against all of its
   components together. A lesion with none is a false negative.
4. Lesions of at most 50 cubic millimetres are left out, found or not. What belongs to them is no false positive.
5. Components that belong to no lesion are false positives, of whatever size.
6. False negatives and false positives have Dice 0 and the worst HD95. The case's figure is the mean over true
   positives, false negatives and false positives; without any, Dice is 1 and HD95 is 0.

Two differences to that code. It writes 374 mm for the worst HD95, where the challenges before had 373.13 mm: here the
latter holds everywhere. It weighs surface elements by area; here a lesion's HD95 is the directed maximum over voxels,
as for the whole region. `matched_lesions` has the rules of today.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cc3d
import numpy as np
from numpy.typing import NDArray

from eenet_train.metrics.surfaces import WORST_DIRECTED_HD95_MM, MaskPair, surface_distances

_CONNECTIVITY: Final = 26


@dataclass(frozen=True)
class LesionRules:
    """What the challenges of BraTS 2023 set differently.

    Attributes:
        dilations: how often the truth is dilated, in voxels.
        ignored_mm3: true lesions up to this volume do not count.
    """

    dilations: int
    ignored_mm3: float


BRATS_2023_GLIOMA: Final = LesionRules(dilations=3, ignored_mm3=50.0)
"""Adult glioma (BraTS-GLI); the African (SSA) and the paediatric (PED) challenges have the same."""


@dataclass(frozen=True)
class LesionMetrics:
    """Lesion-wise metrics of one region of one case, by the rules of the function that made them.

    Attributes:
        dice: mean Dice over the lesions that count; None where the rules give no value.
        hd95_mm: mean HD95 over the same.
        true_positives: true lesions that were found.
        false_positives: pieces of the prediction that belong to no lesion.
        false_negatives: true lesions that were missed.
    """

    dice: float | None
    hd95_mm: float | None
    true_positives: int
    false_positives: int
    false_negatives: int


@dataclass(frozen=True)
class _Grouping:
    """The pieces of a pair of masks, and which belongs to which.

    Attributes:
        lesions: number of each voxel's lesion's surroundings from 1, 0 far from all; on the pair's box.
        components: number of each voxel's component of the prediction from 1, 0 outside.
        belongs: boolean (lesions + 1, components + 1).
    """

    lesions: NDArray[np.unsignedinteger]
    components: NDArray[np.unsignedinteger]
    belongs: NDArray[np.bool_]


def grouped_lesion_metrics(pair: MaskPair, rules: LesionRules = BRATS_2023_GLIOMA) -> LesionMetrics:
    """Lesion-wise metrics of one region by the rules of 2023; the module's text has them."""
    grouping = _grouping(pair, rules.dilations)
    lesion_count, component_count = (size - 1 for size in grouping.belongs.shape)
    # Counting voxels by number gives all volumes and overlaps at once. What is predicted inside a lesion belongs to it.
    volumes = np.bincount(grouping.lesions[pair.truth], minlength=lesion_count + 1)
    overlaps = np.bincount(grouping.lesions[pair.truth & pair.prediction], minlength=lesion_count + 1)
    found_volumes = grouping.belongs @ np.bincount(grouping.components[pair.prediction], minlength=component_count + 1)
    voxel_mm3 = float(np.prod(pair.spacing_mm))

    counted = [lesion for lesion in range(1, lesion_count + 1) if volumes[lesion] * voxel_mm3 > rules.ignored_mm3]
    found = [lesion for lesion in counted if grouping.belongs[lesion].any()]
    missed = len(counted) - len(found)
    invented = int(component_count - np.count_nonzero(grouping.belongs.any(axis=0)))
    total = len(found) + missed + invented
    if total == 0:
        return LesionMetrics(1.0, 0.0, 0, 0, 0)
    dice = sum(2.0 * float(overlaps[lesion]) / float(volumes[lesion] + found_volumes[lesion]) for lesion in found)
    hd95 = sum(_hd95_mm(pair, grouping, lesion) for lesion in found) + (missed + invented) * WORST_DIRECTED_HD95_MM
    return LesionMetrics(dice / total, hd95 / total, len(found), invented, missed)


def _grouping(pair: MaskPair, dilations: int) -> _Grouping:
    # Beyond the volume's edge there is room for the dilation here and none in the challenge's code. The grouping is
    # the same: pulling outside voxels back to the edge keeps neighbours neighbours, and dilated voxels dilated.
    grown = np.pad(pair.truth, dilations)
    for _ in range(dilations):
        grown = _dilated(grown)
    surroundings, lesion_count = cc3d.connected_components(grown, connectivity=_CONNECTIVITY, return_N=True)
    lesions = surroundings[tuple(slice(dilations, dilations + size) for size in pair.truth.shape)]
    components, component_count = cc3d.connected_components(pair.prediction, connectivity=_CONNECTIVITY, return_N=True)
    belongs = np.zeros((lesion_count + 1, component_count + 1), np.bool_)
    belongs[lesions[pair.prediction], components[pair.prediction]] = True
    belongs[0] = False
    return _Grouping(lesions, components, belongs)


def _dilated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and its 18 neighbours: the union of the 3 x 3 squares in the three planes."""
    along_x, along_y = _spread(mask, 0), _spread(mask, 1)
    grown = _spread(along_x, 1)
    grown |= _spread(along_x, 2)
    grown |= _spread(along_y, 2)
    return grown


def _spread(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """The mask and its two neighbours along one axis."""
    grown = mask.copy()
    lower, upper = [slice(None)] * 3, [slice(None)] * 3
    lower[axis], upper[axis] = slice(None, -1), slice(1, None)
    grown[tuple(lower)] |= mask[tuple(upper)]
    grown[tuple(upper)] |= mask[tuple(lower)]
    return grown


def _hd95_mm(pair: MaskPair, grouping: _Grouping, lesion: int) -> float:
    """HD95 of one lesion and the components that belong to it.

    Pieces that are apart do not change each other's surface, so a lesion's surface is its share of the whole one.
    """
    predicted, true = pair.prediction_surface, pair.truth_surface
    belonging = grouping.belongs[lesion][grouping.components[tuple(predicted.T)]]
    own = grouping.lesions[tuple(true.T)] == lesion
    if belonging.all() and own.all():
        return pair.distances.directed_hd95_mm()
    return surface_distances(predicted[belonging], true[own], pair.spacing_mm).directed_hd95_mm()
