"""One axis at a time: which voxels of one grid a voxel of another lies between, and interpolation along it.

Linear interpolation in three dimensions is three interpolations along one axis each. `way_in` samples the source for
the network's grid, `way_back` the network's grid for the source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.boxes import Box

_ScalarT = TypeVar("_ScalarT", bound=np.generic)


@dataclass(frozen=True)
class AxisPlacement:
    """One axis of a placement.

    Attributes:
        offset: source index of the network's index 0.
        scale: source voxels for each network voxel.
        source_size, network_size: length of the axis on either side.
    """

    offset: float
    scale: float
    source_size: int
    network_size: int

    @property
    def is_copy(self) -> bool:
        """Whether no interpolation is needed."""
        return self.scale == 1.0

    @property
    def covered(self) -> slice:
        """Source indices whose centres lie inside the network's box."""
        lower = int(np.ceil(self.offset - self.scale / 2))
        upper = int(np.ceil(self.offset + (self.network_size - 0.5) * self.scale))
        return slice(min(max(lower, 0), self.source_size), max(min(upper, self.source_size), 0))


@dataclass(frozen=True)
class Sampling:
    """One axis of a volume that is interpolated, or of a part of it.

    Attributes:
        source: the indices that are read.
        target: the indices that are written.
        lower, upper: for each target index the two source indices between which it lies, ascending.
        lower_weight, upper_weight: float32, their weights.
    """

    source: slice
    target: slice
    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    lower_weight: NDArray[np.float32]
    upper_weight: NDArray[np.float32]

    def part(self, first: int, stop: int) -> Sampling:
        """Some consecutive target indices, counted from the first one here."""
        lower, upper = self.lower[first:stop], self.upper[first:stop]
        start = self.target.start + first
        return Sampling(
            source=slice(int(lower[0]), int(upper[-1]) + 1),
            target=slice(start, start + len(lower)),
            lower=lower,
            upper=upper,
            lower_weight=self.lower_weight[first:stop],
            upper_weight=self.upper_weight[first:stop],
        )

    @property
    def is_copy(self) -> bool:
        """Whether every source index gives one target index, and in full."""
        whole = len(self.lower) == self.source.stop - self.source.start and not self.upper_weight.any()
        return whole and bool((self.lower_weight == 1).all())

    def blend(self, planes: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """Interpolate along one axis, on which `planes` holds exactly the source indices."""
        if self.is_copy:
            return planes
        result: NDArray[np.float32] = np.take(planes, self.lower - self.source.start, axis=axis)
        result *= broadcast_along(self.lower_weight, axis)
        if self.upper_weight.any():
            other = np.take(planes, self.upper - self.source.start, axis=axis)
            other *= broadcast_along(self.upper_weight, axis)
            result += other
        return result


def way_in(placement: AxisPlacement, within: slice) -> Sampling | None:
    """How the network's indices sample the source where they touch a part of it; 0 outside the source."""
    position = placement.offset + placement.scale * np.arange(placement.network_size)
    lower, upper = np.floor(position).astype(np.intp), np.ceil(position).astype(np.intp)
    touching = np.flatnonzero((upper >= within.start) & (lower < within.stop))
    if touching.size == 0:
        return None
    target = slice(int(touching[0]), int(touching[-1]) + 1)
    lower, upper = lower[target], upper[target]
    weight = (position[target] - lower).astype(np.float32)
    last = placement.source_size - 1
    lower_weight = np.where((lower >= 0) & (lower <= last), 1 - weight, 0).astype(np.float32)
    upper_weight = np.where((upper >= 0) & (upper <= last), weight, 0).astype(np.float32)
    lower, upper = np.clip(lower, 0, last), np.clip(upper, 0, last)
    return Sampling(slice(int(lower[0]), int(upper[-1]) + 1), target, lower, upper, lower_weight, upper_weight)


def way_back(placement: AxisPlacement, beside: slice) -> Sampling | None:
    """How the covered source indices sample the network's grid, where they lie beside a part of it.

    The outermost half voxel of the network repeats its edge.
    """
    covered = placement.covered
    position = (np.arange(covered.start, covered.stop) - placement.offset) / placement.scale
    position = np.clip(position, 0, placement.network_size - 1)
    lower = position.astype(np.intp)
    upper = np.minimum(lower + 1, placement.network_size - 1)
    touching = np.flatnonzero((upper >= beside.start) & (lower < beside.stop))
    if touching.size == 0:
        return None
    chosen = slice(int(touching[0]), int(touching[-1]) + 1)
    weight = (position - lower).astype(np.float32)[chosen]
    lower, upper = lower[chosen], upper[chosen]
    target = slice(covered.start + chosen.start, covered.start + chosen.stop)
    return Sampling(slice(int(lower[0]), int(upper[-1]) + 1), target, lower, upper, 1 - weight, weight)


def along_axes(
    way: Callable[[AxisPlacement, slice], Sampling | None], axes: Sequence[AxisPlacement], box: Box
) -> tuple[Sampling, Sampling, Sampling] | None:
    """`way_in` or `way_back` for the three axes of a box; None where one of them touches nothing of it."""
    rows, columns, levels = (way(axis, part) for axis, part in zip(axes, box, strict=True))
    if rows is None or columns is None or levels is None:
        return None
    return rows, columns, levels


def interpolated(planes: NDArray[np.float32], samplings: Sequence[Sampling]) -> NDArray[np.float32]:
    """A volume interpolated along each axis in turn; the volume itself where every axis is copied."""
    for axis, sampling in enumerate(samplings):
        planes = sampling.blend(planes, axis)
    return planes


def broadcast_along(line: NDArray[_ScalarT], axis: int) -> NDArray[_ScalarT]:
    """A vector shaped so that it broadcasts along one axis of a volume."""
    shape = [1, 1, 1]
    shape[axis] = line.size
    return line.reshape(shape)
