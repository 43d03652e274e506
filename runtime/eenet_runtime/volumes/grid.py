"""Voxel grids: where an array lies in the patient, and how it turns to the network's axes and back.

World coordinates are NIfTI's: millimetres, RAS+ (x to the right, y to the front, z to the top of the head).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
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

_TIE_BREAKER: Final = 1e-4
"""Radians. An axis that lies between two directions goes to the one that it is nearer to once the world was turned by
this: an axis at exactly 45 degrees must not follow the last digit of its file."""


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
        return "".join(code or "?" for code in nib.orientations.ornt2axcodes(_orientation(self)))

    def matches(self, other: Grid) -> bool:
        """Whether both are the same grid, to `GRID_TOLERANCE`."""
        return self.shape == other.shape and bool(np.allclose(self.affine, other.affine, rtol=0, atol=GRID_TOLERANCE))

    def describe(self) -> str:
        """The grid in words, for messages, with more digits than `GRID_TOLERANCE` has."""
        shape = " x ".join(map(str, self.shape))
        spacing = " x ".join(map(millimetres, self.spacing_mm))
        origin = ", ".join(map(millimetres, self.affine[:3, 3]))
        return f"{shape} voxels of {spacing} mm, axes {self.axes}, origin ({origin})"

    def difference(self, other: Grid) -> str:
        """What parts this grid from another, in words: what `matches` saw, however small."""
        if self.shape != other.shape:
            return "they differ in their numbers of voxels"
        entries = float(np.abs(self.affine - other.affine).max())
        angle = np.degrees(np.linalg.norm(self._directions - other._directions, 2))
        found = {
            "origin": (float(np.abs(self.affine[:3, 3] - other.affine[:3, 3]).max()), "mm"),
            "voxel size": (max(abs(a - b) for a, b in zip(self.spacing_mm, other.spacing_mm, strict=True)), "mm"),
            "direction": (float(angle), "degrees"),
        }
        shown = [f"{name} by {size:.2g} {unit}" for name, (size, unit) in found.items() if size > entries / 10]
        return f"they differ in {', '.join(shown)}; corners lie {corner_distance_mm(self, other):.2g} mm apart"

    @property
    def _directions(self) -> NDArray[np.float64]:
        return np.asarray(self.affine[:3, :3] / np.array(self.spacing_mm))


def millimetres(value: float) -> str:
    """A length or a place for messages: to a tenth of `GRID_TOLERANCE`, without trailing zeros."""
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def part_of_grid(grid: Grid, box: Box) -> Grid:
    """The grid of a box of a volume, in stored axis order."""
    start = np.array([part.start for part in box], dtype=np.float64)
    affine = grid.affine.copy()
    affine[:3, 3] += grid.affine[:3, :3] @ start
    first, second, third = (part.stop - part.start for part in box)
    return Grid((first, second, third), affine)


def corner_distance_mm(first: Grid, second: Grid) -> float:
    """Largest distance, in millimetres, between places that two grids of one shape give to a corner voxel."""
    apart = (first.affine - second.affine) @ _corners(first.shape)
    return float(np.linalg.norm(apart[:3], axis=0).max())


def check_affine(affine: NDArray[np.float64], source: str) -> None:
    """Refuse an affine that gives no orientation.

    Raises:
        CaseError: an entry is not finite or absurdly large, or the three axes do not span space.
    """
    if not np.isfinite(affine).all():
        raise CaseError(
            f"{source}: the affine holds NaN or infinity, expected a finite 4 x 4 matrix", code="bad-affine"
        )
    if (largest := float(np.abs(affine).max())) > _FARTHEST_MM:
        raise CaseError(
            f"{source}: the affine holds {largest:.3g}, expected millimetres around a scanner's centre",
            code="bad-affine",
        )
    columns = affine[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    # The determinant of unit columns is 1 for a right box and 0 for axes in one plane.
    if (lengths < 1e-6).any() or abs(np.linalg.det(columns / lengths)) < 1e-3:
        raise CaseError(
            f"{source}: the affine is singular, so the orientation of the head is unknown", code="bad-affine"
        )


def to_network_axes(volume: NDArray[_ScalarT], grid: Grid) -> NDArray[_ScalarT]:
    """Turn a stored volume so that its axes run as `NETWORK_AXES`.

    Args:
        volume: array in the stored order of `grid`; further axes after the third stay where they are.

    Returns:
        A view (H, W, D, ...); no voxel is copied or interpolated. An oblique grid goes to the nearest axes.
    """
    return np.asarray(nib.apply_orientation(volume, _turn(grid)))


def grid_in_network_axes(grid: Grid) -> Grid:
    """The grid of what `to_network_axes` makes of a volume: the same voxels at the same places, axes H, W and D."""
    return _stored_along(np.broadcast_to(np.uint8(0), grid.shape), grid, _turn(grid))[1]


def from_network_axes(volume: NDArray[_ScalarT], grid: Grid) -> NDArray[_ScalarT]:
    """Undo `to_network_axes`: bring an array in network axes back to the stored order of `grid` (a view)."""
    network = nib.orientations.axcodes2ornt(NETWORK_AXES)
    back = nib.orientations.ornt_transform(network, _orientation(grid))
    return np.asarray(nib.apply_orientation(volume, back))


def to_stored_order(volume: NDArray[_ScalarT], grid: Grid, like: Grid) -> tuple[NDArray[_ScalarT], Grid]:
    """Turn a stored volume so that its axes run as those of another grid.

    Grids that are one but for their storage order are brought onto each other also where an axis lies so obliquely that
    a rounding decides which of the patient's axes is nearest: then axes are held against each other.

    Args:
        volume: array in the stored order of `grid`; further axes after the third stay where they are.
        like: the grid whose axes to follow; it may lie elsewhere or have other voxels.

    Returns:
        A view of the array, and the grid it now lies on: the same voxels at the same places in the world.
    """
    by_patient = nib.orientations.ornt_transform(_orientation(grid), _orientation(like))
    turned = _stored_along(volume, grid, by_patient)
    if not turned[1].matches(like):
        by_each_other = _stored_along(volume, grid, nib.io_orientation(np.linalg.inv(like.affine) @ grid.affine))
        if by_each_other[1].matches(like):
            return by_each_other
    return turned


def _stored_along(volume: NDArray[_ScalarT], grid: Grid, turn: NDArray[np.float64]) -> tuple[NDArray[_ScalarT], Grid]:
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
    return np.asarray(nib.orientations.ornt_transform(_orientation(grid), network))


def _orientation(grid: Grid) -> NDArray[np.float64]:
    """For each stored axis the nearest of the patient's axes and its direction, as nibabel has it; read-only."""
    return _orientation_of(np.asarray(grid.affine, dtype=np.float64).tobytes())


@lru_cache(maxsize=64)
def _orientation_of(affine: bytes) -> NDArray[np.float64]:
    """Asked many times for one case, and images of one data set share their affines."""
    found = np.asarray(nib.io_orientation(_NUDGE @ np.frombuffer(affine, dtype=np.float64).reshape(4, 4)))
    found.setflags(write=False)
    return found


def _corners(shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Indices of the eight corner voxels, homogeneous: (4, 8)."""
    corners = np.array(np.meshgrid(*((0, size - 1) for size in shape))).reshape(3, 8)
    return np.vstack([corners, np.ones(8)])


def _nudge() -> NDArray[np.float64]:
    """The world turned by `_TIE_BREAKER` about each axis, to first order; unequal angles, so that no tie is left."""
    x, y, z = -_TIE_BREAKER * np.array([0.5, 0.75, 1.0])
    return np.array([[1, -z, y, 0], [z, 1, -x, 0], [-y, x, 1, 0], [0, 0, 0, 1.0]])


_NUDGE: Final = _nudge()
