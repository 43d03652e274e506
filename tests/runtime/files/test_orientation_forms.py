"""Whether the two orientations of one header say one thing."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_runtime.files.orientation_forms import FORMS_TOLERANCE_MM, find_contradiction, let_sform_rule
from eenet_runtime.volumes.grid import Grid, corner_distance_mm

SHAPE = (240, 240, 155)
BRATS = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])


def header(
    sform: NDArray[np.float64], qform: NDArray[np.float64], *, sform_code: int = 1, qform_code: int = 1
) -> nib.Nifti1Header:
    """A header of BraTS' size with both forms."""
    made = nib.Nifti1Header()
    made.set_data_shape(SHAPE)
    made.set_sform(sform, sform_code)
    made.set_qform(qform, qform_code, strip_shears=True)
    return made


def words(made: nib.Nifti1Header) -> str:
    """What is said of a header whose forms contradict each other."""
    found = find_contradiction(made)
    assert found is not None
    return found.words


def rotation(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    """Turns about x, then y, then z."""
    turn = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        first, second = (index for index in range(3) if index != axis)
        one = np.eye(4)
        one[first, first], one[second, second] = np.cos(angle), np.cos(angle)
        one[first, second], one[second, first] = -np.sin(angle), np.sin(angle)
        turn = one @ turn
    return turn


def moved(millimetres: float) -> NDArray[np.float64]:
    affine = BRATS.copy()
    affine[2, 3] += millimetres
    return affine


def test_forms_that_are_one_contradict_nothing() -> None:
    assert find_contradiction(header(BRATS, BRATS)) is None


def test_a_mirrored_qform_is_told() -> None:
    mirrored = np.diag([-1.0, 1, 1, 1]) @ BRATS
    mirrored[0, 3] = -239
    assert words(header(BRATS, mirrored)) == "mirrored, corners up to 239 mm apart"


def test_a_shifted_qform_is_told_from_a_millimetre_on() -> None:
    assert words(header(BRATS, moved(10))) == "shifted by 10 mm, corners up to 10 mm apart"
    assert words(header(BRATS, moved(1.01))) == "shifted by 1.01 mm, corners up to 1.01 mm apart"
    assert find_contradiction(header(BRATS, moved(0.99))) is None


def test_a_turned_qform_is_told() -> None:
    assert words(header(BRATS, rotation((0, 0, 12)) @ BRATS)).startswith("turned by 12 degrees, shifted by ")
    about_the_centre = np.eye(4)
    about_the_centre[:3, 3] = (BRATS @ [119.5, 119.5, 77, 1])[:3]
    turned = about_the_centre @ rotation((0, 90, 0)) @ np.linalg.inv(about_the_centre) @ BRATS
    assert words(header(BRATS, turned)).startswith("turned by 90 degrees, corners up to ")


def test_a_qform_of_other_voxel_sizes_is_told_beyond_what_a_registration_does() -> None:
    assert "other voxel sizes" in words(header(BRATS, BRATS @ np.diag([1, 1, 2.0, 1])))
    assert find_contradiction(header(BRATS @ np.diag([1.05, 0.95, 1.1, 1]), BRATS)) is None


def test_a_qform_that_is_no_rotation_is_told() -> None:
    broken = header(BRATS, BRATS)
    broken["quatern_b"] = 5
    assert words(broken) == "the qform gives no orientation"
    broken["quatern_b"] = np.nan
    assert words(broken) == "the qform gives no orientation"


@pytest.mark.parametrize(("qform_code", "sform_code"), [(0, 1), (1, 0), (0, 0), (0, 4)])
def test_a_form_without_a_code_is_stale_and_contradicts_nothing(qform_code: int, sform_code: int) -> None:
    assert find_contradiction(header(BRATS, moved(50), qform_code=qform_code, sform_code=sform_code)) is None


@given(
    degrees=st.tuples(*[st.floats(-180, 180)] * 3),
    shears=st.tuples(*[st.floats(-0.1, 0.1)] * 3),
    sizes=st.tuples(*[st.floats(0.9, 1.1)] * 3),
    mirrored=st.booleans(),
)
def test_what_a_quaternion_leaves_of_an_affine_registration_is_no_contradiction(
    degrees: tuple[float, ...], shears: tuple[float, ...], sizes: tuple[float, ...], mirrored: bool
) -> None:
    stretch = np.diag([*sizes, 1.0])
    stretch[0, 1], stretch[0, 2], stretch[1, 2] = shears
    sform = rotation(degrees) @ np.diag([-1.0 if mirrored else 1.0, 1, 1, 1]) @ BRATS @ stretch  # type: ignore[arg-type]
    assert find_contradiction(header(sform, sform)) is None
    big_endian = header(sform, sform).as_byteswapped()
    assert find_contradiction(big_endian) is None


@given(degrees=st.tuples(*[st.floats(-180, 180)] * 3), shift=st.floats(-300, 300))
def test_after_the_sform_rules_nothing_is_left_to_contradict(degrees: tuple[float, ...], shift: float) -> None:
    made = header(BRATS, rotation(degrees) @ moved(shift), qform_code=2, sform_code=4)  # type: ignore[arg-type]
    let_sform_rule(made)
    assert find_contradiction(made) is None
    assert corner_distance_mm(Grid(SHAPE, made.get_qform()), Grid(SHAPE, BRATS)) < FORMS_TOLERANCE_MM
    np.testing.assert_array_equal(made.get_sform(), BRATS)
    assert (int(made["qform_code"]), int(made["sform_code"])) == (4, 4)
