"""The norm stress test passes what keeps its statistics in FP32, and nothing else."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import eenet_runtime.selftest.norm_stress as norm_stress_module
from eenet_runtime.errors import BackendError
from eenet_runtime.selftest.norm_stress import EPSILON, GROUPS, LIMIT, norm_stress, norm_stress_of_plan
from tests.runtime.backends.fake_cuda import FakeCuda
from tests.runtime.backends.fake_tensorrt import FakeTensorRT, fake_plan

Half = NDArray[np.float16]


def _norm(values: Half, sums: Any, squares: Any) -> Half:
    """Group norm with sums and squared deviations in the given types, and everything stored in half precision."""
    with np.errstate(over="ignore", invalid="ignore"):
        groups = values.reshape(GROUPS, -1)
        mean = (groups.sum(axis=1, dtype=sums, keepdims=True) / sums(groups.shape[1])).astype(sums)
        centred = groups - mean
        squared = centred.astype(squares) ** 2
        variance = squared.sum(axis=1, dtype=sums, keepdims=True) / sums(groups.shape[1])
        result: Half = (centred / np.sqrt(variance + sums(EPSILON))).astype(np.float16)
    return result.reshape(values.shape)


def test_statistics_in_fp32_pass() -> None:
    result = norm_stress(lambda values: _norm(values, np.float32, np.float32))
    assert result.passed
    assert 0 < result.max_abs_error < LIMIT / 2


def test_sums_in_fp16_fail() -> None:
    result = norm_stress(lambda values: _norm(values, np.float16, np.float32))
    assert not result.passed


def test_squares_in_fp16_fail_even_with_sums_in_fp32() -> None:
    result = norm_stress(lambda values: _norm(values, np.float32, np.float16))
    assert not result.passed
    assert result.max_abs_error > 0.1


def test_a_variance_that_is_off_by_two_per_cent_fails() -> None:
    result = norm_stress(lambda values: (_norm(values, np.float32, np.float32) * 0.99).astype(np.float16))
    assert not result.passed


def test_a_result_that_is_not_finite_fails_with_an_infinite_error() -> None:
    result = norm_stress(lambda values: np.full_like(values, np.nan))
    assert (result.max_abs_error, result.passed) == (float("inf"), False)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_among_sound_ones_fails(value: float) -> None:
    def spoiled(values: Half) -> Half:
        found = _norm(values, np.float32, np.float32)
        found.flat[100] = value
        return found

    result = norm_stress(spoiled)
    assert (result.max_abs_error, result.passed) == (float("inf"), False)


def test_a_result_of_another_shape_is_an_error() -> None:
    with pytest.raises(BackendError, match="shape"):
        norm_stress(lambda values: values[0])


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """An imagined GPU, with a `tensorrt` whose engines compute a softmax."""
    imagined = FakeCuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", imagined)
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT(imagined))
    return imagined


def test_a_plan_is_run_and_an_engine_that_is_no_group_norm_fails(cuda: FakeCuda) -> None:
    shape = (1, 8, 8, 8, 8)
    plan = fake_plan([("x", "INPUT", shape, "HALF"), ("y", "OUTPUT", shape, "HALF")])
    result = norm_stress_of_plan(plan, "tensorrt")
    # A softmax over values some hundreds apart is near 0 or 1; the group norm goes beyond 3 standard deviations.
    assert not result.passed
    assert 2 < result.max_abs_error < 6
    assert cuda.live == []


def test_a_plan_with_other_tensors_is_not_run(cuda: FakeCuda) -> None:
    plan = fake_plan([("x", "INPUT", (1, 8, 8, 8, 8), "FLOAT"), ("y", "OUTPUT", (1, 8, 8, 8, 8), "HALF")])
    with pytest.raises(BackendError, match="expected one input and one output in float16"):
        norm_stress_of_plan(plan, "tensorrt")
    assert cuda.live == []


def test_the_stress_and_its_limit() -> None:
    limits = {name: value for name, value in vars(norm_stress_module).items() if name.isupper() and name[0] != "_"}
    assert limits == {
        "STRESS_MEAN": 1000.0,
        "STRESS_DEVIATION": 300.0,
        "STRESS_SHAPE": (1, 16, 32, 32, 32),
        "GROUPS": 8,
        "EPSILON": 1e-3,
        "LIMIT": 0.01,
    }
