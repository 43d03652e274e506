"""Two masks and the distance of their surfaces, as the whole-region and the lesion-wise metrics both need them.

HD95 has two definitions in use (docs/decisions/0037-two-definitions-of-hd95.md). Both look at the distances from every
surface voxel of the one mask to the nearest of the other, and the other way round:

- *pooled*: the 95th percentile of both directions together. The challenges of BraTS today (the package
  `brats-evaluation` 0.0.10, 2026, which names itself their official implementation; panoptica 2.1 computes it), and
  MedPy's `hd95`.
- *directed maximum*: the larger of the two directions' own 95th percentiles. The challenges of BraTS 2023
  (https://github.com/rachitsaluja/BraTS-2023-Metrics, there weighted by area), MONAI, and Taha and Hanbury, BMC Medical
  Imaging 2015, doi 10.1186/s12880-015-0068-x. The stricter one: one mask's few far voxels are not thinned out by the
  other's many.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.boxes import bounding_box

WORST_DIRECTED_HD95_MM: Final = 373.13
"""BraTS' value until 2023 where exactly one mask is empty: the diagonal of 240 x 240 x 155 voxels of 1 mm."""

WORST_POOLED_HD95_MM: Final = 373.0
"""Today's value where the two masks have no voxel in common, for a distance that `brats-evaluation` calls infinite."""


class DirectedDistances(NamedTuple):
    """Distances between two surfaces in millimetres, one for each surface voxel.

    Attributes:
        forward: from each voxel of the first to the nearest of the second, (voxels of the first,).
        backward: from each voxel of the second to the nearest of the first.
    """

    forward: NDArray[np.float64]
    backward: NDArray[np.float64]

    def pooled_hd95_mm(self) -> float:
        """The 95th percentile of both directions together, linear between neighbours."""
        return float(np.percentile(np.concatenate(self), 95))

    def directed_hd95_mm(self) -> float:
        """The larger of the two directions' 95th percentiles."""
        return max(float(np.percentile(distances, 95)) for distances in self)


@dataclass(frozen=True)
class MaskPair:
    """Prediction and truth of one region, cut to the smallest box that holds both.

    Attributes:
        prediction, truth: boolean (X, Y, Z), in C order; one voxel of background where both masks are empty.
        spacing_mm: voxel size along X, Y and Z.
    """

    prediction: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]

    @classmethod
    def cut(
        cls, prediction: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
    ) -> MaskPair:
        """Cut two masks of one shape. Nothing is lost: all metrics here look at the masks' voxels only."""
        either = prediction | truth
        box = bounding_box(either) if either.any() else (slice(1),) * 3
        return cls(np.ascontiguousarray(prediction[box]), np.ascontiguousarray(truth[box]), spacing_mm)

    @cached_property
    def prediction_surface(self) -> NDArray[np.intp]:
        """`surface_voxels` of the prediction."""
        return surface_voxels(self.prediction)

    @cached_property
    def truth_surface(self) -> NDArray[np.intp]:
        """`surface_voxels` of the truth."""
        return surface_voxels(self.truth)

    @cached_property
    def distances(self) -> DirectedDistances:
        """`surface_distances` of the two surfaces.

        Raises:
            ValueError: a mask is empty.
        """
        return surface_distances(self.prediction_surface, self.truth_surface, self.spacing_mm)

    @cached_property
    def pooled_hd95_mm(self) -> float | None:
        """Today's HD95 in millimetres: None if both masks are empty, `WORST_POOLED_HD95_MM` if they do not meet."""
        if not self.prediction.any() and not self.truth.any():
            return None
        if not (self.prediction & self.truth).any():
            return WORST_POOLED_HD95_MM
        return self.distances.pooled_hd95_mm()

    @cached_property
    def directed_hd95_mm(self) -> float:
        """The directed maximum in millimetres: 0 if both masks are empty, `WORST_DIRECTED_HD95_MM` if one is."""
        if not self.prediction.any() or not self.truth.any():
            return WORST_DIRECTED_HD95_MM if self.prediction.any() or self.truth.any() else 0.0
        return self.distances.directed_hd95_mm()


def surface_voxels(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices of the voxels of a mask that touch its outside by a face, (voxels, 3); the volume's edge is outside."""
    # Six shifted views instead of scipy's erosion, which takes ten times as long.
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(3):
        for start in (0, 2):
            window = [slice(1, -1)] * 3
            window[axis] = slice(start, start + mask.shape[axis])
            inner &= padded[tuple(window)]
    return np.argwhere(mask & ~inner)


def surface_distances(
    first: NDArray[np.intp], second: NDArray[np.intp], spacing_mm: tuple[float, float, float]
) -> DirectedDistances:
    """Distances between the centres of two sets of voxels, both ways.

    Args:
        first, second: voxel indices, (voxels, 3).
        spacing_mm: voxel size along the three axes.

    Raises:
        ValueError: a set is empty: nothing is nearest to anything.
    """
    if not len(first) or not len(second):
        raise ValueError(f"{len(first)} and {len(second)} surface voxels found, expected at least one each")
    points, others = (np.multiply(voxels, spacing_mm, dtype=np.float64) for voxels in (first, second))
    return DirectedDistances(_distances(points, others), _distances(others, points))


def _distances(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each point to the nearest of the others.

    A tree over the surface instead of a distance transform of the volume: the same distances at any voxel size, and
    faster. docs/decisions/0011-surface-distances.md has the figures.
    """
    from scipy.spatial import KDTree

    # The settings change the time only: half where surfaces are near each other, a tenth where they are far apart.
    tree = KDTree(others, leafsize=32, balanced_tree=False, compact_nodes=False)
    distances: NDArray[np.float64] = tree.query(points)[0]
    return distances
