"""Lesions that are no tumour: white-matter disease of the aged, multiple sclerosis, lacunes, old bleeding.

They carry label 0. Kinds and looks follow the STRIVE reporting standard (Wardlaw et al., Lancet Neurology 12, 2013) and
for multiple sclerosis the MAGNIMS guideline (Filippi et al., Brain 142, 2019).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eenet_train.phantom.fields import Float3D, Shape3, random_field
from eenet_train.phantom.transfer.anatomy import WideHead
from eenet_train.phantom.transfer.scene import Material, Scene, Window


def add_ageing(rng: np.random.Generator, head: WideHead, scene: Scene, *, often: bool) -> None:
    """Paint white-matter lesions and old bleeding.

    Args:
        rng: source of what and where.
        head: the anatomy.
        scene: what is painted on.
        often: a head without tumour: it gets more of them.
    """
    from scipy import ndimage

    near = ndimage.gaussian_filter(head.ventricle, float(rng.uniform(2.0, 4.5)))
    if rng.random() < 0.75:
        scene.add(Material.LESION, _caps(rng, head, near))
    if rng.random() < (0.7 if often else 0.35):
        scene.add(Material.LESION, _spots(rng, head, near, sclerosis=bool(rng.random() < 0.5)), uneven=0.12)
    if rng.random() < 0.5:
        _add_pulsation(rng, head, scene)
    for _ in range(int(rng.poisson(1.0 if often else 0.5))):
        _add_scar(rng, head, scene)


def _caps(rng: np.random.Generator, head: WideHead, near: Float3D) -> Float3D:
    """Bright rims and caps of the ventricles, from a thin line to confluent disease."""
    extent = np.float32(np.exp(rng.uniform(np.log(0.03), np.log(0.5))))
    rough = np.exp(np.float32(0.5) * random_field(rng, head.inside.shape, 10.0))
    return np.asarray(np.clip((near * rough - extent) * 12.0, 0.0, 1.0) * head.white * (head.inside > 8))


def _spots(rng: np.random.Generator, head: WideHead, near: Float3D, *, sclerosis: bool) -> Float3D:
    """Single lesions: punctate or confluent with age, ovoid and beside the ventricles in multiple sclerosis."""
    out = np.zeros(head.inside.shape, dtype=np.float32)
    wanted = np.clip(head.white - 0.6, 0.0, 1.0) * (head.inside > 7)
    if sclerosis:
        wanted = wanted * (np.float32(0.05) + np.minimum(near, np.float32(0.3)))
    for centre in choose(rng, wanted, int(rng.integers(3, 45))):
        mean = 3.0 if sclerosis else 2.0
        radii = np.clip(rng.lognormal(np.log(mean), 0.5), 1.0, 10.0) * np.exp(rng.normal(0.0, 0.25, 3))
        window, share = ball(rng, head.inside.shape, centre, radii, rough=0.25)
        share = share * np.clip(head.white[window] + 0.3 * head.grey[window], 0.0, 1.0)
        out[window] = np.maximum(out[window], share * np.float32(rng.uniform(0.4, 1.0)))
    return out


def _add_pulsation(rng: np.random.Generator, head: WideHead, scene: Scene) -> None:
    """Fluid that flows and is bright in FLAIR, in patches, mostly low in the head."""
    low = np.clip((20.0 - head.place[2]) / 40.0, 0.2, 1.0)
    patches = np.clip(random_field(rng, head.inside.shape, 12.0) - np.float32(rng.uniform(0.6, 1.6)), 0.0, 1.0)
    scene.add(Material.PULSATION, np.asarray(head.fluid * patches * low * (head.inside > -2), dtype=np.float32))


def _add_scar(rng: np.random.Generator, head: WideHead, scene: Scene) -> None:
    """A lacune with a bright rim, an old bleeding with iron, or a microbleed."""
    wanted = (head.white + 0.3 * head.grey) * (head.inside > 4)
    for centre in choose(rng, wanted, 1):
        kind = rng.random()
        radius = float(np.clip(rng.lognormal(np.log(3.5), 0.5), 1.5, 12.0))
        shape = head.inside.shape
        if kind < 0.3:  # microbleed
            window, share = ball(rng, shape, centre, np.full(3, min(radius, 3.0)), rough=0.1)
            scene.add(Material.IRON, share, window=window)
            continue
        stretch = np.exp(rng.normal(0.0, 0.25, 3))
        window, share = ball(rng, shape, centre, (radius + rng.uniform(1.0, 4.0)) * stretch, rough=0.2)
        tissue = head.white[window] + head.grey[window]
        scene.add(Material.LESION, share * tissue, window=window)
        if kind > 0.65:
            window, share = ball(rng, shape, centre, (radius + 0.8) * stretch, rough=0.15)
            scene.add(Material.IRON, share * np.float32(rng.uniform(0.3, 1.0)), window=window)
        window, share = ball(rng, shape, centre, radius * stretch, rough=0.15)
        scene.add(Material.LACUNE, share, window=window)


def choose(rng: np.random.Generator, weights: Float3D, count: int) -> list[tuple[int, int, int]]:
    """Voxels drawn by weight, on every third voxel; none where all weights are 0."""
    coarse = np.maximum(weights[::3, ::3, ::3], 0).astype(np.float64)
    total = coarse.sum()
    if total <= 0 or count < 1:
        return []
    picked = rng.choice(coarse.size, count, p=(coarse / total).ravel())
    return [
        (3 * int(x), 3 * int(y), 3 * int(z)) for x, y, z in zip(*np.unravel_index(picked, coarse.shape), strict=True)
    ]


def ball(
    rng: np.random.Generator,
    shape: Shape3,
    centre: tuple[int, int, int],
    radii: NDArray[np.float64],
    *,
    rough: float,
) -> tuple[Window, Float3D]:
    """A roughened ellipsoid: its window in the box, and its share of each voxel there.

    Args:
        rng: source of the roughness.
        shape: size of the box.
        centre: voxel.
        radii: half axes in voxels.
        rough: standard deviation of the surface, relative to the radius.
    """
    parts = [
        slice(max(int(c - 1.5 * r - 2), 0), min(int(c + 1.5 * r + 3), size))
        for c, r, size in zip(centre, radii, shape, strict=True)
    ]
    window = (parts[0], parts[1], parts[2])
    axes = [
        ((np.arange(part.start, part.stop) - c) / r).astype(np.float32)
        for part, c, r in zip(parts, centre, radii, strict=True)
    ]
    size: Shape3 = (axes[0].size, axes[1].size, axes[2].size)
    distance = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2)
    mean = float(np.mean(radii))
    distance += np.float32(rough) * random_field(rng, size, max(0.8 * mean, 2.0))
    return window, np.clip((1 - distance) * np.float32(mean) + np.float32(0.5), 0, 1).astype(np.float32)
