"""A channels-last graph becomes channels first: the same numbers, and no Transpose but the network's own two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_export.passes.channels_first import ChannelsFirst
from eenet_runtime.errors import ExportError
from tests.export.passes.onnx_graphs import channels_first, graph, nodes, numbers, op, run, valid

SHAPE = (1, 4, 3, 2, 5)
"""A volume, channels last; every axis has its own size, so that none can be taken for another."""
FIRST_TO_LAST, LAST_TO_FIRST = [0, 2, 3, 4, 1], [0, 4, 1, 2, 3]
PERMUTATIONS = st.permutations(range(5)).map(tuple)
AXES = st.integers(-5, 4)


def assert_same_numbers(model: ir.Model, volume: NDArray[np.float32]) -> None:
    """Run the pass and compare: the new graph gets and gives channels first, and has the shapes that it says."""
    (expected,) = run(model, volume=volume)
    name = model.graph.outputs[0].name
    ChannelsFirst()(model)
    valid(model)
    (found,) = run(model, volume=channels_first(volume))
    np.testing.assert_allclose(found, channels_first(expected), rtol=1e-6, atol=1e-6)
    (output,) = model.graph.outputs
    assert output.name == name
    assert output.shape is not None
    assert output.shape.numpy() == found.shape


def in_between(
    permutation: Sequence[int],
    *chain: onnx.NodeProto,
    last: str,
    constants: dict[str, Any] | None = None,
    back: Sequence[int] | None = None,
) -> ir.Model:
    """Operations on `T/Transpose`, the volume with its axes in some order; the result gets the volume's order again."""
    turn = op("T/Transpose", "volume", perm=list(permutation))
    undo = op("T/Transpose_2", last, perm=list(np.argsort(permutation) if back is None else back))
    return graph([turn, *chain, undo], ["T/Transpose_2"], constants or {}, volume=SHAPE)


def test_a_convolution_loses_its_transposes() -> None:
    assert_same_numbers(convolution(), numbers(*SHAPE))
    model = convolution()
    ChannelsFirst()(model)
    assert not nodes(model, "Transpose")
    assert [each.op_type for each in model.graph] == ["Conv", "Add", "Relu", "Softmax"]


def convolution() -> ir.Model:
    """Convolution, bias, ReLU and softmax as a conversion writes them; the last node is the softmax."""
    return graph(
        [
            op("First/Transpose", "volume", perm=LAST_TO_FIRST),
            op("First/Conv", "First/Transpose", "First/kernel", pads=[1] * 6),
            op("First/Transpose_2", "First/Conv", perm=FIRST_TO_LAST),
            op("First/Add", "First/Transpose_2", "First/bias"),
            op("First/Relu", "First/Add"),
            op("Last/Softmax", "First/Relu", axis=-1),
        ],
        ["Last/Softmax"],
        {"First/kernel": numbers(6, 5, 3, 3, 3, seed=1), "First/bias": numbers(6, seed=2)},
        volume=SHAPE,
    )


def test_a_kernel_with_two_modalities_swapped_computes_something_else() -> None:
    """The comparison of these tests can fail."""
    volume = numbers(*SHAPE)
    (expected,) = run(convolution(), volume=volume)
    model = convolution()
    kernel = numbers(6, 5, 3, 3, 3, seed=1)[:, [1, 0, 2, 3, 4]]
    model.graph.initializers["First/kernel"].const_value = ir.tensor(kernel, name="First/kernel")
    ChannelsFirst()(model)
    (found,) = run(model, volume=channels_first(volume))
    assert np.abs(found - channels_first(expected)).max() > 0.01


@settings(max_examples=20)
@given(PERMUTATIONS, AXES)
def test_a_softmax_is_over_the_same_axis(permutation: tuple[int, ...], axis: int) -> None:
    soft = op("A/Softmax", "T/Transpose", axis=axis)
    assert_same_numbers(in_between(permutation, soft, last="A/Softmax"), numbers(*SHAPE))


