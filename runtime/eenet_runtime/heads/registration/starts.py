"""Where the search begins: three guesses of the position, each with 27 orientations."""

from __future__ import annotations

import itertools
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.heads.registration.pyramid import Pyramid
from eenet_runtime.heads.registration.rigid import RADIUS_MM, Parameters

_ANGLES: Final = (-18.0, 0.0, 18.0)
"""Degrees about each axis. Each start finds its way back from about 40 degrees, so together they reach past 60."""


def starting_points(fixed: Pyramid, moving: Pyramid) -> list[Parameters]:
    """Parameters of `rigid_matrix` about the fixed image's mass centre.

    Positions bring the mass centres together, or the middles of the fields of view, or leave the images where their
    headers say they are: with a slab both centres mislead, and the header is often right.
    """
    shifts: list[NDArray[np.float64]] = [
        moving.mass_centre_mm - fixed.mass_centre_mm,
        moving.view_centre_mm - fixed.view_centre_mm,
        np.zeros(3),
    ]
    turns = [np.radians(angles) * RADIUS_MM for angles in itertools.product(_ANGLES, repeat=3)]
    return [np.concatenate([shift, turn]) for shift in shifts for turn in turns]


def least_overlap(fixed: Pyramid, moving: Pyramid) -> float:
    """Share of the fixed image's samples that must fall into the moving one.

    Where little overlaps, a few slices of anything may look alike. A slab can cover only its own share, so it is held
    to that: with a limit of a quarter a slab of 33 mm ended 14 to 24 mm off.
    """
    return 0.4 * min(moving.view_mm3 / fixed.view_mm3, 1.0) if math.isfinite(moving.view_mm3) else 0.0
