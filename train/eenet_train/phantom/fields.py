"""Smooth fields in space, made on a coarse lattice and brought to 1 mm with cubic B-splines.

A uniform cubic B-spline is twice continuously differentiable, reproduces linear functions exactly, and separates by
axis, so that a smooth field over a whole head costs a few dozen milliseconds. Only element-wise arithmetic is used
(no BLAS), so that the result does not depend on the number of threads.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Shape3 = tuple[int, int, int]
Float3D = NDArray[np.float32]

_UNIT_VARIANCE: Final = (151.0 / 315.0) ** 1.5
"""Standard deviation of a 3D cubic B-spline with independent unit normal coefficients: the mean over a cell of the
sum of the squared weights is 151/315 in one dimension (the B-spline's autocorrelation at 0)."""


def control_count(size: int, spacing: float) -> int:
    """Number of control points that cover `size` voxels at one per `spacing` voxels, with the rim the spline needs."""
    return math.floor((size - 1) / spacing) + 4


def control_positions(size: int, spacing: float) -> NDArray[np.float64]:
    """Voxel coordinates of the control points along an axis; the first lies one spacing before voxel 0."""
    return (np.arange(control_count(size, spacing), dtype=np.float64) - 1.0) * spacing


def _weights(size: int, spacing: float) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Index of the first of the four control points of each voxel, and their weights, shape (4, size)."""
    position = np.arange(size, dtype=np.float64) / spacing
    first = np.floor(position).astype(np.intp)
    t = position - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    return first, weights.astype(np.float32)


def upsample(control: NDArray[np.float32], shape: Shape3, spacing: float) -> Float3D:
    """Evaluate a uniform cubic B-spline on every voxel.

    Args:
        control: coefficients, shape `control_count(size, spacing)` along each axis.
        shape: size of the result in voxels.
        spacing: voxels between two control points.

    Returns:
        float32 array of `shape`.
    """
    values = control.astype(np.float32, copy=False)
    # The last axis first: the full-size step then copies whole planes, which is the quick direction.
    for axis in (2, 1, 0):
        first, weights = _weights(shape[axis], spacing)
        moved = np.moveaxis(values, axis, 0)
        out = np.empty((shape[axis], *moved.shape[1:]), dtype=np.float32)
        for index, start in enumerate(first):
            w = weights[:, index]
            plane = out[index]
            np.multiply(moved[start], w[0], out=plane)
            for k in (1, 2, 3):
                plane += moved[start + k] * w[k]
        values = np.moveaxis(out, 0, axis)
    return np.ascontiguousarray(values)


def random_field(rng: np.random.Generator, shape: Shape3, spacing: float) -> Float3D:
    """A smooth Gaussian random field of mean 0 and standard deviation 1.

    Args:
        rng: source of the coefficients.
        shape: size in voxels.
        spacing: voxels between two control points; features are about one to two spacings wide.
    """
    controls = tuple(control_count(size, spacing) for size in shape)
    coefficients = rng.standard_normal(controls, dtype=np.float32)
    return upsample(coefficients / np.float32(_UNIT_VARIANCE), shape, spacing)