@settings(max_examples=20)
@given(PERMUTATIONS, st.sets(st.integers(0, 4), min_size=1, max_size=3), st.booleans())
def test_a_mean_is_over_the_same_axes(permutation: tuple[int, ...], axes: set[int], negative: bool) -> None:
    mean = op("A/ReduceMean", "T/Transpose", "axes", keepdims=1)
    constants = {"axes": np.array([axis - 5 if negative else axis for axis in axes])}
    model = in_between(permutation, mean, last="A/ReduceMean", constants=constants)
    assert_same_numbers(model, numbers(*SHAPE))


@settings(max_examples=20)
@given(PERMUTATIONS, AXES)
def test_a_concatenation_is_along_the_same_axis(permutation: tuple[int, ...], axis: int) -> None:
    chain = [op("A/Relu", "T/Transpose"), op("A/Concat", "T/Transpose", "A/Relu", "T/Transpose", axis=axis)]
    assert_same_numbers(in_between(permutation, *chain, last="A/Concat"), numbers(*SHAPE))


@settings(max_examples=20)
@given(PERMUTATIONS, st.lists(st.integers(0, 2), min_size=10, max_size=10))
def test_a_padding_is_on_the_same_sides(permutation: tuple[int, ...], pads: list[int]) -> None:
    pad = op("A/Pad", "T/Transpose", "pads", "value")
    model = in_between(permutation, pad, last="A/Pad", constants={"pads": np.array(pads), "value": 0.5})
    assert_same_numbers(model, numbers(*SHAPE))


@settings(max_examples=20)
@given(PERMUTATIONS, st.lists(st.booleans(), min_size=5, max_size=5), st.integers(0, 4), st.booleans())
def test_a_constant_broadcasts_along_the_same_axes(
    permutation: tuple[int, ...], long: list[bool], missing: int, first: bool
) -> None:
    shape = [SHAPE[axis] if is_long else 1 for axis, is_long in zip(permutation, long, strict=True)]
    # ONNX lets a constant leave out its first axes.
    values = numbers(*shape, seed=1)[(0,) * missing] if shape[:missing] == [1] * missing else numbers(*shape, seed=1)
    inputs = ["values", "T/Transpose"] if first else ["T/Transpose", "values"]
    model = in_between(permutation, op("A/Sub", *inputs), last="A/Sub", constants={"values": values})
    assert_same_numbers(model, numbers(*SHAPE))


