"""Registration as a whole, on a head whose every point is known: capture, accuracy, the figures, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eenet_runtime.errors import BackendError, CaseError
from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.registration import RegistrationError, register
from eenet_runtime.heads.registration.rigid import RADIUS_MM, inverse_rigid, rigid_matrix
from eenet_runtime.volumes.grid import Grid
from tests.native_stand_in import install, uninstall
from tests.runtime.heads.registration.mathematical_head import Matrix, brain_error_mm, head_grid, scan


def moved(shift_mm: tuple[float, float, float], degrees: tuple[float, float, float]) -> Matrix:
    """A head that turned and moved between two series."""
    return rigid_matrix(np.concatenate([shift_mm, np.radians(degrees) * RADIUS_MM]), np.zeros(3))


@pytest.fixture(scope="module")
def t1() -> Volume:
    """The head as it is, 2 mm."""
    return scan("t1", head_grid())


MOTIONS = [((3, -5, 4), (4, -3, 6)), ((0, 0, 0), (30, 0, 0)), ((25, -40, 60), (-20, 15, 45)), ((0, 10, 0), (0, 0, -60))]


@pytest.mark.parametrize(("shift", "degrees"), MOTIONS)
def test_another_contrast_is_found_wherever_the_head_moved(
    t1: Volume, shift: tuple[float, float, float], degrees: tuple[float, float, float]
) -> None:
    truth = moved(shift, degrees)
    # The patient lies straight in the scanner, and the scanner has turned its axes.
    t2 = scan("t2", head_grid((1.5, 1.5, 5)), seed=1)
    found = register(t1, replace(t2, grid=Grid(t2.grid.shape, truth @ t2.grid.affine)))
    assert brain_error_mm(found.fixed_to_moving, truth) <= 0.5
    assert found.quality.consensus >= 4
    assert found.quality.sharpness > 0.02
    assert found.seconds > 0


def test_a_head_that_turned_inside_the_field_of_view_is_found(t1: Volume) -> None:
    truth = moved((4, 6, -3), (8, -12, 5))
    found = register(t1, scan("t2", head_grid((1.5, 1.5, 5)), truth, seed=1))
    assert brain_error_mm(found.fixed_to_moving, truth) <= 0.5


def test_a_slab_of_35_mm_is_found_and_said_to_cover_no_more(t1: Volume) -> None:
    truth = moved((3, -2, 2), (3, 4, -2))
    found = register(t1, scan("t2", head_grid((1.5, 1.5, 5), height_mm=35, up_mm=12), truth, seed=1))
    assert brain_error_mm(found.fixed_to_moving, truth) <= 1.3
    assert 20 <= found.quality.covered_mm <= 35
    assert found.quality.overlap < 0.25


def test_forward_and_backward_agree(t1: Volume) -> None:
    t2 = scan("t2", head_grid((1.5, 1.5, 5)), moved((4, 6, -3), (5, -8, 5)), seed=1)
    there, back = register(t1, t2), register(t2, t1)
    assert brain_error_mm(inverse_rigid(back.fixed_to_moving), there.fixed_to_moving) <= 0.5


def test_the_same_bits_for_any_number_of_threads(t1: Volume) -> None:
    t2 = scan("t2", head_grid((2, 2, 4)), moved((4, 6, -3), (5, -8, 5)), seed=1)
    first, *others = (register(t1, t2, threads=threads) for threads in (1, 2, 3))
    for other in others:
        np.testing.assert_array_equal(other.fixed_to_moving, first.fixed_to_moving)
        assert other.quality == first.quality


def test_numpy_gives_the_same_bits_as_the_extension(t1: Volume) -> None:
    pytest.importorskip("eenet_native")
    t2 = scan("t2", head_grid((3, 3, 4)), moved((4, 6, -3), (5, -8, 5)), seed=1)
    native, numpy = (register(t1, t2, engine=engine, finest_mm=4) for engine in ("native", "numpy"))
    np.testing.assert_array_equal(numpy.fixed_to_moving, native.fixed_to_moving)
    assert numpy.quality == native.quality
    assert (native.engine, numpy.engine) == ("native", "numpy")


def test_another_persons_head_has_a_flatter_peak(t1: Volume) -> None:
    same = register(t1, scan("t2", head_grid((1.5, 1.5, 5)), seed=1))
    other = register(t1, scan("t2", head_grid((1.5, 1.5, 5)), seed=1, stretch=(0.92, 1.04, 0.9)))
    assert other.quality.sharpness < 0.5 * same.quality.sharpness
    assert other.quality.nmi < same.quality.nmi


def test_noise_has_no_peak(t1: Volume) -> None:
    noise = np.random.default_rng(0).integers(0, 500, t1.data.shape).astype(np.int16)
    quality = register(t1, replace(t1, data=np.asfortranarray(noise)), finest_mm=4).quality
    assert quality.sharpness < 0.003
    assert quality.consensus < 8


def test_where_the_scanner_turns_negative_or_scales_nothing_changes(t1: Volume) -> None:
    truth = moved((2, 3, 4), (5, 5, 5))
    t2 = scan("t2", head_grid((2, 2, 4)), truth, seed=1)
    changed = replace(t2, data=np.asfortranarray(t2.data.astype(np.float64) * 1e4 - 3e5))
    assert brain_error_mm(register(t1, changed).fixed_to_moving, truth) <= 0.5


def test_far_from_the_worlds_origin_is_as_good(t1: Volume) -> None:
    far = moved((9e4, -9e4, 5e4), (0, 0, 0))
    truth = moved((2, 3, 4), (5, 5, 5))
    t2 = scan("t2", head_grid((2, 2, 4)), truth, seed=1)
    found = register(replace(t1, grid=Grid(t1.grid.shape, far @ t1.grid.affine)), t2)
    assert brain_error_mm(found.fixed_to_moving, truth @ inverse_rigid(far), far) <= 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_is_refused(t1: Volume, value: float) -> None:
    data = t1.data.astype(np.float64)
    data[40, 50, 60] = value
    with pytest.raises(RegistrationError, match=r"broken\.nii: NaN or infinity"):
        register(t1, replace(t1, data=data, source="broken.nii"))


def test_a_constant_image_is_refused(t1: Volume) -> None:
    with pytest.raises(CaseError, match="nearly all voxels are 7"):
        register(replace(t1, data=np.full_like(t1.data, 7)), t1)


@pytest.mark.parametrize("shape", [(1, 50, 50), (50, 50, 1), (20, 20, 20, 3), (0, 20, 20)])
def test_what_is_no_volume_is_refused(t1: Volume, shape: tuple[int, ...]) -> None:
    with pytest.raises(RegistrationError, match="expected"):
        register(t1, replace(t1, data=np.zeros(shape, np.int16)))


@pytest.mark.parametrize(
    ("shape", "voxel_mm"),
    [
        ((2, 2, 2), (1, 1, 1)),
        ((2, 2, 2), (100, 100, 100)),
        ((64, 2, 3), (0.001, 1, 1000)),
        ((4, 4, 90), (50, 50, 0.01)),
    ],
)
def test_absurd_grids_end_with_figures_that_say_so(
    t1: Volume, shape: tuple[int, int, int], voxel_mm: tuple[float, float, float]
) -> None:
    data: Any = np.random.default_rng(0).integers(0, 500, shape).astype(np.int16)
    strange = replace(t1, data=data, grid=Grid(shape, np.diag([*voxel_mm, 1.0])))
    for pair in ((t1, strange), (strange, t1)):
        quality = register(*pair, finest_mm=4).quality
        assert np.isfinite(quality.nmi)
        assert quality.sharpness < 0.01 or quality.consensus < 4 or quality.covered_mm < 20


def test_without_the_extension_numpy_serves(t1: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    small = scan("t1", head_grid((8, 8, 8)))
    uninstall(monkeypatch)
    assert register(small, small, finest_mm=4).engine == "numpy"
    with pytest.raises(BackendError, match="eenet_native"):
        register(small, small, engine="native")


def test_an_extension_from_before_registration_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    small = scan("t1", head_grid((8, 8, 8)))
    install(monkeypatch)
    assert register(small, small, finest_mm=4).engine == "numpy"
    with pytest.raises(BackendError, match="too old"):
        register(small, small, engine="native")
