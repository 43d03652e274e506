"""The grid of a stack of slices: sorted by place, regular, of one orientation, or refused with the slice named.

Storage order is dcm2niix's, which people compare with: the first axis runs along a row, the second against a column
(the last row comes first), the third along the normal of the slices, row times column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.dicom.frame import Frame
from eenet_runtime.errors import CaseError
from eenet_runtime.volumes.grid import Grid, check_affine

ORIENTATION_TOLERANCE: Final = 1e-4
"""Largest difference of a direction cosine between slices of one stack; below it, the first slice's holds for all."""
SPACING_TOLERANCE: Final = 0.01
"""How far a step between slices may be from the middle one, as a part of it."""
_SHEAR_TOLERANCE: Final = 2e-3
"""Tangent of the angle between the way from slice to slice and the slices' normal: a tenth of a degree."""
_DRIFT_TOLERANCE: Final = 0.1
"""How far a slice may lie from where the grid has it, as a part of the spacing."""
_UNIT_TOLERANCE: Final = 1e-3
_TO_RAS: Final = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class StackGeometry:
    """Where a stack lies.

    Attributes:
        order: indices of the frames, along the third axis of the grid.
        grid: (columns, rows, slices) and the affine to world millimetres (RAS); rows run against DICOM's.
    """

    order: tuple[int, ...]
    grid: Grid

    @property
    def cover_mm(self) -> float:
        """From the outer face of the first slice to that of the last."""
        return self.grid.spacing_mm[2] * self.grid.shape[2]


def stack_geometry(
    frames: Sequence[Frame], names: Sequence[str], rows: int, columns: int, source: str
) -> StackGeometry:
    """Sort the slices of a stack and find their grid.

    Args:
        frames: in any order.
        names: what each is called in a message, such as `slice 17`.
        rows, columns: voxels of a slice.
        source: the series, for messages.

    Raises:
        CaseError: fewer than two slices; a position, orientation or spacing is missing, makes no sense or is another
            one than the other slices have; slices are missing, there twice, irregular, or sheared (gantry tilt).
    """
    if len(frames) < 2:
        raise CaseError(f"{source}: {len(frames)} slice found, expected a stack", code="irregular-slices")
    for frame, name in zip(frames, names, strict=True):
        if frame.position is None or frame.orientation is None or frame.pixel_spacing is None:
            missing = "position" if frame.position is None else "spacing" if frame.orientation else "orientation"
            raise CaseError(f"{source}: {name} has no {missing}, expected one in every slice", code="irregular-slices")
    row, column = _directions(frames, names, source)
    spacing = _in_plane_spacing(frames, names, source)
    normal = np.cross(row, column)
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    along = positions @ normal
    order = [int(index) for index in np.argsort(along, kind="stable")]
    sorted_names = [names[index] for index in order]
    step = _regular_step(along[order], sorted_names, source)
    slices = positions[order]
    per_slice = (slices[-1] - slices[0]) / (len(slices) - 1)
    _check_line(slices, per_slice, normal, step, sorted_names, source)
    affine = np.eye(4)
    affine[:3, 0] = row * spacing[1]
    affine[:3, 1] = -column * spacing[0]
    affine[:3, 2] = per_slice
    affine[:3, 3] = slices[0] + column * spacing[0] * (rows - 1)
    affine[:3] *= _TO_RAS[:, None]
    check_affine(affine, source)
    return StackGeometry(tuple(order), Grid((columns, rows, len(frames)), affine))


def _directions(
    frames: Sequence[Frame], names: Sequence[str], source: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The unit directions of a row and a column that hold for all slices."""
    cosines = np.array([frame.orientation for frame in frames], dtype=np.float64)
    apart = np.abs(cosines - cosines[0]).max(axis=1)
    worst = int(apart.argmax())
    if apart[worst] > ORIENTATION_TOLERANCE:
        raise CaseError(
            f"{source}: {names[worst]} is turned against {names[0]} (cosines differ by {apart[worst]:.2g}), expected "
            "one stack of parallel slices",
            code="irregular-slices",
        )
    row, column = cosines[0, :3], cosines[0, 3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > _UNIT_TOLERANCE or abs(row @ column) > _UNIT_TOLERANCE:
        raise CaseError(
            f"{source}: {names[0]} has an orientation that is no pair of perpendicular directions",
            code="irregular-slices",
        )
    return row / lengths[0], column / lengths[1]


def _in_plane_spacing(frames: Sequence[Frame], names: Sequence[str], source: str) -> tuple[float, float]:
    spacings = np.array([frame.pixel_spacing for frame in frames], dtype=np.float64)
    first = spacings[0]
    if not (spacings > 0).all():
        raise CaseError(f"{source}: a voxel size of 0 mm or less found, expected two sizes", code="irregular-slices")
    apart = (np.abs(spacings - first) / first).max(axis=1)
    worst = int(apart.argmax())
    if apart[worst] > ORIENTATION_TOLERANCE:
        raise CaseError(
            f"{source}: {names[worst]} has other voxel sizes than {names[0]}, expected one grid",
            code="irregular-slices",
        )
    return float(first[0]), float(first[1])


def _regular_step(along: NDArray[np.float64], names: Sequence[str], source: str) -> float:
    steps = np.diff(along)
    step = float(np.median(steps))
    # Of slices that lie in pairs the middle step is 0: any that is larger is the measure then.
    measure = step if step > 0 else float(steps.max())
    twice = int(steps.argmin())
    if measure <= 0 or steps[twice] < SPACING_TOLERANCE * measure:
        raise CaseError(
            f"{source}: {names[twice + 1]} lies where {names[twice]} does, expected each slice once",
            code="irregular-slices",
        )
    apart = np.abs(steps - step) / step
    worst = int(apart.argmax())
    if apart[worst] > SPACING_TOLERANCE:
        missing = round(steps[worst] / step) - 1
        whole = missing >= 1 and abs(steps[worst] / step - missing - 1) <= SPACING_TOLERANCE * (missing + 1)
        gap = f"{missing} missing" if whole else "irregular"
        raise CaseError(
            f"{source}: {steps[worst]:.4g} mm between {names[worst]} and {names[worst + 1]}, expected {step:.4g} mm as "
            f"elsewhere ({gap})",
            code="irregular-slices",
        )
    return step


def _check_line(
    slices: NDArray[np.float64],
    per_slice: NDArray[np.float64],
    normal: NDArray[np.float64],
    step: float,
    names: Sequence[str],
    source: str,
) -> None:
    shear = float(np.linalg.norm(per_slice - (per_slice @ normal) * normal)) / step
    if shear > _SHEAR_TOLERANCE:
        raise CaseError(
            f"{source}: slices are shifted against each other by {shear * step:.3g} mm a slice (a tilted gantry), "
            f"expected {names[-1]} straight above {names[0]}",
            code="irregular-slices",
        )
    places = slices[0] + np.arange(len(slices))[:, None] * per_slice
    drift = np.linalg.norm(slices - places, axis=1)
    worst = int(drift.argmax())
    if drift[worst] > _DRIFT_TOLERANCE * step:
        raise CaseError(
            f"{source}: {names[worst]} lies {drift[worst]:.3g} mm from its place in the stack, expected at most "
            f"{_DRIFT_TOLERANCE * step:.3g} mm",
            code="irregular-slices",
        )