@settings(max_examples=20)
@given(PERMUTATIONS, st.lists(st.integers(1, 3), min_size=5, max_size=5))
def test_a_resize_is_along_the_same_axes(permutation: tuple[int, ...], factors: list[int]) -> None:
    resize = op(
        "A/Resize",
        "T/Transpose",
        "",
        "scales",
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    constants = {"scales": np.array(factors, np.float32)}
    assert_same_numbers(in_between(permutation, resize, last="A/Resize", constants=constants), numbers(*SHAPE))


def test_a_value_for_each_channel_scales_its_channel() -> None:
    """Squeeze and excitation: a mean that drops its axes, a reshape, a product."""
    model = graph(
        [
            op("Squeeze/ReduceMean", "volume", "plane", keepdims=0),
            op("Squeeze/Reshape", "Squeeze/ReduceMean", "one_each"),
            op("Excite/Sigmoid", "Squeeze/Reshape"),
            op("Excite/Mul", "volume", "Excite/Sigmoid"),
        ],
        ["Excite/Mul"],
        {"plane": [1, 2, 3], "one_each": [1, 1, 1, 1, 5]},
        volume=SHAPE,
    )
    assert_same_numbers(model, numbers(*SHAPE))
    assert not nodes(model, "Transpose")


@pytest.mark.parametrize("dropped", [[1, 2, 3], [0, 1, 2, 3]])
def test_a_mean_that_dropped_its_axes_broadcasts_as_a_vector_of_channels(dropped: list[int]) -> None:
    model = graph(
        [op("A/ReduceMean", "volume", "dropped", keepdims=0), op("A/Sub", "volume", "A/ReduceMean")],
        ["A/Sub"],
        {"dropped": dropped},
        volume=SHAPE,
    )
    assert_same_numbers(model, numbers(*SHAPE))
    assert not nodes(model, "Transpose")


def test_a_vector_whose_length_nobody_knows_is_refused() -> None:
    model = graph(
        [op("A/ReduceMean", "volume", "dropped", keepdims=0), op("A/Sub", "volume", "A/ReduceMean")],
        ["A/Sub"],
        {"dropped": [0, 1, 2, 3]},
        volume=SHAPE,
    )
    model.graph[0].outputs[0].shape = None
    with pytest.raises(ExportError, match="node A/Sub: inputs in the axis orders"):
        ChannelsFirst()(model)


def depth_to_channels() -> ir.Model:
    """The middle of the network: three slices become the channels of a 2D convolution, and slices again.

    Of one channel a conversion writes no Transpose, so both reshapes see depth as the last axis.
    """
    return graph(
        [
            op("Enc/Transpose", "volume", perm=LAST_TO_FIRST),
            op("Enc/Conv", "Enc/Transpose", "Enc/kernel"),
            op("Slices_To_Channels/Reshape", "Enc/Conv", "plane"),
            op("Middle/Transpose", "Slices_To_Channels/Reshape", perm=[0, 3, 1, 2]),
            op("Middle/Conv", "Middle/Transpose", "Middle/kernel", pads=[1] * 4),
            op("Middle/Transpose_2", "Middle/Conv", perm=[0, 2, 3, 1]),
            op("Middle/Relu", "Middle/Transpose_2"),
            op("Last/Transpose", "Middle/Relu", perm=[0, 3, 1, 2]),
            op("Last/Conv", "Last/Transpose", "Last/kernel"),
            op("Last/Transpose_2", "Last/Conv", perm=[0, 2, 3, 1]),
            op("Up/Reshape", "Last/Transpose_2", "slices"),
            op("Up/Conv", "Up/Reshape", "Up/kernel"),
            op("Up/Transpose", "Up/Conv", perm=FIRST_TO_LAST),
        ],
        ["Up/Transpose"],
        {
            "plane": [1, 6, 4, 3],
            "slices": [1, 1, 6, 4, 3],
            "Enc/kernel": numbers(1, 2, 1, 1, 1, seed=4),
            "Middle/kernel": numbers(7, 3, 3, 3, seed=1),
            "Last/kernel": numbers(3, 7, 1, 1, seed=2),
            "Up/kernel": numbers(2, 1, 1, 1, 1, seed=3),
        },
        volume=(1, 6, 4, 3, 2),
    )


def test_only_the_turn_of_depth_to_channels_and_back_stays_a_transpose() -> None:
    model = depth_to_channels()
    assert_same_numbers(model, numbers(1, 6, 4, 3, 2))
    assert [each.name for each in nodes(model, "Transpose")] == ["Middle/Conv/Transpose", "Up/Reshape/Transpose"]
    ChannelsFirst().ensures(model)


def test_an_output_that_is_not_channels_last_stops_the_export() -> None:
    """A reshape that takes axes apart leaves them in the old graph's order."""
    model = graph(
        [op("A/Reshape", "volume", "flat"), op("A/Relu", "A/Reshape"), op("A/Reshape_2", "A/Relu", "volume_again")],
        ["A/Reshape_2"],
        {"flat": [1, 12, 10], "volume_again": [1, 4, 3, 2, 5]},
        volume=SHAPE,
    )
    with pytest.raises(ExportError, match=r"output A/Reshape_2: axis order \(0, 1, 2, 3, 4\) found"):
        ChannelsFirst()(model)


def test_an_operation_whose_axes_are_not_known_stops_the_export() -> None:
    model = graph([op("A/CumSum", "volume", "axis")], ["A/CumSum"], {"axis": 1}, volume=SHAPE)
    with pytest.raises(ExportError, match="node A/CumSum: CumSum found, an operation whose axes are not known here"):
        ChannelsFirst()(model)


def test_tensors_in_two_axis_orders_are_not_added() -> None:
    cube = (1, 3, 3, 3, 3)
    model = graph(
        [op("A/Transpose", "volume", perm=[0, 2, 1, 3, 4]), op("A/Add", "volume", "A/Transpose")],
        ["A/Add"],
        {},
        volume=cube,
    )
    with pytest.raises(ExportError, match=r"node A/Add: inputs in the axis orders .* found"):
        ChannelsFirst()(model)


def test_axes_that_are_computed_stop_the_export() -> None:
    model = graph([op("A/ReduceMean", "volume", "axes")], ["A/ReduceMean"], {"axes": [1]}, volume=SHAPE)
    axes = model.graph.initializers["axes"]
    axes.const_value = None
    with pytest.raises(ExportError, match="node A/ReduceMean: axes that are computed found"):
        ChannelsFirst()(model)


def test_a_transpose_without_a_permutation_reverses_the_axes() -> None:
    chain = [op("A/Transpose", "volume"), op("A/Relu", "A/Transpose"), op("A/Transpose_2", "A/Relu")]
    model = graph(chain, ["A/Transpose_2"], {}, volume=SHAPE)
    assert_same_numbers(model, numbers(*SHAPE))
    assert not nodes(model, "Transpose")


CONSTANT = {"one": np.ones(SHAPE, np.float32), "two": np.ones(SHAPE, np.float32)}
FOREIGN: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], str]] = {
    "all inputs are constant": (
        [op("A/Add", "one", "two"), op("A/Mul", "volume", "A/Add")],
        CONSTANT,
        "node A/Add: an input that is not constant expected, none found",
    ),
    "a constant is concatenated": (
        [op("A/Concat", "volume", "one", axis=-1)],
        {"one": CONSTANT["one"]},
        "node A/Concat: an input that follows from the graph's in place of one expected, none found",
    ),
    "a constant is transposed": (
        [op("A/Transpose", "one", perm=[0, 1, 2, 3, 4]), op("A/Mul", "volume", "A/Transpose")],
        {"one": CONSTANT["one"]},
        "node A/Transpose: an input that follows from the graph's in place of one expected, none found",
    ),
    "a mean over all axes": (
        [op("A/ReduceMean", "volume"), op("A/Mul", "volume", "A/ReduceMean")],
        {},
        "node A/ReduceMean: axes that are left out found, expected constant ones",
    ),
    "a size instead of scales": (
        [op("A/Resize", "volume", "", "", "sizes", mode="nearest"), op("A/Relu", "A/Resize")],
        {"sizes": list(SHAPE)},
        "node A/Resize: constant scales expected, none found",
    ),
    "paddings of some axes": (
        [op("A/Pad", "volume", "pads", "", "axes")],
        {"pads": [0] * 10, "axes": [4, 3, 2, 1, 0]},
        "node A/Pad: paddings of all axes expected, as constants",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_legal_graphs_that_this_network_does_not_have_are_refused_in_words(kind: str) -> None:
    chain, constants, said = FOREIGN[kind]
    model = graph(chain, [chain[-1].output[0]], constants, volume=SHAPE)
    onnx.checker.check_model(ir.to_proto(model))
    with pytest.raises(ExportError, match=f"^{said}$"):
        ChannelsFirst()(model)


def test_an_output_that_is_a_constant_is_refused() -> None:
    model = graph([op("A/Relu", "volume")], ["one"], {"one": CONSTANT["one"]}, volume=SHAPE)
    model.graph.outputs[0].shape = ir.Shape(SHAPE)
    with pytest.raises(
        ExportError, match="tensor one: a tensor that follows from the graph's input expected, none found"
    ):
        ChannelsFirst()(model)


@pytest.mark.parametrize("shape", [(1, 4, 4, 3), (1, 2, 2, 2, 2, 2)])
def test_anything_but_five_axes_is_refused(shape: tuple[int, ...]) -> None:
    model = graph([op("A/Relu", "volume")], ["A/Relu"], {}, volume=shape)
    with pytest.raises(ir.passes.PreconditionError, match="expected one input of five axes"):
        ChannelsFirst()(model)


def test_a_second_input_is_refused() -> None:
    model = graph([op("A/Add", "volume", "other")], ["A/Add"], {}, volume=SHAPE, other=SHAPE)
    with pytest.raises(ir.passes.PreconditionError, match="expected one input of five axes"):
        ChannelsFirst()(model)


def test_a_third_transpose_breaks_the_promise() -> None:
    chain = [op(f"T/Transpose_{n}", f"T/Transpose_{n - 1}" if n else "volume", perm=LAST_TO_FIRST) for n in range(3)]
    model = graph(chain, ["T/Transpose_2"], {}, volume=SHAPE)
    with pytest.raises(ir.passes.PostconditionError, match="3 Transposes are left, expected at most 2"):
        ChannelsFirst().ensures(model)
