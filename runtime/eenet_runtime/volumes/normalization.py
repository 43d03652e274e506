"""Intensity normalisation, the same for training and inference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError
from eenet_runtime.volumes.boxes import Box, Extent, contiguous, slabs

NORMALIZATION: Final = "zscore-nonzero"
"""Name of the method in a bundle's manifest."""

_FLAT: Final = 1e-6
"""A standard deviation below this share of the largest intensity means that the image shows nothing."""
_LARGEST: Final = 1e100
"""Beyond this the squares in a standard deviation leave float64."""
_FAR_FROM_ZERO: Final = 1e4
"""Where the squared mean is this many times the variance, sums of squares lose four digits: there, sums of squared
differences from the mean are taken, in a second pass."""


@dataclass(frozen=True)
class Intensities:
    """What there is to know of an image before it can be normalised.

    Attributes:
        box: the box of its non-zero voxels, in the image's own axes.
        mean, deviation: over the non-zero voxels.
        voxels: how many are not 0.
        negative: how many are below 0.
        smallest, largest: of the non-zero voxels.
    """

    box: Box
    mean: float
    deviation: float
    voxels: int
    negative: int
    smallest: float
    largest: float

    def zscore(self, part: NDArray[np.generic], out: NDArray[np.float32]) -> None:
        """Z-score over the non-zero voxels of an image, for a part of it.

        Args:
            part: voxels of the image (3D), in any order in memory.
            out: float32 of the same shape, filled with 0; the background stays so.
        """
        part = contiguous(part)
        head = part != 0
        # In float64 up to the end: a scanner's scale, however odd, must not cost digits.
        values = part[head].astype(np.float64)
        values -= self.mean
        values /= self.deviation
        out[head] = values


class _Moments(NamedTuple):
    """What is kept of the head's voxels in one slab."""

    voxels: int
    negative: int
    smallest: float
    largest: float
    sum: float
    squares: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> _Moments:
        """Take them, and use the values up: they hold the squares afterwards."""
        smallest, largest = float(values.min()), float(values.max())
        # Most images have none, and need not be looked through for them.
        negative = int(np.count_nonzero(values < 0)) if smallest < 0 else 0
        total = float(values.sum())
        values *= values
        return cls(values.size, negative, smallest, largest, total, float(values.sum()))


def measure_intensities(volume: NDArray[np.generic], source: str) -> Intensities:
    """Mean and standard deviation over the non-zero voxels of a whole image, and where these lie.

    The statistics are taken at the file's own resolution, over the whole volume, so they depend neither on the preset
    nor on the crop (docs/decisions/0004). One pass in memory order, a slab at a time; the head's voxels of a slab are
    the only float64 numbers there ever are.

    Sums of whole numbers are exact, so the type of the voxels and their order in memory make no difference. Otherwise
    the deviation is right to about 1e-11 of itself: pairwise sums within a slab, exactly rounded sums of those.

    Args:
        volume: one modality (3D), any axis order, any real dtype. Not changed.
        source: name of the file, for messages.

    Raises:
        CaseError: NaN, infinity or an absurd intensity, no non-zero voxel, or the same value everywhere.
    """
    extent = Extent(volume)
    parts: list[_Moments] = []
    # An absurd intensity overflows here, and is refused by name below.
    with np.errstate(all="ignore"):
        for slab in slabs(volume):
            head = slab != 0
            if extent.add(head):
                parts.append(_Moments.of(slab[head].astype(np.float64)))
    count = sum(part.voxels for part in parts)
    # NaN where there is one; min() and max() of Python would drop it.
    smallest = float(np.min([part.smallest for part in parts], initial=0.0 if count == 0 else math.inf))
    largest = float(np.max([part.largest for part in parts], initial=0.0 if count == 0 else -math.inf))
    magnitude = float(np.maximum(abs(smallest), abs(largest)))
    if not math.isfinite(magnitude):
        bad = sum(int(np.count_nonzero(~np.isfinite(slab))) for slab in slabs(volume))
        raise CaseError(
            f"{source}: {bad} voxels are NaN or infinite, expected real intensities, and 0 as background",
            code="not-finite",
        )
    if count == 0:
        raise CaseError(f"{source}: all voxels are 0, expected an image of a head", code="empty-image")
    if magnitude > _LARGEST:
        raise CaseError(
            f"{source}: an intensity of {magnitude:.3g} found, expected less than {_LARGEST:g}", code="intensity-range"
        )
    mean = math.fsum(part.sum for part in parts) / count
    variance = math.fsum(part.squares for part in parts) / count - mean * mean
    if variance * _FAR_FROM_ZERO < mean * mean:
        variance = _variance_about(mean, volume, count)
    deviation = math.sqrt(variance)
    if deviation <= _FLAT * magnitude:
        raise CaseError(
            f"{source}: every non-zero voxel is {mean:g}, expected an image with contrast", code="no-contrast"
        )
    negative = sum(part.negative for part in parts)
    return Intensities(extent.box, mean, deviation, count, negative, smallest, largest)


def _variance_about(mean: float, volume: NDArray[np.generic], count: int) -> float:
    """The variance of the non-zero voxels, from their differences to the mean."""
    squares = []
    for slab in slabs(volume):
        values = slab[slab != 0].astype(np.float64)
        values -= mean
        values *= values
        squares.append(float(values.sum()))
    return math.fsum(squares) / count
