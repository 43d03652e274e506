"""The four images of a scene, each with a scanner, a session and faults of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality
from eenet_train.phantom.fields import Float3D, random_field
from eenet_train.phantom.transfer import faults
from eenet_train.phantom.transfer.contrast import Signals, draw_signals
from eenet_train.phantom.transfer.looks import Look
from eenet_train.phantom.transfer.scene import Material, Scene

FULL_SCALE = np.iinfo(np.int16).max


def scan_wide(
    rng: np.random.Generator, scene: Scene, brain: NDArray[np.bool_], look: Look
) -> dict[Modality, NDArray[np.int16]]:
    """Take the four images.

    Args:
        rng: source of everything about sequences, scanner and session.
        scene: what lies there.
        brain: the mask that stripping made.
        look: the ranges.

    Returns:
        int16 images of the head's box, 0 outside the mask; inside at least 1, but for slices that were not taken.
    """
    signals = draw_signals(rng, look)
    # The same places in every contrast, more or less strongly.
    texture = random_field(rng, scene.shape, float(rng.uniform(2.5, 6.0)))
    regions = random_field(rng, scene.shape, 28.0)
    fixed = int(rng.integers(len(CHANNEL_ORDER)))  # the image on which the others were registered
    return {
        modality: _take(rng, paint(rng, scene, signals[modality], texture, regions), brain, look, number == fixed)
        for number, modality in enumerate(CHANNEL_ORDER)
    }


def paint(rng: np.random.Generator, scene: Scene, signals: Signals, texture: Float3D, regions: Float3D) -> Float3D:
    """Signal of a scene before any scanner, relative to white matter."""
    grey = np.float32(signals[Material.GREY]) * (1 + np.float32(rng.uniform(0.0, 0.08)) * regions)
    signal = scene.grey * grey
    signal += scene.white * (1 - np.float32(rng.uniform(0.0, 0.06)) * regions)
    signal *= 1 + np.float32(rng.uniform(0.005, 0.05)) * texture
    signal += scene.fluid * np.float32(signals[Material.FLUID])
    for layer in scene.layers:
        part = signal[layer.window]
        value = np.float32(signals[layer.material])
        if layer.uneven:
            part += layer.share * (value * (1 + np.float32(layer.uneven) * texture[layer.window]) - part)
        else:
            part += layer.share * (value - part)
    return np.asarray(np.maximum(signal, 0), dtype=np.float32)


def _take(
    rng: np.random.Generator, signal: Float3D, brain: NDArray[np.bool_], look: Look, fixed: bool
) -> NDArray[np.int16]:
    """One image: blur, shading, faults, slices and noise, registration, mask, quantisation."""
    from scipy import ndimage

    if rng.random() < 0.3:
        signal = ndimage.gaussian_filter(signal, float(rng.uniform(0.3, 0.9)), truncate=3.0)
    signal = faults.shade(rng, signal, float(rng.uniform(0.05, 1.0)) * look.bias)
    if rng.random() < look.faults:
        signal = faults.ring(rng, signal)
    if rng.random() < look.faults:
        signal = faults.ghost(rng, signal)
    noise = float(np.exp(rng.uniform(*np.log(look.noise))))
    if rng.random() < look.thick:
        axis = int(rng.choice(3, p=(0.12, 0.13, 0.75)))
        gains = bool(rng.random() < look.faults)
        signal = faults.slices(rng, signal, axis, float(rng.uniform(*look.slice_mm)), noise, uneven_gain=gains)
    else:
        signal = faults.rician(rng, signal, noise)
    if not fixed and rng.random() < 0.8:
        signal = faults.misplace(rng, signal, float(rng.uniform(0.0, look.shift_mm)))
    if rng.random() < 0.3:
        signal = np.maximum(signal, 0) ** np.float32(rng.uniform(0.85, 1.2))
    return _store(rng, signal, brain, look)


def _store(rng: np.random.Generator, signal: Float3D, brain: NDArray[np.bool_], look: Look) -> NDArray[np.int16]:
    inside = signal[brain]
    top = float(np.percentile(inside[::7], 99.5)) if inside.size else 1.0
    brightest = 255.0 if rng.random() < 0.12 else float(np.exp(rng.uniform(np.log(200), np.log(4000))))
    values = np.rint(signal * np.float32(brightest / max(top, 1e-3)))
    ceiling = brightest if rng.random() < 0.1 else FULL_SCALE  # some exports clip their brightest
    image = np.where(brain, np.clip(values, 1, ceiling), 0).astype(np.int16)
    if rng.random() < 0.6 * look.faults:
        levels = np.flatnonzero(brain.any(axis=(0, 1)))
        if levels.size:
            faults.miss_lowest(rng, image, int(levels[0]))
    return image
