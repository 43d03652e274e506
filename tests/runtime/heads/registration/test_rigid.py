"""Rigid transforms: what their parameters mean, how they compose and invert, and the distance between two."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eenet_runtime.heads.registration.rigid import RADIUS_MM, Parameters, distance_mm, inverse_rigid, rigid_matrix

millimetres = st.floats(-150, 150)
parameters_of = arrays(np.float64, 6, elements=millimetres)
centres = arrays(np.float64, 3, elements=millimetres)


@given(parameters_of, centres)
def test_a_transform_keeps_distances_and_handedness(parameters: Parameters, centre: Parameters) -> None:
    rotation = rigid_matrix(parameters, centre)[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


@given(parameters_of, centres)
def test_a_transform_and_its_inverse_lead_back(parameters: Parameters, centre: Parameters) -> None:
    matrix = rigid_matrix(parameters, centre)
    np.testing.assert_allclose(inverse_rigid(matrix) @ matrix, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(matrix @ inverse_rigid(matrix), np.eye(4), atol=1e-9)


@given(parameters_of, parameters_of, centres)
def test_the_inverse_of_two_transforms_is_their_inverses_in_turn(
    first: Parameters, second: Parameters, centre: Parameters
) -> None:
    a, b = rigid_matrix(first, centre), rigid_matrix(second, centre)
    np.testing.assert_allclose(inverse_rigid(a @ b), inverse_rigid(b) @ inverse_rigid(a), atol=1e-9)


@given(parameters_of, centres)
def test_the_centre_is_only_translated(parameters: Parameters, centre: Parameters) -> None:
    found = rigid_matrix(parameters, centre) @ np.append(centre, 1)
    np.testing.assert_allclose(found[:3], centre + parameters[:3], atol=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_rotation_of_1_mm_moves_a_point_at_60_mm_by_1_mm(axis: int) -> None:
    centre = np.array([10.0, -20.0, 30.0])
    parameters = np.zeros(6)
    parameters[3 + axis] = 1
    point = centre.copy()
    point[(axis + 1) % 3] += RADIUS_MM
    moved = rigid_matrix(parameters, centre) @ np.append(point, 1)
    assert np.linalg.norm(moved[:3] - point) == pytest.approx(1, abs=1e-4)
    # Right-handed: about x the y axis turns to z.
    assert moved[(axis + 2) % 3] - point[(axis + 2) % 3] == pytest.approx(1, abs=1e-4)


@given(parameters_of, parameters_of, centres)
def test_the_distance_is_the_root_mean_square_over_a_sphere(
    first: Parameters, second: Parameters, centre: Parameters
) -> None:
    a, b = rigid_matrix(first, centre), rigid_matrix(second, centre)
    directions = np.vstack([np.eye(3), -np.eye(3)]) * RADIUS_MM
    points = np.vstack([(centre + directions).T, np.ones(6)])
    by_points = np.sqrt((((a - b) @ points)[:3] ** 2).sum(axis=0).mean())
    assert distance_mm(a, b, centre) == pytest.approx(by_points, abs=1e-9)
