"""Voxel grids: what an affine says, and turning arrays to the network's axes and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError
from eenet_runtime.volumes.boxes import bounding_box
from eenet_runtime.volumes.grid import (
    GRID_TOLERANCE,
    Grid,
    box_to_network_axes,
    check_affine,
    from_network_axes,
    network_spacing_mm,
    to_network_axes,
    to_stored_order,
)
from tests.synthetic import ORIENTATIONS, Head

SHAPE = (4, 5, 6)


def random_affine(seed: int) -> NDArray[np.float64]:
    """Any affine with an orientation: rotated, flipped, sheared, with unequal voxels, anywhere."""
    generator = np.random.default_rng(seed)
    columns = np.zeros((3, 3))
    while abs(np.linalg.det(columns)) < 0.05:
        columns = generator.normal(size=(3, 3))
        columns /= np.linalg.norm(columns, axis=0)
    affine = np.eye(4)
    affine[:3, :3] = columns * generator.uniform(0.2, 8, size=3)
    affine[:3, 3] = generator.uniform(-300, 300, size=3)
    return affine


AFFINES = st.integers(0, 2**32 - 1).map(random_affine)


def world_of_voxels(grid: Grid) -> NDArray[np.float64]:
    """World coordinates of every voxel, (X, Y, Z, 3), by the definition of an affine."""
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    return np.asarray(index @ grid.affine[:3, :3].T + grid.affine[:3, 3])


def blank(shape: tuple[int, int, int]) -> Head:
    """A grid like BraTS' with nothing on it."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[1, 3] = shape[1] - 1
    return Head({}, np.zeros(shape, np.uint8), affine)


@given(affine=AFFINES)
def test_turning_to_the_network_and_back_gives_the_same_array(affine: NDArray[np.float64]) -> None:
    grid = Grid(SHAPE, affine)
    volume = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    turned = to_network_axes(volume, grid)
    assert turned.size == volume.size
    np.testing.assert_array_equal(from_network_axes(turned, grid), volume)


@given(affine=AFFINES)
def test_spacing_follows_its_axis_to_the_network(affine: NDArray[np.float64]) -> None:
    grid = Grid(SHAPE, affine)
    turned = to_network_axes(world_of_voxels(grid), grid)
    for axis in range(3):
        step = np.diff(turned, axis=axis).reshape(-1, 3)[0]
        np.testing.assert_allclose(np.linalg.norm(step), network_spacing_mm(grid)[axis], rtol=1e-9)


@pytest.mark.parametrize(("permutation", "flips"), ORIENTATIONS)
def test_network_axes_run_to_the_back_to_the_left_and_up(permutation: tuple[int, ...], flips: tuple[bool, ...]) -> None:
    head = blank(SHAPE).stored_as(permutation, flips)
    grid = Grid((head.shape[0], head.shape[1], head.shape[2]), head.affine)
    world = to_network_axes(world_of_voxels(grid), grid)
    np.testing.assert_allclose(np.diff(world, axis=0), np.broadcast_to([0, -1, 0], (4, 4, 6, 3)))
    np.testing.assert_allclose(np.diff(world, axis=1), np.broadcast_to([-1, 0, 0], (5, 3, 6, 3)))
    np.testing.assert_allclose(np.diff(world, axis=2), np.broadcast_to([0, 0, 1], (5, 4, 5, 3)))


def test_a_brats_file_only_swaps_its_first_two_axes() -> None:
    # The authors' code swaps them without looking at the affine; a checkpoint of theirs must see the same heads.
    head = blank(SHAPE)
    volume = np.arange(np.prod(head.shape)).reshape(head.shape)
    turned = to_network_axes(volume, Grid((4, 5, 6), head.affine))
    np.testing.assert_array_equal(turned, volume.transpose(1, 0, 2))


def test_an_oblique_grid_goes_to_the_nearest_axes() -> None:
    angle = np.radians(30)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    grid = Grid(SHAPE, affine)
    assert grid.axes == "RAS"
    volume = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    np.testing.assert_array_equal(to_network_axes(volume, grid), volume.transpose(1, 0, 2)[::-1, ::-1])


