"""Boxes of voxels, found and combined."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import eenet_runtime.volumes.boxes as box_module
from eenet_runtime.volumes.boxes import (
    Box,
    bounding_box,
    contiguous,
    difference,
    in_memory_order,
    intersection,
    is_empty,
    shape_of,
    slabs,
    union,
    whole,
)

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)
VOLUMES = hnp.arrays(np.int16, SHAPES, elements=st.sampled_from([0, 0, 0, 1, -7]))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """A box within 8 x 8 x 8 voxels, maybe empty."""
    parts = []
    for _ in range(3):
        start = draw(st.integers(0, 8))
        parts.append(slice(start, draw(st.integers(start, 8))))
    return parts[0], parts[1], parts[2]


def painted(*some: Box) -> NDArray[np.int64]:
    """How many of the boxes each of 8 x 8 x 8 voxels lies in."""
    volume = np.zeros((8, 8, 8), dtype=np.int64)
    for box in some:
        volume[box] += 1
    return volume


@given(volume=VOLUMES, order=st.sampled_from(list(permutations(range(3)))), back=st.booleans())
def test_a_bounding_box_holds_every_voxel_and_no_empty_face(
    volume: NDArray[np.int16], order: tuple[int, int, int], back: bool
) -> None:
    # However the volume lies in memory: along other axes, or backwards.
    stored = np.ascontiguousarray(volume.transpose(order)).transpose(np.argsort(order))
    stored = np.ascontiguousarray(stored[::-1])[::-1] if back else stored
    np.testing.assert_array_equal(stored, volume)
    box = bounding_box(stored)
    assert np.count_nonzero(stored[box]) == np.count_nonzero(volume)
    if not volume.any():
        assert is_empty(box)
        return
    for axis in range(3):
        inside = np.moveaxis(stored[box], axis, 0)
        assert inside[0].any()
        assert inside[-1].any()


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, ">i2", np.float32])
def test_a_bounding_box_does_not_care_for_the_type(dtype: Any) -> None:
    volume = np.zeros((9, 8, 7), dtype=dtype)
    volume[2, 3, 4] = volume[5, 1, 4] = 1
    assert bounding_box(volume) == (slice(2, 6), slice(1, 4), slice(4, 5))


@given(volume=VOLUMES, order=st.permutations(range(3)))
def test_a_volume_is_brought_into_order_without_a_change(volume: NDArray[np.int16], order: list[int]) -> None:
    turned = np.tile(volume, (1, 1, 9)).transpose(order)
    np.testing.assert_array_equal(contiguous(turned), turned)
    assert contiguous(turned).flags.c_contiguous
    assert contiguous(volume) is volume


def test_slabs_come_in_the_order_of_memory_a_few_planes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_module, "_SLAB_VOXELS", 24)
    volume = np.zeros((3, 4, 5), order="F")
    assert in_memory_order(volume).flags.c_contiguous
    assert [slab.shape for slab in slabs(volume)] == [(2, 4, 3), (2, 4, 3), (1, 4, 3)]
    assert all(slab.flags.c_contiguous for slab in slabs(volume))


def test_planes_larger_than_a_slab_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_module, "_SLAB_VOXELS", 5)
    assert [slab.shape for slab in slabs(np.zeros((2, 3, 4)))] == [(1, 3, 4)] * 2


@pytest.mark.parametrize("slab_voxels", [1, 7, 40])
@given(volume=VOLUMES, order=st.permutations(range(3)))
def test_the_bounding_box_does_not_depend_on_the_slabs(
    slab_voxels: int, volume: NDArray[np.int16], order: list[int]
) -> None:
    turned = volume.transpose(order)
    whole = bounding_box(turned)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(box_module, "_SLAB_VOXELS", slab_voxels)
        assert bounding_box(turned) == whole


@given(first=boxes(), second=boxes())
def test_boxes_combine_as_their_voxels_do(first: Box, second: Box) -> None:
    both = painted(first) * painted(second)
    common = intersection(first, second)
    assert is_empty(common) == (not both.any())
    if not is_empty(common):
        np.testing.assert_array_equal(painted(common), both)
    assert np.prod(shape_of(first)) == painted(first).sum()
    if not is_empty(first) and not is_empty(second):
        assert union([first, second]) == bounding_box(painted(first, second))


@given(first=boxes(), second=boxes())
def test_what_is_left_of_a_box_is_every_other_voxel_once(first: Box, second: Box) -> None:
    left = difference(first, intersection(first, second))
    assert len(left) <= 6
    np.testing.assert_array_equal(painted(*left), painted(first) * (1 - painted(second)))


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 2)])
def test_the_whole_of_a_volume_is_a_box_of_its_first_three_axes(shape: tuple[int, ...]) -> None:
    assert whole(shape) == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_a_box_inside_another_leaves_every_other_voxel_once_wherever_it_touches() -> None:
    outer = (slice(0, 5), slice(1, 7), slice(2, 8))
    # Along each axis: all of it, its lower end, its middle, its upper end.
    parts = [[slice(low, high), slice(low, 4), slice(3, 4), slice(3, high)] for low, high in ((0, 5), (1, 7), (2, 8))]
    for rows, columns, levels in product(*parts):
        inner = (rows, columns, levels)
        left = difference(outer, inner)
        sides = zip(inner, outer, strict=True)
        assert len(left) == sum((part.start > all_of.start) + (part.stop < all_of.stop) for part, all_of in sides)
        np.testing.assert_array_equal(painted(inner, *left), painted(outer))
