"""An image at 8, 4, 2 and 1 mm in 8 bits, along its own axes, and samples of it.

Voxels are averaged in blocks of whole numbers of them; an axis that is coarse already (thick slices) is left as it is,
for linear interpolation between its voxels needs no more of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.registration.histogram import BINS, LARGEST, Level, Samples, trilinear

LEVELS_MM: Final = (8, 4, 2, 1)
"""From coarse to fine."""

MOST_SAMPLES: Final = 150_000
"""Of one level: more make the finest result no better (docs/decisions/0040)."""

_HEAD: Final = 0.1
"""A voxel above this share of the grey values' window is taken for head rather than air."""

_DARK: Final = 0.02
"""The window's upper end is measured without voxels below this share of it, most of which are air."""

_Float32 = NDArray[np.float32]


class RegistrationError(CaseError):
    """A pair of images that cannot be registered."""


@dataclass(frozen=True)
class Pyramid:
    """An image from coarse to fine.

    Attributes:
        levels: by their voxel size in millimetres, of `LEVELS_MM`.
        mass_centre_mm: (3,), middle of what is brighter than air.
        view_centre_mm: (3,), middle of the field of view.
        view_mm3: volume of the field of view.
    """

    levels: Mapping[int, Level]
    mass_centre_mm: NDArray[np.float64]
    view_centre_mm: NDArray[np.float64]
    view_mm3: float


def build_pyramid(image: Volume, finest_mm: int = 1) -> Pyramid:
    """Average an image down.

    Args:
        image: three axes, real numbers.
        finest_mm: finer levels are left out.

    Raises:
        RegistrationError: another number of axes, an axis of one voxel, all voxels the same, NaN or infinity.
    """
    _check(image)
    averages: dict[int, tuple[_Float32, NDArray[np.float64]]] = {}
    data, affine = original = _in_memory_order(image)
    for size in (2, 4, 8):
        data, affine = averages[size] = _averaged(data, affine, size)
        if size == 2 and not np.isfinite(data).all():
            raise _not_finite(image.source)
    window = _window(averages[4][0], image.source)
    levels = {
        size: Level(_in_8_bits(averages[size][0], window), averages[size][1]) for size in (8, 4, 2) if size >= finest_mm
    }
    if finest_mm <= 1:
        levels[1] = _finest(*original, window, image.source)
    shape = np.array(image.grid.shape)
    coarse = levels[8]
    head = np.argwhere(coarse.voxels > _HEAD * LARGEST)
    middle = _to_world((shape - 1) / 2, image.grid.affine)
    return Pyramid(
        levels,
        _to_world(head.mean(axis=0), coarse.affine) if len(head) else middle,
        middle,
        float(abs(np.linalg.det(image.grid.affine[:3, :3]))) * float(np.prod(shape.astype(float))),
    )


def sample(level: Level, spacing_mm: float, centre_mm: NDArray[np.float64], seed: int = 0) -> Samples:
    """Take an image's values at one random place in each cell of a grid along its axes.

    Regular places would favour transforms that bring them onto voxels of the other image.

    Args:
        level: the image.
        spacing_mm: edge of a cell; larger where there would be more than `MOST_SAMPLES`.
        centre_mm: (3,), what the samples' places are kept relative to.
        seed: of the random numbers: the same samples for the same seed.
    """
    size = np.array(level.voxels.shape)
    extent_mm = (size - 1) * np.linalg.norm(level.affine[:3, :3], axis=0)
    cells = _cells(extent_mm, spacing_mm)
    jitter = np.random.Generator(np.random.PCG64(seed)).random((3, *cells), np.float32)
    places = []
    for axis, count in enumerate(cells):
        along = np.arange(count, dtype=np.float32).reshape([-1 if other == axis else 1 for other in range(3)])
        # Never beyond the last voxel: there is nothing to interpolate with.
        place = (along + (jitter[axis] * np.float32(0.98) + np.float32(0.01))) * np.float32((size[axis] - 1) / count)
        places.append(np.minimum(place.ravel(), np.nextafter(np.float32(size[axis] - 1), np.float32(0))))
    values = trilinear(level.voxels, *places)
    offset = _to_world(np.zeros(3), level.affine) - centre_mm
    points = level.affine[:3, :3].astype(np.float32) @ np.stack(places) + offset.astype(np.float32)[:, np.newaxis]
    bins = np.rint(values * np.float32((BINS - 1) / LARGEST)).astype(np.uint8)
    return Samples(np.ascontiguousarray(points), bins, centre_mm)


def is_head(samples: Samples) -> NDArray[np.bool_]:
    """Which samples are brighter than air."""
    return samples.bins > _HEAD * (BINS - 1)