def test_axes_after_the_third_stay_where_they_are(head: Head) -> None:
    stored = head.stored_as((2, 0, 1), (True, False, True))
    volume = np.arange(np.prod(stored.shape) * 2).reshape(*stored.shape, 2)
    grid = Grid((stored.shape[0], stored.shape[1], stored.shape[2]), stored.affine)
    turned = to_network_axes(volume, grid)
    for channel in range(2):
        np.testing.assert_array_equal(turned[..., channel], to_network_axes(volume[..., channel], grid))


def test_turning_copies_nothing() -> None:
    volume = np.zeros(SHAPE)
    grid = Grid(SHAPE, np.diag([1.0, 1.0, 1.0, 1.0]))
    assert np.shares_memory(to_network_axes(volume, grid), volume)
    assert np.shares_memory(from_network_axes(volume, grid), volume)


@given(affine=AFFINES, other=AFFINES)
def test_another_storage_order_keeps_every_voxel_in_its_place(
    affine: NDArray[np.float64], other: NDArray[np.float64]
) -> None:
    grid, like = Grid(SHAPE, affine), Grid(SHAPE, other)
    world = world_of_voxels(grid)
    turned, turned_grid = to_stored_order(world, grid, like)
    np.testing.assert_allclose(turned, world_of_voxels(turned_grid), atol=1e-9)
    assert turned_grid.shape == turned.shape[:3]
    assert turned_grid.axes == like.axes


def test_volume_of_a_voxel_is_in_millilitres_also_when_oblique() -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([1.0, 2.0, 5.0])
    grid = Grid(SHAPE, affine)
    np.testing.assert_allclose(grid.voxel_ml, 0.01)
    np.testing.assert_allclose(grid.spacing_mm, (1, 2, 5))


def test_grids_match_up_to_the_tolerance_and_no_further() -> None:
    grid = Grid(SHAPE, np.eye(4))
    for entry in ((0, 0), (1, 2), (2, 3)):
        near, far = np.eye(4), np.eye(4)
        near[entry] += 0.9 * GRID_TOLERANCE
        far[entry] += 1.1 * GRID_TOLERANCE
        assert grid.matches(Grid(SHAPE, near))
        assert not grid.matches(Grid(SHAPE, far))
    assert not grid.matches(Grid((4, 5, 7), np.eye(4)))


def test_a_grid_describes_itself_for_messages() -> None:
    affine = np.diag([-1.0, -1.0, 2.5, 1.0])
    affine[:3, 3] = 0, 239, -3
    words = Grid((240, 240, 62), affine).describe()
    assert words == "240 x 240 x 62 voxels of 1 x 1 x 2.5 mm, axes LPS, origin (0, 239, -3)"


def test_an_unusable_affine_is_refused_by_name() -> None:
    flat = np.diag([1.0, 1.0, 0.0, 1.0])
    skewed = np.eye(4)
    skewed[:3, 1] = [1.0, 1e-4, 0.0]
    for affine in (flat, skewed):
        with pytest.raises(CaseError, match=r"^A_t1\.nii: the affine is singular"):
            check_affine(affine, "A_t1.nii")
    with pytest.raises(CaseError, match=r"^A_t1\.nii: the affine holds NaN"):
        check_affine(np.diag([1.0, np.nan, 1.0, 1.0]), "A_t1.nii")
    check_affine(np.diag([0.01, -7.0, 30.0, 1.0]), "A_t1.nii")


@given(affine=AFFINES)
def test_a_box_turns_as_its_voxels_do(affine: NDArray[np.float64]) -> None:
    grid = Grid(SHAPE, affine)
    volume = np.zeros(SHAPE, dtype=np.bool_)
    box = (slice(1, 2), slice(0, 3), slice(4, 6))
    volume[box] = True
    assert box_to_network_axes(box, grid) == bounding_box(to_network_axes(volume, grid))


