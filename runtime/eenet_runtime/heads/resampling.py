"""Resampling, once: a native series onto the network's grid, and class probabilities back onto the T1ce's own.

Each voxel of the target is the mean of places inside it, each interpolated linearly between the source's voxels. How
many places is decided along each axis of the target: as many as its voxels are longer there than the source's, to the
nearest whole number, spread evenly. Voxels that do not grow are looked at in their centre alone, as linear
interpolation has it; voxels of twice the size whose faces meet the source's (docs/decisions/0005) become the exact
mean of the eight voxels in them; a slice of 5.5 mm becomes the mean of what lies in it, however it is turned.

Grids end at the faces of their outermost voxels: up to there the edge repeats, beyond lies 0, or background.

The compiled package does it where it is installed, NumPy otherwise: the same whole numbers, so the same places.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.backends.native_backend import load_native
from eenet_runtime.errors import BackendError, CaseError
from eenet_runtime.files.nifti import Volume
from eenet_runtime.machine.threads import usable_cpus
from eenet_runtime.volumes.boxes import bounding_box, is_empty
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import Label
from eenet_runtime.volumes.placement import most_probable

Engine = Literal["auto", "native", "numpy"]

_UNIT: Final = 2.0**32
"""Coordinates are whole numbers of 1 / _UNIT voxels: sums of them are exact, in any order."""

_MOST_PLACES: Final = 64
"""Along one axis of a target voxel. A grid whose voxels are 64 times as long is no image of a head."""

_FARTHEST_VOXELS: Final = 2.0**28
"""No target lies farther from the source: coordinates stay far inside 64 bits."""

_HALF: Final = np.int64(_UNIT / 2)

_Coordinates = NDArray[np.int64]


def resample(
    image: Volume, target: Grid, target_to_image: NDArray[np.float64], *, threads: int | None = None
) -> NDArray[np.float32]:
    """Lay an image on another grid, in one interpolation.

    Args:
        image: a 3D volume of any type, in any stored order. Values that are not finite spread to the voxels beside.
        target: the grid to fill.
        target_to_image: float64 (4, 4), world millimetres to world millimetres.
        threads: by default as many as this process may use; they do not change a bit of the result.

    Returns:
        float32 of the target's shape, in its stored order, the first axis the fastest; 0 outside the image.

    Raises:
        CaseError: the grids lie absurdly far apart.
    """
    if image.data.ndim != 3:
        raise CaseError(f"{image.source}: {image.data.ndim} axes found, expected one 3D image", code="not-3d")
    try:
        return resample_array(image.data, image.grid, target, target_to_image, threads=threads)
    except CaseError as error:
        raise CaseError(f"{image.source}: {error}", code=error.code) from error


def resample_array(
    values: NDArray[Any],
    grid: Grid,
    target: Grid,
    target_to_grid: NDArray[np.float64],
    *,
    threads: int | None = None,
    engine: Engine = "auto",
) -> NDArray[np.float32]:
    """As `resample`, for a bare array: a brain mask, or the probabilities of one class.

    Args:
        values: real (X, Y, Z) on `grid`, in any order in memory.
        engine: `auto` for the compiled package where it is there.

    Raises:
        CaseError: the grids lie absurdly far apart.
        BackendError: `native` was asked for and is not there.
    """
    if values.dtype == np.bool_:
        values = values.view(np.uint8)
    places = _Places.of(grid, target, target_to_grid)
    native = _native(engine)
    if native is not None:
        filled: NDArray[np.float32] = native.resample(
            values, places.bases, places.steps, target.shape, threads or usable_cpus()
        )
        return filled
    result = np.empty(target.shape, np.float32, order="F")
    for k in range(target.shape[2]):
        sums = np.zeros(target.shape[:2], np.float32)
        for index, fractions, inside in places.of_slice(k, target.shape, values.shape):
            np.add(sums, _interpolated(values, index, fractions), out=sums, where=inside)
        result[..., k] = sums if places.count == 1 else sums * np.float32(1 / np.float32(places.count))
    return result


def resample_probabilities(
    probabilities: NDArray[np.float32],
    grid: Grid,
    target: Grid,
    target_to_grid: NDArray[np.float64],
    *,
    threads: int | None = None,
    engine: Engine = "auto",
) -> NDArray[np.uint8]:
    """Bring class probabilities to another grid and take the most probable class there.

    Only target voxels near places where background is not the most probable class are looked at: elsewhere it cannot
    lose, for weights are not negative. A few rows at a time are interpolated, of all classes; nothing larger than the
    mask is made.

    Args:
        probabilities: float32 (X, Y, Z, classes) on `grid`, in any order in memory; for the network's (H, W, D,
            classes) the grid is that of `network_grid`.
        target: the grid to fill, such as the T1ce's own.
        target_to_grid: float64 (4, 4), world millimetres to world millimetres.
        threads, engine: see `resample_array`.

    Returns:
        uint8 network classes of the target's shape, in its stored order, the first axis the fastest. Equal
        probabilities go to the lower class; beyond the faces of `grid` there is background.

    Raises:
        CaseError, BackendError: see `resample_array`.
    """
    labels = np.full(target.shape, np.uint8(Label.BACKGROUND), order="F")
    places = _Places.of(grid, target, target_to_grid)
    tumour = bounding_box(most_probable(probabilities) != Label.BACKGROUND)
    box = None if is_empty(tumour) else places.seeing(tumour, target.shape)
    if box is None:
        return labels
    shape = (box[0].stop - box[0].start, box[1].stop - box[1].start, box[2].stop - box[2].start)
    part = places.moved(np.array([side.start for side in box], np.int64))
    native = _native(engine)
    if native is not None:
        labels[box] = native.resample_labels(probabilities, part.bases, part.steps, shape, threads or usable_cpus())
        return labels
    classes = probabilities.shape[3]
    for k in range(shape[2]):
        sums = np.zeros((*shape[:2], classes), np.float32)
        for index, fractions, inside in part.of_slice(k, shape, probabilities.shape[:3]):
            for label in range(classes):
                found = _interpolated(probabilities[..., label], index, fractions)
                np.add(sums[..., label], found, out=sums[..., label], where=inside)
            sums[..., Label.BACKGROUND] += ~inside
        labels[box[0], box[1], box[2].start + k] = most_probable(sums[:, :, np.newaxis])[:, :, 0]
    return labels


@dataclass(frozen=True)
class _Places:
    """Where target voxels look in the source, in units of 1 / `_UNIT` voxels.

    Attributes:
        bases: int64 (count, 3), the places of target voxel (0, 0, 0).
        steps: int64 (3, 3), how far they go with each target axis (a column each).
    """

    bases: _Coordinates
    steps: _Coordinates

    @staticmethod
    def of(grid: Grid, target: Grid, target_to_grid: NDArray[np.float64]) -> _Places:
        """Compose the matrices and spread the places in a voxel."""
        to_source = np.linalg.inv(grid.affine) @ target_to_grid @ target.affine
        corners = np.array([*itertools.product(*((-1, size) for size in target.shape))]).T
        farthest = np.abs(to_source[:3, :3] @ corners + to_source[:3, 3:]).max()
        if not farthest < _FARTHEST_VOXELS:
            raise CaseError(
                f"{target.describe()}: {farthest:.3g} voxels from the image found, expected one head's",
                code="far-apart",
            )
        lengths = np.linalg.norm(to_source[:3, :3], axis=0)
        counts = np.clip(np.floor(lengths + 0.5), 1, _MOST_PLACES).astype(int)
        offsets = [(np.arange(count) + 0.5) / count - 0.5 for count in counts]
        spread = np.array([*itertools.product(*offsets)])
        bases = to_source[:3, 3] + spread @ to_source[:3, :3].T
        return _Places(_whole(bases), _whole(to_source[:3, :3]))

    @property
    def count(self) -> int:
        """Places for each target voxel."""
        return len(self.bases)

    def moved(self, start: _Coordinates) -> _Places:
        """The same for a part of the target that begins at this voxel."""
        return _Places(self.bases + self.steps @ start, self.steps)

    def seeing(self, box: tuple[slice, ...], shape: tuple[int, int, int]) -> tuple[slice, slice, slice] | None:
        """The target voxels of which a place may lie within one source voxel of a box; None where there are none."""
        backwards = np.linalg.inv(self.steps / _UNIT)
        base, reach = self.bases.mean(axis=0) / _UNIT, (self.bases / _UNIT - self.bases.mean(axis=0) / _UNIT)
        beyond = 1 + np.abs(reach).max(axis=0)
        lower = np.array([side.start for side in box]) - beyond
        upper = np.array([side.stop - 1 for side in box]) + beyond
        corners = np.array([*itertools.product(*zip(lower, upper, strict=True))])
        indices = (corners - base) @ backwards.T
        first = np.clip(np.floor(indices.min(axis=0)), 0, shape).astype(int)
        stop = np.clip(np.ceil(indices.max(axis=0)) + 1, 0, shape).astype(int)
        if (first >= stop).any():
            return None
        rows, columns, levels = (slice(int(a), int(b)) for a, b in zip(first, stop, strict=True))
        return rows, columns, levels

    def of_slice(
        self, k: int, shape: tuple[int, ...], source_shape: tuple[int, ...]
    ) -> list[tuple[list[_Coordinates], list[NDArray[np.float32]], NDArray[np.bool_]]]:
        """For each place of the voxels of one target slice: lower neighbours, fractions, whether inside the source."""
        i, j = np.arange(shape[0], dtype=np.int64)[:, np.newaxis], np.arange(shape[1], dtype=np.int64)
        found = []
        for base in self.bases:
            index, fractions = [], []
            inside = np.ones(shape[:2], np.bool_)
            for axis, (start, step) in enumerate(zip(base, self.steps, strict=True)):
                place = start + k * step[2] + (i * step[0] + j * step[1])
                last = np.int64((source_shape[axis] - 1) * int(_UNIT))
                inside &= (place >= -_HALF) & (place <= last + _HALF)
                place = np.clip(place, 0, last)
                index.append(place >> 32)
                # 24 bits, as many as a float holds exactly.
                fractions.append(((place & 0xFFFFFFFF) >> 8).astype(np.float32) * np.float32(2.0**-24))
            found.append((index, fractions, inside))
        return found


def _interpolated(
    values: NDArray[Any], index: list[_Coordinates], fractions: list[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Linear interpolation at some places, along the source's first axis first, as the compiled kernel has it."""
    upper = [np.minimum(lower + 1, size - 1) for lower, size in zip(index, values.shape, strict=True)]
    (x, y, z), (fx, fy, fz) = index, fractions

    def along_x(at_y: _Coordinates, at_z: _Coordinates) -> NDArray[np.float32]:
        return _between(values[x, at_y, at_z], values[upper[0], at_y, at_z], fx)

    near = _between(along_x(y, z), along_x(upper[1], z), fy)
    far = _between(along_x(y, upper[2]), along_x(upper[1], upper[2]), fy)
    return _between(near, far, fz)


def _between(lower: NDArray[Any], upper: NDArray[Any], fraction: NDArray[np.float32]) -> NDArray[np.float32]:
    first = lower.astype(np.float32)
    result: NDArray[np.float32] = first + fraction * (upper.astype(np.float32) - first)
    return result


def _whole(coordinates: NDArray[np.float64]) -> _Coordinates:
    return np.rint(coordinates * _UNIT).astype(np.int64)


def _native(engine: Engine) -> Any:
    """The compiled package; None where NumPy is asked for or is all there is."""
    if engine == "numpy":
        return None
    try:
        native = load_native()
        if not hasattr(native, "resample_labels"):
            raise BackendError("eenet_native is of before resampling; install it again")
    except BackendError:
        if engine == "native":
            raise
        return None
    return native
