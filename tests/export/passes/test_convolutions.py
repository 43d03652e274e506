"""Batch norms and biases move into the convolutions before them, and weights are called after their layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from eenet_export.passes.convolutions import BatchNorms, Biases, WeightNames
from eenet_export.passes.counted import constant
from eenet_runtime.errors import ExportError
from tests.export.passes.onnx_graphs import graph, node, nodes, numbers, op, run, valid

SHAPE = (1, 3, 5, 4)
CHANNELS = 6
PER_CHANNEL = (1, CHANNELS, 1, 1)
VECTOR = np.linspace(0.5, 3, CHANNELS, dtype=np.float32)
FACTOR, OFFSET = VECTOR.reshape(PER_CHANNEL), numbers(*PER_CHANNEL, seed=2)

KINDS: Mapping[str, tuple[onnx.NodeProto, tuple[int, ...]]] = {
    "convolution": (op("Conv/Conv", "volume", "kernel", pads=[1] * 4), (6, 3, 3, 3)),
    "depthwise": (op("Conv/Conv", "volume", "kernel", group=3), (6, 1, 3, 3)),
    "transposed": (op("Conv/ConvTranspose", "volume", "kernel", strides=[2, 2]), (3, 6, 3, 3)),
}
"""A convolution of each kind with 6 channels, and the shape of its kernel."""


def folded(conv: str, *, kind: str = "convolution", more: tuple[onnx.NodeProto, ...] = (), **changes: Any) -> ir.Model:
    """A convolution, times `factor`, plus `offset`; `conv` is its name."""
    first, kernel = KINDS[kind]
    product = changes.pop("product", ("factor", conv))
    inputs = changes.pop("inputs", list(first.input))
    first = onnx.NodeProto.FromString(first.SerializeToString())
    del first.input[:]
    first.input.extend(inputs)
    constants = {"kernel": numbers(*kernel, seed=1), "factor": FACTOR, "offset": OFFSET, "bias": VECTOR, **changes}
    return graph(
        [first, op("Norm/Mul", *product), op("Norm/Add", "Norm/Mul", "offset"), op("Act/Relu", "Norm/Add"), *more],
        ["Act/Relu", *(each.output[0] for each in more)],
        constants,
        volume=SHAPE,
    )


@pytest.mark.parametrize(("kind", "conv"), [(kind, each.name) for kind, (each, _) in KINDS.items()])
def test_a_batch_norm_moves_into_kernel_and_bias(kind: str, conv: str) -> None:
    model = folded(conv, kind=kind)
    expected = run(model, volume=numbers(*SHAPE))
    batch_norms = BatchNorms(1)
    assert batch_norms(model).modified
    assert [each.name for each in model.graph] == [conv, "Act/Relu"]
    np.testing.assert_allclose(run(model, volume=numbers(*SHAPE)), expected, rtol=0, atol=1e-5)
    assert list(batch_norms.factors) == ["Conv"]
    np.testing.assert_array_equal(batch_norms.factors["Conv"], VECTOR)
    assert batch_norms.factors["Conv"].dtype == np.float32
    valid(model)


def test_the_factor_on_the_wrong_axis_of_a_square_kernel_computes_something_else() -> None:
    """The comparison of these tests can fail: (in, out) and (out, in) fit alike where both are 3."""
    constants = {"kernel": numbers(3, 3, 1, 1, seed=1), "factor": FACTOR[:, :3], "offset": OFFSET[:, :3]}
    model = graph(
        [op("C/Conv", "volume", "kernel"), op("N/Mul", "C/Conv", "factor"), op("N/Add", "N/Mul", "offset")],
        ["N/Add"],
        constants,
        volume=SHAPE,
    )
    (expected,) = run(model, volume=numbers(*SHAPE))
    BatchNorms(1)(model)
    (found,) = run(model, volume=numbers(*SHAPE))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    kernel = node(model, "C/Conv").inputs[1]
    assert kernel is not None
    kernel.const_value = ir.tensor(constants["kernel"] * VECTOR[:3].reshape(1, 3, 1, 1), name=kernel.name)
    (wrong,) = run(model, volume=numbers(*SHAPE))
    assert np.abs(wrong - expected).max() > 0.1


ALMOST_A_NORM: Mapping[str, Mapping[str, Any]] = {
    "the factor is one number": {"factor": 2.0},
    "the factor lies along the height": {"factor": numbers(1, 1, 5, 1)},
    "the factor lies along the width": {"factor": np.ones(4, np.float32)},
    "the offset is one number": {"offset": 2.0},
    "the offset lies along the width": {"offset": np.ones(4, np.float32)},
    "the convolution has a bias already": {"inputs": ["volume", "kernel", "bias"]},
    "the convolution has a second user": {"more": (op("Other/Relu", "Conv/Conv"),)},
    "the product has a second user": {"more": (op("Other/Relu", "Norm/Mul"),)},
    "the factor is computed": {"product": ("Conv/Conv", "Conv/Conv")},
}


@pytest.mark.parametrize("changes", ALMOST_A_NORM.values(), ids=ALMOST_A_NORM.keys())
def test_what_is_almost_a_batch_norm_stays_as_it_is_and_stops_the_export(changes: Mapping[str, Any]) -> None:
    model = folded("Conv/Conv", **changes)
    expected = run(model, volume=numbers(*SHAPE))
    batch_norms = BatchNorms(1)
    message = "pass BatchNorms: 0 batch norms behind convolutions found in the graph, expected 1"
    with pytest.raises(ExportError, match=message):
        batch_norms(model)
    assert nodes(model, "Mul")
    assert not batch_norms.factors
    for found, wanted in zip(run(model, volume=numbers(*SHAPE)), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def biased(*, more: tuple[onnx.NodeProto, ...] = (), kind: str = "convolution", **changes: Any) -> ir.Model:
    """A convolution, plus `offset`, plus the convolution that has its bias already."""
    first, kernel = KINDS[kind]
    constants = {
        "kernel": numbers(*kernel, seed=1),
        "offset": OFFSET,
        "Second/weights": numbers(2, CHANNELS, 1, 1, seed=3),
        "Second/numbers": numbers(2, seed=4),
        **changes,
    }
    chain = [
        first,
        op("Conv/Add", first.name, "offset"),
        op("Second/Conv", "Conv/Add", "Second/weights", "Second/numbers"),
    ]
    outputs = ["Second/Conv", *(each.output[0] for each in more)]
    return graph([*chain, *more], outputs, constants, volume=SHAPE)


@pytest.mark.parametrize("kind", KINDS)
def test_an_offset_becomes_the_bias(kind: str) -> None:
    model = biased(kind=kind)
    expected = run(model, volume=numbers(*SHAPE))
    Biases(2)(model)
    assert [each.name for each in model.graph] == [KINDS[kind][0].name, "Second/Conv"]
    np.testing.assert_allclose(run(model, volume=numbers(*SHAPE)), expected, rtol=0, atol=1e-5)
    valid(model)


ALMOST_A_BIAS: Mapping[str, Mapping[str, Any]] = {
    "one number": {"offset": 2.0},
    "along the width": {"offset": np.ones(4, np.float32)},
    "a whole tensor": {"offset": numbers(1, 6, 5, 4)},
    "the convolution has a second user": {"more": (op("Other/Relu", "Conv/Conv"),)},
}


@pytest.mark.parametrize("changes", ALMOST_A_BIAS.values(), ids=ALMOST_A_BIAS.keys())
def test_what_is_no_bias_is_still_added_and_stops_the_export(changes: Mapping[str, Any]) -> None:
    model = biased(**changes)
    expected = run(model, volume=numbers(*SHAPE))
    with pytest.raises(ExportError, match="pass Biases: 1 convolutions with a bias found in the graph, expected 2"):
        Biases(2)(model)
    assert len(nodes(model, "Add")) == 1
    for found, wanted in zip(run(model, volume=numbers(*SHAPE)), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_weights_are_named_after_their_layers_and_keep_their_numbers() -> None:
    model = biased()
    Biases(2)(model)
    expected = run(model, volume=numbers(*SHAPE))
    WeightNames(2)(model)
    assert set(model.graph.initializers) == {"Conv/kernel", "Conv/bias", "Second/kernel", "Second/bias"}
    np.testing.assert_array_equal(run(model, volume=numbers(*SHAPE)), expected)
    WeightNames(2)(model)
    assert len(model.graph.initializers) == 4


def test_two_layers_that_share_a_kernel_get_one_each() -> None:
    model = graph(
        [op("A/Conv", "volume", "shared"), op("B/Conv", "A/Conv", "shared")],
        ["B/Conv"],
        {"shared": numbers(3, 3, 1, 1)},
        volume=SHAPE,
    )
    WeightNames(2)(model)
    first, second = (constant(model.graph.initializers[f"{layer}/kernel"]) for layer in "AB")
    assert first is not None
    np.testing.assert_array_equal(first, numbers(3, 3, 1, 1))
    np.testing.assert_array_equal(second, first)


def test_a_kernel_that_is_computed_stops_the_export() -> None:
    model = graph(
        [op("A/Relu", "weights"), op("A/Conv", "volume", "A/Relu"), op("B/Conv", "A/Conv", "kernel")],
        ["B/Conv"],
        {"kernel": numbers(2, 3, 1, 1)},
        volume=SHAPE,
        weights=(3, 3, 1, 1),
    )
    message = "pass WeightNames: 1 convolutions with constant weights found in the graph, expected 2"
    with pytest.raises(ExportError, match=message):
        WeightNames(2)(model)
