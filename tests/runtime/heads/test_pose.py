"""The pose of a head, by its fit to the template."""

from __future__ import annotations

import hashlib

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import Volume, read_volume
from eenet_runtime.heads.pose import BRATS_SHAPE, TEMPLATE_FILE, Pose, PoseFit, brats_grid, find_pose
from eenet_runtime.volumes.grid import Grid

TEMPLATE_SHA256 = "4dbdbd2ac0d08ba1e46f79e0cee014a7b5382258655b36403696c3c64d3f762c"


def turned(degrees: float, axis: int) -> NDArray[np.float64]:
    """A rotation of the world about one of its axes, the second of the two others towards the first's place."""
    angle, matrix = np.radians(degrees), np.eye(4)
    first, second = ((axis + 1) % 3, (axis + 2) % 3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def degrees_apart(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Angle of the rotation between two rigid matrices."""
    cosine = (np.trace(first[:3, :3].T @ second[:3, :3]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def head(pose: NDArray[np.float64]) -> Volume:
    """The template's own brain, 0.95 of its size, moved in the world."""
    template = read_volume(TEMPLATE_FILE)
    affine = pose @ np.diag([0.95, 0.95, 0.95, 1]) @ template.grid.affine
    return Volume("t1ce.nii", template.data, Grid(template.grid.shape, affine), nib.Nifti1Header())


def fit(volume: Volume, pose: Pose = Pose.MNI152) -> PoseFit:
    return find_pose(volume, np.asarray(volume.data) > 0, volume.grid, pose)


@pytest.fixture(scope="module")
def tilted() -> tuple[NDArray[np.float64], PoseFit]:
    """A head turned and moved, and its fit."""
    moved = turned(14, 0) @ turned(-8, 2)
    moved[:3, 3] = (11, -25, 40)
    return moved, fit(head(moved))


def test_a_turned_head_is_brought_upright(tilted: tuple[NDArray[np.float64], PoseFit]) -> None:
    moved, found = tilted
    remains = found.t1ce_to_pose @ moved
    assert degrees_apart(remains, np.eye(4)) < 1.5
    assert np.linalg.norm(remains[:3, 3]) < 1.5
    assert found.scale == 0.95


def test_the_fit_never_stretches(tilted: tuple[NDArray[np.float64], PoseFit]) -> None:
    rotation = tilted[1].t1ce_to_pose[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)


def test_a_native_bundle_leaves_the_head_as_it_is_and_still_gets_the_figures(
    tilted: tuple[NDArray[np.float64], PoseFit],
) -> None:
    found = fit(head(tilted[0]), Pose.NATIVE)
    np.testing.assert_array_equal(found.t1ce_to_pose, np.eye(4))
    assert found.nmi == tilted[1].nmi
    np.testing.assert_array_equal(found.t1ce_to_template, tilted[1].t1ce_to_pose)


def test_sri24_is_the_same_fit_pitched_by_12_6_degrees(tilted: tuple[NDArray[np.float64], PoseFit]) -> None:
    found = fit(head(tilted[0]), Pose.SRI24)
    # The nose goes up: the front (y) turns to the top (z).
    np.testing.assert_allclose(found.t1ce_to_pose, turned(12.6, 0) @ tilted[1].t1ce_to_pose, atol=1e-9)


@pytest.mark.parametrize("flip", [(1, -1, -1), (-1, 1, -1)])
def test_a_head_upside_down_has_a_much_flatter_peak(
    tilted: tuple[NDArray[np.float64], PoseFit], flip: tuple[int, int, int]
) -> None:
    upside_down = fit(head(np.diag([*flip, 1.0])))
    assert upside_down.sharpness < tilted[1].sharpness / 4
    assert upside_down.nmi < tilted[1].nmi


def test_exchanged_axes_have_a_much_flatter_peak(tilted: tuple[NDArray[np.float64], PoseFit]) -> None:
    exchanged = np.eye(4)[:, [1, 2, 0, 3]]
    assert fit(head(exchanged)).sharpness < tilted[1].sharpness / 4


def test_an_empty_mask_is_refused() -> None:
    volume = head(np.eye(4))
    with pytest.raises(CaseError, match=r"t1ce\.nii: the brain mask is empty"):
        find_pose(volume, np.zeros(volume.grid.shape, np.bool_), volume.grid, Pose.MNI152)


def test_a_mask_beside_the_image_is_refused() -> None:
    volume = head(np.eye(4))
    with pytest.raises(CaseError, match="nothing of the image"):
        find_pose(volume, np.asarray(volume.data) > 0, _moved(volume.grid), Pose.MNI152)


def _moved(grid: Grid) -> Grid:
    affine = grid.affine.copy()
    affine[0, 3] += 1000
    return Grid(grid.shape, affine)


def test_the_template_is_the_one_that_was_measured() -> None:
    content = TEMPLATE_FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == TEMPLATE_SHA256
    assert len(content) <= 512 * 1024
    assert "McConnell Brain Imaging Centre" in TEMPLATE_FILE.with_name("NOTICE.md").read_text(encoding="utf-8")


def test_anyone_can_make_the_same_template() -> None:
    pytest.importorskip("nilearn")
    from eenet_train.phantom.pose_template import pose_template_bytes

    assert pose_template_bytes() == TEMPLATE_FILE.read_bytes()


def test_the_brats_layout_has_a_brain_in_its_middle() -> None:
    grid = brats_grid(np.array([3.2, -17.6, 8.4]))
    assert grid.shape == BRATS_SHAPE == (240, 240, 155)
    assert grid.axes == "LPS"
    assert grid.spacing_mm == (1.0, 1.0, 1.0)
    np.testing.assert_array_equal(grid.affine @ [120, 120, 77, 1], [3, -18, 8, 1])
