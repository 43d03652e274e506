"""A mean over a plane and the reshape behind it become a mean over width and one over height."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eenet_export.passes.global_pooling import GlobalPooling
from eenet_runtime.errors import ExportError
from tests.export.passes.onnx_graphs import graph, node, nodes, numbers, op, reference, run, valid

SHAPE = (1, 5, 4, 3)
SIZES = st.integers(1, 9)


def squeeze_and_excite(
    shape: tuple[int, ...] = SHAPE,
    *,
    axes: Any = (2, 3),
    result: tuple[int, ...] | None = None,
    more: tuple[onnx.NodeProto, ...] = (),
) -> ir.Model:
    """Channels first; the sigmoid's result is reshaped to the shape that it has, as the conversion leaves it."""
    one_each = np.array(result or (*shape[:2], 1, 1))
    chain = [
        op("Squeeze/ReduceMean", "volume", "axes", keepdims=0),
        op("Squeeze/Reshape", "Squeeze/ReduceMean", "one_each"),
        op("Excite/Sigmoid", "Squeeze/Reshape"),
        op("Excite/Reshape", "Excite/Sigmoid", "one_each"),
        op("Excite/Mul", "volume", "Excite/Reshape"),
    ]
    outputs = ["Excite/Mul", *(each.output[0] for each in more)]
    return graph([*chain, *more], outputs, {"axes": np.array(axes), "one_each": one_each}, volume=shape)


@settings(max_examples=20)
@given(st.tuples(st.just(1), SIZES, SIZES, SIZES), st.permutations([2, 3]))
def test_the_pooling_gives_the_same_means(shape: tuple[int, ...], axes: list[int]) -> None:
    model, volume = squeeze_and_excite(shape, axes=axes), numbers(*shape)
    (expected,) = reference(model, volume=volume)
    assert GlobalPooling(1)(model).modified
    for evaluate in (reference, run):
        (found,) = evaluate(model, volume=volume)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    valid(model)


def test_reshapes_that_change_nothing_go_and_the_pooling_is_named_after_its_layer() -> None:
    model = squeeze_and_excite()
    GlobalPooling(1)(model)
    means = ["Squeeze/ReduceMean_W", "Squeeze/ReduceMean_H"]
    assert [each.name for each in model.graph] == [*means, "Excite/Sigmoid", "Excite/Mul"]
    for name, shape in zip(means, [(1, 5, 4, 1), (1, 5, 1, 1)], strict=True):
        pooled = node(model, name).outputs[0]
        assert pooled.shape is not None
        assert pooled.shape.numpy() == shape
        assert pooled.dtype == ir.DataType.FLOAT


def test_a_plane_as_large_as_the_networks_first_is_pooled_without_losing_digits() -> None:
    shape = (1, 5, 96, 80)
    model = squeeze_and_excite(shape)
    GlobalPooling(1)(model)
    volume = numbers(*shape) + np.float32(5)
    (pooled,) = run(model, "Squeeze/ReduceMean_H", volume=volume)
    expected = volume.astype(np.float64).mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(pooled, expected, rtol=3e-7)


def test_a_reshape_that_changes_the_shape_stays() -> None:
    model = graph(
        [op("Flat/Reshape", "volume", "one_line"), op("Flat/Relu", "Flat/Reshape")],
        ["Flat/Relu"],
        {"one_line": [1, 60]},
        volume=SHAPE,
    )
    GlobalPooling(0)(model)
    assert len(nodes(model, "Reshape")) == 1


ALMOST: Mapping[str, Mapping[str, Any]] = {
    "one axis only": {"axes": (2,), "shape": (1, 5, 4, 1)},
    "channels and a side": {"axes": (1, 2), "shape": (1, 3, 4, 3)},
    "the means become another shape": {"result": (1, 1, 5, 1), "shape": (1, 5, 5, 3)},
    "the mean has a second user": {"more": (op("Other/Relu", "Squeeze/ReduceMean"),)},
}


@pytest.mark.parametrize("changes", ALMOST.values(), ids=ALMOST.keys())
def test_what_is_almost_a_global_pooling_stays_a_mean_and_stops_the_export(changes: Mapping[str, Any]) -> None:
    model = squeeze_and_excite(**changes)
    volume = numbers(*changes.get("shape", SHAPE))
    expected = reference(model, volume=volume)
    with pytest.raises(ExportError, match="pass GlobalPooling: 0 global poolings found in the graph, expected 1"):
        GlobalPooling(1)(model)
    assert len(nodes(model, "ReduceMean")) == 1
    for found, wanted in zip(reference(model, volume=volume), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_mean_over_a_volume_is_another_operation() -> None:
    model = graph(
        [op("A/ReduceMean", "volume", "axes", keepdims=0), op("A/Reshape", "A/ReduceMean", "shape")],
        ["A/Reshape"],
        {"axes": [2, 3], "shape": [1, 5, 1, 1, 2]},
        volume=(1, 5, 4, 3, 2),
    )
    with pytest.raises(ExportError, match="0 global poolings found"):
        GlobalPooling(1)(model)


def test_more_poolings_than_expected_stop_the_export() -> None:
    with pytest.raises(ExportError, match="pass GlobalPooling: 1 global poolings found in the graph, expected 0"):
        GlobalPooling(0)(squeeze_and_excite())
