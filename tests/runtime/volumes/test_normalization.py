"""Z-scores over the head, background exactly 0."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError
from eenet_runtime.volumes.normalization import measure_intensities
from tests.synthetic import zscore

VOLUMES = hnp.arrays(np.int16, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.integers(-999, 999))


def image(dtype: Any = np.int16) -> NDArray[Any]:
    """Intensities from 1 to 200 in a background of 0; every voxel fits into every numeric type."""
    volume = np.zeros((8, 9, 10), dtype=dtype)
    volume[2:6, 2:7, 3:8] = np.arange(100).reshape(4, 5, 5) * 2 + 1
    return volume


@given(volume=VOLUMES)
def test_the_head_has_mean_0_and_deviation_1_and_the_background_stays_0(volume: NDArray[np.int16]) -> None:
    if np.unique(volume[volume != 0]).size < 2:
        return
    result = zscore(volume, "x")
    head = result[volume != 0].astype(np.float64)
    assert abs(head.mean()) < 1e-6
    assert abs(head.std() - 1) < 1e-6
    np.testing.assert_array_equal(result[volume == 0], 0.0)
    assert result.dtype == np.float32
    assert result.shape == volume.shape


@pytest.mark.parametrize("dtype", [">i2", "u1", "u2", "i4", "f4", ">f4", "f8"])
def test_the_type_of_the_voxels_makes_no_difference(dtype: str) -> None:
    np.testing.assert_array_equal(zscore(image(dtype), "x"), zscore(image(), "x"))


def test_signed_bytes_are_read_as_signed() -> None:
    volume = np.array([-100, 100, 0, 3], dtype=np.int8).reshape(4, 1, 1)
    values = np.array([-100.0, 100.0, 3.0])
    expected = (values - values.mean()) / values.std()
    np.testing.assert_allclose(zscore(volume, "x")[[0, 1, 3], 0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_layout_in_memory_makes_no_difference(order: Any) -> None:
    np.testing.assert_array_equal(zscore(np.array(image(), order=order), "x"), zscore(image(), "x"))


@pytest.mark.parametrize("scale", [1e-50, 1e-42, 1e-6, 1e6, 1e39, 1e90])
def test_the_scale_of_the_scanner_makes_no_difference(scale: float) -> None:
    # float32 ends at 1e38 and loses digits below 1e-38; the file's numbers may lie beyond both.
    scaled = image(np.float64) * scale
    np.testing.assert_allclose(zscore(scaled, "x"), zscore(image(), "x"), rtol=1e-6, atol=1e-6)


def test_a_small_contrast_on_a_large_offset_keeps_its_digits() -> None:
    volume = np.where(image() != 0, image(np.float64) + 1e6, 0)
    np.testing.assert_allclose(zscore(volume, "x"), zscore(image(), "x"), rtol=1e-6, atol=1e-6)


def test_the_input_is_unchanged() -> None:
    for dtype in (np.int16, np.float32, np.float64):
        volume = image(dtype)
        volume.setflags(write=False)
        result = zscore(volume, "x")
        np.testing.assert_array_equal(volume, image(dtype))
        assert not np.shares_memory(result, volume)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_number_are_refused_and_counted(value: float) -> None:
    volume = image(np.float32)
    volume[3, 3, 3] = volume[0, 0, 0] = value
    with pytest.raises(CaseError, match=r"^flair\.nii: 2 voxels are NaN or infinite"):
        zscore(volume, "flair.nii")


def test_an_absurd_intensity_is_refused_without_a_warning() -> None:
    with pytest.raises(CaseError, match=r"^x: an intensity of 1.99e\+302 found"):
        zscore(image(np.float64) * 1e300, "x")


def test_an_image_of_zeros_is_refused() -> None:
    with pytest.raises(CaseError, match=r"^x: all voxels are 0"):
        zscore(np.zeros((3, 3, 3), dtype=np.int16), "x")


@pytest.mark.parametrize("value", [-5, 1, 1000])
@pytest.mark.parametrize("background", [True, False])
def test_an_image_without_contrast_is_refused(value: int, background: bool) -> None:
    volume = np.full((4, 4, 4), value, dtype=np.int16)
    if background:
        volume[:2] = 0
    with pytest.raises(CaseError, match=f"^x: every non-zero voxel is {value}"):
        zscore(volume, "x")


def test_rounding_noise_is_not_contrast() -> None:
    volume = np.full((9, 9, 9), 0.1, dtype=np.float32)
    volume[::2] = np.nextafter(np.float32(0.1), np.float32(1))
    with pytest.raises(CaseError, match="expected an image with contrast"):
        zscore(volume, "x")


@given(volume=VOLUMES, order=st.permutations(range(3)))
def test_whole_numbers_give_the_same_bits_in_every_order_of_memory(volume: NDArray[np.int16], order: list[int]) -> None:
    if np.unique(volume[volume != 0]).size < 2:
        return
    stored = np.ascontiguousarray(volume.transpose(order)).transpose(np.argsort(order))
    np.testing.assert_array_equal(zscore(stored), zscore(volume))


@given(
    volume=hnp.arrays(np.float64, (4, 5, 6), elements=st.floats(-1e3, 1e3)),
    offset=st.sampled_from([0.0, 1e2, 1e5, 1e8]),
)
def test_the_result_is_the_float64_formula_rounded_once(volume: NDArray[np.float64], offset: float) -> None:
    # Near and far from zero: one pass over the sums of squares, or two.
    shifted = np.where(volume != 0, volume + offset, 0)
    values = shifted[shifted != 0]
    if values.size < 2 or values.std() < 1e-5 * np.abs(values).max():
        return
    expected = (values - values.mean()) / values.std()
    np.testing.assert_allclose(zscore(shifted)[shifted != 0], expected, rtol=1e-7, atol=1e-6)


def test_an_image_is_measured_without_an_array_of_its_size() -> None:
    volume = np.ones((240, 240, 155), dtype=np.int16, order="F")
    volume[::2] = 2
    tracemalloc.start()
    try:
        measure_intensities(volume, "x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < volume.nbytes / 2, "no more than a slab of half a million voxels in float64"


def test_where_the_head_lies_is_known_in_the_images_own_axes() -> None:
    assert measure_intensities(image(), "x").box == (slice(2, 6), slice(2, 7), slice(3, 8))
