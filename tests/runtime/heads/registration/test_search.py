"""The optimiser on functions whose tops are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_runtime.heads.registration.search import maximise


@given(st.integers(0, 10_000))
def test_the_top_of_a_tilted_bowl_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    shape = turn @ np.diag(rng.uniform(1, 20, 6)) @ turn.T
    top = rng.uniform(-10, 10, 6)

    def bowl(x: NDArray[np.float64]) -> float:
        return float(-((x - top) @ shape @ (x - top)))

    found = maximise(bowl, np.zeros(6), step=4.0, tolerance=0.01, most_sweeps=50)
    np.testing.assert_allclose(found.parameters, top, atol=0.05)
    assert found.value == bowl(found.parameters)


def test_a_start_at_the_top_stays() -> None:
    found = maximise(lambda x: float(-(x**2).sum()), np.zeros(6), step=2.0, tolerance=0.1)
    assert not found.parameters.any()
    assert found.value == 0


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_plain_ends_soon(value: float) -> None:
    found = maximise(lambda x: value, np.ones(6), step=8.0, tolerance=0.8)
    assert found.value == value
    assert found.evaluations < 100


def test_a_slope_without_a_top_ends() -> None:
    found = maximise(lambda x: float(x.sum()), np.zeros(6), step=1.0, tolerance=0.1, most_sweeps=5)
    assert found.evaluations < 1000
    assert found.value > 100


def test_the_result_is_never_worse_than_the_start() -> None:
    rng = np.random.default_rng(0)
    found = maximise(lambda x: float(rng.normal()) if x.any() else 1.0, np.zeros(6), step=1.0, tolerance=0.1)
    assert found.value >= 1.0
