"""Where the grid of 1 mm sees an image: against the plain definition, voxel by voxel."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.registration.rigid import rigid_matrix
from eenet_runtime.heads.stripping.working_grid import WorkingGrid, working_grid
from eenet_runtime.volumes.grid import Grid


def volume(shape: tuple[int, int, int], spacing_mm: float) -> Volume:
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    return Volume("t1ce", np.ones(shape, np.float32), Grid(shape, affine), nib.Nifti1Header())


def plainly(working: WorkingGrid, grid: Grid, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which voxels lie between the image's faces, and which so near to a face that rounding decides."""
    to_voxels = np.linalg.inv(grid.affine) @ matrix @ working.grid.affine
    places = np.indices(working.grid.shape).reshape(3, -1)
    places = to_voxels[:3, :3] @ places + to_voxels[:3, 3:]
    size = np.array(grid.shape)[:, np.newaxis]
    inside = ((places >= -0.5) & (places <= size - 0.5)).all(axis=0)
    at_a_face = (np.minimum(abs(places + 0.5), abs(places - size + 0.5)) < 1e-6).any(axis=0)
    return inside.reshape(working.grid.shape), at_a_face.reshape(working.grid.shape)


@settings(max_examples=40, deadline=None)
@given(
    shift=st.tuples(*[st.floats(-40, 40)] * 3),
    turn=st.tuples(*[st.floats(-90, 90)] * 3),
    spacing=st.sampled_from([0.7, 2.0, 5.0]),
)
def test_a_voxel_is_covered_where_it_lies_between_the_faces_of_the_other_image(
    shift: tuple[float, ...], turn: tuple[float, ...], spacing: float
) -> None:
    working = working_grid(volume((12, 14, 10), 2.0))
    other = volume((9, 8, 7), spacing).grid
    matrix = rigid_matrix(np.array([*shift, *turn]), np.array([12.0, 14.0, 10.0]))
    expected, at_a_face = plainly(working, other, matrix)
    found = working.covered_by(other, matrix)
    if not found.all():  # else: the image covers all of the field of view, which is told of the whole grid
        np.testing.assert_array_equal(found[~at_a_face], expected[~at_a_face])
    else:
        assert expected[working.field_of_view].all()


def test_an_image_elsewhere_covers_nothing() -> None:
    working = working_grid(volume((12, 14, 10), 2.0))
    away = np.eye(4)
    away[2, 3] = 1e6
    assert not working.covered_by(volume((9, 8, 7), 2.0).grid, away).any()
