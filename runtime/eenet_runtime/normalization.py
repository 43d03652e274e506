"""Intensity normalisation, the same for training and inference."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError

NORMALIZATION: Final = "zscore-nonzero"
"""Name of the method in a bundle's manifest."""

_FLAT: Final = 1e-6
"""A standard deviation below this share of the largest intensity means that the image shows nothing."""
_LARGEST: Final = 1e100
"""Beyond this the squares in a standard deviation leave float64."""


def zscore_nonzero(volume: NDArray[np.generic], source: str) -> NDArray[np.float32]:
    """Z-score over the non-zero voxels; the background stays exactly 0.

    The statistics are taken at the file's own resolution, over the whole volume, so they depend neither on the
    preset nor on the crop (docs/decisions/0004).

    Args:
        volume: one modality, any axis order, any real dtype. Not changed.
        source: name of the file, for messages.

    Returns:
        float32 array of the same shape.

    Raises:
        CaseError: NaN, infinity or an absurd intensity, no non-zero voxel, or the same value everywhere.
    """
    foreground = volume != 0
    values = volume[foreground].astype(np.float64)
    if not np.isfinite(values).all():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        raise CaseError(f"{source}: {bad} voxels are NaN or infinite, expected real intensities")
    if values.size == 0:
        raise CaseError(f"{source}: all voxels are 0, expected an image of a head")
    largest = float(np.abs(values).max())
    if largest > _LARGEST:
        raise CaseError(f"{source}: an intensity of {largest:.3g} found, expected less than {_LARGEST:g}")
    mean, deviation = float(values.mean()), float(values.std())
    if deviation <= _FLAT * largest:
        raise CaseError(f"{source}: every non-zero voxel is {mean:g}, expected an image with contrast")
    # In float64 up to here: a scanner's scale, however odd, must not cost digits.
    result = np.zeros_like(volume, dtype=np.float32)
    result[foreground] = (values - mean) / deviation
    return result
