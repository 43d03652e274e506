"""Whether a head was stripped before it came here.

A stripped image is exactly 0 (or one other value) outside the brain, shows no more than a brain, and has no skull: on
the way into it from either side or from front or back, nothing as empty as the background comes between two bright
places. A scanner that sets air and bone to 0 fails the last, one that does not the first.
"""

from __future__ import annotations

from typing import Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.files.nifti import Volume

STEP_MM: Final = 2.0
"""Distance of the samples; where voxels are larger, every voxel is one."""
DARK: Final = 0.1
"""Share of the brightness (the 0.95 quantile of what is not background) up to which a voxel is dark."""
EMPTY: Final = 0.002
"""Share of the brightness up to which a value is the background's."""
LEAST_EMPTY: Final = 0.95
"""Share of the dark voxels that are empty in a stripped image: 0.986 and more in three stripped people, 0.92 and less
in two with their skulls, in any contrast; from 0.96 where all below a twelfth of the brightness was set to 0."""
LARGEST_BRAIN_ML: Final = 2400.0
"""Between the largest brains (2 litres) and whole heads with their skulls (3 litres)."""
EDGE: Final = 0.25
"""Share of the brightness at which a ray has reached the head."""
DEPTH_MM: Final = 30.0
"""How deep a ray is followed; scalp and skull are 10 to 20 mm thick."""
GAP: Final = 0.02
"""Share of the brightness on either side below which a ray has met a gap."""
MOST_GAPS: Final = 0.25
"""Share of the rays with a gap that a stripped image has at most: 0.08 in three people's, by furrows of the cortex;
with air and bone at 0, 0.71 and more where the head is not larger than a brain could be."""
LEAST_WIDTH_MM: Final = 100.0
"""A line that is bright over less than this crosses no brain."""
_LEAST_RAYS: Final = 50


def looks_stripped(volume: Volume) -> bool:
    """Whether an image shows a stripped brain; where too little can be seen, it does not.

    Args:
        volume: one series, any contrast, orientation and voxel size.
    """
    if volume.data.ndim != 3:
        return False
    head, spacing_mm = _sampled(volume)
    background = np.float32(np.median(np.concatenate([np.take(head, (0, -1), axis=axis).ravel() for axis in range(3)])))
    np.abs(head - background, out=head)
    shown = head[head > 0]
    if shown.size == 0:
        return False
    head /= max(np.quantile(shown, 0.95), np.finfo(np.float32).tiny)
    dark = head <= DARK
    if not dark.any() or np.count_nonzero(head <= EMPTY) < LEAST_EMPTY * np.count_nonzero(dark):
        return False
    if np.count_nonzero(~dark) * np.prod(spacing_mm) / 1000 > LARGEST_BRAIN_ML:
        return False
    gaps = np.concatenate([_gaps(head, axis, spacing_mm[axis], side) for axis in (0, 1) for side in (1, -1)])
    return gaps.size >= _LEAST_RAYS and bool(gaps.mean() < MOST_GAPS)


def _sampled(volume: Volume) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Every few millimetres of an image, axes RAS as far as its own are, and the distance of the samples."""
    steps = [max(1, round(STEP_MM / size)) for size in volume.grid.spacing_mm]
    turn = nib.io_orientation(volume.grid.affine)
    thin = volume.data[tuple(slice(None, None, step) for step in steps)]
    with np.errstate(over="ignore"):
        head = np.ascontiguousarray(nib.apply_orientation(thin, turn), dtype=np.float32)
    spacing = [0.0, 0.0, 0.0]
    for axis, size, step in zip(turn[:, 0].astype(int), volume.grid.spacing_mm, steps, strict=True):
        spacing[axis] = size * step
    return np.nan_to_num(head, copy=False, posinf=0.0, neginf=0.0), (spacing[0], spacing[1], spacing[2])


def _gaps(head: NDArray[np.float32], axis: int, spacing_mm: float, side: int) -> NDArray[np.bool_]:
    """For each ray along an axis from one side that crosses enough of the head: whether it meets a gap."""
    lines = np.moveaxis(head, axis, 0)[::side].reshape(head.shape[axis], -1)
    bright = lines > EDGE
    crossing = np.count_nonzero(bright, axis=0) * spacing_mm > LEAST_WIDTH_MM
    lines, first = lines[:, crossing], bright[:, crossing].argmax(axis=0)
    deep = np.arange(int(DEPTH_MM / spacing_mm))[:, np.newaxis]
    ray = np.take_along_axis(lines, np.minimum(first + deep, len(lines) - 1), axis=0)
    before = np.maximum.accumulate(ray, axis=0)
    behind = np.maximum.accumulate(ray[::-1], axis=0)[::-1]
    return np.asarray((ray < GAP * np.minimum(before, behind)).any(axis=0))
