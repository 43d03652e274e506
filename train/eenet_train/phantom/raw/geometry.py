"""Rigid displacements as (4, 4) matrices of world millimetres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eenet_train.phantom.raw.settings import Displacement

Matrix = NDArray[np.float64]


def random_direction(rng: np.random.Generator) -> NDArray[np.float64]:
    """A unit vector, evenly over the sphere."""
    vector = rng.standard_normal(3)
    return np.asarray(vector / np.sqrt((vector**2).sum()))


def rotation_about(axis: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Rotation by an angle about a unit vector, shape (3, 3) (Rodrigues' formula)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross))


def about(centre: NDArray[np.float64], rotation: NDArray[np.float64], shift: NDArray[np.float64]) -> Matrix:
    """Turn about `centre`, then shift."""
    out = np.eye(4)
    out[:3, :3] = rotation
    out[:3, 3] = centre + shift - rotation @ centre
    return out


def random_displacement(rng: np.random.Generator, limits: Displacement, centre: NDArray[np.float64]) -> Matrix:
    """A displacement about `centre`: axis and direction even over the sphere, angle and length even in their limits."""
    degrees = rng.uniform(limits.degrees.low, limits.degrees.high)
    rotation = rotation_about(random_direction(rng), float(degrees))
    return about(centre, rotation, random_direction(rng) * rng.uniform(limits.mm.low, limits.mm.high))


def inverse(matrix: Matrix) -> Matrix:
    """The way back."""
    return np.linalg.inv(matrix).astype(np.float64)


def move(matrix: Matrix, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Carry points, shape (..., 3), by a matrix."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])
