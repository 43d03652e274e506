"""Rigid transforms of six parameters, all in millimetres, and how far two transforms lie apart.

Parameters are three translations and three rotations; a rotation counts as the way of a point 60 mm from the centre,
about the radius of a brain, so that a step of 1 in any parameter moves the head's voxels by about 1 mm.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

RADIUS_MM: Final = 60.0
"""Where a rotation is measured."""

Parameters = NDArray[np.float64]
"""(6,): translations along x, y and z, rotations about x, y and z, in millimetres at `RADIUS_MM`."""


def rigid_matrix(parameters: Parameters, centre_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """The transform x -> R (x - centre) + centre + translation.

    Args:
        parameters: (6,).
        centre_mm: (3,) of what is moved; rotations leave it where the translation brings it.

    Returns:
        float64 (4, 4).
    """
    a, b, c = (float(angle) / RADIUS_MM for angle in parameters[3:])
    sin_a, cos_a, sin_b, cos_b = math.sin(a), math.cos(a), math.sin(b), math.cos(b)
    sin_c, cos_c = math.sin(c), math.cos(c)
    # About z first, then y, then x.
    rotation = np.array(
        [
            [cos_b * cos_c, -cos_b * sin_c, sin_b],
            [sin_a * sin_b * cos_c + cos_a * sin_c, cos_a * cos_c - sin_a * sin_b * sin_c, -sin_a * cos_b],
            [sin_a * sin_c - cos_a * sin_b * cos_c, cos_a * sin_b * sin_c + sin_a * cos_c, cos_a * cos_b],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = centre_mm + parameters[:3] - rotation @ centre_mm
    return matrix


def inverse_rigid(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of a rigid transform, (4, 4), without a division."""
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse


def distance_mm(first: NDArray[np.float64], second: NDArray[np.float64], centre_mm: NDArray[np.float64]) -> float:
    """How far two transforms, (4, 4), bring the voxels of a head apart: the root mean square over a sphere.

    For all points at `RADIUS_MM` from the centre, which is that of the six on the axes.
    """
    difference = first[:3] - second[:3]
    shift = difference @ np.append(centre_mm, 1.0)
    return float(np.sqrt((shift**2).sum() + RADIUS_MM**2 / 3 * (difference[:, :3] ** 2).sum()))
