"""Random changes of a training sample: geometry for images and truth together, intensities for images alone.

The background of a z-scored volume is exactly 0, at inference too; every change keeps it so.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_train.recipe.recipe import Augmentation

Float32 = NDArray[np.float32]

BIAS_POINTS: Final = 4
"""Control points of a shading along each axis: as smooth as a coil's."""


def augment(
    volume: Float32, target: Float32, settings: Augmentation, rng: np.random.Generator
) -> tuple[Float32, Float32]:
    """Change a sample at random.

    Args:
        volume: float32 (H, W, D, modalities), z-scored, background 0.
        target: float32 (H, W, D, classes), shares that add up to 1; class 0 is the background.
        settings: how much of what.
        rng: source of all draws.

    Returns:
        New arrays of the same shapes; the arguments are not changed.
    """
    if rng.random() < settings.flip:
        volume, target = volume[:, ::-1], target[:, ::-1]
    if rng.random() < settings.affine_chance:
        volume, target = _turn_and_zoom(volume, target, settings, rng)
    volume = volume.copy()
    for channel in range(volume.shape[-1]):
        _vary_modality(volume[..., channel], settings, rng)
    if rng.random() < settings.drop_modality:
        volume[..., rng.integers(volume.shape[-1])] = 0
    return volume, np.ascontiguousarray(target)


def _turn_and_zoom(
    volume: Float32, target: Float32, settings: Augmentation, rng: np.random.Generator
) -> tuple[Float32, Float32]:
    """Rotate about the middle and change the size; linear interpolation, background outside."""
    from scipy import ndimage

    matrix = rotation(rng.uniform(-1, 1, 3) * np.radians(settings.rotation_degrees))
    matrix = matrix / (1 + rng.uniform(-settings.zoom, settings.zoom))
    middle = (np.array(volume.shape[:3]) - 1) / 2
    offset = middle - matrix @ middle

    def moved(image: Float32) -> Float32:
        return np.asarray(ndimage.affine_transform(image, matrix, offset, output=np.float32, order=1))

    images = np.stack([moved(volume[..., channel]) for channel in range(volume.shape[-1])], axis=-1)
    # Between head and background, interpolated intensities are neither: they keep the share of head that they hold.
    parts = [np.clip(moved(target[..., label]), 0, 1) for label in range(1, target.shape[-1])]
    background = np.clip(1 - np.sum(parts, axis=0, dtype=np.float32), 0, 1)
    return images, np.stack([background, *parts], axis=-1)


def rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation by three angles in radians about the first, second and third axis, float64 (3, 3)."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    first = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    second = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    third = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return np.asarray(third @ second @ first)


def _vary_modality(image: Float32, settings: Augmentation, rng: np.random.Generator) -> None:
    """Change the intensities of one modality in place.

    The draws do not depend on what is in the image, so that a sample is the same whatever was cut away from it.
    """
    chances = rng.random(4) < (
        settings.blur_chance,
        settings.bias_chance,
        settings.gamma_chance,
        settings.noise_chance,
    )
    scale = 1 + rng.uniform(-settings.scale, settings.scale)
    shift = rng.uniform(-settings.shift, settings.shift)
    strengths = rng.random(4)
    inside = image != 0
    if not inside.any():
        return
    if chances[0]:
        _blur(image, inside, strengths[0] * settings.blur_voxels)
    if chances[1]:
        _shade(image, strengths[1] * settings.bias, rng)
    if chances[2]:
        _gamma(image, inside, float(np.exp((2 * strengths[2] - 1) * settings.gamma)))
    if chances[3]:
        image += np.float32(strengths[3] * settings.noise) * rng.standard_normal(image.shape, dtype=np.float32)
    image *= np.float32(scale)
    image += np.float32(shift)
    image[~inside] = 0


def _blur(image: Float32, inside: NDArray[np.bool_], sigma: float) -> None:
    """Gaussian blur within the head: the background neither darkens its rim nor takes any of it."""
    from scipy import ndimage

    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma, truncate=3.0)
    blurred = ndimage.gaussian_filter(image, sigma, truncate=3.0)
    np.divide(blurred, weight, out=image, where=inside)


def _shade(image: Float32, strength: float, rng: np.random.Generator) -> None:
    """Multiply by a smooth positive field, on intensities counted from the darkest one as a coil sees them."""
    from scipy import ndimage

    control = rng.uniform(-1, 1, (BIAS_POINTS,) * 3).astype(np.float32)
    factors = [size / BIAS_POINTS for size in image.shape]
    field = ndimage.zoom(control, factors, order=1, grid_mode=True, mode="nearest")
    darkest = image.min()
    image -= darkest
    image *= np.exp(np.float32(strength) * field)
    image += darkest


def _gamma(image: Float32, inside: NDArray[np.bool_], exponent: float) -> None:
    """Raise intensities, scaled to 0 .. 1 between the head's extremes, to a power."""
    values = image[inside]
    low, high = values.min(), values.max()
    if high > low:
        image[inside] = ((values - low) / (high - low)) ** np.float32(exponent) * (high - low) + low
