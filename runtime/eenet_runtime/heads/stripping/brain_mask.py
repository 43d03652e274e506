"""What every way of stripping a head gives: a mask on a grid of 1 mm, and the figures that tell when it went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.stripping.morphology import closed, edge_of, filled, surface
from eenet_runtime.heads.stripping.working_grid import WorkingGrid
from eenet_runtime.volumes.components import largest_component
from eenet_runtime.volumes.grid import Grid

CLOSING_MM: Final = 3
"""Radius of the ball that closes a mask before its holes are filled: a resection cavity that opens to the surface of
the brain by less than 6 mm becomes a hole, and stays in."""


@dataclass(frozen=True)
class BrainFigures:
    """What tells whether a mask is a brain's; limits are drawn by who uses them.

    Attributes:
        volume_ml: of the mask.
        compactness: 36 pi V^2 / S^3, with the volume V and the number of surface voxels S (one of six neighbours
            outside); good heads have 1.05 to 1.15, a leg 0.75, noise 0.27.
        border_share: share of the mask that lies in the outermost voxels of the T1ce's field of view; 0.014 where the
            upper half of a head was all there was.
        agreement: Dice of what the T1 and the T1ce gave alone, where both look; None where there is one only.
    """

    volume_ml: float
    compactness: float
    border_share: float
    agreement: float | None = None


@dataclass(frozen=True)
class BrainMask:
    """Which voxels are brain.

    Attributes:
        mask: bool (X, Y, Z), True inside the brain's surface, cavities and ventricles with it.
        grid: 1 mm, in the world of the T1ce, its axes along those of the T1ce, stored RAS; it is a little larger than
            the T1ce's field of view.
        figures: what tells when it went wrong.
        source: where it came from, for the report.
    """

    mask: NDArray[np.bool_]
    grid: Grid
    figures: BrainFigures
    source: str


class BrainMasker(Protocol):
    """A way to find the brain in a raw head."""

    def strip(self, t1ce: Volume, t1: Volume | None, t1ce_to_t1: NDArray[np.float64] | None) -> BrainMask:
        """The brain of a case.

        Args:
            t1ce: as the scanner made it.
            t1: of the same patient; None where there is none.
            t1ce_to_t1: float64 (4, 4), a place of the T1ce's world in the T1's, millimetres; None without a T1.

        Raises:
            CaseError: no brain was found, or what was given instead is none.
        """


def clean_mask(brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest component of a mask on 1 mm, closed by `CLOSING_MM`, its holes filled."""
    largest = largest_component(brain)
    return filled(closed(largest, CLOSING_MM)) if largest.any() else largest


def brain_mask(
    mask: NDArray[np.bool_], working: WorkingGrid, agreement: float | None, source: str, image: str
) -> BrainMask:
    """A finished mask with its figures.

    Args:
        mask: bool on the working grid.
        working: that grid.
        agreement: see `BrainFigures`.
        source: where the mask came from, for the report.
        image: the image it belongs to, for messages.

    Raises:
        CaseError: the mask is empty.
    """
    voxels = int(np.count_nonzero(mask))
    if voxels == 0:
        raise CaseError(f"{image}: no brain was found ({source}), expected a head with one", code="no-brain")
    on_surface = int(np.count_nonzero(surface(mask)))
    border = int(np.count_nonzero(mask & edge_of(working.field_of_view, mask.shape)))
    figures = BrainFigures(
        volume_ml=voxels * working.grid.voxel_ml,
        compactness=36 * np.pi * voxels**2 / on_surface**3,
        border_share=border / voxels,
        agreement=agreement,
    )
    return BrainMask(mask, working.grid, figures, source)
