"""Resampling in one interpolation: any turn, any voxels, there and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.resampling import Engine, resample, resample_array, resample_probabilities
from eenet_runtime.volumes.dice import dice
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import NUM_CLASSES

Matrix = NDArray[np.float64]
IDENTITY = np.eye(4)


@pytest.fixture(params=["native", "numpy"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Both engines, the compiled one where it is installed."""
    if request.param == "native":
        native = pytest.importorskip("eenet_native")
        if not hasattr(native, "resample_labels"):
            pytest.skip("the eenet_native that is installed is of before resampling")
    found: Engine = request.param
    return found


def turned(degrees: float, axis: int, about: tuple[float, float, float] = (0, 0, 0)) -> Matrix:
    """A rotation of the world about one of its axes through a point."""
    angle, matrix = np.radians(degrees), np.eye(4)
    first, second = (other for other in range(3) if other != axis)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    matrix[:3, 3] = np.array(about) - matrix[:3, :3] @ np.array(about)
    return matrix


def grid(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (1, 1, 1), pose: Matrix = IDENTITY) -> Grid:
    """A grid whose middle lies at the world's origin."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, pose @ affine)


def noise(shape: tuple[int, int, int], dtype: Any = np.float32) -> NDArray[Any]:
    return np.asfortranarray(np.random.default_rng(0).integers(0, 200, shape).astype(dtype))


def volume(values: NDArray[Any], lies: Grid) -> Volume:
    return Volume("image.nii", values, lies, nib.Nifti1Header())


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.float32, np.float64, np.bool_])
def test_onto_its_own_grid_an_image_comes_as_it_is(engine: Engine, dtype: Any) -> None:
    values = (
        noise((7, 6, 5), np.uint8).astype(dtype) if dtype != np.int8 else noise((7, 6, 5)).clip(0, 99).astype(dtype)
    )
    found = resample_array(values, grid((7, 6, 5)), grid((7, 6, 5)), IDENTITY, engine=engine)
    np.testing.assert_array_equal(found, values.astype(np.float32))
    assert found.dtype == np.float32
    assert found.flags.f_contiguous


def test_an_oblique_grid_onto_itself_is_a_copy(engine: Engine) -> None:
    oblique = grid((9, 8, 7), (0.9, 1.1, 5.5), turned(17, 0) @ turned(-8, 2))
    values = noise(oblique.shape)
    np.testing.assert_allclose(resample_array(values, oblique, oblique, IDENTITY, engine=engine), values, rtol=1e-6)


@given(shift=st.tuples(*[st.integers(-4, 4)] * 3))
@settings(max_examples=20, deadline=None)
def test_a_shift_by_whole_voxels_is_exact(shift: tuple[int, int, int]) -> None:
    values, source = noise((6, 7, 8)), grid((6, 7, 8))
    moved = np.eye(4)
    moved[:3, 3] = shift
    for chosen in ("auto", "numpy"):
        found = resample_array(values, source, source, moved, engine=chosen)
        padded = np.pad(values, 4)
        x, y, z = (4 + step for step in shift)
        np.testing.assert_array_equal(found, padded[x : x + 6, y : y + 7, z : z + 8])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (0.7, 1.3, 3.1)])
def test_a_ramp_stays_the_same_ramp_however_it_is_turned(engine: Engine, spacing: tuple[float, float, float]) -> None:
    source = grid((40, 40, 40))
    places = np.moveaxis(np.indices(source.shape, np.float64), 0, -1) @ source.affine[:3, :3].T + source.affine[:3, 3]
    slope = np.array([1.0, -2.0, 0.5])
    to_source = turned(20, 1) @ turned(11, 2)
    target = grid((6, 6, 4), spacing)
    found = resample_array(places @ slope, source, target, to_source, engine=engine)
    where = np.moveaxis(np.indices(target.shape, np.float64), 0, -1) @ target.affine[:3, :3].T + target.affine[:3, 3]
    np.testing.assert_allclose(found, (where @ to_source[:3, :3].T) @ slope, atol=2e-4)


def test_it_is_one_interpolation_through_the_composed_matrices(engine: Engine) -> None:
    values, source = noise((20, 18, 16)), grid((20, 18, 16))
    first, second = turned(14, 0), turned(-9, 2)
    through = resample_array(values, source, grid((12, 12, 12)), first @ second, engine=engine)
    # The same places, reached by laying the first matrix into the source's own affine.
    laid = Grid(source.shape, np.linalg.inv(first) @ source.affine)
    np.testing.assert_allclose(
        through, resample_array(values, laid, grid((12, 12, 12)), second, engine=engine), atol=1e-3
    )


def test_voxels_of_twice_the_size_are_the_exact_mean_of_eight(engine: Engine) -> None:
    values = noise((8, 6, 10))
    found = resample_array(values, grid((8, 6, 10)), grid((4, 3, 5), (2, 2, 2)), IDENTITY, engine=engine)
    np.testing.assert_allclose(found, values.reshape(4, 2, 3, 2, 5, 2).mean(axis=(1, 3, 5)), rtol=1e-6)


def test_a_thick_slice_is_the_mean_of_what_lies_in_it(engine: Engine) -> None:
    values = noise((6, 6, 30))
    found = resample_array(values, grid((6, 6, 30)), grid((6, 6, 6), (1, 1, 5)), IDENTITY, engine=engine)
    np.testing.assert_allclose(found, values.reshape(6, 6, 6, 5).mean(axis=3), rtol=1e-6)


@pytest.mark.parametrize("spacing", [2.0, 3.0, 4.0])
def test_a_fine_checkerboard_on_coarse_voxels_is_grey(engine: Engine, spacing: float) -> None:
    board = (np.indices((24, 24, 24)).sum(axis=0) % 2).astype(np.float32)
    coarse = grid((5, 5, 5), (spacing,) * 3)
    found = resample_array(board, grid((24, 24, 24)), coarse, turned(25, 2), engine=engine)
    np.testing.assert_allclose(found[1:-1, 1:-1, 1:-1], 0.5, atol=0.06)


@given(degrees=st.floats(-40, 40), axis=st.integers(0, 2), spacing=st.sampled_from([0.8, 1.0, 1.7, 2.0, 3.0]))
@settings(max_examples=20, deadline=None)
def test_what_is_there_stays_there_in_all(degrees: float, axis: int, spacing: float) -> None:
    ball = (np.linalg.norm(np.indices((24, 24, 24)) - 11.5, axis=0) < 7).astype(np.float32)
    size = int(30 / spacing)
    found = resample_array(ball, grid((24, 24, 24)), grid((size,) * 3, (spacing,) * 3), turned(degrees, axis))
    assert found.sum() * spacing**3 == pytest.approx(ball.sum(), rel=0.01)


def test_an_image_ends_at_the_faces_of_its_voxels(engine: Engine) -> None:
    values = np.full((3, 3, 3), 7, np.float32)
    line = Grid((1, 1, 8), np.diag([1, 1, 0.5, 1]) + np.array([[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, -0.9], [0] * 4]))
    found = resample_array(values, Grid((3, 3, 3), np.eye(4)), line, IDENTITY, engine=engine)
    # Places -0.9, -0.4, ... 2.6: the faces lie at -0.5 and 2.5.
    np.testing.assert_array_equal(found[0, 0], [0, 7, 7, 7, 7, 7, 7, 0])


def test_a_single_slice_is_as_thick_as_its_voxels(engine: Engine) -> None:
    found = resample_array(noise((4, 4, 1)) + 1, grid((4, 4, 1), (1, 1, 3)), grid((4, 4, 5)), IDENTITY, engine=engine)
    np.testing.assert_array_equal((found > 0).any(axis=(0, 1)), [False, True, True, True, False])


@pytest.mark.parametrize("stored", ["C", "F", "turned"])
def test_the_stored_order_changes_nothing(engine: Engine, stored: str) -> None:
    values, source = noise((9, 8, 7), np.int16), grid((9, 8, 7))
    expected = resample_array(values, source, grid((8, 8, 8)), turned(10, 0), engine=engine)
    if stored == "turned":
        ornt = nib.orientations.axcodes2ornt(("S", "P", "R"))
        other = nib.orientations.apply_orientation(values, ornt)
        source = Grid(other.shape, source.affine @ nib.orientations.inv_ornt_aff(ornt, values.shape))
    else:
        other = np.array(values, order=stored)  # type: ignore[call-overload]
    found = resample_array(other, source, grid((8, 8, 8)), turned(10, 0), engine=engine)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 5.5), (2.2, 2.2, 2.2)])
def test_numpy_finds_what_the_compiled_package_finds(spacing: tuple[float, float, float]) -> None:
    pytest.importorskip("eenet_native")
    source, target, way = grid((14, 13, 12)), grid((9, 10, 5), spacing, turned(5, 1)), turned(20, 0)
    values = noise(source.shape)
    ours, other = (resample_array(values, source, target, way, engine=name) for name in ("native", "numpy"))
    np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-5)
    probabilities = certain(values.astype(np.uint8) % NUM_CLASSES)
    ours, other = (  # type: ignore[assignment]
        resample_probabilities(probabilities, source, target, way, engine=name) for name in ("native", "numpy")
    )
    assert np.mean(ours != other) < 0.001


def test_any_number_of_threads_gives_the_same_bits() -> None:
    source, target, way = grid((30, 20, 25)), grid((25, 26, 27), (0.9, 1.3, 2.1)), turned(20, 0)
    values = noise(source.shape)
    one = resample_array(values, source, target, way, threads=1)
    many = resample_array(values, source, target, way, threads=7)
    np.testing.assert_array_equal(one.view(np.uint32), many.view(np.uint32))


def test_a_grid_light_years_away_is_refused(engine: Engine) -> None:
    far = Grid((4, 4, 4), np.diag([1e6, 1e6, 1e6, 1]))
    with pytest.raises(CaseError, match=r"image\.nii: .*voxels from the image"):
        resample(volume(noise((3, 3, 3)), Grid((3, 3, 3), np.diag([1e-4, 1e-4, 1e-4, 1]))), far, IDENTITY)


def test_a_grid_beside_the_image_is_empty(engine: Engine) -> None:
    moved = np.eye(4)
    moved[0, 3] = 500
    assert not resample_array(noise((5, 5, 5)) + 1, grid((5, 5, 5)), grid((4, 4, 4)), moved, engine=engine).any()


def test_channels_are_no_head() -> None:
    with pytest.raises(CaseError, match="4 axes"):
        resample(volume(np.zeros((3, 3, 3, 2), np.float32), grid((3, 3, 3))), grid((3, 3, 3)), IDENTITY)


def certain(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities as an engine leaves them: the class the slowest in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(np.eye(NUM_CLASSES, dtype=np.float32)[labels], -1, 0)), 0, -1)


def tumour(shape: tuple[int, int, int], middle: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Three classes in one another, as large as a glioma, and not round."""
    away = np.linalg.norm((np.moveaxis(np.indices(shape), 0, -1) - np.array(middle)) / [1.0, 0.8, 0.7], axis=-1)
    return np.select([away < 8, away < 13, away < 24], [1, 3, 2], 0).astype(np.uint8)


