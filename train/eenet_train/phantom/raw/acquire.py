"""One series: sampled once from the scene through its slice profile, shaded, noisy, in int16."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.grid import Grid
from eenet_train.phantom.fields import Float3D
from eenet_train.phantom.raw.geometry import Matrix, inverse, move
from eenet_train.phantom.scanner import rician

FLAT_SHARE: Final = 0.8
"""The slice profile is a trapezoid of its full width at half height: flat over this share of it, 0 at 1.2 of it."""


def profile(thickness_mm: float, voxel_mm: float) -> list[tuple[float, float]]:
    """Offsets along the slice's normal in mm, and their weights, which add up to 1: no two further apart than 1.5
    voxels of the scene, between which its linear interpolation averages. One in the middle of slices below 1.3."""
    if thickness_mm <= 1.3 * voxel_mm:
        return [(0.0, 1.0)]
    count = int(np.ceil(1.2 * thickness_mm / (1.5 * voxel_mm)))
    offsets = ((np.arange(count) + 0.5) / count - 0.5) * 1.2 * thickness_mm
    slope = (1.0 - FLAT_SHARE) * thickness_mm
    weights = np.clip((0.6 * thickness_mm - np.abs(offsets)) / slope, 0.0, 1.0)
    return [(float(o), float(w)) for o, w in zip(offsets, weights / weights.sum(), strict=True)]


def sample(
    image: Float3D,
    scene: Grid,
    target: Grid,
    target_to_scene: Matrix,
    slice_axis: int,
    thickness_mm: float,
) -> Float3D:
    """Average an image of the scene over each voxel of a series: linear interpolation, once.

    Args:
        image: float32 (X, Y, Z) on `scene`; beyond it lies air.
        scene, target: grids.
        target_to_scene: from the series' world to the scene's, mm.
        slice_axis: stored axis of the series that is thick.
        thickness_mm: of a slice.
    """
    from scipy import ndimage

    voxel_to_voxel = inverse(scene.affine) @ target_to_scene @ target.affine
    normal = target.affine[:3, slice_axis] / target.spacing_mm[slice_axis]
    step = inverse(scene.affine)[:3, :3] @ target_to_scene[:3, :3] @ normal
    out = np.zeros(target.shape, dtype=np.float32)
    for offset, weight in profile(thickness_mm, scene.spacing_mm[0]):
        start = voxel_to_voxel[:3, 3] + step * offset
        out += np.float32(weight) * ndimage.affine_transform(
            image, voxel_to_voxel[:3, :3], start, target.shape, np.float32, order=1, prefilter=False
        )
    return out


def window_of(points: NDArray[np.float64], target: Grid) -> tuple[tuple[slice, slice, slice], Grid]:
    """The part of a grid around points of its world, three voxels wider, and the grid of that part.

    Empty where none of the points lies near the grid.
    """
    voxels = move(inverse(target.affine), points)
    shape = np.array(target.shape)
    first = np.clip(np.floor(voxels.min(axis=0)).astype(int) - 3, 0, shape)
    last = np.clip(np.ceil(voxels.max(axis=0)).astype(int) + 4, first, shape)
    affine = target.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ first
    x, y, z = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    size = (x.stop - x.start, y.stop - y.start, z.stop - z.start)
    return (x, y, z), Grid(size, affine)


def shade(rng: np.random.Generator, shape: tuple[int, int, int], to_middle: Matrix, strength: float) -> Float3D:
    """The coils' sensitivity: the exponential of a polynomial of second order in space, for each voxel.

    Args:
        rng: source of the coefficients.
        shape: of the series.
        to_middle: from its voxels to mm from the middle of the head.
        strength: about the standard deviation of the logarithm at the head's surface.
    """
    linear = rng.normal(0.0, 0.6, 3)
    square = rng.normal(0.0, 0.5, (3, 3))
    index = [
        np.arange(size, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, size in enumerate(shape)
    ]
    scaled = to_middle[:3] / 90.0
    place = [sum(np.float32(row[axis]) * index[axis] for axis in range(3)) + np.float32(row[3]) for row in scaled]
    value = np.zeros(shape, dtype=np.float32)
    for a in range(3):
        inner = sum(np.float32(square[a, b]) * place[b] for b in range(a, 3)) + np.float32(linear[a])
        value += inner * place[a]
    return np.asarray(np.exp(np.float32(strength) * value))


def digitise(
    rng: np.random.Generator, signal: Float3D, noise: float, brightness: float
) -> tuple[NDArray[np.int16], float, float]:
    """Add Rician noise everywhere, air too, and store as int16, half of the time with a slope and an intercept.

    Returns:
        Stored values, slope and intercept.
    """
    values = rician(rng, signal, noise, everywhere=True) * np.float32(brightness)
    if rng.random() < 0.5:
        return np.clip(np.rint(values), 0, np.iinfo(np.int16).max).astype(np.int16), 1.0, 0.0
    # Some converters fill the range of int16; slopes have the precision of the header.
    slope = float(np.float32(values.max() / 32000.0))
    intercept = float(np.float32(rng.choice((0.0, 16000.0)) * slope))
    stored = np.clip(np.rint((values - np.float32(intercept)) / np.float32(slope)), -32768, 32767)
    return stored.astype(np.int16), slope, intercept
