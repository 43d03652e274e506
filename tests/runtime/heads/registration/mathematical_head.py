"""A head of ellipsoids, in any contrast on any grid: what lies where is known everywhere, so nothing is resampled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.files.nifti import Volume
from eenet_runtime.volumes.grid import Grid

Matrix = NDArray[np.float64]

_PARTS: Final[tuple[tuple[str, tuple[float, float, float], tuple[float, float, float]], ...]] = (
    ("fat", (0, 0, 0), (76, 96, 84)),
    ("fat", (0, 96, -20), (12, 14, 18)),
    ("bone", (0, 0, 0), (71, 91, 79)),
    ("water", (0, 0, 2), (66, 84, 74)),
    ("grey", (0, 0, 4), (62, 80, 68)),
    ("white", (-29, 4, 8), (26, 66, 52)),
    ("white", (29, 0, 8), (25, 68, 50)),
    ("water", (-11, 6, 12), (6, 30, 13)),
    ("water", (11, 4, 12), (7, 28, 12)),
    ("grey", (-20, 10, 2), (9, 16, 10)),
    ("grey", (20, 10, 2), (9, 16, 10)),
    ("white", (0, -40, -42), (34, 24, 18)),
    ("water", (-31, 78, -26), (12, 12, 12)),
    ("water", (31, 78, -26), (12, 12, 12)),
    ("lesion", (34, -22, 30), (15, 18, 13)),
)
"""Tissue, centre and half axes in millimetres (RAS); later parts lie in earlier ones."""

CONTRASTS: Final[Mapping[str, Mapping[str, float]]] = {
    "t1": {"air": 0, "fat": 300, "bone": 30, "water": 60, "grey": 150, "white": 210, "lesion": 110},
    "t2": {"air": 0, "fat": 190, "bone": 25, "water": 320, "grey": 150, "white": 95, "lesion": 240},
}

STAY: Final = np.eye(4)


def head_grid(voxel_mm: tuple[float, float, float] = (2, 2, 2), *, height_mm: float = 200, up_mm: float = 0) -> Grid:
    """An axial grid around a head, stored LPS; lower for a slab, somewhere up or down."""
    size = np.array([176, 216, height_mm])
    x, y, z = (round(length / edge) for length, edge in zip(size, voxel_mm, strict=True))
    affine = np.diag([-voxel_mm[0], -voxel_mm[1], voxel_mm[2], 1.0])
    affine[:3, 3] = np.array([0, 0, up_mm]) - affine[:3, :3] @ (np.array([x, y, z]) - 1) / 2
    return Grid((x, y, z), affine)


def scan(
    contrast: str,
    grid: Grid,
    head_to_world: Matrix = STAY,
    *,
    seed: int = 0,
    stretch: tuple[float, float, float] = (1, 1, 1),
) -> Volume:
    """A series of the head that lies where `head_to_world` puts it.

    Args:
        contrast: of `CONTRASTS`.
        grid: where the scanner's voxels lie.
        head_to_world: (4, 4) rigid, millimetres.
        seed: of the noise.
        stretch: of the head's parts along their axes: another person's.
    """
    table = CONTRASTS[contrast]
    layers = 4 if grid.spacing_mm[2] > 3 else 1
    image = np.zeros(grid.shape, np.float32)
    indices = np.indices(grid.shape, np.float32).reshape(3, -1)
    for layer in range(layers):
        # A thick slice is the mean over its thickness.
        shifted = indices + np.array([[0], [0], [(layer + 0.5) / layers - 0.5]], np.float32)
        to_head = (np.linalg.inv(head_to_world) @ grid.affine)[:3].astype(np.float32)
        x, y, z = to_head[:, :3] @ shifted + to_head[:, 3:]
        # Folds, so that the brain is no smooth egg.
        wave = 1 + 0.05 * np.sin(x / 7) * np.sin(y / 8) * np.sin(z / 6)
        values = np.full(x.shape, table["air"], np.float32)
        for tissue, centre, axes in _PARTS:
            a, b, c = (axis * factor for axis, factor in zip(axes, stretch, strict=True))
            cx, cy, cz = (place * factor for place, factor in zip(centre, stretch, strict=True))
            distance = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 + ((z - cz) / c) ** 2
            values[distance * (wave if tissue in ("grey", "white") else 1) < 1] = table[tissue]
        image += values.reshape(grid.shape) / layers
    noise = np.random.default_rng(seed).normal(0, 5, (2, *grid.shape)).astype(np.float32)
    data = np.asfortranarray(np.hypot(image + noise[0], noise[1]).round().astype(np.int16))
    return Volume(f"{contrast}.nii.gz", data, grid, nib.Nifti1Header())


def brain_points() -> Matrix:
    """Points all over the brain, homogeneous (4, n), in the head's millimetres."""
    points = np.stack(np.meshgrid(*(np.arange(-80.0, 81, 8),) * 3, indexing="ij")).reshape(3, -1)
    inside = (((points.T - (0, 0, 4)) / (62, 80, 68)) ** 2).sum(axis=1) < 1
    return np.vstack([points[:, inside], np.ones(int(inside.sum()))])


def brain_error_mm(found: Matrix, truth: Matrix, head_to_fixed: Matrix = STAY) -> float:
    """How far two transforms of the fixed image bring the brain's points apart, on average."""
    return float(np.linalg.norm(((found - truth) @ head_to_fixed @ brain_points())[:3], axis=0).mean())
