"""Where the network sees a raw head, and the way back from there: each voxel is interpolated once on either way.

Three worlds, all in millimetres: that of the T1ce's own header, those of the other series, and that of the pose, in
which the head lies as in the data that the network was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError
from eenet_runtime.heads.pose import brats_grid
from eenet_runtime.heads.resampling import resample_array, resample_probabilities
from eenet_runtime.heads.stripping.morphology import surface
from eenet_runtime.volumes.grid import Grid, grid_in_network_axes
from eenet_runtime.volumes.placement import Placement

MARGIN_MM: Final = 12.0
"""Round the brain: a preview shows there what was taken away."""
_LONGEST_BRAIN_MM: Final = 300.0
"""No brain is longer; a mask that is would ask for gigabytes."""
_LPS: Final = (-1.0, -1.0, 1.0)
"""How BraTS stores its images, in RAS+ millimetres."""


def target_grid(
    mask: NDArray[np.bool_], grid: Grid, t1ce_to_pose: NDArray[np.float64], spacing_mm: float, margin_mm: float
) -> Grid:
    """A grid along the axes of the pose round the brain, stored as BraTS stores its images (LPS).

    Args:
        mask: bool (X, Y, Z), the brain.
        grid: where it lies, in the T1ce's world.
        t1ce_to_pose: float64 (4, 4), from there to the pose's world.
        spacing_mm: edge of the voxels.
        margin_mm: room on every side of the brain.

    Raises:
        CaseError: the mask is empty, or longer than a head.
    """
    lower, upper = _extent_mm(mask, grid, t1ce_to_pose)
    lower, upper = lower - margin_mm, upper + margin_mm
    # On whole multiples of the voxel: a brain that is a hair larger does not move all the others.
    first = np.floor(lower / spacing_mm).astype(int)
    last = np.ceil(upper / spacing_mm).astype(int)
    signs = np.array(_LPS)
    affine = np.diag([*(signs * spacing_mm), 1.0])
    affine[:3, 3] = np.where(signs > 0, first, last) * spacing_mm
    x, y, z = (int(size) for size in last - first + 1)
    return Grid((x, y, z), affine)


def brats_target(mask: NDArray[np.bool_], grid: Grid, t1ce_to_pose: NDArray[np.float64]) -> Grid:
    """The grid of BraTS (`pose.brats_grid`) with the brain's box in its middle.

    Args:
        mask, grid, t1ce_to_pose: see `target_grid`.

    Raises:
        CaseError: the mask is empty, or longer than a head.
    """
    lower, upper = _extent_mm(mask, grid, t1ce_to_pose)
    return brats_grid((lower + upper) / 2)


def _extent_mm(
    mask: NDArray[np.bool_], grid: Grid, t1ce_to_pose: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From where to where the middles of a mask's voxels reach along the axes of the pose."""
    inside = np.argwhere(surface(mask))
    if inside.size == 0:
        raise CaseError("the brain mask is empty, expected a brain", code="no-brain")
    matrix = t1ce_to_pose @ grid.affine
    places = inside @ matrix[:3, :3].T + matrix[:3, 3]
    lower, upper = places.min(axis=0), places.max(axis=0)
    if (longest := float((upper - lower).max())) > _LONGEST_BRAIN_MM:
        raise CaseError(
            f"the brain mask is {longest:.0f} mm long, expected a brain of about 170 mm", code="bad-brain-mask"
        )
    return lower, upper


@dataclass(frozen=True)
class WayBack:
    """From the network's box back to the T1ce's own grid: probabilities, never labels.

    Attributes:
        box: the network's grid in the pose's world, axes H, W and D.
        reference: the T1ce's grid.
        reference_to_pose: float64 (4, 4), from the T1ce's world to the pose's.
    """

    box: Grid
    reference: Grid
    reference_to_pose: NDArray[np.float64]

    @staticmethod
    def of(placement: Placement, target: Grid, reference: Grid, reference_to_pose: NDArray[np.float64]) -> WayBack:
        """The way back from where the network's box was placed on the target grid."""
        turned = grid_in_network_axes(target)
        network_to_target = np.diag([*(axis.scale for axis in placement.axes), 1.0])
        network_to_target[:3, 3] = [axis.offset for axis in placement.axes]
        height, width, depth = (axis.network_size for axis in placement.axes)
        return WayBack(Grid((height, width, depth), turned.affine @ network_to_target), reference, reference_to_pose)

    def labels(self, probabilities: NDArray[np.float32], threads: int | None = None) -> NDArray[np.uint8]:
        """The most probable class of every voxel of the T1ce: classes are resampled, then the maximum is taken.

        Args:
            probabilities: float32 (H, W, D, classes) on the network's grid.
            threads: for the resampling; by default as many as the process may use.

        Returns:
            uint8 (X, Y, Z) on the T1ce's grid, in its stored axis order, the first axis the fastest in memory.
        """
        return resample_probabilities(probabilities, self.box, self.reference, self.reference_to_pose, threads=threads)

    def values(self, probabilities: NDArray[np.float32], threads: int | None = None) -> NDArray[np.float32]:
        """The probabilities of one class on the T1ce's grid, in its stored axis order; 0 outside the network's box.

        Args:
            probabilities: float32 (H, W, D) on the network's grid.
            threads: for the resampling.
        """
        return resample_array(probabilities, self.box, self.reference, self.reference_to_pose, threads=threads)


def inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The way back of a 4 x 4 matrix."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def nearest_labels(
    labels: NDArray[np.uint8], grid: Grid, target: Grid, target_to_grid: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """A mask on another grid by the nearest voxel, for pictures only.

    Args:
        labels: uint8 (X, Y, Z), 0 outside.
        grid: where it lies.
        target: where to show it.
        target_to_grid: float64 (4, 4), world millimetres to world millimetres.
    """
    shown = np.zeros(target.shape, np.uint8)
    matrix = np.linalg.inv(grid.affine) @ target_to_grid @ target.affine
    sizes = np.array(grid.shape)
    rows = np.indices(target.shape[1:]).reshape(2, -1)
    for index in range(target.shape[0]):
        places = matrix[:3, :1] * index + matrix[:3, 1:3] @ rows + matrix[:3, 3:]
        stored = np.floor(places + 0.5).astype(np.intp)
        inside = ((stored >= 0) & (stored < sizes[:, np.newaxis])).all(axis=0)
        x, y, z = stored[:, inside]
        shown[index].reshape(-1)[inside] = labels[x, y, z]
    return shown


def native_pose(grid: Grid) -> NDArray[np.float64]:
    """The rotation that lays a grid's axes along the world's, float64 (4, 4): nothing is turned but an oblique grid."""
    turned = grid_in_network_axes(grid).affine[:3, :3]
    directions = turned / np.linalg.norm(turned, axis=0)
    wanted = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    left, _, right = np.linalg.svd(wanted @ directions.T)
    rotation = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    return matrix
