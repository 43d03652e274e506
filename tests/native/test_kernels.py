"""Each kernel is the layer that it claims to be, on shapes with remainders everywhere, with every instruction set.

Errors are judged against the spread of the outputs. FP32 with a direct sum is right to 1e-6 of it; Winograd in three
dimensions, with our points, to 2e-6 in the mean (RMS) and to 4e-5 at the worst where depth goes by F(6, 3), to half of
that where it goes by F(4, 3).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_native import _testing as kernels
from eenet_native import instruction_sets
from tests.native import reference

INSTRUCTIONS = instruction_sets()


class Tolerance(NamedTuple):
    """Largest error, and root of the mean squared error, in units of the outputs' spread."""

    largest: float
    rms: float


DIRECT = Tolerance(2e-6, 2e-6)
DIRECT_OF_MANY = Tolerance(4e-6, 2e-6)
"""Sums of 64 products: the farthest of some 30,000 values reaches 2.01e-6 (AVX2), their mean error stays."""
WINOGRAD = Tolerance(3e-5, 2e-6)
WINOGRAD_WITH_SIX_SLICES = Tolerance(6e-5, 4e-6)

planes = st.tuples(st.sampled_from([4, 8, 12]), st.sampled_from([4, 8, 16]))
instructions = st.sampled_from(INSTRUCTIONS)


def normal(rng: np.random.Generator, *shape: int, spread: float = 1.0) -> NDArray[np.float32]:
    return (rng.standard_normal(shape) * spread).astype(np.float32)


def assert_close(found: NDArray[Any], expected: NDArray[Any], tolerance: Tolerance) -> None:
    """Every element is there (none left NaN), and within `tolerance` of the spread."""
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    error, spread = found - expected, max(float(expected.std()), 1e-3)
    assert np.abs(error).max() <= tolerance.largest * spread
    assert np.sqrt((error**2).mean()) <= tolerance.rms * spread


