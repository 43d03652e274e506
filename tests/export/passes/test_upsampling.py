"""Reshape, tile, reshape becomes one Resize where, and only where, it repeats slices of depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eenet_export.passes.upsampling import Upsampling
from eenet_runtime.errors import ExportError
from tests.export.passes.onnx_graphs import graph, node, nodes, numbers, op, reference, run, valid

SHAPE = (1, 2, 3, 4, 5)
SIZES = st.integers(1, 4)


def upsampling(
    shape: Sequence[int] = SHAPE,
    factor: int = 2,
    *,
    between: Sequence[int] | None = None,
    repeats: Sequence[int] | None = None,
    result: Sequence[int] | None = None,
    more: Sequence[onnx.NodeProto] = (),
    outputs: Sequence[str] = ("Up/Reshape_2",),
) -> ir.Model:
    """What tf2onnx makes of nearest upsampling of depth, or something that is not quite that."""
    batch, height, width, depth, channels = shape
    constants: dict[str, Any] = {
        "between": np.array(between or [batch * height * width, depth, 1, channels]),
        "repeats": np.array(repeats or [1, 1, factor, 1]),
        "result": np.array(result or [batch, height, width, depth * factor, channels]),
    }
    chain = [
        op("Up/Reshape", "volume", "between"),
        op("Up/Tile", "Up/Reshape", "repeats"),
        op("Up/Reshape_2", "Up/Tile", "result"),
    ]
    return graph([*chain, *more], outputs, constants, volume=shape)


@settings(max_examples=25)
@given(st.tuples(st.just(1), SIZES, SIZES, SIZES, SIZES), st.integers(1, 4))
def test_the_resize_repeats_slices_as_the_tile_did(shape: tuple[int, ...], factor: int) -> None:
    model, volume = upsampling(shape, factor), numbers(*shape)
    (expected,) = reference(model, volume=volume)
    np.testing.assert_array_equal(expected, np.repeat(volume, factor, axis=3))
    assert Upsampling(1)(model).modified
    assert [each.op_type for each in model.graph] == ["Resize"]
    for evaluate in (reference, run):
        (found,) = evaluate(model, volume=volume)
        np.testing.assert_array_equal(found, expected)


def test_the_resize_is_named_after_its_layer_and_knows_its_shape() -> None:
    model = upsampling()
    Upsampling(1)(model)
    resize = node(model, "Up/Resize")
    assert resize.outputs[0].shape is not None
    assert resize.outputs[0].shape.numpy() == (1, 2, 3, 8, 5)
    assert resize.outputs[0].dtype == ir.DataType.FLOAT
    valid(model)


ALMOST: Mapping[str, Mapping[str, Any]] = {
    "the whole depth is repeated, not each slice": {"between": [6, 1, 4, 5]},
    "channels are repeated": {"repeats": [1, 1, 1, 2], "result": [1, 2, 3, 4, 10]},
    "depth is repeated on another axis": {"repeats": [1, 2, 1, 1]},
    "two axes are repeated": {"repeats": [1, 2, 2, 1], "result": [1, 2, 3, 16, 5]},
    "the result has another shape": {"result": [1, 4, 3, 4, 5]},
    "the tiled tensor has a second user": {
        "more": [op("Other/Relu", "Up/Tile")],
        "outputs": ("Up/Reshape_2", "Other/Relu"),
    },
}


@pytest.mark.parametrize("changes", ALMOST.values(), ids=ALMOST.keys())
def test_what_is_almost_an_upsampling_is_left_alone_and_stops_the_export(changes: Mapping[str, Any]) -> None:
    model = upsampling(**changes)
    before = ir.to_proto(model).SerializeToString()
    with pytest.raises(ExportError, match="pass Upsampling: 0 upsamplings of depth found in the graph, expected 1"):
        Upsampling(1)(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_repeats_that_are_computed_are_left_alone() -> None:
    model = graph(
        [
            op("Up/Reshape", "volume", "between"),
            op("Up/Cast", "how_often", to=onnx.TensorProto.INT64),
            op("Up/Tile", "Up/Reshape", "Up/Cast"),
            op("Up/Reshape_2", "Up/Tile", "result"),
        ],
        ["Up/Reshape_2"],
        {"between": [6, 4, 1, 5], "result": [1, 2, 3, 8, 5]},
        volume=SHAPE,
        how_often=(4,),
    )
    with pytest.raises(ExportError, match="0 upsamplings of depth found"):
        Upsampling(1)(model)
    assert len(nodes(model, "Tile")) == 1


def test_one_upsampling_where_two_are_expected_stops_the_export() -> None:
    with pytest.raises(ExportError, match="pass Upsampling: 1 upsamplings of depth found in the graph, expected 2"):
        Upsampling(2)(upsampling())
