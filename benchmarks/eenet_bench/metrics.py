"""BraTS metrics of one region: Dice, 95th percentile Hausdorff distance, sensitivity, specificity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.dice import dice
from eenet_runtime.labels import Region
from eenet_runtime.placement import bounding_box

WORST_HD95_MM: Final = 373.13
"""BraTS' value where exactly one mask is empty: the diagonal of 240 x 240 x 155 voxels of 1 mm."""


@dataclass(frozen=True)
class RegionMetrics:
    """Metrics of one region of one case.

    Attributes:
        dice: 1 where both masks are empty.
        hd95_mm: 0 where both are empty, `WORST_HD95_MM` where one is.
        sensitivity: found share of the true voxels; 1 where there are none.
        specificity: share of the other voxels that was left out; 1 where there are none.
    """

    dice: float
    hd95_mm: float
    sensitivity: float
    specificity: float


def region_metrics(
    prediction: NDArray[np.uint8], truth: NDArray[np.uint8], region: Region, spacing_mm: tuple[float, float, float]
) -> RegionMetrics:
    """Compare two volumes of network classes of one shape."""
    predicted, true = region.mask(prediction), region.mask(truth)
    both = int(np.count_nonzero(predicted & true))
    positives = int(np.count_nonzero(true))
    negatives = true.size - positives
    false_positives = int(np.count_nonzero(predicted)) - both
    return RegionMetrics(
        dice(predicted, true),
        hausdorff95_mm(predicted, true, spacing_mm),
        both / positives if positives else 1.0,
        (negatives - false_positives) / negatives if negatives else 1.0,
    )


def hausdorff95_mm(
    first: NDArray[np.bool_], second: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> float:
    """The larger of the two directed 95th percentiles of surface distances, between voxel centres.

    The surface of a mask is its voxels that touch the outside by a face (Taha and Hanbury, BMC Medical Imaging 2015,
    doi 10.1186/s12880-015-0068-x).
    """
    if not first.any() and not second.any():
        return 0.0
    if not first.any() or not second.any():
        return WORST_HD95_MM
    box = bounding_box(first | second)
    surfaces = [_surface(mask[box]) for mask in (first, second)]
    there = np.percentile(_distances_to(surfaces[1], spacing_mm)[surfaces[0]], 95)
    back = np.percentile(_distances_to(surfaces[0], spacing_mm)[surfaces[1]], 95)
    return float(max(there, back))


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage

    surface: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask)
    return surface


def _distances_to(surface: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    from scipy import ndimage

    distances: NDArray[np.float64] = ndimage.distance_transform_edt(~surface, sampling=spacing_mm)
    return distances