@pytest.mark.parametrize(("degrees", "axis"), [(5, 0), (12, 1), (20, 2), (-20, 0)])
def test_a_label_comes_back_through_probabilities_from_a_turned_grid(engine: Engine, degrees: float, axis: int) -> None:
    native, network = grid((60, 64, 52)), grid((76, 76, 72))
    truth = tumour(native.shape, (28.3, 33.1, 25.6))
    there = turned(degrees, axis)
    shares = np.stack(
        [
            resample_array(certain(truth)[..., label], native, network, there, engine=engine)
            for label in range(NUM_CLASSES)
        ],
        axis=-1,
    )
    shares[..., 0] += 1 - shares.sum(axis=-1)
    back = resample_probabilities(shares, network, native, np.asarray(np.linalg.inv(there), np.float64), engine=engine)
    assert dice(truth > 0, back > 0) >= 0.99


def test_a_class_that_never_wins_leaves_background(engine: Engine) -> None:
    probabilities = certain(np.zeros((5, 5, 5), np.uint8))
    found = resample_probabilities(probabilities, grid((5, 5, 5)), grid((6, 6, 6)), IDENTITY, engine=engine)
    assert found.dtype == np.uint8
    assert not found.any()


def test_beyond_the_networks_box_lies_background(engine: Engine) -> None:
    probabilities = certain(np.full((4, 4, 4), 2, np.uint8))
    found = resample_probabilities(probabilities, grid((4, 4, 4)), grid((8, 8, 8)), IDENTITY, engine=engine)
    expected = np.zeros((8, 8, 8), np.uint8)
    expected[2:6, 2:6, 2:6] = 2
    np.testing.assert_array_equal(found, expected)


