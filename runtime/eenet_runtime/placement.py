"""Where the network's box lies in a head: crop or pad, resample, and the way back.

Everything here works in network axes (H, W, D). One axis of a placement is a line `source = offset + scale * index`
from indices of the network's grid to indices of the source grid. With equal voxel sizes `scale` is 1 and `offset`
an integer, so both ways only copy; otherwise both ways interpolate linearly along each axis in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.labels import NUM_CLASSES, Label
from eenet_runtime.presets import GeometryPreset

SPACING_TOLERANCE: Final = 1e-3
"""Relative difference of voxel sizes below which a file is taken to have the preset's spacing."""

Triple = tuple[int, int, int]
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
    def covered(self) -> tuple[slice, slice, slice]:
        """The part of the source volume that the network sees."""
        return self.axes[0].covered, self.axes[1].covered, self.axes[2].covered

    def to_network(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Crop, zero-pad and resample one image, linearly; what lies outside the source is 0.

        Args:
            volume: float32 (H, W, D) in network axes, source grid.

        Returns:
            float32 array of the network's shape.
        """
        result = volume
        for axis, placement in enumerate(self.axes):
            result = _sample_line(result, axis, placement)
        return np.ascontiguousarray(result, dtype=np.float32)

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

    def labels_from_network(self, found: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Classes on the network's grid, put where they belong on a source grid of the same voxel size.

        Args:
            found: uint8 classes (H, W, D) on the network's grid.

        Returns:
            uint8 classes on the source grid, network axes; background outside the network's box.

        Raises:
            ValueError: the voxel sizes differ; labels are never interpolated.
        """
        if self.resamples:
            raise ValueError("the grids differ in voxel size: labels come from interpolated probabilities")
        labels = np.zeros(tuple(axis.source_size for axis in self.axes), dtype=np.uint8)
        inner = tuple(
            slice(part.start - int(axis.offset), part.stop - int(axis.offset))
            for part, axis in zip(self.covered, self.axes, strict=True)
        )
        labels[self.covered] = found[inner]
        return labels

    def labels_from_probabilities(self, probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The most probable class of every source voxel.

        Where voxel sizes differ the class probabilities are interpolated and the maximum is taken afterwards:
        interpolating labels loses thin rims (data.md, paste back). One class at a time is brought to the source
        grid, so no full-size array of all classes is ever made.

        Args:
            probabilities: float32 (H, W, D, classes) on the network's grid.

        Returns:
            uint8 classes on the source grid, network axes; background outside the network's box. Equal
            probabilities go to the lower class.
        """
        if not self.resamples:
            return self.labels_from_network(probabilities.argmax(axis=-1).astype(np.uint8))
        covered = self.covered
        labels = np.zeros(tuple(axis.source_size for axis in self.axes), dtype=np.uint8)
        best = self._interpolated(probabilities[..., 0])
        winner = labels[covered]
        for label in range(1, NUM_CLASSES):
            candidate = self._interpolated(probabilities[..., label])
            better = candidate > best
            winner[better] = label
            np.maximum(best, candidate, out=best)
        return labels

    def _interpolated(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Network-grid values at the covered source voxels; the outermost half voxel repeats the edge."""
        result = values
        for axis, (placement, part) in enumerate(zip(self.axes, self.covered, strict=True)):
            position = (np.arange(part.start, part.stop) - placement.offset) / placement.scale
            position = np.clip(position, 0, placement.network_size - 1)
            lower = np.minimum(position.astype(int), max(placement.network_size - 2, 0))
            weight = (position - lower).astype(np.float32)
            upper = np.minimum(lower + 1, placement.network_size - 1)
            result = _blend(result, axis, lower, upper, 1 - weight, weight)
        return result


def place_box(
    head: tuple[slice, slice, slice], shape: Triple, spacing_mm: tuple[float, ...], preset: GeometryPreset
) -> Placement:
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


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Smallest box that holds every true voxel of a 3D mask; the mask must not be empty."""
    slices = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        slices.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return slices[0], slices[1], slices[2]


def _sample_line(volume: NDArray[np.float32], axis: int, placement: AxisPlacement) -> NDArray[np.float32]:
    """Sample one axis at the network's indices, 0 outside the source."""
    position = placement.offset + placement.scale * np.arange(placement.network_size)
    lower = np.floor(position).astype(int)
    weight = (position - lower).astype(np.float32)
    last = placement.source_size - 1
    below = np.where((lower >= 0) & (lower <= last), 1 - weight, 0).astype(np.float32)
    above = np.where((lower + 1 >= 0) & (lower + 1 <= last), weight, 0).astype(np.float32)
    return _blend(volume, axis, np.clip(lower, 0, last), np.clip(lower + 1, 0, last), below, above)


def _blend(
    volume: NDArray[np.float32],
    axis: int,
    lower: NDArray[np.intp],
    upper: NDArray[np.intp],
    lower_weight: NDArray[np.float32],
    upper_weight: NDArray[np.float32],
) -> NDArray[np.float32]:
    result = np.take(volume, lower, axis=axis) * _along(lower_weight, axis)
    if upper_weight.any():
        result += np.take(volume, upper, axis=axis) * _along(upper_weight, axis)
    return result


def _along(line: NDArray[ScalarT], axis: int) -> NDArray[ScalarT]:
    """A vector shaped so that it broadcasts along one axis of a volume."""
    shape = [1, 1, 1]
    shape[axis] = line.size
    return line.reshape(shape)
