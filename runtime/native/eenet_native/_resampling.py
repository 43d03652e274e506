"""Resampling in the library: any volume, any position. What the coordinates mean is the caller's matter."""

from __future__ import annotations

import ctypes
import functools
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_native._library import Message, library

_TYPES: Final = {np.dtype(name): code for code, name in enumerate(("uint8", "int16", "uint16", "float32", "float64"))}
"""Types of voxels that are read as they lie; others are converted to float32 first."""

_LARGEST: Final = 1 << 61
"""No coordinate may be larger: rows are cut in arithmetic of 64 bits."""

Shape = tuple[int, int, int]


def resample(
    values: NDArray[Any], bases: NDArray[np.int64], steps: NDArray[np.int64], shape: Shape, threads: int
) -> NDArray[np.float32]:
    """The mean of some places of a volume for each voxel of a target, interpolated linearly.

    Target voxel (i, j, k) looks at `bases[s] + steps @ (i, j, k)` for each s. Beyond the faces of the outermost voxels
    there is 0; up to them the edge repeats.

    Args:
        values: (X, Y, Z), real, in any order in memory.
        bases: (samples, 3) coordinates of the first target voxel's places, in 2^-32 voxels.
        steps: (3, 3), how far the coordinates (rows) go with each target axis (columns), in 2^-32 voxels.
        shape: of the target.
        threads: does not change a bit of the result.

    Returns:
        float32 of that shape, the first axis fastest.

    Raises:
        ValueError: arrays that do not fit, an empty volume, or coordinates beyond any volume.
        MemoryError, OSError: the system gives no memory or no threads.
    """
    if values.dtype not in _TYPES:
        values = values.astype(np.float32)
    values, layout = _laid_out(values)
    bases, steps = _places(bases, steps, shape)
    target = np.empty(shape, np.float32, order="F")
    if target.size:
        message = Message()
        status = _functions().eenet_resample(
            values.ctypes.data, _TYPES[values.dtype], layout, len(bases), bases.ctypes.data, steps.ctypes.data,
            target.ctypes.data, (ctypes.c_int64 * 3)(*shape), max(1, threads), *message.arguments,
        )  # fmt: skip
        message.check(status)
    return target


def resample_labels(
    values: NDArray[np.float32], bases: NDArray[np.int64], steps: NDArray[np.int64], shape: Shape, threads: int
) -> NDArray[np.uint8]:
    """As `resample` for each class, of which only the winner's number is kept, the lower one of equals.

    Args:
        values: float32 (X, Y, Z, classes), in any order in memory. Beyond its faces class 0 has 1, the others 0.

    Returns:
        uint8 of the target's shape, the first axis fastest.

    Raises:
        ValueError, MemoryError, OSError: as `resample`.
    """
    if values.dtype != np.float32 or values.ndim != 4 or not 1 <= values.shape[3] <= 255:
        raise ValueError(f"{values.dtype} of shape {values.shape} found, expected float32 (X, Y, Z, classes)")
    if values.strides[3] % values.itemsize:
        values = values.copy()
    first, layout = _laid_out(values[..., 0])
    bases, steps = _places(bases, steps, shape)
    labels = np.empty(shape, np.uint8, order="F")
    if labels.size:
        message = Message()
        status = _functions().eenet_resample_labels(
            first.ctypes.data, values.strides[3] // values.itemsize, values.shape[3], layout, len(bases),
            bases.ctypes.data, steps.ctypes.data, labels.ctypes.data, (ctypes.c_int64 * 3)(*shape), max(1, threads),
            *message.arguments,
        )  # fmt: skip
        message.check(status)
    return labels


def _laid_out(values: NDArray[Any]) -> tuple[NDArray[Any], ctypes.Array[ctypes.c_int64]]:
    """The volume, and its shape and strides in elements."""
    if values.ndim != 3 or not values.size:
        raise ValueError(f"values of shape {values.shape} found, expected a volume (X, Y, Z) with voxels")
    if any(stride % values.itemsize for stride in values.strides) or not values.dtype.isnative:
        raise ValueError("values in a foreign byte order or layout found; copy them first")
    return values, (ctypes.c_int64 * 6)(*values.shape, *(stride // values.itemsize for stride in values.strides))


def _places(
    bases: NDArray[np.int64], steps: NDArray[np.int64], shape: Shape
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if bases.dtype != np.int64 or bases.ndim != 2 or bases.shape[1] != 3 or not len(bases):
        raise ValueError(f"bases: {bases.dtype} of shape {bases.shape} found, expected int64 (samples, 3)")
    if steps.dtype != np.int64 or steps.shape != (3, 3) or len(shape) != 3 or any(size < 0 for size in shape):
        raise ValueError(f"steps: {steps.dtype} of shape {steps.shape} found, expected int64 (3, 3) and three sizes")
    # In Python's integers, which have no end: the coordinates' farthest corner.
    farthest = max(
        abs(int(base)) + sum(abs(int(step)) * size for step, size in zip(row, shape, strict=True))
        for place in bases
        for base, row in zip(place, steps, strict=True)
    )
    if farthest > _LARGEST:
        raise ValueError("coordinates beyond any volume found")
    return np.ascontiguousarray(bases), np.ascontiguousarray(steps)


@functools.cache
def _functions() -> ctypes.CDLL:
    loaded = library()
    pointer, number, large = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    text, size = ctypes.c_char_p, ctypes.c_size_t
    loaded.eenet_resample.argtypes = [
        pointer, number, pointer, number, pointer, pointer, pointer, pointer, number, text, size,
    ]  # fmt: skip
    loaded.eenet_resample_labels.argtypes = [
        pointer, large, number, pointer, number, pointer, pointer, pointer, pointer, number, text, size,
    ]  # fmt: skip
    return loaded
