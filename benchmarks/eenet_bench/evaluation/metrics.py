"""BraTS metrics of one region: Dice, 95th percentile Hausdorff distance, sensitivity, specificity.

Conventions for empty masks. Dice, sensitivity and specificity are those of the BraTS 2023 code
(https://github.com/rachitsaluja/BraTS-2023-Metrics), which puts 374 mm where the challenges before had 373.13 mm:

| truth | mask | Dice | HD95 | sensitivity | specificity |
| --- | --- | --- | --- | --- | --- |
| empty | empty | 1 | 0 | 1 | 1 |
| empty | some | 0 | 373.13 mm | 0 | counted |
| some | empty | 0 | 373.13 mm | 0 | 1 |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eenet_bench.evaluation.lesionwise import LesionMetrics, lesion_metrics
from eenet_runtime.volumes.boxes import bounding_box
from eenet_runtime.volumes.dice import dice
from eenet_runtime.volumes.labels import Label, Region
from eenet_train.metrics.surfaces import WORST_HD95_MM, MaskPair

__all__ = ["WORST_HD95_MM", "CaseMetrics", "RegionMetrics", "case_metrics", "hausdorff95_mm", "region_metrics"]


@dataclass(frozen=True)
class RegionMetrics:
    """Metrics of one region of one case; the table above says what empty masks give.

    Attributes:
        dice: overlap, 2 |A and B| / (|A| + |B|).
        hd95_mm: see `hausdorff95_mm`.
        sensitivity: share of the true voxels that was found.
        specificity: share of the volume's other voxels that was left out; 1 if there are no others.
    """

    dice: float
    hd95_mm: float
    sensitivity: float
    specificity: float


@dataclass(frozen=True)
class CaseMetrics:
    """All metrics of one case.

    Attributes:
        regions: metrics of each region as a whole.
        lesions: lesion-wise metrics of each region.
    """

    regions: dict[Region, RegionMetrics]
    lesions: dict[Region, LesionMetrics]


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
    regions, lesions = {}, {}
    for region in Region:
        pair = MaskPair.cut(region.mask(prediction[box]), region.mask(truth[box]), spacing_mm)
        regions[region] = _region_metrics(pair, truth.size)
        lesions[region] = lesion_metrics(pair)
    return CaseMetrics(regions, lesions)


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


def hausdorff95_mm(
    first: NDArray[np.bool_], second: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> float:
    """The larger of the two directed 95th percentiles of surface distances.

    A mask's surface is its voxels that touch the outside by a face; the edge of the volume is outside. The distance
    of a surface voxel is that from its centre to the nearest surface voxel's centre of the other mask, exactly and in
    millimetres (Taha and Hanbury, BMC Medical Imaging 2015, doi 10.1186/s12880-015-0068-x; the larger of the two
    directions as in BraTS 2023 and MONAI). Other tools give slightly other figures: MedPy's `hd95` takes one percentile
    of both directions together, BraTS 2023 weighs surface elements by their area.

    Args:
        first, second: masks of one shape, (X, Y, Z).
        spacing_mm: voxel size along X, Y and Z.
    """
    return MaskPair.cut(first, second, spacing_mm).hd95_mm


def _region_metrics(pair: MaskPair, volume_voxels: int) -> RegionMetrics:
    hits = int(np.count_nonzero(pair.prediction & pair.truth))
    positives = int(np.count_nonzero(pair.truth))
    negatives = volume_voxels - positives
    false_positives = int(np.count_nonzero(pair.prediction)) - hits
    return RegionMetrics(
        dice=dice(pair.prediction, pair.truth),
        hd95_mm=pair.hd95_mm,
        sensitivity=hits / positives if positives else float(false_positives == 0),
        specificity=(negatives - false_positives) / negatives if negatives else 1.0,
    )
