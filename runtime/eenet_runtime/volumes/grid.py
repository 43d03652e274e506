"""Voxel grids: where an array lies in the patient, and how it turns to the network's axes and back.

World coordinates are NIfTI's: millimetres, RAS+ (x to the right, y to the front, z to the top of the head).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError
from eenet_runtime.volumes.boxes import Box

_ScalarT = TypeVar("_ScalarT", bound=np.generic)

NETWORK_AXES: Final = ("P", "L", "S")
"""Directions in which the network's H, W and D run: to the back, to the left, to the top.

This is what the authors' swap of the first two axes makes of a BraTS file (which is stored LPS), so that a
checkpoint of theirs sees heads the way it was trained. Any other storage order is brought here by its affine.
"""

_FARTHEST_MM: Final = 1e6
"""No entry of an affine is larger: no scanner is a kilometre long, and squares stay far inside float64."""

GRID_TOLERANCE: Final = 1e-3
"""Largest difference of two affines' entries that still counts as one grid (docs/data.md, "Into the network")."""


@dataclass(frozen=True)
class Grid:
    """Shape and affine of one volume.

    Attributes:
        shape: voxels along the three array axes, as stored.
        affine: float64 (4, 4), voxel indices to world millimetres.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along each stored axis, in millimetres."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def axes(self) -> str:
        """Where the stored axes point, for example LPS."""
        return "".join(code or "?" for code in nib.aff2axcodes(self.affine))

    def matches(self, other: Grid) -> bool:
        """Whether both are the same grid, to `GRID_TOLERANCE`."""
        return self.shape == other.shape and bool(np.allclose(self.affine, other.affine, rtol=0, atol=GRID_TOLERANCE))

    def describe(self) -> str:
        """The grid in words, for messages."""
        shape = " x ".join(map(str, self.shape))
        spacing = " x ".join(f"{size:.4g}" for size in self.spacing_mm)
        origin = ", ".join(f"{value:.4g}" for value in self.affine[:3, 3])
        return f"{shape} voxels of {spacing} mm, axes {self.axes}, origin ({origin})"


def check_affine(affine: NDArray[np.float64], source: str) -> None:
    """Refuse an affine that gives no orientation.

    Raises:
        CaseError: an entry is not finite or absurdly large, or the three axes do not span space.
    """
    if not np.isfinite(affine).all():
        raise CaseError(f"{source}: the affine holds NaN or infinity, expected a finite 4 x 4 matrix")
    if (largest := float(np.abs(affine).max())) > _FARTHEST_MM:
        raise CaseError(f"{source}: the affine holds {largest:.3g}, expected millimetres around a scanner's centre")
    columns = affine[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    # The determinant of unit columns is 1 for a right box and 0 for axes in one plane.
    if (lengths < 1e-6).any() or abs(np.linalg.det(columns / lengths)) < 1e-3:
        raise CaseError(f"{source}: the affine is singular, so the orientation of the head is unknown")


def to_network_axes(volume: NDArray[_ScalarT], grid: Grid) -> NDArray[_ScalarT]:
    """Turn a stored volume so that its axes run as `NETWORK_AXES`.

    Args:
        volume: array in the stored order of `grid`; further axes after the third stay where they are.

    Returns:
        A view (H, W, D, ...); no voxel is copied or interpolated. An oblique grid goes to the nearest axes.
    """
    return np.asarray(nib.apply_orientation(volume, _turn(grid)))


def from_network_axes(volume: NDArray[_ScalarT], grid: Grid) -> NDArray[_ScalarT]:
    """Undo `to_network_axes`: bring an array in network axes back to the stored order of `grid` (a view)."""
    network = nib.orientations.axcodes2ornt(NETWORK_AXES)
    back = nib.orientations.ornt_transform(network, nib.io_orientation(grid.affine))
    return np.asarray(nib.apply_orientation(volume, back))


def to_stored_order(volume: NDArray[_ScalarT], grid: Grid, like: Grid) -> tuple[NDArray[_ScalarT], Grid]:
    """Turn a stored volume so that its axes run as those of another grid.

    Args:
        volume: array in the stored order of `grid`; further axes after the third stay where they are.
        like: the grid whose axes to follow; it may lie elsewhere or have other voxels.

    Returns:
        A view of the array, and the grid it now lies on: the same voxels at the same places in the world.
    """
    turn = nib.orientations.ornt_transform(nib.io_orientation(grid.affine), nib.io_orientation(like.affine))
    turned = np.asarray(nib.apply_orientation(volume, turn))
    affine = grid.affine @ nib.orientations.inv_ornt_aff(turn, grid.shape)
    return turned, Grid((turned.shape[0], turned.shape[1], turned.shape[2]), affine)


def box_to_network_axes(box: Box, grid: Grid) -> Box:
    """Turn a box of a stored volume as `to_network_axes` turns the volume."""
    turned = [slice(0, 0)] * 3
    for (network_axis, direction), part, size in zip(_turn(grid), box, grid.shape, strict=True):
        turned[int(network_axis)] = part if direction > 0 else slice(size - part.stop, size - part.start)
    return turned[0], turned[1], turned[2]


def network_spacing_mm(grid: Grid) -> tuple[float, float, float]:
    """Voxel size along H, W and D, in millimetres."""
    turn = _turn(grid)
    spacing = [0.0, 0.0, 0.0]
    for stored_axis, network_axis in enumerate(turn[:, 0].astype(int)):
        spacing[network_axis] = grid.spacing_mm[stored_axis]
    return spacing[0], spacing[1], spacing[2]


def _turn(grid: Grid) -> NDArray[np.float64]:
    network = nib.orientations.axcodes2ornt(NETWORK_AXES)
    return np.asarray(nib.orientations.ornt_transform(nib.io_orientation(grid.affine), network))
