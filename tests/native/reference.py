"""The 3D layers in float64 NumPy, written from docs/network.md alone. Activations are channels last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Weights = Mapping[str, NDArray[Any]]


def convolution(x: NDArray[Any], kernel: NDArray[Any], bias: NDArray[Any], stride: int = 1) -> Float64:
    """3x3x3, "same", depth `stride`: (H, W, D, C) to (H, W, D / stride, K); kernel (K, C, 3, 3, 3)."""
    height, width, depth, _ = x.shape
    slices = depth // stride
    # TensorFlow's rule: what is missing at the end, rounded so that the end gets more.
    missing = max((slices - 1) * stride + 3 - depth, 0)
    padded = np.pad(x.astype(np.float64), ((1, 1), (1, 1), (missing // 2, missing - missing // 2), (0, 0)))
    out: Float64 = np.zeros((height * width * slices, len(kernel))) + bias
    for h, w, d in np.ndindex(3, 3, 3):
        taps = padded[h : h + height, w : w + width, d : d + (slices - 1) * stride + 1 : stride]
        # One large matrix product: NumPy would make one of each column otherwise.
        out += taps.reshape(len(out), -1) @ kernel[:, :, h, w, d].astype(np.float64).T
    return out.reshape(height, width, slices, -1)


def pointwise(x: NDArray[Any], kernel: NDArray[Any], bias: NDArray[Any]) -> Float64:
    """1x1x1: (..., C) to (..., K); kernel (K, C, 1, 1, 1)."""
    out: Float64 = x.astype(np.float64) @ kernel.reshape(len(kernel), -1).astype(np.float64).T + bias
    return out


def group_norm(x: Float64, gamma: NDArray[Any], beta: NDArray[Any]) -> Float64:
    """8 groups, epsilon 1e-3, over the whole volume."""
    groups = x.reshape(*x.shape[:3], 8, -1)
    mean = groups.mean(axis=(0, 1, 2, 4), keepdims=True)
    deviation = np.sqrt(groups.var(axis=(0, 1, 2, 4), keepdims=True) + 1e-3)
    out: Float64 = ((groups - mean) / deviation).reshape(x.shape) * gamma + beta
    return out


def block(x: Float64, weights: Weights, name: str) -> Float64:
    """`Conv_block` of docs/network.md."""
    main = x
    for step in ("1", "2"):
        norm, layer = f"GroupNorm_{step}_{name}", f"Conv3D_{step}_{name}"
        main = np.maximum(group_norm(main, weights[f"{norm}/gamma"], weights[f"{norm}/beta"]), 0)
        main = convolution(main, weights[f"{layer}/kernel"], weights[f"{layer}/bias"])
    return main + pointwise(x, weights[f"Res_{name}/kernel"], weights[f"Res_{name}/bias"])


def network(
    volume: NDArray[Any], weights: Weights, strides: tuple[int, int, int], plane_network: Callable[[Float64], Float64]
) -> tuple[Float64, Float64]:
    """The whole network with a stand-in for its 2D part.

    Args:
        volume: (4, H, W, D).
        plane_network: (H, W, 3) to (H, W, 3).

    Returns:
        The encoder's plane (H, W, 3) and the logits (H, W, D, 4).
    """

    def layer(x: Float64, name: str, stride: int = 1) -> Float64:
        kernel = weights[f"{name}/kernel"]
        if kernel.shape[2] == 1:
            return pointwise(x, kernel, weights[f"{name}/bias"])
        return convolution(x, kernel, weights[f"{name}/bias"], stride)

    x = layer(np.moveaxis(volume, 0, -1).astype(np.float64), "Input_L1")
    skips = []
    for level, stride in enumerate(strides, 1):
        skips.append(block(x, weights, f"L{level}"))
        x = layer(skips[-1], f"Post_L{level}", stride)
    x = block(x, weights, "L4")
    plane = np.maximum(layer(x, "Enc_DownSample_128"), 0)[..., 0]

    x = plane_network(plane)[..., np.newaxis]
    for level, (skip, stride) in enumerate(zip(reversed(skips), reversed(strides), strict=True), 1):
        x = np.repeat(layer(x, f"L{level}_Dec"), stride, axis=2) + skip
        x = block(x, weights, f"Post_L{level}_Dec")
    return plane, layer(layer(x, "L4_Dec"), "Model_Outputs")


def softmax(logits: Float64) -> Float64:
    """Over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    out: Float64 = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return out
