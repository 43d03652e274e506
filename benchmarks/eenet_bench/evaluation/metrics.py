"""BraTS metrics of one region: Dice, 95th percentile Hausdorff distance, sensitivity, specificity.

HD95 stands here twice, by today's definition and by that of 2023; `eenet_train.metrics.surfaces` has both. Conventions
for empty masks. Dice, sensitivity, specificity and the directed HD95 are those of the BraTS 2023 code
(https://github.com/rachitsaluja/BraTS-2023-Metrics), which puts 374 mm where the challenges before had 373.13 mm; the
pooled HD95 is that of `brats-evaluation` 0.0.10 (2026):

| truth | mask | Dice | pooled HD95 | directed HD95 | sensitivity | specificity |
| --- | --- | --- | --- | --- | --- | --- |
| empty | empty | 1 | none | 0 | 1 | 1 |
| empty | some | 0 | 373 mm | 373.13 mm | 0 | counted |
| some | empty | 0 | 373 mm | 373.13 mm | 0 | 1 |
| some | some, no voxel in common | 0 | 373 mm | measured | 0 | counted |

Where both masks are empty `brats-evaluation` gives no Dice either, and leaves the case out of its means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eenet_bench.evaluation.lesionwise import LesionMetrics, grouped_lesion_metrics
from eenet_bench.evaluation.matched_lesions import matched_lesion_metrics
from eenet_runtime.volumes.boxes import bounding_box
from eenet_runtime.volumes.dice import dice
from eenet_runtime.volumes.labels import Label, Region
from eenet_train.metrics.surfaces import MaskPair


@dataclass(frozen=True)
class RegionMetrics:
    """Metrics of one region of one case; the table above says what empty masks give.

    Attributes:
        dice: overlap, 2 |A and B| / (|A| + |B|).
        pooled_hd95_mm: HD95 by today's definition; None where there is nothing to measure.
        directed_hd95_mm: HD95 by the definition of 2023.
        sensitivity: share of the true voxels that was found.
        specificity: share of the volume's other voxels that was left out; 1 if there are no others.
    """

    dice: float
    pooled_hd95_mm: float | None
    directed_hd95_mm: float
    sensitivity: float
    specificity: float


@dataclass(frozen=True)
class CaseMetrics:
    """All metrics of one case.

    Attributes:
        regions: metrics of each region as a whole.
        matched_lesions: lesion-wise metrics of each region by today's rules.
        grouped_lesions: lesion-wise metrics of each region by the rules of 2023.
    """

    regions: dict[Region, RegionMetrics]
    matched_lesions: dict[Region, LesionMetrics]
    grouped_lesions: dict[Region, LesionMetrics]


def case_metrics(
    prediction: NDArray[np.uint8], truth: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> CaseMetrics:
    """All metrics of ET, TC and WT.

    Args:
        prediction, truth: uint8 network classes of one shape, (X, Y, Z).
        spacing_mm: voxel size along X, Y and Z.
    """
    # Most of a volume is background for both: what follows looks at a tenth of it.
    either = (prediction | truth) != Label.BACKGROUND
    box = bounding_box(either) if either.any() else (slice(1),) * 3
    pairs = {
        region: MaskPair.cut(region.mask(prediction[box]), region.mask(truth[box]), spacing_mm) for region in Region
    }
    return CaseMetrics(
        regions={region: _region_metrics(pair, truth.size) for region, pair in pairs.items()},
        matched_lesions={region: matched_lesion_metrics(pair) for region, pair in pairs.items()},
        grouped_lesions={region: grouped_lesion_metrics(pair) for region, pair in pairs.items()},
    )


def region_metrics(
    prediction: NDArray[np.uint8], truth: NDArray[np.uint8], region: Region, spacing_mm: tuple[float, float, float]
) -> RegionMetrics:
    """Compare two volumes of network classes of one shape.

    Args:
        prediction, truth: uint8 network classes, (X, Y, Z).
        region: the region to look at.
        spacing_mm: voxel size along X, Y and Z.
    """
    return _region_metrics(MaskPair.cut(region.mask(prediction), region.mask(truth), spacing_mm), truth.size)


def _region_metrics(pair: MaskPair, volume_voxels: int) -> RegionMetrics:
    hits = int(np.count_nonzero(pair.prediction & pair.truth))
    positives = int(np.count_nonzero(pair.truth))
    negatives = volume_voxels - positives
    false_positives = int(np.count_nonzero(pair.prediction)) - hits
    return RegionMetrics(
        dice=dice(pair.prediction, pair.truth),
        pooled_hd95_mm=pair.pooled_hd95_mm,
        directed_hd95_mm=pair.directed_hd95_mm,
        sensitivity=hits / positives if positives else float(false_positives == 0),
        specificity=(negatives - false_positives) / negatives if negatives else 1.0,
    )
