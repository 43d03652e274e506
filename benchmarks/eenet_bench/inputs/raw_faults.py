"""Raw cases that are wrong in a known way: what the doubts about registration and strip are measured on.

Everything is done to a sound case in memory; no file is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.files.nifti import Volume
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import Modality

Series = Mapping[Modality, Volume]

SLICE_FACTOR: Final = 1.3
"""By which a slice distance is wrong."""
_KEPT: Final = 0.55
"""Share of a head's slices that is left of half a head."""


@dataclass(frozen=True)
class RawFault:
    """One way to spoil a case.

    Attributes:
        name: what it is, for tables.
        apply: makes the wrong case of a sound one and of another patient's.
        is_wrong: whether the case should be refused or warned about.
    """

    name: str
    apply: Callable[[Series, Series, np.random.Generator], Series]
    is_wrong: bool = True


def _with(series: Series, modality: Modality, volume: Volume) -> Series:
    return {**series, modality: volume}


def _of_another(modality: Modality) -> Callable[[Series, Series, np.random.Generator], Series]:
    return lambda series, other, rng: _with(series, modality, other[modality])


def _mirrored(series: Series, other: Series, rng: np.random.Generator) -> Series:
    """The T2's voxels the other way round along the axis that is nearest to left-right; its header as before."""
    volume = series[Modality.T2]
    axis = int(np.abs(volume.grid.affine[0, :3]).argmax())
    return _with(series, Modality.T2, replace(volume, data=np.flip(volume.data, axis)))


def _stretched(series: Series, other: Series, rng: np.random.Generator) -> Series:
    volume = series[Modality.T2]
    affine = volume.grid.affine.copy()
    affine[:3, int(np.argmax(volume.grid.spacing_mm))] *= SLICE_FACTOR
    return _with(series, Modality.T2, replace(volume, grid=Grid(volume.grid.shape, affine)))


def _legs(series: Series, other: Series, rng: np.random.Generator) -> Series:
    """Every series shows a cylinder with a bright bone in it."""
    return {name: replace(volume, data=_cylinder(volume.grid, rng)) for name, volume in series.items()}


def _cylinder(grid: Grid, rng: np.random.Generator) -> NDArray[np.int16]:
    x, y, z = np.meshgrid(*(np.arange(size) for size in grid.shape), indexing="ij", sparse=True)
    centre = grid.affine[:3, :3] @ (np.array(grid.shape) / 2) + grid.affine[:3, 3]
    across = [grid.affine[axis, 0] * x + grid.affine[axis, 1] * y + grid.affine[axis, 2] * z for axis in (0, 1)]
    radius = np.hypot(*(line + grid.affine[axis, 3] - centre[axis] for axis, line in enumerate(across)))
    signal = np.where(radius < 70, 400, 10) + np.where(radius < 16, -300, 0) + np.where(radius < 10, 500, 0)
    return np.asarray(signal + rng.normal(0, 15, grid.shape)).clip(0).astype(np.int16)


def _noise(series: Series, other: Series, rng: np.random.Generator) -> Series:
    volume = series[Modality.T2]
    return _with(series, Modality.T2, replace(volume, data=rng.integers(0, 500, volume.grid.shape, dtype=np.int16)))


def _upside_down(series: Series, other: Series, rng: np.random.Generator) -> Series:
    """Every header says that the head stands on its vertex."""
    turn = np.diag([1.0, -1.0, -1.0, 1.0])
    return {
        name: replace(volume, grid=Grid(volume.grid.shape, turn @ volume.grid.affine))
        for name, volume in series.items()
    }


def _half(series: Series, other: Series, rng: np.random.Generator) -> Series:
    """Every series ends below the vertex's half of the head."""
    return {name: _upper_part(volume) for name, volume in series.items()}


def _upper_part(volume: Volume) -> Volume:
    axis = int(np.abs(volume.grid.affine[2, :3]).argmax())
    size = volume.grid.shape[axis]
    kept = int(size * _KEPT)
    first = size - kept if volume.grid.affine[2, axis] > 0 else 0
    data = np.take(volume.data, range(first, first + kept), axis=axis)
    affine = volume.grid.affine.copy()
    affine[:3, 3] += affine[:3, axis] * first
    return replace(volume, data=data, grid=Grid((data.shape[0], data.shape[1], data.shape[2]), affine))


def _ct(series: Series, other: Series, rng: np.random.Generator) -> Series:
    """The T1 has a CT's values: air far below 0, soft tissue of nearly one value, and what was dark near air bright."""
    volume = series[Modality.T1]
    values: NDArray[Any] = np.asarray(volume.data, dtype=np.float32)
    bright = np.percentile(values, 95)
    tissue = 30 + 8 * values / max(bright, 1)
    ct = np.where(values < 0.12 * bright, -1000, np.where(values > bright, 700, tissue))
    return _with(series, Modality.T1, replace(volume, data=ct.astype(np.int16)))


FAULTS: Final = (
    RawFault("as it is", lambda series, other, rng: series, is_wrong=False),
    RawFault("another patient's t1", _of_another(Modality.T1)),
    RawFault("another patient's t2", _of_another(Modality.T2)),
    RawFault("another patient's flair", _of_another(Modality.FLAIR)),
    RawFault("t2 mirrored", _mirrored),
    RawFault(f"t2's slice distance x {SLICE_FACTOR:g}", _stretched),
    RawFault("legs", _legs),
    RawFault("t2 of noise", _noise),
    RawFault("upside down", _upside_down),
    RawFault("half a head", _half),
    RawFault("t1 like a ct", _ct),
)
"""What is done to every case; a stripped series among others is made by `raw_checks`, which has the brain mask."""
