"""A head that was never anybody's: ellipsoids with the grey values of a T1-weighted image, drawn from a seed.

Enough of a head for networks that look for a brain: scalp with fat, a dark skull, fluid, a folded cortex, white matter,
ventricles, a cerebellum, eyes, a face and a neck. Nobody should take it for anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SIGNALS: Final = {
    "air": 0.0,
    "scalp": 0.85,
    "muscle": 0.4,
    "skull": 0.08,
    "fluid": 0.18,
    "grey": 0.5,
    "white": 0.75,
    "eye": 0.2,
}
"""Brightness of each tissue as T1-weighted images show it, the brightest fat at 1."""


@dataclass(frozen=True)
class SyntheticHead:
    """A drawn head.

    Attributes:
        image: float32 (X, Y, Z), axes RAS, 0 to about 1.
        brain: bool (X, Y, Z), everything inside the skull's inner face.
        spacing_mm: edge of a voxel.
    """

    image: NDArray[np.float32]
    brain: NDArray[np.bool_]
    spacing_mm: float


def draw_head(
    shape: tuple[int, int, int],
    spacing_mm: float,
    seed: int = 0,
    *,
    pitch_degrees: float = 0.0,
    noise: float = 0.02,
    cavity_mm: float = 0.0,
) -> SyntheticHead:
    """Draw a head in the middle of a volume.

    Args:
        shape: voxels along x (to the right), y (to the front) and z (to the top).
        spacing_mm: edge of a voxel.
        seed: of the noise and the folds.
        pitch_degrees: how far the head nods forward.
        noise: standard deviation of Gaussian noise, in the brightness of fat; the magnitude is taken, as scanners do.
        cavity_mm: radius of a cavity filled with fluid that opens to the surface of one side of the brain; 0: none.
    """
    rng = np.random.default_rng(seed)
    axes = [(np.arange(size) - (size - 1) / 2) * spacing_mm for size in shape]
    x, y, z = np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij", sparse=True)
    angle = np.radians(pitch_degrees)
    y, z = y * np.cos(angle) + z * np.sin(angle), z * np.cos(angle) - y * np.sin(angle)
    z = z - 18.0
    phase = rng.uniform(0, 2 * np.pi, 3)
    folds = np.sin(x / 4.5 + phase[0]) * np.sin(y / 5.0 + phase[1]) * np.sin(z / 4.0 + phase[2])

    def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> NDArray[np.float32]:
        places = (
            ((x - centre[0]) / radii[0]) ** 2,
            ((y - centre[1]) / radii[1]) ** 2,
            ((z - centre[2]) / radii[2]) ** 2,
        )
        return np.asarray(np.sqrt(sum(places)), dtype=np.float32)

    cerebrum, cerebellum = ellipsoid((0, 0, 0), (66, 83, 58)), ellipsoid((0, -42, -48), (48, 32, 24))
    stem = np.maximum(np.hypot((x - 0) / 13, (y + 18) / 14), np.abs(z + 55) / 35)
    brain = (cerebrum <= 1) | (cerebellum <= 1) | (stem <= 1)
    image = np.zeros(shape, np.float32)

    def paint(where: NDArray[np.bool_], tissue: str) -> None:
        image[where] = _SIGNALS[tissue]

    neck = (np.hypot(x / 52, (y + 25) / 58) <= 1) & (z < -40)
    face = ellipsoid((0, 45, -60), (52, 48, 52)) <= 1
    outer = (ellipsoid((0, 0, 0), (80, 98, 73)) <= 1) | (ellipsoid((0, -42, -48), (62, 44, 34)) <= 1)
    paint(outer | neck | face, "scalp")
    inner = (ellipsoid((0, 0, 0), (76, 94, 69)) <= 1) | (ellipsoid((0, -42, -48), (58, 40, 32)) <= 1)
    paint((np.hypot(x / 46, (y + 25) / 52) <= 1) & (z < -40) | (ellipsoid((0, 45, -60), (47, 43, 47)) <= 1), "muscle")
    paint(inner, "muscle")
    bone = (ellipsoid((0, 0, 0), (73, 91, 66)) <= 1) | (ellipsoid((0, -42, -48), (54, 37, 29)) <= 1)
    paint(bone, "skull")
    paint(brain, "fluid")
    cortex = np.where(cerebellum <= 1, cerebellum, np.where(cerebrum <= 1, cerebrum, stem)) + 0.05 * folds
    paint(brain & (cortex <= 0.95), "grey")
    paint(brain & (cortex <= 0.8), "white")
    for side in (-1.0, 1.0):
        paint(ellipsoid((12 * side, 5, 2), (6, 32, 10)) <= 1, "fluid")
        paint(ellipsoid((32 * side, 78, -42), (12, 12, 12)) <= 1, "eye")
    if cavity_mm > 0:
        paint((ellipsoid((62, 10, 10), (cavity_mm,) * 3) <= 1) & (cerebrum <= 1), "fluid")
    image += rng.normal(0.0, noise, shape).astype(np.float32)
    return SyntheticHead(np.abs(image), np.asarray(brain), spacing_mm)
