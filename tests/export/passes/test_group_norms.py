"""Fifteen nodes are a group norm only if they are one in every part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from eenet_export.passes.channels_first import ChannelsFirst
from eenet_export.passes.counted import constant
from eenet_export.passes.fold_constants import FoldConstants
from eenet_export.passes.group_norms import GroupNorms
from eenet_runtime.errors import ExportError
from tests.export.passes.onnx_graphs import (
    channels_first,
    graph,
    group_norm,
    node,
    nodes,
    numbers,
    op,
    reference,
    run,
    valid,
)

SHAPE = (1, 6, 6, 3, 2)
"""As many channels as voxels along H, so that a vector along H broadcasts too."""
GROUPS, EPSILON = 2, 1e-3
GAMMA, BETA = numbers(6, seed=1), numbers(6, seed=2)
PER_CHANNEL = (1, 6, 1, 1, 1)


def mean_of(source: str, prefix: str, grouped: str = "grouped", for_each: str = "for_each") -> list[onnx.NodeProto]:
    """`StagedGroupNormalization._group_mean` of a tensor; the result is `prefix`/Reshape_2."""
    return [
        op(f"{prefix}/ReduceMean", source, "depth"),
        op(f"{prefix}/ReduceMean_2", f"{prefix}/ReduceMean", "width"),
        op(f"{prefix}/ReduceMean_3", f"{prefix}/ReduceMean_2", "height"),
        op(f"{prefix}/Reshape", f"{prefix}/ReduceMean_3", grouped),
        op(f"{prefix}/ReduceMean_4", f"{prefix}/Reshape", "in_group"),
        op(f"{prefix}/Expand", f"{prefix}/ReduceMean_4", for_each),
        op(f"{prefix}/Reshape_2", f"{prefix}/Expand", "per_channel"),
    ]


def constants(**changes: Any) -> dict[str, Any]:
    """Those of a group norm of `SHAPE`, channels first."""
    return {
        "depth": [4],
        "width": [3],
        "height": [2],
        "grouped": [1, GROUPS, 3],
        "in_group": [-1],
        "for_each": [1, GROUPS, 3],
        "per_channel": list(PER_CHANNEL),
        "epsilon": EPSILON,
        "gamma": GAMMA.reshape(PER_CHANNEL),
        "beta": BETA.reshape(PER_CHANNEL),
        "three_groups": [1, 3, 2],
        **changes,
    }


def norm(
    *,
    squared: tuple[str, str] = ("Norm/Sub", "Norm/Sub"),
    centred: str = "volume",
    mean: str = "Mean/Reshape_2",
    inverted: str = "Norm/Sqrt",
    offset: str = "beta",
    variance_groups: tuple[str, ...] = (),
    more: tuple[onnx.NodeProto, ...] = (),
    **changes: Any,
) -> ir.Model:
    """A group norm as it is spelled out, channels first, or something that is not quite one."""
    chain = [
        op("Other/Relu", "volume"),
        *mean_of("volume", "Mean"),
        op("Norm/Sub", centred, mean),
        op("Norm/Mul", *squared),
        *mean_of("Norm/Mul", "Variance", *variance_groups),
        op("Norm/Add", "Variance/Reshape_2", "epsilon"),
        op("Norm/Sqrt", "Norm/Add"),
        op("Norm/Reciprocal", inverted),
        op("Norm/Mul_2", "Norm/Reciprocal", "gamma"),
        op("Norm/Mul_3", "Norm/Sub", "Norm/Mul_2"),
        op("Norm/Add_2", "Norm/Mul_3", offset),
    ]
    outputs = ["Norm/Add_2", *(each.output[0] for each in more)]
    return graph([*chain, *more], outputs, constants(**changes), volume=SHAPE)


def volume() -> NDArray[np.float32]:
    """Every channel has a mean and a width of its own."""
    scales = np.arange(1, 7, dtype=np.float32).reshape(PER_CHANNEL)
    return (numbers(*SHAPE) + 3) * scales


def exact(epsilon: float = EPSILON) -> NDArray[np.float64]:
    return group_norm(volume(), GROUPS, GAMMA, BETA, epsilon)


def test_the_operation_computes_what_the_nodes_computed() -> None:
    model = norm()
    (before,) = reference(model, volume=volume())
    np.testing.assert_allclose(before, exact(), rtol=0, atol=1e-5)
    assert GroupNorms(1)(model).modified
    assert [each.op_type for each in model.graph] == ["GroupNormalization"]
    for evaluate in (reference, run):
        (found,) = evaluate(model, volume=volume())
        np.testing.assert_allclose(found, before, rtol=0, atol=1e-5)
    valid(model)


def test_the_operation_has_the_numbers_of_the_layer_and_sums_in_double_precision() -> None:
    model = norm()
    GroupNorms(1)(model)
    operation = node(model, "Norm/GroupNormalization")
    assert operation.attributes["num_groups"].as_int() == GROUPS
    assert operation.attributes["epsilon"].as_float() == pytest.approx(EPSILON)
    assert operation.attributes["stash_type"].as_int() == onnx.TensorProto.DOUBLE
    assert [value.name for value in operation.inputs if value] == ["volume", "Norm/gamma", "Norm/beta"]
    for value, expected in zip(operation.inputs[1:], (GAMMA, BETA), strict=True):
        np.testing.assert_array_equal(constant(value), expected)
    assert operation.outputs[0].shape is not None
    assert operation.outputs[0].shape.numpy() == SHAPE
    assert model.graph.opset_imports[""] == 21


def test_means_over_the_volume_in_another_sequence_are_the_same_means() -> None:
    model = norm(depth=[2], width=[4], height=[3], in_group=[2])
    GroupNorms(1)(model)
    (found,) = run(model, volume=volume())
    np.testing.assert_allclose(found, exact(), rtol=0, atol=1e-5)


def test_a_norm_with_another_epsilon_computes_something_else() -> None:
    """The comparison of these tests can fail."""
    model = norm(epsilon=10 * EPSILON)
    GroupNorms(1)(model)
    (found,) = run(model, volume=volume())
    np.testing.assert_allclose(found, exact(10 * EPSILON), rtol=0, atol=1e-5)
    assert np.abs(found - exact()).max() > 1e-4


def test_another_reader_of_the_deviations_still_gets_them() -> None:
    model = norm(more=(op("Reader/Relu", "Norm/Sub"),))
    expected = reference(model, volume=volume())
    GroupNorms(1)(model)
    found = reference(model, volume=volume())
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-5)


def channels_last_norm() -> ir.Model:
    """The same layer as the conversion writes it: channels last, vectors of scale and offset."""
    numbers_of_it = constants(
        depth=[3],
        width=[2],
        height=[1],
        per_channel=[1, 1, 1, 1, 6],
        gamma=GAMMA,
        beta=BETA,
    )
    return graph(
        [
            *mean_of("volume", "Mean"),
            op("Norm/Sub", "volume", "Mean/Reshape_2"),
            op("Norm/Mul", "Norm/Sub", "Norm/Sub"),
            *mean_of("Norm/Mul", "Variance"),
            op("Norm/Add", "Variance/Reshape_2", "epsilon"),
            op("Norm/Sqrt", "Norm/Add"),
            op("Norm/Reciprocal", "Norm/Sqrt"),
            op("Norm/Mul_2", "Norm/Reciprocal", "gamma"),
            op("Norm/Mul_3", "Norm/Sub", "Norm/Mul_2"),
            op("Norm/Add_2", "Norm/Mul_3", "beta"),
        ],
        ["Norm/Add_2"],
        numbers_of_it,
        volume=(1, 6, 3, 2, 6),
    )


def test_a_channels_last_norm_is_found_behind_the_change_of_layout() -> None:
    model = channels_last_norm()
    last = np.ascontiguousarray(np.moveaxis(volume(), 1, -1))
    (expected,) = reference(model, volume=last)
    np.testing.assert_allclose(channels_first(expected), exact(), rtol=0, atol=1e-5)
    for step in (FoldConstants(), ChannelsFirst(), GroupNorms(1)):
        step(model)
    assert [each.op_type for each in model.graph] == ["GroupNormalization"]
    (found,) = run(model, volume=volume())
    np.testing.assert_allclose(found, exact(), rtol=0, atol=1e-5)


ALONG_HEIGHT = (1, 1, 6, 1, 1)
ALMOST: Mapping[str, Mapping[str, Any]] = {
    "an axis is left out of the mean": {
        "depth": [3],
        "grouped": [1, GROUPS, 6],
        "for_each": [1, GROUPS, 6],
        "per_channel": [1, 6, 1, 1, 2],
    },
    "the mean is over the groups": {"in_group": [1], "for_each": [1, GROUPS, 3]},
    "the mean is over groups and channels": {"in_group": [1, 2]},
    "the groups lie along the batch": {"grouped": [GROUPS, 1, 3], "for_each": [GROUPS, 1, 3]},
    "the mean lies along the height": {"per_channel": list(ALONG_HEIGHT)},
    "the scale lies along the height": {"gamma": GAMMA.reshape(ALONG_HEIGHT)},
    "the offset lies along the height": {"beta": BETA.reshape(ALONG_HEIGHT)},
    "the scale is one number": {"gamma": 2.0},
    "the offset is one number": {"beta": 2.0},
    "epsilon is a vector": {"epsilon": np.full(PER_CHANNEL, EPSILON, np.float32)},
    "the variance is of other groups than the mean": {"variance_groups": ("three_groups", "three_groups")},
    "the volume itself is squared": {"squared": ("volume", "volume")},
    "the deviations are multiplied with something else": {"squared": ("Norm/Sub", "volume")},
    "the mean is of another tensor": {"centred": "Other/Relu"},
    "what is subtracted is no mean": {"mean": "beta"},
    "there is no root": {"inverted": "Norm/Add"},
    "the offset is computed": {"offset": "Other/Relu"},
}


@pytest.mark.parametrize("changes", ALMOST.values(), ids=ALMOST.keys())
def test_what_is_almost_a_group_norm_stays_as_it_is_and_stops_the_export(changes: Mapping[str, Any]) -> None:
    model = norm(**changes)
    expected = reference(model, volume=volume())
    with pytest.raises(ExportError, match="pass GroupNorms: 0 group norms found in the graph, expected 1"):
        GroupNorms(1)(model)
    assert not nodes(model, "GroupNormalization")
    for found, wanted in zip(reference(model, volume=volume()), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ["depth", "grouped", "in_group"])
def test_a_mean_whose_axes_or_groups_are_computed_is_no_part_of_a_group_norm(name: str) -> None:
    model = norm()
    model.graph.initializers[name].const_value = None
    with pytest.raises(ExportError, match="pass GroupNorms: 0 group norms found in the graph, expected 1"):
        GroupNorms(1)(model)


@pytest.mark.parametrize("name", ["Mean/Reshape_2", "Variance/Reshape_2"])
def test_a_mean_whose_shape_nobody_knows_is_no_part_of_a_group_norm(name: str) -> None:
    model = norm()
    node(model, name).outputs[0].shape = None
    with pytest.raises(ExportError, match="pass GroupNorms: 0 group norms found in the graph, expected 1"):
        GroupNorms(1)(model)


def test_a_volume_whose_shape_nobody_knows_has_no_group_norm() -> None:
    model = norm()
    model.graph.inputs[0].shape = None
    with pytest.raises(ExportError, match="pass GroupNorms: 0 group norms found in the graph, expected 1"):
        GroupNorms(1)(model)


def test_one_norm_where_two_are_expected_stops_the_export() -> None:
    with pytest.raises(ExportError, match="pass GroupNorms: 1 group norms found in the graph, expected 2"):
        GroupNorms(2)(norm())
