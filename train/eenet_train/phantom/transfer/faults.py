"""What goes wrong between head and file, one function each; images are float32 in the head's box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eenet_train.phantom.fields import Float3D, Shape3, random_field


def shape_of(image: Float3D) -> Shape3:
    """The image's size."""
    x, y, z = image.shape
    return x, y, z


def shade(rng: np.random.Generator, image: Float3D, strength: float) -> Float3D:
    """Coil shading of up to about exp(+-2 strength)."""
    spacing = float(rng.uniform(45.0, 90.0))
    return np.asarray(image * np.exp(np.float32(strength) * random_field(rng, shape_of(image), spacing)))


def ring(rng: np.random.Generator, image: Float3D) -> Float3D:
    """Gibbs ringing: the highest frequencies along one axis were never taken."""
    from scipy import fft

    axis = int(rng.integers(2))
    spectrum = fft.rfft(image, axis=axis)
    kept = int(spectrum.shape[axis] * rng.uniform(0.45, 0.8))
    np.moveaxis(spectrum, axis, 0)[kept:] = 0
    return np.asarray(np.maximum(fft.irfft(spectrum, n=image.shape[axis], axis=axis), 0), dtype=np.float32)


def ghost(rng: np.random.Generator, image: Float3D) -> Float3D:
    """Motion: faint copies, shifted along the phase-encoding axis."""
    axis, share = int(rng.integers(2)), np.float32(rng.uniform(0.01, 0.07))
    shift = int(image.shape[axis] / rng.integers(2, 6))
    return np.asarray((1 - share) * image + share * (np.roll(image, shift, axis) + np.roll(image, -shift, axis)) / 2)


def misplace(rng: np.random.Generator, image: Float3D, largest_mm: float) -> Float3D:
    """Registration error: a shift, and a turn that comes to as much at the head's surface."""
    from scipy import ndimage

    shift = rng.normal(0.0, largest_mm / 3, 3).clip(-largest_mm, largest_mm)
    turn = rng.normal(0.0, largest_mm / 3, 3).clip(-largest_mm, largest_mm) / 80.0
    matrix = np.eye(3) + np.array([[0, -turn[2], turn[1]], [turn[2], 0, -turn[0]], [-turn[1], turn[0], 0]])
    middle = (np.array(image.shape) - 1) / 2
    offset = middle - matrix @ middle + shift
    return np.asarray(ndimage.affine_transform(image, matrix, offset, order=1, mode="nearest"))


def slices(
    rng: np.random.Generator, image: Float3D, axis: int, thickness: float, noise: float, *, uneven_gain: bool
) -> Float3D:
    """Average over slices of a thickness at any offset, add noise, and interpolate back to 1 mm."""
    moved = np.moveaxis(image, axis, 0)
    length = moved.shape[0]
    sums = np.concatenate([np.zeros((1, *moved.shape[1:]), np.float32), np.cumsum(moved, axis=0, dtype=np.float32)])
    gap = float(rng.uniform(1.0, 1.25))
    centres = np.arange(-float(rng.uniform(0, thickness)), length + thickness, thickness * gap)

    def upto(position: float) -> Float3D:
        low = int(np.clip(np.floor(position), 0, length - 1))
        part = np.float32(np.clip(position - low, 0.0, 1.0))
        return np.asarray(sums[low] * (1 - part) + sums[low + 1] * part)

    stack = []
    for number, centre in enumerate(centres):
        start, end = np.clip((centre - thickness / 2, centre + thickness / 2), 0.0, length)
        if end - start < 0.25:
            start, end = (0.0, 1.0) if centre < length / 2 else (length - 1.0, float(length))
        plane = (upto(float(end)) - upto(float(start))) / np.float32(end - start)
        gain = 1 + rng.normal(0.0, 0.03) + (0.06 if number % 2 else -0.06) if uneven_gain else 1.0
        stack.append(plane * np.float32(gain))
    taken = rician(rng, np.maximum(np.stack(stack), 0), noise / thickness**0.4)
    position = np.clip((np.arange(length) + 0.5 - centres[0]) / (thickness * gap), 0, len(centres) - 1.001)
    low = position.astype(np.intp)
    weight = (position - low).astype(np.float32)
    if rng.random() < 0.1:  # nearest neighbour
        weight = np.rint(weight)
    weight = weight[:, None, None]
    return np.ascontiguousarray(np.moveaxis(taken[low] * (1 - weight) + taken[low + 1] * weight, 0, axis))


def rician(rng: np.random.Generator, image: Float3D, sigma: float) -> Float3D:
    """Magnitude of a signal with complex Gaussian noise (Gudbjartsson and Patz, 1995)."""
    real = rng.standard_normal(image.shape, dtype=np.float32)
    real *= np.float32(sigma)
    real += image
    imaginary = rng.standard_normal(image.shape, dtype=np.float32)
    imaginary *= np.float32(sigma)
    return np.sqrt(real * real + imaginary * imaginary)


def miss_lowest(rng: np.random.Generator, image: NDArray[np.int16], bottom: int) -> None:
    """Lowest slices that the scan did not reach, in place: empty, half empty along a slope, or striped.

    Args:
        rng: source of which and how many.
        image: values of the head's box.
        bottom: lowest slice that holds brain.
    """
    kind, height = int(rng.integers(3)), int(rng.integers(4, 22))
    low = image[:, :, : bottom + height]
    if kind == 0:
        low[...] = 0
    elif kind == 1:
        slope = float(rng.uniform(-0.3, 0.3))
        back = np.arange(image.shape[1]) - image.shape[1] / 2
        z = np.arange(low.shape[2])
        low[:, z[None, :] < bottom + height / 2 + slope * back[:, None]] = 0
    else:
        period = int(rng.integers(2, 6))
        low[:, :, np.arange(low.shape[2]) % period < period / 2] = 0
