"""Where the network's box lies in a head: crop or pad, resample, and the way back.

Everything here works in network axes (H, W, D). One axis of a placement is a line `source = offset + scale * index`
from indices of the network's grid to indices of the source grid. With equal voxel sizes `scale` is 1 and `offset`
an integer, so both ways only copy; otherwise both ways interpolate linearly along each axis in turn
(`eenet_runtime.volumes.sampling`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.boxes import Box, bounding_box, intersection, is_empty, shape_of, whole
from eenet_runtime.volumes.labels import NUM_CLASSES, Label
from eenet_runtime.volumes.presets import GeometryPreset
from eenet_runtime.volumes.sampling import AxisPlacement, along_axes, broadcast_along, interpolated, way_back, way_in

SPACING_TOLERANCE: Final = 1e-3
"""Relative difference of voxel sizes below which a file is taken to have the preset's spacing."""

_PLANES_AT_A_TIME: Final = 4
"""Planes along H, so that what is read, weighed and written stays in the processor's cache."""

Reader = Callable[[Box, NDArray[np.float32]], None]
"""Writes the values of a box of the source (network axes) into an array of the same shape, filled with 0."""


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
        self.fill(result, read, whole(volume.shape))
        return result

    def fill(self, target: NDArray[np.float32], read: Reader, within: Box) -> None:
        """`to_network` without the image as an array: it is asked for a few planes at a time, and only where needed.

        Args:
            target: float32 of the network's shape, filled with 0.
            read: gives a box of the source.
            within: the box of the source, network axes, outside which everything is 0. Only what lies in it, or
                beside it, is asked for.
        """
        samplings = along_axes(way_in, self.axes, within)
        if samplings is None:
            return
        rows, columns, levels = samplings
        for first in range(0, len(rows.lower), _PLANES_AT_A_TIME):
            block = rows.part(first, first + _PLANES_AT_A_TIME)
            source = (block.source, columns.source, levels.source)
            into = target[block.target, columns.target, levels.target]
            if self.resamples:
                planes = np.zeros(shape_of(source), dtype=np.float32)
                read(source, planes)
                into[...] = interpolated(planes, (block, columns, levels))
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
            result = np.where(broadcast_along(inside, axis), taken, np.uint8(Label.BACKGROUND))
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
        samplings = along_axes(way_back, self.axes, whole(values.shape))
        if samplings is None:
            return np.zeros(shape_of(self.covered), dtype=np.float32)
        rows, columns, levels = samplings
        near = values[rows.source, columns.source, levels.source]
        # A fresh array also where no axis interpolates.
        return np.array(interpolated(near, samplings))

    def labels_from_probabilities(
        self, probabilities: NDArray[np.float32], out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """The most probable class of every source voxel.

        Where voxel sizes differ the class probabilities are interpolated and the maximum is taken afterwards:
        interpolating labels loses thin rims (docs/data.md, "Out of the network"). Only voxels beside a network voxel
        in which background is not the most probable class are looked at. Elsewhere background cannot lose: weights
        are not negative, and rounded products and sums keep the order of what they are made of.

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
        tumour = tumour_box(probabilities)
        samplings = along_axes(way_back, self.axes, tumour)
        if samplings is None:
            return labels
        rows, columns, levels = samplings
        for first in range(0, len(rows.lower), _PLANES_AT_A_TIME):
            block = rows.part(first, first + _PLANES_AT_A_TIME)
            near = probabilities[block.source, columns.source, levels.source]
            candidates = [interpolated(near[..., label], (block, columns, levels)) for label in Label]
            overwrite_with_winner(labels[block.target, columns.target, levels.target], candidates)
        return labels

    def _background(self) -> NDArray[np.uint8]:
        return np.zeros(tuple(axis.source_size for axis in self.axes), dtype=np.uint8)


def place_box(
    head: Box, shape: tuple[int, int, int], spacing_mm: tuple[float, ...], preset: GeometryPreset
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
        overwrite_with_winner(winner, [row[..., label] for label in range(row.shape[-1])])
    return labels


def tumour_box(probabilities: NDArray[np.float32]) -> Box:
    """The box of the network's grid outside which background is the most probable class.

    Args:
        probabilities: float32 (H, W, D, classes).
    """
    return bounding_box(_background_loses(probabilities))


def overwrite_with_winner(winner: NDArray[np.uint8], candidates: Sequence[NDArray[np.float32]]) -> None:
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
