"""Geometry presets: the crop, the voxel size and the depth strides of one network.

H runs anterior-posterior, W left-right, D inferior-superior (docs/network.md, "Geometries"). The three depth strides
must bring D down to exactly 3, because those slices become the colour channels of a 2D network that halves H and W five
times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from eenet_runtime.errors import GeometryError

ENCODED_SLICES: Final = 3
"""Slices that the 3D encoder hands to the 2D network: one for each of its RGB channels."""
PLANE_MULTIPLE: Final = 32
"""The 2D encoder halves five times, and its decoder doubles back: H and W must be multiples of 2^5."""


@dataclass(frozen=True)
class GeometryPreset:
    """A geometry in which the network can be built.

    Attributes:
        name: what users type after `--preset`.
        shape: input size in voxels, (H, W, D).
        spacing_mm: edge of the isotropic voxel, in millimetres.
        depth_strides: strides of the three downsampling convolutions along D.

    Raises:
        GeometryError: on construction, for a geometry that cannot work, with the reason.
    """

    name: str
    shape: tuple[int, int, int]
    spacing_mm: float
    depth_strides: tuple[int, int, int]

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or any(size < 1 for size in self.shape):
            raise GeometryError(
                f"geometry {self.name}: shape {self.shape} found, expected three positive sizes (H, W, D)"
            )
        if len(self.depth_strides) != 3 or any(stride < 1 for stride in self.depth_strides):
            raise GeometryError(
                f"geometry {self.name}: depth strides {self.depth_strides} found, expected three positive integers"
            )
        if not (math.isfinite(self.spacing_mm) and self.spacing_mm > 0):
            raise GeometryError(
                f"geometry {self.name}: voxel size {self.spacing_mm} mm found, expected a positive number"
            )
        for axis, size in zip("HW", self.shape, strict=False):
            if size % PLANE_MULTIPLE:
                raise GeometryError(
                    f"geometry {self.name}: {axis} = {size} is not a multiple of {PLANE_MULTIPLE} "
                    f"(the 2D encoder halves it five times); try {math.ceil(size / PLANE_MULTIPLE) * PLANE_MULTIPLE}"
                )
        depth, product = self.shape[2], math.prod(self.depth_strides)
        if depth != ENCODED_SLICES * product:
            raise GeometryError(
                f"geometry {self.name}: D = {depth} with depth strides {self.depth_strides} does not come down to "
                f"exactly {ENCODED_SLICES} slices and back; these strides need D = {ENCODED_SLICES * product}"
            )


EENET_144: Final = GeometryPreset("eenet-144", (192, 160, 144), 1.0, (3, 4, 4))
"""The authors' code."""
EENET_108: Final = GeometryPreset("eenet-108", (192, 160, 108), 1.0, (3, 4, 3))
"""The paper's text; it gives no strides that can decode 108, these are ours."""
EENET_FAST: Final = GeometryPreset("eenet-fast", (96, 96, 72), 2.0, (3, 4, 2))
"""A seventh of the arithmetic, for machines without a GPU."""

PRESETS: Final = {preset.name: preset for preset in (EENET_144, EENET_108, EENET_FAST)}


def preset_by_name(name: str) -> GeometryPreset:
    """Look up a preset.

    Raises:
        GeometryError: unknown name; the message lists the known ones.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise GeometryError(f"unknown preset {name!r}; known presets: {', '.join(PRESETS)}") from None