def _check(image: Volume) -> None:
    if image.data.ndim != 3:
        raise RegistrationError(f"{image.source}: {image.data.ndim} axes found, expected 3", code="not-3d")
    if min(image.data.shape) < 2:
        shape = " x ".join(map(str, image.data.shape))
        raise RegistrationError(
            f"{image.source}: {shape} voxels found, expected at least 2 along each axis", code="image-size"
        )


def _in_memory_order(image: Volume) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """The image with its slowest axis first: a file's last one."""
    return image.data.T, image.grid.affine[:, [2, 1, 0, 3]]


def _to_world(place: NDArray[np.float64], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(affine[:3, :3] @ place + affine[:3, 3])


def _cells(extent_mm: NDArray[np.float64], spacing_mm: float) -> tuple[int, int, int]:
    while True:
        x, y, z = (max(1, math.ceil(extent / spacing_mm)) for extent in extent_mm)
        if x * y * z <= MOST_SAMPLES:
            return x, y, z
        spacing_mm *= 1.02


def _factors(shape: tuple[int, ...], affine: NDArray[np.float64], size_mm: float) -> tuple[int, int, int]:
    """How many voxels along each axis make one of about a size; two blocks are left of each axis."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    x, y, z = (
        max(1, min(round(size_mm / max(edge, 1e-6)), count // 2)) for edge, count in zip(spacing, shape, strict=True)
    )
    return x, y, z


def _block_affine(affine: NDArray[np.float64], factors: tuple[int, int, int]) -> NDArray[np.float64]:
    """Of blocks: each is centred on the middle of its voxels."""
    blocks = affine.copy()
    blocks[:3, :3] *= factors
    blocks[:3, 3] = _to_world((np.array(factors) - 1) / 2, affine)
    return blocks


def _averaged(
    data: NDArray[np.generic], affine: NDArray[np.float64], size_mm: float
) -> tuple[_Float32, NDArray[np.float64]]:
    """An image of voxels of about a size, and its affine; what fills no block at the end is left out."""
    factors = _factors(data.shape, affine, size_mm)
    blocks = np.empty(_block_shape(data.shape, factors), np.float32)
    for index, plane in enumerate(_block_planes(data, factors)):
        blocks[index] = plane
    return blocks, _block_affine(affine, factors)


def _block_shape(shape: tuple[int, ...], factors: tuple[int, int, int]) -> tuple[int, ...]:
    return tuple(count // factor for count, factor in zip(shape, factors, strict=True))


def _block_planes(data: NDArray[np.generic], factors: tuple[int, int, int]) -> Iterator[_Float32]:
    """Planes of blocks' means, one for each block of the first axis."""
    thickness, *in_plane = factors
    planes, rows, columns = (
        count * factor for count, factor in zip(_block_shape(data.shape, factors), factors, strict=True)
    )
    share = np.float32(1 / math.prod(factors))
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is infinite, and refused as such
        for first in range(0, planes, thickness):
            total = data[first, :rows, :columns].astype(np.float32)
            for layer in range(first + 1, first + thickness):
                total += data[layer, :rows, :columns].astype(np.float32)
            for axis, factor in enumerate(in_plane):
                total = _summed(total, factor, axis)
            yield total * share


def _summed(plane: _Float32, factor: int, axis: int) -> _Float32:
    """Sums of `factor` neighbours along an axis."""
    parts = [plane[first::factor] if axis == 0 else plane[:, first::factor] for first in range(factor)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _window(data: _Float32, source: str) -> tuple[float, float]:
    """The grey values that become 0 and 255."""
    low, high = (float(value) for value in np.percentile(data, (0.5, 99.9)))
    bright = data[data > low + _DARK * (high - low)]
    if bright.size:
        high = float(np.percentile(bright, 99.5))
    if not high > low:
        raise RegistrationError(
            f"{source}: nearly all voxels are {low:g}, expected an image with something in it", code="no-contrast"
        )
    return low, high


def _in_8_bits(data: _Float32, window: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = window
    scaled = (data - np.float32(low)) * np.float32(LARGEST / (high - low))
    np.clip(scaled, 0, LARGEST, out=scaled)
    scaled += np.float32(0.5)
    return scaled.astype(np.uint8)


def _finest(data: NDArray[np.generic], affine: NDArray[np.float64], window: tuple[float, float], source: str) -> Level:
    """The image at 1 mm, a plane at a time: in float32 it would be the largest thing in memory."""
    factors = _factors(data.shape, affine, 1)
    voxels = np.empty(_block_shape(data.shape, factors), np.uint8)
    for index, plane in enumerate(_block_planes(data, factors)):
        if not np.isfinite(plane).all():
            raise _not_finite(source)
        voxels[index] = _in_8_bits(plane, window)
    return Level(voxels, _block_affine(affine, factors))


def _not_finite(source: str) -> RegistrationError:
    return RegistrationError(f"{source}: NaN or infinity found, expected finite intensities", code="not-finite")
