"""Group norms in OpenVINO, spelled out: the right numbers where its own kernel loses digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.backends.openvino_backend import load_openvino
from eenet_runtime.backends.openvino_norms import spell_out_group_norms

GROUPS, EPSILON = 8, 1e-3


def _norm_model(openvino: Any, shape: tuple[int, ...], gamma: NDArray[Any], beta: NDArray[Any]) -> Any:
    ops = openvino.opset13
    source = ops.parameter(list(shape), np.float32)
    norm = ops.group_normalization(source, gamma, beta, GROUPS, EPSILON)
    return openvino.Model([ops.relu(norm)], [source])


def _run(openvino: Any, model: Any, values: NDArray[np.float32]) -> NDArray[np.float32]:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result: NDArray[np.float32] = compiled(values)[0]
    return result


def _expected(values: NDArray[np.float32], gamma: NDArray[Any], beta: NDArray[Any]) -> NDArray[np.float64]:
    grouped: NDArray[np.float64] = values.astype(np.float64).reshape(GROUPS, -1)
    normalised = (grouped - grouped.mean(axis=1, keepdims=True)) / np.sqrt(grouped.var(axis=1, keepdims=True) + EPSILON)
    column = (1, -1, 1, 1, 1)
    scaled = normalised.reshape(values.shape) * gamma.reshape(column) + beta.reshape(column)
    result: NDArray[np.float64] = np.maximum(scaled, 0)
    return result


@pytest.mark.parametrize("shape", [(1, 16, 8, 6, 4), (1, 64, 3, 5, 7), (1, 8, 1, 1, 9), (1, 24, 32, 2, 1)])
def test_it_computes_what_the_definition_says_for_any_shape(shape: tuple[int, ...]) -> None:
    openvino, rng = load_openvino(), np.random.default_rng(0)
    gamma, beta = (rng.normal(size=shape[1]).astype(np.float32) for _ in range(2))
    values = rng.normal(3.0, 2.0, shape).astype(np.float32)
    model = _norm_model(openvino, shape, gamma, beta)
    assert spell_out_group_norms(openvino, model) == 1
    assert all(node.get_type_name() != "GroupNormalization" for node in model.get_ordered_ops())
    np.testing.assert_allclose(_run(openvino, model, values), _expected(values, gamma, beta), atol=2e-5)


def test_it_is_right_where_openvinos_own_kernel_is_not() -> None:
    # Most of a head's volume is one constant: its sums are long, and every addition loses the same digits.
    openvino, rng = load_openvino(), np.random.default_rng(0)
    shape = (1, 16, 192, 160, 48)
    gamma, beta = np.ones(16, np.float32), np.zeros(16, np.float32)
    values = np.full(shape, 0.37, np.float32)
    values[:, :, 60:130, 50:110, 10:40] += rng.normal(0, 1, (1, 16, 70, 60, 30)).astype(np.float32)
    expected = _expected(values, gamma, beta)
    own = _run(openvino, _norm_model(openvino, shape, gamma, beta), values)
    model = _norm_model(openvino, shape, gamma, beta)
    spell_out_group_norms(openvino, model)
    ours = _run(openvino, model, values)
    # Below 1e-4 with AVX-512. With AVX2, whose sums run in half as many lanes and so are twice as long, 1.7e-4;
    # OpenVINO's own kernel is off by 7.3e-4 there.
    assert np.abs(ours - expected).max() <= 2e-4
    assert np.abs(own - expected).max() >= 4 * np.abs(ours - expected).max()


def test_a_constant_volume_gives_the_offset_and_no_nan() -> None:
    openvino = load_openvino()
    shape = (1, 8, 4, 4, 4)
    gamma, beta = np.ones(8, np.float32), np.full(8, 0.5, np.float32)
    model = _norm_model(openvino, shape, gamma, beta)
    spell_out_group_norms(openvino, model)
    np.testing.assert_allclose(_run(openvino, model, np.full(shape, 1e4, np.float32)), 0.5, atol=1e-3)


def test_no_volume_is_reshaped_because_that_would_copy_it_to_another_layout_and_back() -> None:
    openvino = load_openvino()
    gamma, beta = np.ones(16, np.float32), np.zeros(16, np.float32)
    model = _norm_model(openvino, (1, 16, 8, 6, 4), gamma, beta)
    spell_out_group_norms(openvino, model)
    reshapes = [node for node in model.get_ordered_ops() if node.get_type_name() == "Reshape"]
    assert reshapes
    assert max(int(np.prod(node.get_output_shape(0))) for node in reshapes) < 16 * 8 * 6 * 4