def assert_sums(sums: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    """The sums are those of the stored values, which the next norm reads."""
    values = out.astype(np.float64).reshape(-1, out.shape[-1])
    assert np.allclose(sums[0], values.sum(axis=0), atol=1e-5 * np.abs(values).sum(axis=0).max())
    assert np.allclose(sums[1], (values**2).sum(axis=0), rtol=1e-5)


@given(
    instructions=instructions,
    plane=planes,
    slices=st.integers(1, 14),
    stride=st.integers(1, 5),
    channels=st.sampled_from([(16, 16), (16, 32), (32, 32), (32, 64), (64, 64)]),
    tiles=st.sampled_from([1, 2, 4]),
    chunk=st.sampled_from([0, 4, 6, 8]),
    activated=st.booleans(),
    seed=st.integers(0, 2**31),
)
@example("scalar", (4, 4), 1, 1, (16, 16), 1, 0, True, 0)
@example("scalar", (8, 16), 13, 1, (64, 64), 4, 4, True, 0)
@example("scalar", (8, 16), 11, 1, (16, 16), 2, 6, True, 0)
@example("scalar", (4, 8), 6, 1, (32, 64), 2, 0, False, 0)
@example("scalar", (4, 16), 3, 2, (16, 32), 2, 4, False, 0)
def test_convolution_is_the_reference_convolution(
    instructions: str,
    plane: tuple[int, int],
    slices: int,
    stride: int,
    channels: tuple[int, int],
    tiles: int,
    chunk: int,
    activated: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    c, k = channels
    x = normal(rng, *plane, slices * stride, c)
    kernel, bias = normal(rng, k, c, 3, 3, 3, spread=0.1), normal(rng, k)
    activation, seen = None, x
    if activated:
        activation = kernels.Activation(normal(rng, c), normal(rng, c))
        seen = np.maximum(x * activation.scale.astype(np.float64) + activation.shift, 0)
    tiles = min(tiles, plane[1] // 4)

    out, sums = kernels.convolution(
        instructions, x, kernel, bias, stride=stride, tiles=tiles, chunk=chunk, activation=activation
    )

    tolerance = WINOGRAD_WITH_SIX_SLICES if stride == 1 else WINOGRAD
    assert_close(out, reference.convolution(seen, kernel, bias, stride), tolerance)
    assert_sums(sums, out)


@pytest.mark.parametrize("channels", [16, 32, 64])
@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_a_shortcut_is_added_in_place(instructions: str, channels: int) -> None:
    rng = np.random.default_rng(channels)
    x, shortcut_input = normal(rng, 8, 8, 6, channels), normal(rng, 8, 8, 6, channels)
    kernel, bias = normal(rng, channels, channels, 3, 3, 3, spread=0.1), normal(rng, channels)
    shortcut = normal(rng, channels, channels, 1, 1, 1, spread=0.1)

    out, sums = kernels.convolution(instructions, x, kernel, bias, tiles=2, shortcut=(shortcut, shortcut_input))

    expected = reference.convolution(x, kernel, bias) + reference.pointwise(shortcut_input, shortcut, np.zeros(1))
    assert_close(out, expected, WINOGRAD_WITH_SIX_SLICES)
    assert_sums(sums, out)


@given(instructions=instructions, plane=planes, depth=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_input_convolution_is_the_reference_convolution(
    instructions: str, plane: tuple[int, int], depth: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    volume = normal(rng, 4, *plane, depth)
    kernel, bias = normal(rng, 16, 4, 3, 3, 3, spread=0.2), normal(rng, 16)

    out, sums = kernels.input_convolution(instructions, volume, kernel, bias)

    assert_close(out, reference.convolution(np.moveaxis(volume, 0, -1), kernel, bias), WINOGRAD)
    assert_sums(sums, out)


@given(instructions=instructions, plane=planes, depth=st.integers(1, 20), seed=st.integers(0, 2**31))
def test_head_is_two_layers_and_their_softmax(instructions: str, plane: tuple[int, int], depth: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = normal(rng, *plane, depth, 16)
    kernel, bias = normal(rng, 16, 16, 3, 3, 3, spread=0.1), normal(rng, 16)
    head_kernel, head_bias = normal(rng, 4, 16, 1, 1, 1, spread=0.5), normal(rng, 4)

    labels, probabilities = kernels.head(instructions, x, kernel, bias, head_kernel, head_bias)

    logits = reference.pointwise(reference.convolution(x, kernel, bias), head_kernel, head_bias)
    expected = np.moveaxis(reference.softmax(logits), -1, 0)
    assert np.abs(probabilities - expected).max() <= 1e-4
    assert np.array_equal(labels, probabilities.argmax(axis=0))


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_of_equal_logits_the_first_wins(instructions: str) -> None:
    nothing = np.zeros((16, 16, 3, 3, 3), np.float32)
    labels, probabilities = kernels.head(
        instructions,
        np.ones((4, 4, 3, 16), np.float32),
        nothing,
        np.zeros(16, np.float32),
        np.zeros((4, 16, 1, 1, 1), np.float32),
        np.array([0, 2, 2, 1], np.float32),
    )

    assert (labels == 1).all()
    assert (probabilities[1] == probabilities[2]).all()


@given(
    instructions=instructions,
    plane=planes,
    low_depth=st.integers(1, 9),
    factor=st.integers(1, 5),
    channels=st.sampled_from([(1, 64), (64, 32), (32, 16)]),
    seed=st.integers(0, 2**31),
)
def test_upsample_add_repeats_slices_onto_the_skip(
    instructions: str, plane: tuple[int, int], low_depth: int, factor: int, channels: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    c, k = channels
    low, skip = normal(rng, *plane, low_depth, c), normal(rng, *plane, low_depth * factor, k)
    kernel, bias = normal(rng, k, c, 1, 1, 1), normal(rng, k)

    out, sums = kernels.upsample_add(instructions, low, kernel, bias, skip)

    assert_close(out, np.repeat(reference.pointwise(low, kernel, bias), factor, axis=2) + skip, DIRECT_OF_MANY)
    assert_sums(sums, out)


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_squeeze_is_a_pointwise_convolution_and_relu(instructions: str) -> None:
    rng = np.random.default_rng(0)
    x, weights = normal(rng, 4, 8, 3, 64), normal(rng, 64)

    plane = kernels.squeeze(instructions, x, weights, 0.5)

    assert_close(plane, np.maximum(x.astype(np.float64) @ weights + 0.5, 0), DIRECT)


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_not_a_number_passes_through_every_kernel(instructions: str) -> None:
    """A ReLU that turned NaN into 0 would make a wrong mask that looks right."""
    rng = np.random.default_rng(0)
    x = normal(rng, 4, 4, 4, 16)
    x[1, 1, 1, 1] = np.nan
    kernel, bias = normal(rng, 16, 16, 3, 3, 3), normal(rng, 16)
    activation = kernels.Activation(np.ones(16, np.float32), np.zeros(16, np.float32))

    _, sums = kernels.convolution(instructions, x, kernel, bias, activation=activation)

    assert not np.isfinite(sums).any()
    with pytest.raises(FloatingPointError):
        kernels.group_norm(sums[np.newaxis], 64.0, np.ones(16, np.float32), np.zeros(16, np.float32))
    with pytest.raises(FloatingPointError):
        kernels.head(instructions, x, kernel, bias, normal(rng, 4, 16, 1, 1, 1), normal(rng, 4))
    assert np.isnan(
        kernels.squeeze(instructions, np.full((4, 4, 3, 64), np.nan, np.float32), normal(rng, 64), 0.0)
    ).all()


@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_group_norm_keeps_its_digits_far_from_zero(mean: float) -> None:
    """FP32 sums would lose the variance of values that lie a hundred deviations from zero."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((50, 1000, 16)) + mean
    sums = np.stack([values.sum(axis=1), (values**2).sum(axis=1)], axis=1)
    gamma, beta = normal(rng, 16), normal(rng, 16)

    activation = kernels.group_norm(sums, 50_000.0, gamma, beta)

    groups = values.reshape(-1, 8, 2)
    deviation = np.repeat(np.sqrt(groups.var(axis=(0, 2)) + 1e-3), 2)
    center = np.repeat(groups.mean(axis=(0, 2)), 2)
    assert np.allclose(activation.scale, gamma / deviation, rtol=1e-6)
    assert np.allclose(activation.shift, beta - center * gamma / deviation, rtol=1e-6, atol=1e-6)
