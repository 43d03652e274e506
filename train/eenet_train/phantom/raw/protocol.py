"""Where a series' voxels lie: orientation, spacing, tilt, field of view, coverage, stored axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import Modality
from eenet_train.phantom.raw.geometry import random_direction, rotation_about
from eenet_train.phantom.raw.settings import Orientation, Plan, RawSettings

PROTOCOLS: Final[dict[Modality, tuple[tuple[float, Orientation, bool], ...]]] = {
    Modality.T1: (
        (0.45, Orientation.AXIAL, False),
        (0.30, Orientation.SAGITTAL, True),
        (0.15, Orientation.SAGITTAL, False),
        (0.10, Orientation.CORONAL, False),
    ),
    Modality.T1CE: (
        (0.45, Orientation.SAGITTAL, True),
        (0.20, Orientation.AXIAL, True),
        (0.10, Orientation.CORONAL, True),
        (0.25, Orientation.AXIAL, False),
    ),
    Modality.T2: (
        (0.65, Orientation.AXIAL, False),
        (0.20, Orientation.CORONAL, False),
        (0.15, Orientation.SAGITTAL, True),
    ),
    Modality.FLAIR: (
        (0.55, Orientation.AXIAL, False),
        (0.15, Orientation.CORONAL, False),
        (0.30, Orientation.SAGITTAL, True),
    ),
}
"""Chances of orientation and kind (True: 3D). Our own, after what glioma protocols ask for: mostly a 3D T1ce, often a
3D FLAIR, 2D slices elsewhere."""
_AXES: Final = {
    # Columns: along the rows of a picture, along its columns, from slice to slice; RAS.
    Orientation.AXIAL: np.array([[-1.0, 0, 0], [0, -1, 0], [0, 0, 1]]).T,
    Orientation.SAGITTAL: np.array([[0, -1.0, 0], [0, 0, -1], [-1, 0, 0]]).T,
    Orientation.CORONAL: np.array([[-1.0, 0, 0], [0, 0, -1], [0, 1, 0]]).T,
}
_SLABS: Final = (Modality.T2, Modality.FLAIR)


@dataclass(frozen=True)
class Taken:
    """A plan with nothing left open, and the grid that came of it.

    Attributes:
        orientation, is_3d, slab_mm: as in `Plan`.
        in_plane_mm, spacing_mm, thickness_mm: as in `Plan`.
        tilt_degrees: angle of the slices to the scanner's plane.
        slice_axis: which stored axis runs from slice to slice.
        grid: in the scanner's world, where the head was when this series was taken.
    """

    orientation: Orientation
    is_3d: bool
    in_plane_mm: float
    spacing_mm: float
    thickness_mm: float
    tilt_degrees: float
    slab_mm: float | None
    slice_axis: int
    grid: Grid


def take(
    rng: np.random.Generator,
    modality: Modality,
    wanted: Plan,
    settings: RawSettings,
    head: NDArray[np.float64],
    brain: NDArray[np.float64],
    target: NDArray[np.float64],
) -> Taken:
    """Draw what `wanted` leaves open, and place the grid.

    Args:
        rng: source of the draws.
        modality: which contrast; T2 and FLAIR may cover a slab only.
        wanted: what is fixed.
        settings: limits.
        head, brain: points on the surfaces of the head and the brain in the scanner's world, RAS mm, shape (N, 3).
        target: what a slab must hold, RAS mm.
    """
    plan = _settle(rng, modality, wanted, settings)
    axes = _AXES[plan.orientation]
    tilted = rotation_about(random_direction(rng), plan.tilt_degrees) @ axes
    pixel, spacing = plan.in_plane_mm, plan.spacing_mm
    extents = [(brain @ tilted[:, axis]) for axis in range(3)]
    outer = [(head @ tilted[:, axis]) for axis in range(3)]
    shape, middle = [], []
    for axis in range(2):
        low, high = float(extents[axis].min()), float(extents[axis].max())
        # Technicians leave air around the head; a tight field of view cuts skin, nose or neck, never the brain.
        size = max(high - low + rng.uniform(24, 40), rng.uniform(210, 250))
        shape.append(math.ceil(size / pixel / 8) * 8)
        centre = (low + high) / 2
        slack = (shape[axis] * pixel - (high - low)) / 2 - 8
        toward = np.clip((float(outer[axis].min()) + float(outer[axis].max())) / 2 - centre, -slack, slack)
        middle.append(centre + float(toward) * float(rng.uniform(0.3, 0.8)))
    low, high = float(extents[2].min()), float(extents[2].max())
    if plan.slab_mm is None:
        low, high = low - float(rng.uniform(6, 22)), high + float(rng.uniform(6, 22))
        shape.append(math.ceil((high - low) / spacing))
        middle.append((low + high) / 2)
    else:
        shape.append(max(round(plan.slab_mm / spacing), 1))
        half = shape[2] * spacing / 2
        at = float(target @ tilted[:, 2]) + float(rng.uniform(-0.25, 0.25)) * shape[2] * spacing
        middle.append(min(max(at, low + half), high - half) if 2 * half < high - low else (low + high) / 2)
    affine = np.eye(4)
    affine[:3, :3] = tilted * np.array([pixel, pixel, spacing])
    affine[:3, 3] = tilted @ np.array(middle) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    grid, slice_axis = _store(rng, affine, (shape[0], shape[1], shape[2]))
    slab = None if plan.slab_mm is None else shape[2] * spacing
    return Taken(
        plan.orientation, plan.is_3d, pixel, spacing, plan.thickness_mm, plan.tilt_degrees, slab, slice_axis, grid
    )


@dataclass(frozen=True)
class _Settled:
    orientation: Orientation
    is_3d: bool
    in_plane_mm: float
    spacing_mm: float
    thickness_mm: float
    tilt_degrees: float
    slab_mm: float | None


def _settle(rng: np.random.Generator, modality: Modality, wanted: Plan, settings: RawSettings) -> _Settled:
    """Every number is drawn, whether it is wanted or not: a wanted one leaves the other draws alone."""
    chances = PROTOCOLS[modality]
    chosen = chances[int(rng.choice(len(chances), p=[chance for chance, _, _ in chances]))]
    coarse = settings.voxel_mm
    isotropic = float(rng.uniform(0.9, 1.1)) * coarse
    pixel = float(rng.choice((0.75, 0.8, 0.86, 0.94, 1.0, 1.05))) * coarse
    spacing = float(rng.uniform(settings.slice_mm.low, settings.slice_mm.high))
    gap = float(rng.choice((0.0, 0.0, 0.1, 0.2)))
    # A third of all series lie straight in the scanner.
    tilt = float(rng.uniform(0.0, settings.tilt_degrees)) * float(rng.random() > 1 / 3)
    is_slab = rng.random() < settings.slab_chance
    slab = float(rng.uniform(settings.slab_mm.low, settings.slab_mm.high))
    is_3d = chosen[2] if wanted.is_3d is None else wanted.is_3d
    pixel = wanted.in_plane_mm or (isotropic if is_3d else pixel)
    spacing = wanted.spacing_mm or (isotropic if is_3d else max(spacing, coarse))
    drawn_slab = slab if is_slab and modality in _SLABS else None
    return _Settled(
        orientation=wanted.orientation or chosen[1],
        is_3d=is_3d,
        in_plane_mm=pixel,
        spacing_mm=spacing,
        thickness_mm=wanted.thickness_mm or spacing * (1.0 if is_3d else 1.0 - gap),
        tilt_degrees=tilt if wanted.tilt_degrees is None else wanted.tilt_degrees,
        slab_mm=wanted.slab_mm or drawn_slab,
    )


def _store(rng: np.random.Generator, affine: NDArray[np.float64], shape: tuple[int, int, int]) -> tuple[Grid, int]:
    """The same voxels in another order of axes and directions, as converters write them; and which axis the slices are.

    The affine is rounded to what a header holds (float32): the truth is about the grid that a reader sees.
    """
    order = rng.permutation(3) if rng.random() < 0.5 else np.arange(3)
    flips = rng.random(3) < 0.5
    turn = np.zeros((4, 4))
    turn[3, 3] = 1.0
    for stored, axis in enumerate(order):
        turn[axis, stored] = -1.0 if flips[stored] else 1.0
        turn[axis, 3] = shape[axis] - 1.0 if flips[stored] else 0.0
    stored_affine = (affine @ turn).astype(np.float32).astype(np.float64)
    stored_shape = (shape[order[0]], shape[order[1]], shape[order[2]])
    return Grid(stored_shape, stored_affine), int(np.flatnonzero(order == 2)[0])
