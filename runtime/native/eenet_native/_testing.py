"""Single layers, for the tests: what the engine does with one of them, on shapes that no network has.

Arrays are channels last, float32, as the kernels want them; kernels are in ONNX' layout. Not part of the interface.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eenet_native._library import Message, library

Float32 = NDArray[np.float32]
Sums = NDArray[np.float64]


@dataclass(frozen=True)
class Activation:
    """x -> max(0, scale x + shift), by channel."""

    scale: Float32
    shift: Float32


def live_buffer_bytes() -> int:
    """Bytes of all buffers of the library that exist in this process."""
    function = library().eenet_test_live_buffer_bytes
    function.restype = ctypes.c_size_t
    return int(function())


def convolution(
    instructions: str,
    x: Float32,
    kernel: Float32,
    bias: Float32,
    *,
    stride: int = 1,
    tiles: int = 1,
    chunk: int = 0,
    activation: Activation | None = None,
    shortcut: tuple[Float32, Float32] | None = None,
) -> tuple[Float32, Sums]:
    """A 3x3x3 convolution of (H, W, D, C), depth `stride`; H and W multiples of 4, channels 16, 32 or 64.

    Args:
        tiles, chunk: how the work is cut into items; 0 as in the engine.
        shortcut: kernel (K, K, 1, 1, 1) and input (H, W, D / stride, K) of a 1x1x1 convolution that is added.

    Returns:
        The output (H, W, D / stride, K), and the sums (2, K) of it and of its squares.
    """
    height, width, depth, channels = x.shape
    filters = kernel.shape[0]
    shape = (height, width, depth // stride, filters)
    # The shortcut works in place, so the output begins as its input.
    out = _filled(shape) if shortcut is None else shortcut[1].copy()
    sums = np.empty((2, filters))
    sizes = (height, width, depth, shape[2], channels, filters, stride, int(stride == 1), tiles, chunk)
    _call(
        "eenet_test_convolution", instructions, sizes, x, kernel, bias, activation and activation.scale,
        activation and activation.shift, shortcut and shortcut[0], out, sums,
    )  # fmt: skip
    return out, sums


def input_convolution(instructions: str, volume: Float32, kernel: Float32, bias: Float32) -> tuple[Float32, Sums]:
    """The first layer: (4, H, W, D) to (H, W, D, 16), and the sums (2, 16)."""
    out, sums = _filled((*volume.shape[1:], 16)), np.empty((2, 16))
    _call("eenet_test_input_convolution", instructions, volume.shape[1:], volume, kernel, bias, out, sums)
    return out, sums


def head(
    instructions: str, x: Float32, kernel: Float32, bias: Float32, head_kernel: Float32, head_bias: Float32
) -> tuple[NDArray[np.uint8], Float32]:
    """The last layers: (H, W, D, 16) to labels (H, W, D) and probabilities (4, H, W, D)."""
    labels = np.full(x.shape[:3], 255, np.uint8)
    probabilities = _filled((4, *x.shape[:3]))
    weights = (x, kernel, bias, head_kernel, head_bias)
    _call("eenet_test_head", instructions, x.shape[:3], *weights, labels, None)
    _call("eenet_test_head", instructions, x.shape[:3], *weights, None, probabilities)
    return labels, probabilities


def upsample_add(
    instructions: str, low: Float32, kernel: Float32, bias: Float32, skip: Float32
) -> tuple[Float32, Sums]:
    """1x1x1 convolution of `low` (H, W, d, C), repeated along depth and added to `skip` (H, W, d * factor, K)."""
    out, sums = skip.copy(), np.empty((2, skip.shape[3]))
    sizes = (*low.shape[:3], skip.shape[2] // low.shape[2], low.shape[3], skip.shape[3])
    _call("eenet_test_upsample_add", instructions, sizes, low, kernel, bias, out, sums)
    return out, sums


def squeeze(instructions: str, x: Float32, weights: Float32, bias: float) -> Float32:
    """1x1x1 convolution of (H, W, D, C) to one channel and ReLU: (H, W, D)."""
    plane = _filled(x.shape[:3])
    _call("eenet_test_squeeze", instructions, x.shape, x, weights, ctypes.c_float(bias), plane)
    return plane


def group_norm(sums: Sums, voxels: float, gamma: Float32, beta: Float32) -> Activation:
    """Scale and shift from sums by item (items, 2, C) over so many voxels."""
    scale, shift = _filled(gamma.shape), _filled(gamma.shape)
    message = Message()
    message.check(
        library().eenet_test_group_norm(
            _pointer(sums), len(sums), len(gamma), ctypes.c_double(voxels), _pointer(gamma), _pointer(beta),
            _pointer(scale), _pointer(shift), *message.arguments,
        )
    )  # fmt: skip
    return Activation(scale, shift)


def _filled(shape: tuple[int, ...]) -> Float32:
    """Room for a result, full of NaN: an element that is never written shows."""
    return np.full(shape, np.nan, np.float32)


def _pointer(argument: Any) -> Any:
    if isinstance(argument, np.ndarray) and not argument.flags.c_contiguous:
        raise ValueError("an array that is not C-contiguous found")
    return ctypes.c_void_p(argument.ctypes.data) if isinstance(argument, np.ndarray) else argument


def _call(function: str, instructions: str, sizes: tuple[int, ...], *arguments: Any) -> None:
    message = Message()
    values = [_pointer(argument) for argument in arguments]
    status = getattr(library(), function)(
        instructions.encode(), (ctypes.c_int * len(sizes))(*sizes), *values, *message.arguments
    )
    message.check(status)
