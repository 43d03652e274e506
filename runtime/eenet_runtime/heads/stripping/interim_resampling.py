"""Resampling once, linear: a stand-in with the agreed interface until the compiled one is here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.files.nifti import Volume
from eenet_runtime.volumes.grid import Grid


def resample(
    image: Volume, target: Grid, target_to_image: NDArray[np.float64], *, threads: int | None = None
) -> NDArray[np.float32]:
    """An image on another grid: float32 of its shape, linear, 0 outside."""
    del threads
    source = np.pad(np.asarray(image.data, np.float32), 1)
    to_voxels = np.linalg.inv(image.grid.affine) @ target_to_image @ target.affine
    result = np.zeros(target.shape, np.float32)
    y, z = np.ogrid[: target.shape[1], : target.shape[2]]
    for x in range(target.shape[0]):
        places = [row[0] * x + row[1] * y + row[2] * z + row[3] + 1 for row in to_voxels[:3]]
        inside = np.ones(target.shape[1:], np.bool_)
        lows, weights = [], []
        for place, size in zip(places, source.shape, strict=True):
            inside &= (place >= 0) & (place < size - 1)
            low = np.clip(np.floor(place).astype(np.intp), 0, size - 2)
            lows.append(low)
            weights.append((place - low).astype(np.float32))
        plane = np.zeros(target.shape[1:], np.float32)
        for corner in np.ndindex(2, 2, 2):
            weight = np.ones((), np.float32)
            for bit, share in zip(corner, weights, strict=True):
                weight = weight * (share if bit else 1 - share)
            plane += weight * source[tuple(low + bit for low, bit in zip(lows, corner, strict=True))]
        result[x] = np.where(inside, plane, 0)
    return result
