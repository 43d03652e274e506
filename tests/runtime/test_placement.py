"""Crop, pad and resample, and the way back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eenet_runtime.placement import bounding_box, place_box
from eenet_runtime.presets import GeometryPreset

PRESET = GeometryPreset("small", (32, 32, 24), 1.0, (2, 2, 2))
COARSE = GeometryPreset("coarse", (32, 32, 24), 2.0, (2, 2, 2))
SIZES = st.tuples(st.integers(20, 50), st.integers(20, 50), st.integers(12, 40))


def _one_hot(labels: np.ndarray) -> np.ndarray:
    return np.asarray(np.eye(4, dtype=np.float32)[labels])


@given(SIZES, st.integers(0, 1000))
def test_what_is_cropped_comes_back_where_it_was_and_the_rest_is_background(
    shape: tuple[int, int, int], seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)
    labels[0, 0, 0] = 1
    placement = place_box(bounding_box(labels > 0), shape, (1.0, 1.0, 1.0), PRESET)
    back = placement.labels_from_probabilities(_one_hot(placement.labels_to_network(labels)))
    expected = np.zeros_like(labels)
    expected[placement.covered] = labels[placement.covered]
    assert np.array_equal(back, expected)


@given(SIZES, st.integers(0, 1000))
def test_two_millimetre_voxels_hold_the_means_of_eight_voxels(shape: tuple[int, int, int], seed: int) -> None:
    volume = np.random.default_rng(seed).random(shape).astype(np.float32)
    placement = place_box((slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])), shape, (1.0, 1.0, 1.0), COARSE)
    padded = np.zeros(tuple(2 * size for size in COARSE.shape), np.float32)
    corner = [int(axis.offset - 0.5) for axis in placement.axes]
    inner = tuple(slice(-start, -start + size) for start, size in zip(corner, shape, strict=True))
    padded[inner] = volume
    means = padded.reshape(32, 2, 32, 2, 24, 2).mean(axis=(1, 3, 5))
    assert np.allclose(placement.to_network(volume), means, atol=1e-6)


def test_a_head_smaller_than_the_box_is_padded_with_zeros_around_its_middle() -> None:
    volume = np.ones((10, 12, 8), np.float32)
    placement = place_box((slice(0, 10), slice(0, 12), slice(0, 8)), volume.shape, (1.0, 1.0, 1.0), PRESET)
    result = placement.to_network(volume)
    assert result.sum() == volume.sum()
    assert bounding_box(result > 0) == (slice(11, 21), slice(10, 22), slice(8, 16))


def test_a_class_that_fills_the_head_fills_it_again_at_any_voxel_size() -> None:
    shape = (40, 44, 30)
    placement = place_box((slice(4, 36), slice(4, 40), slice(3, 27)), shape, (1.0, 0.9, 1.3), COARSE)
    probabilities = np.zeros((*COARSE.shape, 4), np.float32)
    probabilities[..., 2] = 1
    assert (placement.labels_from_probabilities(probabilities)[placement.covered] == 2).all()


def test_inputs_stay_as_they_were() -> None:
    volume = np.random.default_rng(0).random((40, 40, 30)).astype(np.float32)
    before = volume.copy()
    placement = place_box((slice(0, 40), slice(0, 40), slice(0, 30)), volume.shape, (1.0, 1.0, 1.0), COARSE)
    placement.to_network(volume)
    assert np.array_equal(volume, before)
