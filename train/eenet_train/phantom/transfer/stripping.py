"""What skull stripping leaves and takes: a rim here, a piece of brain gone there, specks, sinuses left standing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eenet_train.phantom.fields import Float3D, random_field
from eenet_train.phantom.transfer.ageing import ball
from eenet_train.phantom.transfer.anatomy import WideHead
from eenet_train.phantom.transfer.looks import Look
from eenet_train.phantom.transfer.scene import Material, Scene


def add_surroundings(rng: np.random.Generator, head: WideHead, scene: Scene) -> None:
    """Bone with marrow and fat around the brain, seen where stripping leaves a rim."""
    outside = np.clip(-head.inside - 2.0, 0.0, 1.0) * (head.inside > -14)
    fat = outside * (random_field(rng, head.inside.shape, 6.0) > np.float32(rng.uniform(-0.5, 1.5)))
    scene.add(Material.BONE, np.asarray(outside, dtype=np.float32))
    scene.add(Material.FAT, np.asarray(fat, dtype=np.float32), uneven=0.2)


def strip(rng: np.random.Generator, head: WideHead, sinus: Float3D, look: Look) -> NDArray[np.bool_]:
    """The mask that stripping made, in the head's box, bool.

    Args:
        rng: source of its faults.
        head: the anatomy.
        sinus: share of venous sinus: what a mask that follows brightness keeps.
        look: how far it may err.
    """
    shape = head.head.shape
    wanted = float(rng.uniform(0.0, 1.5)) + np.float32(rng.uniform(0.2, 0.8)) * random_field(rng, shape, 20.0)
    place = random_field(rng, shape, float(rng.uniform(18.0, 35.0)))
    rim, cut = rng.uniform(*look.rim_left_mm), rng.uniform(*look.brain_cut_mm)
    wanted -= np.float32(rim) * np.clip((place - 0.7) * 2.0, 0.0, 1.0)
    wanted += np.float32(cut) * np.clip((-place - 0.9) * 2.0, 0.0, 1.0)
    mask = head.inside > np.maximum(wanted, -8.0)
    if rng.random() < 0.75:
        left_there = random_field(rng, shape, 40.0) > np.float32(rng.uniform(-2.0, 0.8))
        mask |= (sinus > 0.3) & left_there & (head.inside > -8)
    for _ in range(int(rng.poisson(1.5))):
        _speck(rng, head, mask)
    if rng.random() < 0.2:
        _bite(rng, head, mask)
    if rng.random() < 0.3:  # the brain stem ends where the field of view or the mask does
        mask &= head.place[2] > float(rng.uniform(-70.0, -48.0))
    return np.asarray(mask)


def _surface_voxel(rng: np.random.Generator, head: WideHead, low: float, high: float) -> tuple[int, int, int] | None:
    candidates = np.argwhere((head.inside[::4, ::4, ::4] > low) & (head.inside[::4, ::4, ::4] < high))
    if not len(candidates):
        return None
    x, y, z = 4 * candidates[int(rng.integers(len(candidates)))]
    return int(x), int(y), int(z)


def _speck(rng: np.random.Generator, head: WideHead, mask: NDArray[np.bool_]) -> None:
    """A piece left beyond the surface."""
    centre = _surface_voxel(rng, head, -7.0, -1.0)
    if centre is not None:
        window, share = ball(rng, head.head.shape, centre, rng.uniform(1.5, 6.0, 3), rough=0.3)
        mask[window] |= share > 0.5


def _bite(rng: np.random.Generator, head: WideHead, mask: NDArray[np.bool_]) -> None:
    """A piece of the surface that is gone."""
    centre = _surface_voxel(rng, head, -3.0, 1.0)
    if centre is not None:
        window, share = ball(rng, head.head.shape, centre, rng.uniform(4.0, 14.0, 3), rough=0.2)
        mask[window] &= share <= 0.5
