"""Where the network's box lies in a head: crop or pad, resample, and the way back.

Everything here works in network axes (H, W, D). One axis of a placement is a line `source = offset + scale * index`
from indices of the network's grid to indices of the source grid. With equal voxel sizes `scale` is 1 and `offset`
an integer, so both ways only copy; otherwise both ways interpolate linearly along each axis in turn, a few planes at a
time: what is read, weighed and written stays in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.boxes import Box, bounding_box, intersection, is_empty, shape_of
from eenet_runtime.volumes.labels import NUM_CLASSES, Label
from eenet_runtime.volumes.presets import GeometryPreset

SPACING_TOLERANCE: Final = 1e-3
"""Relative difference of voxel sizes below which a file is taken to have the preset's spacing."""

_ROWS: Final = 4
"""Planes along H that are made at a time."""

Triple = tuple[int, int, int]
Reader = Callable[[Box, NDArray[np.float32]], None]
"""Writes the values of a box of the source (network axes) into an array of the same shape, filled with 0."""

ScalarT = TypeVar("ScalarT", bound=np.generic)


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
class Placement:
    """The network's box in one head.

    Attributes:
        axes: the placement along H, W and D.
    """

    axes: tuple[AxisPlacement, AxisPlacement, AxisPlacement]

    @property
    def resamples(self) -> bool:
        """Whether the source has another voxel size than the network."""
        return not all(axis.is_copy for axis in self.axes)

    @property
    def covered(self) -> Box:
        """The part of the source volume that the network sees."""
        return self.axes[0].covered, self.axes[1].covered, self.axes[2].covered

    def to_network(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Crop, zero-pad and resample one image, linearly; what lies outside the source is 0.

        Args:
            volume: float32 (H, W, D) in network axes, source grid.

        Returns:
            float32 array of the network's shape.
        """

        def read(box: Box, out: NDArray[np.float32]) -> None:
            out[...] = volume[box]

        result = np.zeros(tuple(axis.network_size for axis in self.axes), dtype=np.float32)
        self.fill(result, read, (slice(0, volume.shape[0]), slice(0, volume.shape[1]), slice(0, volume.shape[2])))
        return result

    def fill(self, target: NDArray[np.float32], read: Reader, within: Box) -> None:
        """`to_network` without the image as an array: it is asked for a few planes at a time, and only where needed.

        Args:
            target: float32 of the network's shape, filled with 0.
            read: gives a box of the source.
            within: the box of the source, network axes, outside which everything is 0. Only what lies in it, or
                beside it, is asked for.
        """
        rows, columns, levels = (_way_in(axis, part) for axis, part in zip(self.axes, within, strict=True))
        if rows is None or columns is None or levels is None:
            return
        for first in range(0, len(rows.lower), _ROWS):
            block = rows.part(first, first + _ROWS)
            source = (block.source, columns.source, levels.source)
            into = target[block.target, columns.target, levels.target]
            if self.resamples:
                planes = np.zeros(shape_of(source), dtype=np.float32)
                read(source, planes)
                into[...] = _interpolated(planes, (block, columns, levels))
            else:
                read(source, into)

    def labels_to_network(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring a label volume to the network's grid by the nearest voxel; what lies outside is background."""
        result = labels
        for axis, placement in enumerate(self.axes):
            # Half a voxel up, then down to the integer: ties (an even scale) go to the upper voxel, always.
            index = np.floor(placement.offset + placement.scale * np.arange(placement.network_size) + 0.5).astype(int)
            inside = (index >= 0) & (index < placement.source_size)
            taken = np.take(result, np.clip(index, 0, placement.source_size - 1), axis=axis)
            result = np.where(_along(inside, axis), taken, np.uint8(Label.BACKGROUND))
        return np.ascontiguousarray(result)

    def labels_from_network(self, found: NDArray[np.uint8], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Classes on the network's grid, put where they belong on a source grid of the same voxel size.

        Args:
            found: uint8 classes (H, W, D) on the network's grid.
            out: uint8 on the source grid, network axes, filled with background; a fresh array by default.

        Returns:
            `out`: classes on the source grid; background outside the network's box.

        Raises:
            ValueError: the voxel sizes differ; labels are never interpolated.
        """
        if self.resamples:
            raise ValueError("the grids differ in voxel size: labels come from interpolated probabilities")
        labels = self._background() if out is None else out
        # The tumour's box is a small part of the head's, and background lies there already.
        offsets = [int(axis.offset) for axis in self.axes]
        target = intersection(self.covered, _shifted(bounding_box(found), offsets))
        if not is_empty(target):
            labels[target] = found[_shifted(target, [-offset for offset in offsets])]
        return labels

    def values_from_network(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values on the network's grid, brought to the source voxels of `covered`: copied or interpolated linearly.

        Args:
            values: float32 (H, W, D) on the network's grid, such as the probabilities of one class.

        Returns:
            A fresh float32 array of the shape of `covered`, network axes. The outermost half voxel repeats the edge.
        """
        everywhere = (slice(0, values.shape[0]), slice(0, values.shape[1]), slice(0, values.shape[2]))
        rows, columns, levels = (_way_back(axis, part) for axis, part in zip(self.axes, everywhere, strict=True))
        if rows is None or columns is None or levels is None:
            return np.zeros(shape_of(self.covered), dtype=np.float32)
        near = values[rows.source, columns.source, levels.source]
        # A fresh array also where no axis interpolates.
        return np.array(_interpolated(near, (rows, columns, levels)))

    def labels_from_probabilities(
        self, probabilities: NDArray[np.float32], out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """The most probable class of every source voxel.

        Where voxel sizes differ the class probabilities are interpolated and the maximum is taken afterwards:
        interpolating labels loses thin rims (data.md, paste back). Only voxels beside a network voxel in which
        background is not the most probable class are looked at. Elsewhere background cannot lose: weights are not
        negative, and rounded products and sums keep the order of what they are made of.

        Args:
            probabilities: float32 (H, W, D, classes) on the network's grid.
            out: uint8 on the source grid, network axes, filled with background; a fresh array by default.

        Returns:
            `out`: classes on the source grid; background outside the network's box. Equal probabilities go to the
            lower class.
        """
        if not self.resamples:
            return self.labels_from_network(most_probable(probabilities), out)
        labels = self._background() if out is None else out
        tumour = bounding_box(_background_loses(probabilities))
        rows, columns, levels = (_way_back(axis, part) for axis, part in zip(self.axes, tumour, strict=True))
        if rows is None or columns is None or levels is None:
            return labels
        for first in range(0, len(rows.lower), _ROWS):
            block = rows.part(first, first + _ROWS)
            near = probabilities[block.source, columns.source, levels.source]
            candidates = [_interpolated(near[..., label], (block, columns, levels)) for label in Label]
            _let_win(labels[block.target, columns.target, levels.target], candidates)
        return labels

    def _background(self) -> NDArray[np.uint8]:
        return np.zeros(tuple(axis.source_size for axis in self.axes), dtype=np.uint8)


def place_box(head: Box, shape: Triple, spacing_mm: tuple[float, ...], preset: GeometryPreset) -> Placement:
    """Put the preset's box around the centre of a head.

    Args:
        head: bounding box of the head in the source volume, network axes.
        shape: size of the source volume, network axes.
        spacing_mm: its voxel size along H, W and D.
        preset: the network's geometry.

    Returns:
        The placement. The box's outer face falls on a face between source voxels, so a scale of 2 averages whole
        blocks of 8 voxels on the way in. (A larger scale samples: linear interpolation never sees more than two
        voxels of a line.)
    """
    axes = []
    for part, size, spacing, network_size in zip(head, shape, spacing_mm, preset.shape, strict=True):
        scale = preset.spacing_mm / spacing
        if abs(scale - 1) < SPACING_TOLERANCE:
            scale = 1.0
        # Faces are counted from the lower face of source voxel 0; the centre of voxel i lies at i + 0.5.
        # floor(x + 0.5), not round(): Python rounds halves to even, which would jitter by a voxel.
        lower_face = np.floor((part.start + part.stop - network_size * scale) / 2 + 0.5)
        axes.append(AxisPlacement(float(lower_face + scale / 2 - 0.5), scale, size, network_size))
    return Placement((axes[0], axes[1], axes[2]))


def _shifted(box: Box, offsets: Sequence[int]) -> Box:
    rows, columns, levels = (
        slice(part.start + offset, part.stop + offset) for part, offset in zip(box, offsets, strict=True)
    )
    return rows, columns, levels


def most_probable(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The class with the largest probability, the lower number of equals.

    As `argmax` over the last axis, which is slow where that axis is the slowest in memory, as engines leave it.

    Args:
        probabilities: float32 (H, W, D, classes), finite.

    Returns:
        uint8 (H, W, D).
    """
    labels = np.zeros(probabilities.shape[:3], dtype=np.uint8)
    for row, winner in zip(probabilities, labels, strict=True):
        _let_win(winner, [row[..., label] for label in range(row.shape[-1])])
    return labels


def _let_win(winner: NDArray[np.uint8], candidates: Sequence[NDArray[np.float32]]) -> None:
    """Write the number of the largest of some candidates where it is not the first; the lower number of equals."""
    best = candidates[0].copy()
    for label, candidate in enumerate(candidates[1:], start=1):
        np.copyto(winner, np.uint8(label), where=candidate > best)
        np.maximum(best, candidate, out=best)


def _background_loses(probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels in which another class is more probable than background."""
    background = probabilities[..., Label.BACKGROUND]
    loses = probabilities[..., 1] > background
    for label in range(2, NUM_CLASSES):
        np.logical_or(loses, probabilities[..., label] > background, out=loses)
    return loses


@dataclass(frozen=True)
class _Sampling:
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

    def part(self, first: int, stop: int) -> _Sampling:
        """Some consecutive target indices, counted from the first one here."""
        lower, upper = self.lower[first:stop], self.upper[first:stop]
        start = self.target.start + first
        return _Sampling(
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
        result *= _along(self.lower_weight, axis)
        if self.upper_weight.any():
            other = np.take(planes, self.upper - self.source.start, axis=axis)
            other *= _along(self.upper_weight, axis)
            result += other
        return result


def _way_in(placement: AxisPlacement, within: slice) -> _Sampling | None:
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
    return _Sampling(slice(int(lower[0]), int(upper[-1]) + 1), target, lower, upper, lower_weight, upper_weight)


def _way_back(placement: AxisPlacement, beside: slice) -> _Sampling | None:
    """How the covered source indices sample the network's grid, where they lie beside a part of it.

    The outermost half voxel of the network repeats its edge.
    """
    covered = placement.covered
    position = (np.arange(covered.start, covered.stop) - placement.offset) / placement.scale
    position = np.clip(position, 0, placement.network_size - 1)
    lower = np.minimum(position.astype(np.intp), max(placement.network_size - 2, 0))
    upper = np.minimum(lower + 1, placement.network_size - 1)
    touching = np.flatnonzero((upper >= beside.start) & (lower < beside.stop))
    if touching.size == 0:
        return None
    chosen = slice(int(touching[0]), int(touching[-1]) + 1)
    weight = (position - lower).astype(np.float32)[chosen]
    lower, upper = lower[chosen], upper[chosen]
    target = slice(covered.start + chosen.start, covered.start + chosen.stop)
    return _Sampling(slice(int(lower[0]), int(upper[-1]) + 1), target, lower, upper, 1 - weight, weight)


def _interpolated(planes: NDArray[np.float32], samplings: Sequence[_Sampling]) -> NDArray[np.float32]:
    """Interpolate along each axis in turn."""
    for axis, sampling in enumerate(samplings):
        planes = sampling.blend(planes, axis)
    return planes


def _along(line: NDArray[ScalarT], axis: int) -> NDArray[ScalarT]:
    """A vector shaped so that it broadcasts along one axis of a volume."""
    shape = [1, 1, 1]
    shape[axis] = line.size
    return line.reshape(shape)
