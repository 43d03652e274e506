"""Where the network sees a raw head, and the way back from there: each voxel is interpolated once on either way.

Three worlds, all in millimetres: that of the T1ce's own header, those of the other series, and that of the pose, in
which the head lies as in the data that the network was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.inputs import volume_of_array
from eenet_runtime.errors import CaseError
from eenet_runtime.heads.resampling import resample
from eenet_runtime.volumes.boxes import Box, is_empty
from eenet_runtime.volumes.grid import Grid, grid_in_network_axes, part_of_grid
from eenet_runtime.volumes.labels import NUM_CLASSES
from eenet_runtime.volumes.placement import Placement, overwrite_with_winner, tumour_box

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
    inside = np.argwhere(mask)
    if inside.size == 0:
        raise CaseError("the brain mask is empty, expected a brain")
    matrix = t1ce_to_pose @ grid.affine
    places = inside @ matrix[:3, :3].T + matrix[:3, 3]
    lower, upper = places.min(axis=0) - margin_mm, places.max(axis=0) + margin_mm
    if (upper - lower).max() > _LONGEST_BRAIN_MM:
        raise CaseError(
            f"the brain mask is {(upper - lower).max() - 2 * margin_mm:.0f} mm long, expected a brain of about 170 mm"
        )
    # On whole multiples of the voxel: a brain that is a hair larger does not move all the others.
    first = np.floor(lower / spacing_mm).astype(int)
    last = np.ceil(upper / spacing_mm).astype(int)
    signs = np.array(_LPS)
    affine = np.diag([*(signs * spacing_mm), 1.0])
    affine[:3, 3] = np.where(signs > 0, first, last) * spacing_mm
    x, y, z = (int(size) for size in last - first + 1)
    return Grid((x, y, z), affine)


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
        """The most probable class of every voxel of the T1ce.

        The classes are resampled and the maximum is taken afterwards. Only voxels are looked at that a voxel in which
        background loses can reach; elsewhere background cannot lose, for weights are not negative.

        Args:
            probabilities: float32 (H, W, D, classes) on the network's grid.
            threads: for the resampling; by default as many as the process may use.

        Returns:
            uint8 (X, Y, Z) on the T1ce's grid, in its stored axis order, the first axis the fastest in memory. Equal
            probabilities go to the lower class.
        """
        labels = np.zeros(self.reference.shape, dtype=np.uint8, order="F")
        tumour = tumour_box(probabilities)
        if is_empty(tumour):
            return labels
        target = self._reached_from(tumour)
        if is_empty(target):
            return labels
        source = _grown(tumour, [2 * steps for steps in self._reach_steps(self.box)], self.box.shape)
        box, reference = part_of_grid(self.box, source), part_of_grid(self.reference, target)
        near = probabilities[source]
        tumours = [self._resampled(near[..., label], box, reference, threads) for label in range(1, NUM_CLASSES)]
        # What the tumour classes leave is background, outside the network's box too.
        background = np.ones_like(tumours[0])
        for values in tumours:
            background -= values
        overwrite_with_winner(labels[target], [background, *tumours])
        return labels

    def values(self, probabilities: NDArray[np.float32], threads: int | None = None) -> NDArray[np.float32]:
        """The probabilities of one class on the T1ce's grid, in its stored axis order; 0 outside the network's box.

        Args:
            probabilities: float32 (H, W, D) on the network's grid.
            threads: for the resampling.
        """
        return self._resampled(probabilities, self.box, self.reference, threads)

    def _resampled(
        self, values: NDArray[np.float32], box: Grid, reference: Grid, threads: int | None
    ) -> NDArray[np.float32]:
        image = volume_of_array(np.ascontiguousarray(values), box.affine, "probabilities")
        return resample(image, reference, self.reference_to_pose, threads=threads)

    @property
    def _reach_mm(self) -> float:
        """How far from a voxel's centre its value is seen: linear interpolation between the larger of the voxels."""
        return max(*self.box.spacing_mm, *self.reference.spacing_mm)

    def _reach_steps(self, grid: Grid) -> list[int]:
        return [int(np.ceil(self._reach_mm / spacing)) + 1 for spacing in grid.spacing_mm]

    def _reached_from(self, box: Box) -> Box:
        """The box of the T1ce's grid that a box of the network's grid can reach."""
        corners = np.array(np.meshgrid(*((part.start, part.stop - 1) for part in box))).reshape(3, 8)
        matrix = np.linalg.inv(self.reference.affine) @ np.linalg.inv(self.reference_to_pose) @ self.box.affine
        indices = matrix[:3, :3] @ corners + matrix[:3, 3:]
        lower, upper = np.floor(indices.min(axis=1)).astype(int), np.ceil(indices.max(axis=1)).astype(int)
        first, second, third = (slice(int(low), int(high) + 1) for low, high in zip(lower, upper, strict=True))
        return _grown((first, second, third), self._reach_steps(self.reference), self.reference.shape)


def _grown(box: Box, steps: list[int], shape: tuple[int, int, int]) -> Box:
    """A box with so many voxels more on either side, as far as there are any."""
    first, second, third = (
        slice(min(max(0, part.start - step), size), max(0, min(size, part.stop + step)))
        for part, step, size in zip(box, steps, shape, strict=True)
    )
    return first, second, third
