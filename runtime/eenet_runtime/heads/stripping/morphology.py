"""Closing and filling masks on a grid of 1 mm, without a package for it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.boxes import Box, bounding_box
from eenet_runtime.volumes.components import FACES, components

_SIX: Final = tuple((axis, step) for axis in range(3) for step in (-1, 1))


def closed(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """A mask closed by a ball: grown by its radius, and shrunk again.

    The mask grows beyond the volume's faces, too, so that none of it is lost there.

    Args:
        mask: bool (X, Y, Z).
        radius: of the ball, in voxels.
    """
    box = bounding_box(mask)
    grown = np.pad(mask[box], 2 * radius + 1)
    grown = ~_grown(~_grown(grown, radius), radius)
    result = mask.copy()
    result[box] |= grown[(slice(2 * radius + 1, -2 * radius - 1),) * 3]
    # The ball also closes what lies outside the mask's box by no voxel: a closed mask never leaves its box.
    return result


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask with its holes: what is not reached from outside through voxels that touch by a face."""
    box = bounding_box(mask)
    outside, _ = components(np.pad(~mask[box], 1, constant_values=True), FACES)
    result = mask.copy()
    result[box] = outside[1:-1, 1:-1, 1:-1] != outside[0, 0, 0]
    return result


def surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of a mask of which one of the six neighbours is not in it; the volume's faces count as outside."""
    padded = np.pad(mask, 1)
    inside = mask.copy()
    for axis, step in _SIX:
        window = [slice(1, -1)] * 3
        window[axis] = slice(1 + step, padded.shape[axis] - 1 + step)
        inside &= padded[tuple(window)]
    return np.asarray(mask & ~inside)


def _grown(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """A mask grown by a ball: of each line of it through x and y, the mask grown along z by the line's half length."""
    halves = {
        (x, y): int(np.sqrt(radius**2 - x**2 - y**2))
        for x in range(-radius, radius + 1)
        for y in range(-radius, radius + 1)
        if x**2 + y**2 <= radius**2
    }
    along = {0: mask}
    for half in range(1, radius + 1):
        longer = along[half - 1].copy()
        longer[:, :, half:] |= mask[:, :, :-half]
        longer[:, :, :-half] |= mask[:, :, half:]
        along[half] = longer
    result = mask.copy()
    for (x, y), half in halves.items():
        result[_window(x), _window(y)] |= along[half][_window(-x), _window(-y)]
    return result


def _window(step: int) -> slice:
    """The part of an axis that a shift by so many voxels writes to."""
    return slice(step, None) if step >= 0 else slice(None, step)


def edge_of(box: Box, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """The outermost voxels of a box in a volume of some shape, bool."""
    edge = np.zeros(shape, np.bool_)
    edge[box] = True
    inner = tuple(slice(part.start + 1, part.stop - 1) for part in box)
    edge[inner] = False
    return edge
