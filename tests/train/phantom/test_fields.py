"""The splines under every smooth field of a phantom."""

from __future__ import annotations

import numpy as np
import pytest

from eenet_train.phantom.fields import control_count, control_positions, random_field, upsample


def test_upsampling_reproduces_a_linear_function() -> None:
    shape, spacing = (13, 10, 17), 4.0
    x, y, z = (control_positions(size, spacing) for size in shape)
    control = 2.0 * x[:, None, None] - 3.0 * y[None, :, None] + 0.5 * z[None, None, :] + 7.0
    result = upsample(control.astype(np.float32), shape, spacing)
    i, j, k = np.indices(shape)
    np.testing.assert_allclose(result, 2.0 * i - 3.0 * j + 0.5 * k + 7.0, atol=1e-4)  # float32 at values up to 50


@pytest.mark.parametrize(("size", "spacing"), [(1, 4.0), (5, 4.0), (9, 2.5), (16, 32.0)])
def test_control_points_reach_past_both_ends(size: int, spacing: float) -> None:
    positions = control_positions(size, spacing)
    assert len(positions) == control_count(size, spacing)
    assert positions[0] == -spacing
    assert positions[-1] >= size - 1


def test_random_fields_have_mean_zero_and_deviation_one() -> None:
    field = random_field(np.random.default_rng(0), (96, 96, 96), 4.0)
    assert field.dtype == np.float32
    # About 24^3 independent coefficients: the standard error of both figures is about 0.01.
    assert abs(float(field.mean())) < 0.03
    assert abs(float(field.std()) - 1.0) < 0.03


def test_random_fields_are_smooth() -> None:
    spacing = 16.0
    field = random_field(np.random.default_rng(1), (64, 64, 64), spacing)
    # Integrals of the B-spline: 2/3 for its squared slope, 151/315 for its square.
    slope = ((2 / 3) / (151 / 315)) ** 0.5 / spacing
    for axis in range(3):
        steps = np.diff(field, axis=axis)
        assert float(steps.std()) == pytest.approx(slope, rel=0.35)  # 4^3 cells only
        assert float(np.abs(steps).max()) < 6 * slope
