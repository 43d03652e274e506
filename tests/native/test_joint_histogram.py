"""The compiled joint histogram: what it counts, and that parts and NumPy count the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_native import joint_histogram
from eenet_runtime.heads.registration.histogram import count_in_numpy

SHAPE = (7, 9, 11)
STAY = np.eye(3, 4, dtype=np.float32)


def samples(seed: int, count: int = 5000) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Places in and around a volume of `SHAPE`, and bins."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-2, np.array(SHAPE)[:, None] + 1, (3, count)).astype(np.float32)
    return points, rng.integers(0, 32, count, dtype=np.uint8)


def noise(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)


def test_a_sample_on_a_voxel_counts_whole_in_its_bin() -> None:
    moving = np.zeros((2, 2, 2), np.uint8)
    moving[0, 0, 0] = 255
    counts, inside = joint_histogram(np.zeros((3, 1), np.float32), np.array([5], np.uint8), moving, STAY)
    assert inside == 1
    assert counts[5, 31] == 256
    assert counts.sum() == 256


def test_a_value_between_two_bins_is_shared() -> None:
    moving = np.full((2, 2, 2), 100, np.uint8)
    counts, _ = joint_histogram(np.zeros((3, 1), np.float32), np.array([0], np.uint8), moving, STAY)
    exact = 100 * 31 / 255
    upper = round((exact - 12) * 256)
    assert counts[0, 12] == 256 - upper
    assert counts[0, 13] == upper


def test_interpolation_is_linear_along_each_axis() -> None:
    moving = np.zeros((2, 2, 2), np.uint8)
    moving[1], moving[:, 1], moving[:, :, 1] = 60, moving[:, 1] + 40, moving[:, :, 1] + 20
    place = np.array([[0.25], [0.5], [0.75]], np.float32)
    counts, _ = joint_histogram(place, np.zeros(1, np.uint8), moving, STAY)
    corners = moving.astype(float)
    expected = 0.0
    for index in np.ndindex(2, 2, 2):
        shares = [share if side else 1 - share for side, share in zip(index, (0.25, 0.5, 0.75), strict=True)]
        expected += float(np.prod(shares) * corners[index])
    mean = (counts[0] / 256 * np.arange(32)).sum() * 255 / 31
    assert mean == pytest.approx(expected, abs=255 / 31 / 256)


def test_each_sample_inside_adds_256() -> None:
    points, bins = samples(0)
    counts, inside = joint_histogram(points, bins, noise(1), STAY)
    last = np.array(SHAPE)[:, None] - 1
    assert inside == ((points >= 0) & (points < last)).all(axis=0).sum()
    assert counts.sum() == 256 * inside


@given(st.integers(0, 1000), st.lists(st.integers(0, 5000), max_size=4))
def test_parts_add_up_to_the_whole_to_the_last_bit(seed: int, cuts: list[int]) -> None:
    points, bins = samples(seed)
    moving = noise(seed + 1)
    whole, inside = joint_histogram(points, bins, moving, STAY)
    edges = [0, *sorted(cuts), 5000]
    parts = [joint_histogram(points, bins, moving, STAY, slice(a, b)) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(sum(part[0] for part in parts), whole)
    assert sum(part[1] for part in parts) == inside


@given(st.integers(0, 1000))
def test_numpy_counts_the_same_bits(seed: int) -> None:
    points, bins = samples(seed, count=20_000)
    matrix = np.random.default_rng(seed + 2).normal(STAY, 0.2).astype(np.float32)
    mine, theirs = (f(points, bins, noise(seed), matrix) for f in (joint_histogram, count_in_numpy))
    np.testing.assert_array_equal(mine[0], theirs[0])
    assert mine[1] == theirs[1]


@pytest.mark.parametrize("entry", [np.nan, np.inf, 1e30, -1e30])
def test_what_is_nowhere_is_outside(entry: float) -> None:
    points, bins = samples(3)
    matrix = STAY.copy()
    matrix[0, 3] = entry
    for count in (joint_histogram, count_in_numpy):
        counts, inside = count(points, bins, noise(0), matrix)
        assert inside == 0
        assert not counts.any()


def test_bins_beyond_the_last_write_nowhere_else() -> None:
    points, bins = samples(4)
    expected, _ = joint_histogram(points, bins, noise(0), STAY)
    found, _ = joint_histogram(points, bins | np.uint8(0b11100000), noise(0), STAY)
    np.testing.assert_array_equal(found, expected)


def test_what_the_library_would_misread_is_refused() -> None:
    points, bins = samples(5)
    moving = noise(0)
    with pytest.raises(ValueError, match="points_mm: float64"):
        joint_histogram(points.astype(np.float64), bins, moving, STAY)
    with pytest.raises(ValueError, match="points_mm"):
        joint_histogram(points, bins[:-1], moving, STAY)
    with pytest.raises(ValueError, match="moving"):
        joint_histogram(points, bins, moving.T, STAY)
    with pytest.raises(ValueError, match="moving"):
        joint_histogram(points, bins, moving[0], STAY)
    with pytest.raises(ValueError, match="to_voxels"):
        joint_histogram(points, bins, moving, np.eye(4, dtype=np.float32))
    with pytest.raises(ValueError, match="at least two voxels"):
        joint_histogram(points, bins, np.ascontiguousarray(moving[:1]), STAY)
    with pytest.raises(ValueError, match="consecutive"):
        joint_histogram(points, bins, moving, STAY, slice(None, None, 2))
