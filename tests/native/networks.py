"""Weights, volumes and a stand-in for the 2D network, for tests of the whole engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eenet_native import expected_weights

SHAPE = (64, 64, 24)
STRIDES = (2, 2, 2)
SMALL_SHAPE = (32, 32, 12)
SMALL_STRIDES = (2, 1, 2)


def random_weights(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights under which activations keep a spread of about one."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in expected_weights().items():
        spread = 0.1
        if name.endswith("/kernel"):
            spread = float(np.sqrt(1 / np.prod(shape[1:])))
        weights[name] = (rng.standard_normal(shape) * spread).astype(np.float32)
        if name.endswith("/gamma"):
            weights[name] += 1
    return weights


def random_volume(shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.float32]:
    """Noise with a background of zeros, as a head has it."""
    volume = np.random.default_rng(seed).standard_normal((4, *shape)).astype(np.float32)
    volume[:, : shape[0] // 4] = 0
    return volume


def plane_network(plane: NDArray[Any]) -> NDArray[Any]:
    """In the 2D network's place: something that is not linear, on (..., H, W, 3)."""
    scaled: NDArray[Any] = np.tanh(plane[..., ::-1] - plane[..., :1] + 0.5)
    return scaled.astype(plane.dtype)
