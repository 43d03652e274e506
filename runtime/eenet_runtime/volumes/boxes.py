"""Boxes of voxels, and walking through a volume in the order in which it lies in memory.

A NIfTI file's array has its first axis fastest, a network's its last. Whatever reads a whole volume goes through it
slab by slab as it lies there: each slab is used while it is in the processor's cache, and no array of the volume's size
comes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]
"""One slice for each axis, with start and stop, as an index of a volume."""

_SLAB_VOXELS: Final = 1 << 19
"""Voxels of a slab. With one plane of a head at a time two threads took twice as long as one (docs/decisions/0021)."""
_STRIP: Final = 32
"""Cache lines at one distance that the smallest first-level caches still hold."""

_ScalarT = TypeVar("_ScalarT", bound=np.generic)


class Extent:
    """The box that holds all true voxels of a volume, found slab by slab: those of `slabs`, in their order."""

    def __init__(self, volume: NDArray[np.generic]) -> None:
        self._order = _slowest_first(volume)
        slowest, middle, fastest = (volume.shape[axis] for axis in self._order)
        self._along_slowest = np.zeros(slowest, dtype=np.bool_)
        self._plane = np.zeros((middle, fastest), dtype=np.bool_)
        self._passed = 0

    def add(self, slab: NDArray[np.bool_]) -> bool:
        """Take in the next slab; returns whether anything in it is true."""
        planes = slice(self._passed, self._passed + len(slab))
        self._passed = planes.stop
        filled = bool(slab.any())
        if filled:
            self._along_slowest[planes] = slab.any(axis=(1, 2))
            np.logical_or(self._plane, slab.any(axis=0), out=self._plane)
        return filled

    @property
    def box(self) -> Box:
        """The box, in the volume's own axes; empty where nothing was true."""
        found = [slice(0, 0)] * 3
        lines = (self._along_slowest, self._plane.any(axis=1), self._plane.any(axis=0))
        for axis, line in zip(self._order, lines, strict=True):
            filled = np.flatnonzero(line)
            if filled.size:
                found[axis] = slice(int(filled[0]), int(filled[-1]) + 1)
        return found[0], found[1], found[2]


def slabs(volume: NDArray[_ScalarT]) -> Iterator[NDArray[_ScalarT]]:
    """Views of a 3D volume, a few planes each, in the order of memory: (slowest, middle, fastest) axis.

    Large enough that threads seldom wait for the interpreter between two of NumPy's calls, small enough for the cache.
    """
    planes = in_memory_order(volume)
    step = max(1, _SLAB_VOXELS // max(1, planes[:1].size))
    return (planes[first : first + step] for first in range(0, len(planes), step))


def in_memory_order(volume: NDArray[_ScalarT]) -> NDArray[_ScalarT]:
    """A view of a 3D volume with its slowest axis first and its fastest last."""
    return volume.transpose(_slowest_first(volume))


def contiguous(part: NDArray[_ScalarT]) -> NDArray[_ScalarT]:
    """A part of a volume with its last axis fastest, as `ascontiguousarray`, but in strips.

    Where the last axis is the slowest in memory, as in a file turned to the network's axes, each voxel of a line lies
    in another cache line, and hundreds of such lines at fixed distances push one another out of the cache before their
    neighbours are read. Strips of a few voxels stay: half the time on a BraTS volume.

    Args:
        part: a 3D view.
    """
    if part.flags.c_contiguous:
        return part
    result = np.empty(part.shape, dtype=part.dtype)
    for start in range(0, part.shape[2], _STRIP):
        strip = slice(start, start + _STRIP)
        result[..., strip] = part[..., strip]
    return result


def bounding_box(volume: NDArray[np.generic]) -> Box:
    """Smallest box that holds every voxel of a 3D volume that is not 0; empty slices where all are."""
    extent = Extent(volume)
    for slab in slabs(volume):
        extent.add(slab != 0)
    return extent.box


def whole(shape: Sequence[int]) -> Box:
    """The box that holds every voxel of a volume of this shape; axes after the third are left out."""
    return slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])


def is_empty(box: Box) -> bool:
    """Whether no voxel lies in the box."""
    return any(part.stop <= part.start for part in box)


def union(boxes: Sequence[Box]) -> Box:
    """Smallest box that holds all of some boxes, at least one of them and none of them empty."""
    rows, columns, levels = (
        slice(min(part.start for part in parts), max(part.stop for part in parts)) for parts in zip(*boxes, strict=True)
    )
    return rows, columns, levels


def intersection(first: Box, second: Box) -> Box:
    """What two boxes have in common; maybe nothing (`is_empty`)."""
    rows, columns, levels = (
        slice(max(one.start, other.start), min(one.stop, other.stop)) for one, other in zip(first, second, strict=True)
    )
    return rows, columns, levels


def difference(box: Box, inner: Box) -> list[Box]:
    """What is left of a box without its part `inner`: up to six boxes, no voxel in two of them."""
    if is_empty(inner):
        return [box]
    rows, columns, levels = inner
    return [
        *((beside, box[1], box[2]) for beside in _beside(box[0], rows)),
        *((rows, beside, box[2]) for beside in _beside(box[1], columns)),
        *((rows, columns, beside) for beside in _beside(box[2], levels)),
    ]


def shape_of(box: Box) -> tuple[int, int, int]:
    """How many voxels a box has along each axis."""
    rows, columns, levels = (max(part.stop - part.start, 0) for part in box)
    return rows, columns, levels


def _beside(whole: slice, part: slice) -> list[slice]:
    """What of an axis lies on either side of a part of it."""
    sides = (slice(whole.start, part.start), slice(part.stop, whole.stop))
    return [side for side in sides if side.stop > side.start]


def _slowest_first(volume: NDArray[np.generic]) -> tuple[int, int, int]:
    """The axes in order of their strides; axes of one voxel, whose strides say nothing, first."""

    def step(axis: int) -> int:
        return abs(volume.strides[axis]) if volume.shape[axis] > 1 else volume.nbytes

    first, second, third = sorted(range(3), key=step, reverse=True)
    return first, second, third
