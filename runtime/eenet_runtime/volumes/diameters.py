"""The two diameters of a flat lesion: the longest straight line in its outline, and the longest across that.

Every point is a pair of voxel indices (row, column) of a slice; lengths are millimetres in the world.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import cc3d
import numpy as np
from numpy.typing import NDArray

_FINE: Final = 4
"""Points along a voxel's side at which it is looked up whether a line is still inside."""
_INSIDE: Final = 0.25
_EDGE: Final = 0.5
_CHUNK: Final = 256
_MOST_ENDS: Final = 400
"""Twice as many take four times as long: a mask as ragged as noise must not take minutes."""
_DIRECTIONS: Final = 32

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Cross:
    """Two lines at right angles in one slice.

    Attributes:
        longest_mm, perpendicular_mm: their lengths; the second is 0 where nothing enhances on either side.
        longest, perpendicular: float64 (2, 2), the ends of each as (row, column).
    """

    longest_mm: float
    perpendicular_mm: float
    longest: Points
    perpendicular: Points


class FlatLesion:
    """A lesion in one slice.

    Its outline runs half-way between a voxel's centre and that of a neighbour beyond, so that a lesion of n voxels in a
    row is n voxels long. A line is inside the outline if, at every quarter of a voxel along it, the voxels about the
    point are the lesion's by a quarter or more (bilinear): a line may graze the steps of an edge, and no line crosses a
    gap of a voxel.
    """

    def __init__(self, enhancing: NDArray[np.bool_], body: NDArray[np.bool_], columns_mm: NDArray[np.float64]) -> None:
        """Look at a slice.

        Args:
            enhancing: bool (rows, columns): where lines may end.
            body: bool, the same and what else lines may run through; what either encloses counts, too.
            columns_mm: float64 (2, 2): a step along the rows' axis and one along the columns', in millimetres, as
                columns of a matrix.
        """
        self._mm = columns_mm
        # One voxel more on each side, so that an outline is an outline at the border of the picture, too.
        self._rim = filled(np.pad(enhancing, 1))
        self._body = np.pad(body | enhancing, 1)
        self._ends = _edge_points(self._rim)
        self._places = self._ends @ columns_mm.T

    @cached_property
    def _inside(self) -> NDArray[np.bool_]:
        return _fine_map(filled(self._body), _INSIDE)

    @property
    def bound_mm(self) -> float:
        """No line in the lesion is longer."""
        if not len(self._ends):
            return 0.0
        angles = np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS
        along = self._places @ np.array([np.cos(angles), np.sin(angles)])
        return float(np.ptp(along, axis=0).max() / np.cos(np.pi / _DIRECTIONS / 2))

    def longest(self, more_than_mm: float = 0.0) -> tuple[float, Points] | None:
        """The longest line between two points of the enhancing rim that stays inside; None if none is longer than that.

        Of several as long, the first in the order of rows. Of a rim with more than `_MOST_ENDS` points, one for each
        few voxels is tried, and then all about the line that was found: it may miss the longest by a voxel or two.
        """
        thinned, cell = _thinned(self._ends)
        found = self._longest_between(thinned, more_than_mm)
        if found is None or cell == 1:
            return found
        apart = np.linalg.norm(self._ends[None] - (found[1] + 1.0)[:, None], axis=2).min(axis=0)
        return self._longest_between(self._ends[apart <= 2 * cell], found[0]) or found

    def _longest_between(self, ends: Points, more_than_mm: float) -> tuple[float, Points] | None:
        for first, second in self._pairs(ends, more_than_mm):
            good = np.flatnonzero(self._stays_inside(first, second))
            if good.size:
                line = np.stack([first[good[0]], second[good[0]]])
                return self._length(line), line - 1.0
        return None

    def across(self, longest: Points) -> tuple[float, Points]:
        """The longest line at right angles to a line, which it crosses, that stays inside and ends where it enhances.

        Of several as long, the one in their middle.
        """
        start, stop = longest + 1.0
        to_indices = np.linalg.inv(self._mm)
        line_mm = self._mm @ (stop - start)
        length = float(np.linalg.norm(line_mm))
        normal = to_indices @ (np.array([-line_mm[1], line_mm[0]]) / length)
        step = float(np.linalg.norm(self._mm, axis=0).min()) / _FINE
        feet = start + np.linspace(0, 1, max(2, round(length / step)))[:, None] * (stop - start)
        steps = np.arange(0, round(self.bound_mm / step) + 2) * step
        edge = _fine_map(self._rim, _EDGE)
        reach = []
        for side in (1.0, -1.0):
            points = feet[:, None] + side * steps[None, :, None] * normal
            inside = np.logical_and.accumulate(_looked_up(self._inside, points), axis=1)
            reach.append(_outermost(inside & _looked_up(edge, points)) * step)
        # A side without anything that enhances ends where the other begins: at no line at all, or in the line itself.
        there = np.isfinite(reach[0]) & np.isfinite(reach[1])
        lengths = np.where(there, reach[0] + reach[1], 0.0)
        longest_of_all = np.flatnonzero(lengths >= lengths.max() - 1e-9)
        best = int(longest_of_all[len(longest_of_all) // 2])
        if not there.any():
            return 0.0, np.stack([feet[best], feet[best]]) - 1.0
        ends = feet[best] + np.outer([reach[0][best], -reach[1][best]], normal)
        return float(lengths[best]), ends - 1.0

    def _length(self, ends: Points) -> float:
        return float(np.linalg.norm(self._mm @ (ends[1] - ends[0])))

    def _pairs(self, ends: Points, more_than_mm: float) -> Iterator[tuple[Points, Points]]:
        """Pairs of ends whose line is inside at its quarters, the farthest apart first, in chunks."""
        if len(ends) < 2:
            return
        places = ends @ self._mm.T
        square = np.zeros((len(ends), len(ends)))
        for axis in range(2):
            square += np.subtract.outer(places[:, axis], places[:, axis]) ** 2
        square = np.triu(square, 1)
        above, least = float(square.max()) + 1.0, more_than_mm**2
        while above > least:
            # Seldom more than the first band is needed: sorting all pairs would take longer than all the rest.
            below = max(above * 0.8, least) if above > 1e-9 else least
            pairs = np.argwhere((square <= above) & (square > below))
            for part in (0.5, 0.25, 0.75):
                first, second = ends[pairs[:, 0]], ends[pairs[:, 1]]
                pairs = pairs[_looked_up(self._inside, first + part * (second - first))]
            order = np.argsort(-square[pairs[:, 0], pairs[:, 1]], kind="stable")
            for begin in range(0, len(order), _CHUNK):
                chosen = pairs[order[begin : begin + _CHUNK]]
                yield ends[chosen[:, 0]], ends[chosen[:, 1]]
            above = below

    def _stays_inside(self, starts: Points, stops: Points) -> NDArray[np.bool_]:
        """Whether lines are inside all along; middles first, for most bad lines fail there."""
        good = np.ones(len(starts), np.bool_)
        left = np.arange(len(starts))
        farthest = float(np.abs(stops - starts).max())
        for level in range(1, 1 + int(np.ceil(np.log2(_FINE * farthest + 1)))):
            parts = np.arange(1, 2**level, 2) / 2**level
            lines = stops[left] - starts[left]
            points = starts[left][:, None] + parts[None, :, None] * lines[:, None]
            here = _looked_up(self._inside, points).all(axis=1)
            good[left[~here]] = False
            left = left[here]
            if not left.size:
                break
        return good


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A flat mask and what it encloses: what no way over voxels' sides leads to from the picture's first corner."""
    outside = cc3d.connected_components(np.ascontiguousarray(~mask), connectivity=4, binary_image=True)
    return np.asarray(outside != outside[0, 0])


def _edge_points(mask: NDArray[np.bool_]) -> Points:
    """Half-way points between voxels of a mask and neighbours beyond it, in the order of rows."""
    found = []
    for step in ((-1, 0), (0, -1), (0, 1), (1, 0)):
        beyond = ~np.roll(mask, (-step[0], -step[1]), axis=(0, 1))
        found.append(np.argwhere(mask & beyond) + np.array(step) / 2)
    points = np.concatenate(found)
    return points[np.lexsort((points[:, 1], points[:, 0]))]


def _thinned(points: Points) -> tuple[Points, int]:
    """At most `_MOST_ENDS` points or so, one for each square of voxels; and the side of the squares."""
    cell, kept = 1, points
    while len(kept) > _MOST_ENDS:
        cell += 1
        kept = points[np.unique(points.astype(np.intp) // cell, axis=0, return_index=True)[1]]
    return kept, cell


def _fine_map(mask: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Where linear interpolation of a mask gives at least a share, at every quarter of a voxel along both axes."""
    values = mask.astype(np.float32)
    parts = (np.arange(_FINE) / _FINE).astype(np.float32)
    for axis in range(2):
        values = np.moveaxis(values, axis, 0)
        ahead = np.concatenate([values[1:], values[-1:]])
        between = values[:, None] + parts[None, :, None] * (ahead - values)[:, None]
        values = np.moveaxis(between.reshape(-1, values.shape[1]), 0, axis)
    return np.asarray(values >= share)


def _looked_up(fine: NDArray[np.bool_], points: Points) -> NDArray[np.bool_]:
    """The nearest value of a fine map, at points (..., 2) in voxels; what lies outside of it is False."""
    rows, columns = np.moveaxis(np.rint(points * _FINE).astype(np.intp), -1, 0)
    there = (rows >= 0) & (columns >= 0) & (rows < fine.shape[0]) & (columns < fine.shape[1])
    return np.asarray(there & fine[np.where(there, rows, 0), np.where(there, columns, 0)])


def _outermost(true: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The index of the last true value of each row; NaN where there is none."""
    last = true.shape[1] - 1 - true[:, ::-1].argmax(axis=1)
    return np.where(true.any(axis=1), last, np.nan)
