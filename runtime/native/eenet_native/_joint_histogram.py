"""The joint histogram of two images under a transform: the inner loop of rigid registration."""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_native._library import Message, library

HISTOGRAM_BINS: Final = 32
HISTOGRAM_ONE: Final = 256
"""What one sample adds to the counts in all."""


def joint_histogram(
    points_mm: NDArray[np.float32],
    bins: NDArray[np.uint8],
    moving: NDArray[np.uint8],
    to_voxels: NDArray[np.float32],
    part: slice = slice(None),
) -> tuple[NDArray[np.uint32], int]:
    """Count which grey values of two images meet under one transform.

    The moving image is interpolated linearly, on 0 to 255; its value falls between two bins and is shared between them,
    in steps of 1/256. Samples outside the moving image are left out. Counts are integers: those of parts add up to
    those of the whole, to the last bit, in whatever order. The GIL is released.

    Args:
        points_mm: (3, samples) float32, C-contiguous: where the fixed image was sampled.
        bins: (samples,) uint8, C-contiguous: the fixed image's grey values there, in [0, 32); higher bits are ignored.
        moving: (X, Y, Z) uint8, C-contiguous, at least two voxels along each axis.
        to_voxels: (3, 4) float32, C-contiguous: `points_mm` to voxel indices of the moving image.
        part: consecutive samples to count; by default all.

    Returns:
        uint32 (32, 32), fixed by moving, in 1/256 of a sample, and how many samples fell into the moving image.

    Raises:
        ValueError: another type, shape or layout, or 2**24 samples or more.
    """
    _require("points_mm", points_mm, np.float32, (3, bins.size))
    _require("bins", bins, np.uint8, (bins.size,))
    _require("moving", moving, np.uint8, moving.shape if moving.ndim == 3 else (2, 2, 2))
    _require("to_voxels", to_voxels, np.float32, (3, 4))
    begin, end, step = part.indices(bins.size)
    if step != 1:
        raise ValueError(f"part: {part} found, expected consecutive samples")
    counts = np.empty((HISTOGRAM_BINS, HISTOGRAM_BINS), np.uint32)
    inside = ctypes.c_uint64()
    message = Message()
    message.check(
        library().eenet_joint_histogram(
            points_mm.ctypes.data,
            bins.ctypes.data,
            bins.size,
            begin,
            max(begin, end),
            moving.ctypes.data,
            (ctypes.c_int * 3)(*moving.shape),
            to_voxels.ctypes.data,
            counts.ctypes.data,
            ctypes.byref(inside),
            *message.arguments,
        )
    )
    return counts, inside.value


def _require(name: str, array: NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> None:
    """Refuse what the library would misread: it sees only a pointer."""
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous or not array.flags.aligned:
        raise ValueError(
            f"{name}: {array.dtype} of shape {array.shape} found, "
            f"expected C-contiguous {np.dtype(dtype).name} of shape {shape}"
        )
