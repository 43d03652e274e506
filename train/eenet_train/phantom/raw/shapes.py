"""Signed distances of simple bodies, in mm, negative inside, and how they are joined. All arrays are float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float3D = NDArray[np.float32]
Point = tuple[float, float, float]
Points = tuple[Float3D, Float3D, Float3D]
"""Three coordinates in mm that broadcast to one shape."""


def ellipsoid(points: Points, centre: Point, radii: Point) -> Float3D:
    """Distance to an ellipsoid along its axes, to first order near its surface (k (k - 1) / |grad k^2| * 2)."""
    scaled = np.zeros(np.broadcast_shapes(*(axis.shape for axis in points)), dtype=np.float32)
    slope = np.zeros_like(scaled)
    for axis, middle, radius in zip(points, centre, radii, strict=True):
        step = (axis - np.float32(middle)) * np.float32(1 / radius)
        scaled += step * step
        slope += (step * np.float32(1 / radius)) ** 2
    norm = np.sqrt(scaled)
    distance = norm * (norm - np.float32(1)) / np.sqrt(np.maximum(slope, np.float32(1e-6)))
    return np.asarray(distance, dtype=np.float32)


def capsule(points: Points, start: Point, end: Point, radius: float) -> Float3D:
    """Distance to a rod with round ends."""
    along = np.subtract(end, start)
    length = float((along**2).sum())
    offsets = [axis - np.float32(s) for axis, s in zip(points, start, strict=True)]
    share = sum(offset * np.float32(a / length) for offset, a in zip(offsets, along, strict=True))
    share = np.clip(share, np.float32(0), np.float32(1))
    squared = sum((offset - share * np.float32(a)) ** 2 for offset, a in zip(offsets, along, strict=True))
    return np.asarray(np.sqrt(squared) - np.float32(radius), dtype=np.float32)


def union(*bodies: Float3D) -> Float3D:
    """What lies in any of them."""
    out = bodies[0]
    for body in bodies[1:]:
        out = np.minimum(out, body)
    return out


def blend(first: Float3D, second: Float3D, width: float) -> Float3D:
    """Union with a rounded groove `width` mm wide (Quilez' polynomial smooth minimum)."""
    closeness = np.maximum(np.float32(width) - np.abs(first - second), np.float32(0)) / np.float32(width)
    return np.asarray(np.minimum(first, second) - closeness * closeness * np.float32(width / 4))


def without(body: Float3D, other: Float3D) -> Float3D:
    """What lies in `body` and not in `other`."""
    return np.asarray(np.maximum(body, -other))


def shell(body: Float3D, thickness: float) -> Float3D:
    """The layer of `thickness` mm under the surface."""
    return np.asarray(np.maximum(body, -body - np.float32(thickness)))
