"""The inside of one tumour core: rim, necrosis, nodules, cysts, blood, chalk, tumour without enhancement."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.labels import Label
from eenet_train.phantom.fields import Float3D, Shape3, random_field
from eenet_train.phantom.transfer.looks import Family
from eenet_train.phantom.transfer.scene import Material, Scene, Window

Mask = NDArray[np.bool_]


def fill_core(
    rng: np.random.Generator, family: Family, core: Mask, window: Window, scene: Scene, grey: Float3D
) -> None:
    """Write labels and layers of one core.

    Args:
        rng: source of all choices.
        family: kind of disease.
        core: its voxels in the window.
        window: the core's bounding box, a few voxels wider.
        scene: what is painted on; its labels of the core are NCR before.
        grey: grey matter in the window: cortex shows faintly through tumour that infiltrates it.
    """
    from scipy import ndimage

    inward = ndimage.distance_transform_edt(core).astype(np.float32)
    if family is Family.DIFFUSE:
        enhancing, necrotic = np.zeros_like(core), np.zeros_like(core)
    elif family is Family.MIXED:
        enhancing, necrotic = _islands(rng, core, inward)
    elif family is Family.SOLID:
        enhancing, necrotic = _solid(rng, core, inward)
    else:
        enhancing, necrotic = _ring(rng, core, inward, small=family is Family.SMALL_RINGS)
    solid = core & ~enhancing & ~necrotic
    scene.labels[window][enhancing] = Label.ET

    border = float(rng.uniform(0.6, 1.8)) if family in (Family.DIFFUSE, Family.MIXED) else float(rng.uniform(0.5, 0.9))
    through = np.float32(rng.uniform(0.0, 0.35))
    _paint(scene, Material.SOLID, solid, window, border, rng, kept=1 - through * grey)
    _paint(scene, Material.NECROSIS, necrotic, window, 0.7, rng)
    _paint(scene, Material.ENHANCING, enhancing, window, 0.6, rng)
    if solid.sum() > 400 and rng.random() < 0.5:
        _paint(scene, Material.CYST, _cysts(rng, solid, inward), window, 0.6, rng)
    if rng.random() < 0.25:
        _paint(scene, Material.BLOOD, _patches(rng, core, rng.uniform(0.02, 0.2)), window, 0.7, rng)
    if family in (Family.DIFFUSE, Family.MIXED) and rng.random() < 0.25:
        _paint(scene, Material.CALCIFICATION, _patches(rng, solid, rng.uniform(0.005, 0.04)), window, 0.6, rng)


def _paint(
    scene: Scene,
    material: Material,
    mask: Mask,
    window: Window,
    border: float,
    rng: np.random.Generator,
    kept: Float3D | None = None,
) -> None:
    from scipy import ndimage

    if not mask.any():
        return
    share = ndimage.gaussian_filter(mask.astype(np.float32), border, truncate=3.0)
    if kept is not None:
        share = share * kept
    scene.add(material, share.astype(np.float32), window=window, uneven=float(rng.uniform(0.03, 0.16)))


def _size(mask: Mask) -> Shape3:
    x, y, z = mask.shape
    return x, y, z


def _scale(mask: Mask) -> float:
    """Radius of a ball of the mask's volume, in voxels."""
    return float((3.0 * max(int(mask.sum()), 1) / (4.0 * np.pi)) ** (1.0 / 3.0))


def _patches(rng: np.random.Generator, mask: Mask, share: float) -> Mask:
    """The `share` of a mask where a random field is highest."""
    if not mask.any():
        return mask
    values = random_field(rng, _size(mask), max(0.35 * _scale(mask), 2.5))
    return mask & (values > np.quantile(values[mask], 1.0 - share))


def _ring(rng: np.random.Generator, core: Mask, inward: Float3D, *, small: bool) -> tuple[Mask, Mask]:
    """A rim of varied thickness, often broken, with nodules; sometimes a coat of tumour without enhancement."""
    radius = _scale(core)
    thickness = float(rng.uniform(1.3, 3.2)) if small else float(np.exp(rng.uniform(np.log(1.2), np.log(7.0))))
    thickness = min(thickness, 0.7 * float(inward.max()))
    field = random_field(rng, _size(core), max(0.6 * radius, 4.0))
    coat = np.zeros_like(inward)
    if not small and rng.random() < 0.3:
        deepest = 0.4 * float(inward.max())
        coat = np.clip(
            np.float32(rng.uniform(0.1, 1.0) * deepest) * (1 + random_field(rng, _size(core), radius)), 0, deepest
        )
    depth = inward - coat
    rim = core & (depth > 0) & (depth <= np.float32(max(thickness, 1.0)) * np.exp(np.float32(0.45) * field))
    if rng.random() < (0.2 if small else 0.45):
        gaps = random_field(rng, _size(core), max(0.7 * radius, 4.0))
        rim &= gaps < np.quantile(gaps[core], float(rng.uniform(0.55, 0.95)))
    inner = core & (depth > 0) & ~rim
    if inner.sum() > 500 and rng.random() < 0.5:  # nodules and septa inside
        septa = np.abs(random_field(rng, _size(core), max(0.5 * radius, 4.0))) < float(rng.uniform(0.03, 0.2))
        nodules = _patches(rng, inner, float(rng.uniform(0.02, 0.25)))
        rim |= inner & ((septa & (rng.random() < 0.5)) | nodules)
    return rim, inner & ~rim


def _solid(rng: np.random.Generator, core: Mask, inward: Float3D) -> tuple[Mask, Mask]:
    """Uneven enhancement throughout, with small necroses."""
    enhancing = _patches(rng, core, float(rng.uniform(0.5, 0.97)))
    rest = core & ~enhancing
    necrotic = rest & (inward > 2) if rng.random() < 0.6 else np.zeros_like(core)
    return enhancing, necrotic


def _islands(rng: np.random.Generator, core: Mask, inward: Float3D) -> tuple[Mask, Mask]:
    """Enhancing nodules, some with necrosis of their own, in tumour that does not enhance."""
    enhancing = _patches(rng, core & (inward > 1), float(rng.uniform(0.03, 0.35)))
    if rng.random() < 0.5:
        from scipy import ndimage

        deep = ndimage.distance_transform_edt(enhancing)
        necrotic = enhancing & (deep > float(rng.uniform(1.5, 4.0)))
        return enhancing & ~necrotic, necrotic
    return enhancing, np.zeros_like(core)


def _cysts(rng: np.random.Generator, solid: Mask, inward: Float3D) -> Mask:
    """One to several smooth hollows, away from the tumour's surface."""
    inner = solid & (inward > 2)
    if not inner.any():
        return inner
    values = random_field(rng, _size(solid), max(0.6 * _scale(solid), 4.0)) + np.float32(0.5) * inward / inward.max()
    highest = values > np.quantile(values[inner], 1.0 - float(rng.uniform(0.05, 0.5)))
    return np.asarray(inner & highest)
