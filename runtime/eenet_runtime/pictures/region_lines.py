"""The outlines of the three regions, as every picture of a mask draws them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.pictures.panels import border
from eenet_runtime.volumes.labels import Region

REGIONS: Final = (Region.WT, Region.TC, Region.ET)
"""The outlined regions, from the outer to the inner one."""


def region_lines(classes: NDArray[np.uint8], width: int, dash: int) -> NDArray[np.uint8]:
    """Which pixels the outlines cover.

    Lines run just outside of the regions, so that they cover nothing of what they enclose; where several run together
    they take turns.

    Args:
        classes: uint8 network classes, (rows, columns), in the picture's own pixels.
        width: of a line, in pixels.
        dash: pixels for which one of several lines is seen.

    Returns:
        uint8 (rows, columns): 1 + the index of a region of `REGIONS`, or 0.
    """
    drawn = np.stack([border(region.mask(classes), width) for region in REGIONS])
    together = drawn.sum(axis=0, dtype=np.uint8)
    turn = np.add.outer(np.arange(classes.shape[0]), np.arange(classes.shape[1])) // dash % np.maximum(together, 1)
    lines = np.zeros(classes.shape, np.uint8)
    for region, (mine, place) in enumerate(zip(drawn, drawn.cumsum(axis=0, dtype=np.uint8), strict=True), start=1):
        lines[mine & (place - 1 == turn)] = region
    return lines