@pytest.mark.parametrize("entry", [(0, 0), (2, 3)])
def test_an_affine_of_more_than_a_kilometre_is_refused(entry: tuple[int, int]) -> None:
    near, far = np.eye(4), np.eye(4)
    near[entry], far[entry] = -0.9e6, -1.1e6
    check_affine(near, "A_t1.nii")
    with pytest.raises(CaseError, match=r"^A_t1\.nii: the affine holds 1\.1e\+06, expected millimetres"):
        check_affine(far, "A_t1.nii")


def _turned(degrees: float, axis: int, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.eye(4)
    first, second = (index for index in range(3) if index != axis)
    turn[first, first], turn[first, second], turn[second, first], turn[second, second] = c, -s, s, c
    return turn @ affine


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("degrees", [45.0, -45.0, 135.0])
@pytest.mark.parametrize("rounding", [2e-6, -2e-6, 1e-5])
@pytest.mark.parametrize("permutation", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)])
def test_an_oblique_grid_is_one_with_itself_whatever_its_last_digits_say(
    axis: int, degrees: float, rounding: float, permutation: tuple[int, ...]
) -> None:
    straight = np.diag([-1.0, -1.0, 1.0, 1.0])
    like = Grid(SHAPE, _turned(degrees, axis, straight))
    columns = [*permutation, 3]
    other = Grid(
        tuple(SHAPE[index] for index in permutation),  # type: ignore[arg-type]
        _turned(degrees + rounding, axis, straight)[:, columns],
    )
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    turned, grid = to_stored_order(voxels.transpose(permutation), other, like)
    assert grid.matches(like)
    np.testing.assert_array_equal(turned, voxels)
    assert other.axes == "".join(like.axes[index] for index in permutation)


def test_the_difference_of_two_grids_is_told_however_small() -> None:
    grid = Grid((240, 240, 155), np.diag([-1.0, -1.0, 1.0, 1.0]))
    moved = grid.affine.copy()
    moved[1, 3] = 0.02
    assert Grid(grid.shape, moved).difference(grid) == "they differ in origin by 0.02 mm; corners lie 0.02 mm apart"
    assert "origin (0, 0.02, 0)" in Grid(grid.shape, moved).describe()
    larger = grid.affine @ np.diag([1.0015, 1.0, 1.0, 1.0])
    assert "voxel size by 0.0015 mm; corners lie 0.36 mm apart" in Grid(grid.shape, larger).difference(grid)
    assert "1.0015 x 1 x 1 mm" in Grid(grid.shape, larger).describe()
    turned = _turned(0.1, 2, grid.affine)
    assert "direction by 0.1 degrees" in Grid(grid.shape, turned).difference(grid)
    assert Grid((240, 240, 154), grid.affine).difference(grid) == "they differ in their numbers of voxels"


@given(affine=AFFINES, entry=st.tuples(st.integers(0, 2), st.integers(0, 3)), by=st.floats(1.01e-3, 1.0))
def test_two_grids_that_do_not_match_never_look_alike_in_a_message(
    affine: NDArray[np.float64], entry: tuple[int, int], by: float
) -> None:
    other = affine.copy()
    other[entry] += by
    first, second = Grid((240, 240, 155), affine), Grid((240, 240, 155), other)
    assert not first.matches(second)
    assert "they differ in " in first.difference(second)
    assert "they differ in ;" not in first.difference(second)


@pytest.mark.parametrize("axis", range(3))
def test_grids_whose_nearest_axes_part_at_a_rounding_are_brought_onto_each_other(axis: int) -> None:
    """Wherever the nearest axis changes: there the patient's axes alone would turn one of the two another way."""
    straight = np.diag([-1.0, -1.0, 1.0, 1.0])
    parted = 0
    for degrees in np.arange(44.9, 45.1, 0.002):
        like = Grid(SHAPE, _turned(degrees, axis, straight))
        other = Grid(
            (SHAPE[1], SHAPE[2], SHAPE[0]),
            _turned(degrees + 0.003, axis, straight)[:, [1, 2, 0, 3]],
        )
        voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE)
        turned, grid = to_stored_order(voxels.transpose(1, 2, 0), other, like)
        assert grid.matches(like)
        np.testing.assert_array_equal(turned, voxels)
        parted += other.axes != like.axes[1] + like.axes[2] + like.axes[0]
    assert parted > 0
