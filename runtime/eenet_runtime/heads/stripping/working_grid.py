"""The grid on which brains are found: 1 mm, along the T1ce's own axes, and a little larger than what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.resampling import resample
from eenet_runtime.volumes.boxes import Box
from eenet_runtime.volumes.grid import Grid

MARGIN_MM: Final = 16
"""Air about the field of view: networks cut off what touches the edge of a volume."""
LARGEST_MM: Final = 400.0
"""No field of view of a head is longer; the grid would take gigabytes."""
_NO_STEP: Final = 1e-9
"""Voxels: a line that goes less far in an image with each step stays in one layer of it."""


@dataclass(frozen=True)
class WorkingGrid:
    """A grid of 1 mm.

    Attributes:
        grid: axes RAS as far as the image's own axes are.
        field_of_view: the box of it that the image shows.
    """

    grid: Grid
    field_of_view: Box

    def sampled(
        self, image: Volume, world_to_image: NDArray[np.float64] | None, threads: int | None
    ) -> NDArray[np.float32]:
        """An image on this grid, C-contiguous, interpolated once; 0 outside the image, and where it is no number."""
        matrix = np.eye(4) if world_to_image is None else world_to_image
        # Everything that follows goes along the last axis.
        values = np.ascontiguousarray(resample(image, self.grid, matrix, threads=threads))
        finite = np.isfinite(values)
        if not finite.all():
            values[~finite] = 0
        return values

    def covered_by(self, grid: Grid, world_to_image: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where an image on another grid shows anything, bool; all True if it shows all of our field of view."""
        to_voxels = np.linalg.inv(grid.affine) @ world_to_image @ self.grid.affine
        corners = np.array(np.meshgrid(*((part.start, part.stop - 1) for part in self.field_of_view))).reshape(3, 8)
        places = to_voxels[:3, :3] @ corners + to_voxels[:3, 3:]
        if ((places >= -0.5) & (places <= np.array(grid.shape)[:, np.newaxis] - 0.5)).all():
            return np.ones(self.grid.shape, np.bool_)
        # Of each line along the last axis, the part between the faces of the image.
        x, y, z = (np.arange(size, dtype=np.float64) for size in self.grid.shape)
        first, last = np.zeros((x.size, y.size)), np.full((x.size, y.size), z.size - 1.0)
        for row, size in zip(to_voxels[:3], grid.shape, strict=True):
            start = row[0] * x[:, np.newaxis] + row[1] * y + row[3]
            if abs(row[2]) < _NO_STEP:
                last[(start < -0.5) | (start > size - 0.5)] = -1
                continue
            ends = (-0.5 - start) / row[2], (size - 0.5 - start) / row[2]
            np.maximum(first, np.minimum(*ends), out=first)
            np.minimum(last, np.maximum(*ends), out=last)
        # Beyond the grid there is nothing to tell apart, and a whole number of 16 bits could not hold it.
        lower = np.clip(np.ceil(first), 0, z.size).astype(np.int16)[..., np.newaxis]
        upper = np.clip(np.floor(last), -1, z.size).astype(np.int16)[..., np.newaxis]
        levels = np.arange(z.size, dtype=np.int16)
        return np.asarray((levels >= lower) & (levels <= upper))


def working_grid(image: Volume) -> WorkingGrid:
    """The grid for an image.

    Raises:
        CaseError: the image is longer than `LARGEST_MM` or has more than three axes.
    """
    if image.data.ndim != 3:
        raise CaseError(f"{image.source}: {image.data.ndim} axes found, expected one image of three", code="not-3d")
    lengths = np.array(image.grid.shape) * np.array(image.grid.spacing_mm)
    if lengths.max() > LARGEST_MM:
        raise CaseError(
            f"{image.source}: {lengths.max():.0f} mm along an axis found, expected a head", code="image-size"
        )
    turn = nib.io_orientation(image.grid.affine)
    canonical = image.grid.affine @ nib.orientations.inv_ornt_aff(turn, image.grid.shape)
    shape = np.array(image.grid.shape)[np.argsort(turn[:, 0])]
    directions = _right_angles(canonical[:3, :3])
    lengths = shape * np.linalg.norm(canonical[:3, :3], axis=0)
    sizes = np.maximum(np.ceil(lengths - 1e-3).astype(int), 1)
    centre = canonical[:3, :3] @ ((shape - 1) / 2) + canonical[:3, 3]
    affine = np.eye(4)
    affine[:3, :3] = directions
    affine[:3, 3] = centre - directions @ ((sizes - 1) / 2 + MARGIN_MM)
    first, second, third = (slice(MARGIN_MM, MARGIN_MM + int(size)) for size in sizes)
    x, y, z = (int(size) + 2 * MARGIN_MM for size in sizes)
    return WorkingGrid(Grid((x, y, z), affine), (first, second, third))


def _right_angles(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """The axes at right angles that are nearest to those of an image (the orthogonal factor of its polar form)."""
    left, _, right = np.linalg.svd(columns / np.linalg.norm(columns, axis=0))
    return np.asarray(left @ right)