def test_equal_probabilities_go_to_the_lower_class(engine: Engine) -> None:
    probabilities = np.zeros((4, 4, 4, NUM_CLASSES), np.float32)
    probabilities[..., 2:] = 0.5
    found = resample_probabilities(probabilities, grid((4, 4, 4)), grid((4, 4, 4)), IDENTITY, engine=engine)
    assert (found == 2).all()


@given(degrees=st.floats(-60, 60), axis=st.integers(0, 2), thick=st.sampled_from([0.6, 1.0, 3.0, 5.5]))
@settings(max_examples=15, deadline=None)
def test_looking_near_the_tumour_alone_finds_what_looking_everywhere_finds(
    degrees: float, axis: int, thick: float
) -> None:
    network, native = grid((20, 20, 20)), grid((16, 17, int(20 / thick)), (1.1, 0.9, thick))
    labels = np.zeros(network.shape, np.uint8)
    labels[3:9, 11:18, 4:12] = noise((6, 7, 8), np.uint8) % NUM_CLASSES
    way = turned(degrees, axis)
    found = resample_probabilities(certain(labels), network, native, way)
    # One voxel of certain tumour in each corner makes the box the whole grid, and they can only win near themselves.
    everywhere = [resample_array(certain(labels)[..., label], network, native, way) for label in range(NUM_CLASSES)]
    everywhere[0] = everywhere[0] + (1 - np.sum(everywhere, axis=0))
    best = np.sort(np.stack(everywhere), axis=0)
    clear = best[-1] - best[-2] > 1e-4
    np.testing.assert_array_equal(found[clear], np.argmax(everywhere, axis=0)[clear])


def test_the_masks_box_and_the_header_do_not_matter_to_an_image(engine: Engine) -> None:
    first = volume(noise((6, 6, 6)), grid((6, 6, 6)))
    other = replace(first, source="other.nii", header=nib.Nifti2Header())
    np.testing.assert_array_equal(
        resample(first, grid((6, 6, 6)), turned(5, 0)), resample(other, grid((6, 6, 6)), turned(5, 0))
    )
