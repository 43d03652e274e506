"""Labels: the class of the highest logit, the lowest of several highest, one byte for each voxel."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_export.passes.float16 import Float16, Policy
from eenet_export.passes.outputs import Outputs
from eenet_runtime.errors import ExportError
from tests.export.passes.onnx_graphs import graph, node, nodes, numbers, op, reference, run, valid

SHAPE = (1, 4, 4, 3, 2)


def network_end(axis: int = 1, classes: int = 4) -> ir.Model:
    """What stands at the end of the network; the logits are the volume itself."""
    shape = (1, classes, *SHAPE[2:])
    return graph([op("Model_Outputs/Softmax", "volume", axis=axis)], ["Model_Outputs/Softmax"], {}, volume=shape)


def labels_of(logits: NDArray[np.float32], classes: int = 4) -> NDArray[np.uint8]:
    model = network_end(classes=classes)
    Outputs(1)(model)
    (labels,) = run(model, "labels", volume=logits)
    np.testing.assert_array_equal(reference(model, "labels", volume=logits)[0], labels)
    return np.asarray(labels)


@settings(max_examples=30)
@given(st.lists(st.integers(-2, 2), min_size=96, max_size=96), st.sampled_from([1.0, 1e-3, 1e30]))
def test_of_several_highest_logits_the_lowest_class_is_the_label(values: list[int], scale: float) -> None:
    """Five different numbers for four classes and 24 voxels: most voxels have ties somewhere."""
    logits = (np.array(values, np.float32) * np.float32(scale)).reshape(SHAPE)
    np.testing.assert_array_equal(labels_of(logits), logits.argmax(axis=1))


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_labels_of_any_number_of_classes_are_those_of_argmax(classes: int) -> None:
    logits = numbers(1, classes, *SHAPE[2:])
    labels = labels_of(logits, classes)
    np.testing.assert_array_equal(labels, logits.argmax(axis=1))
    assert set(np.unique(labels)) == set(range(classes))


def test_where_all_logits_are_equal_the_label_is_background() -> None:
    assert not labels_of(np.full(SHAPE, 1.5, np.float32)).any()


def test_the_outputs_are_bytes_first_and_unchanged_probabilities_second() -> None:
    model, logits = network_end(), numbers(*SHAPE)
    (expected,) = run(model, volume=logits)
    Outputs(1)(model)
    valid(model)
    labels, probabilities = model.graph.outputs
    assert (labels.name, labels.dtype) == ("labels", ir.DataType.UINT8)
    assert (probabilities.name, probabilities.dtype) == ("probabilities", ir.DataType.FLOAT)
    found = run(model, volume=logits)
    assert found[0].dtype == np.uint8
    for value, array in zip((labels, probabilities), found, strict=True):
        assert value.shape is not None
        assert value.shape.numpy() == array.shape
    assert found[0].shape == (1, 4, 3, 2)
    np.testing.assert_array_equal(found[1], expected)


def test_every_tensor_of_the_comparison_has_its_type_and_shape() -> None:
    model = network_end()
    Outputs(1)(model)
    values = {str(output.name): output for each in model.graph for output in each.outputs}
    asked = [name for name in values if name not in ("labels", "probabilities")]
    for name, array in zip(asked, run(model, *asked, volume=numbers(*SHAPE)), strict=True):
        value = values[name]
        assert value.dtype is not None
        assert value.dtype.numpy() == array.dtype, name
        assert value.shape is not None
        assert value.shape.numpy() == array.shape, name


def test_labels_of_an_fp16_graph_are_those_of_its_own_logits() -> None:
    model = network_end()
    Outputs(1)(model)
    Float16(Policy({"Model_Outputs/Softmax": "the probabilities are FP32"}))(model)
    assert all(each.inputs[0].dtype == ir.DataType.FLOAT16 for each in nodes(model, "Slice") if each.inputs[0])
    logits = numbers(*SHAPE)
    logits[0, 1] = logits[0, 0] + 1e-5  # a difference that FP16 does not hold
    (labels,) = run(model, "labels", volume=logits)
    np.testing.assert_array_equal(labels, logits.astype(np.float16).argmax(axis=1))
    assert (labels != logits.argmax(axis=1)).any()


def test_a_comparison_the_other_way_would_be_seen() -> None:
    """The comparison of these tests can fail: with >= instead of > the higher class wins a tie."""
    model = network_end()
    Outputs(1)(model)
    for index in (1, 2, 3):
        node(model, f"Labels/Greater_{index}").op_type = "GreaterOrEqual"
    (labels,) = run(model, "labels", volume=np.zeros(SHAPE, np.float32))
    assert (labels == 3).all()


@pytest.mark.parametrize("axis", [2, 4, -1, None])
def test_a_softmax_over_another_axis_is_not_the_end_of_this_network(axis: int | None) -> None:
    model = network_end(1 if axis is None else axis)
    if axis is None:  # ONNX' own default is the last axis
        del nodes(model, "Softmax")[0].attributes["axis"]
    with pytest.raises(ExportError, match="pass Outputs: 0 softmaxes over the classes at the end found in the graph"):
        Outputs(1)(model)
    assert len(model.graph.outputs) == 1


def test_a_graph_that_ends_in_logits_is_refused() -> None:
    model = graph([op("A/Softmax", "volume", axis=1), op("B/Relu", "A/Softmax")], ["B/Relu"], {}, volume=SHAPE)
    with pytest.raises(ExportError, match="pass Outputs: 0 softmaxes over the classes at the end found"):
        Outputs(1)(model)
    assert [each.op_type for each in model.graph] == ["Softmax", "Relu"]
