"""What depends on weights alone is computed once."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from eenet_export.passes.counted import constant
from eenet_export.passes.fold_constants import FoldConstants
from tests.export.passes.onnx_graphs import copy_of, graph, node, numbers, op, reference, valid

VOLUME = numbers(1, 2, 3, 4)


def batch_norm() -> ir.Model:
    """A batch norm as a conversion writes it; all but its product and sum with the volume depends on weights alone."""
    return graph(
        [
            op("Norm/Add", "Norm/moving_variance", "epsilon"),
            op("Norm/Sqrt", "Norm/Add"),
            op("Norm/Reciprocal", "Norm/Sqrt"),
            op("Norm/Mul", "Norm/Reciprocal", "Norm/gamma"),
            op("Norm/Mul_2", "volume", "Norm/Mul"),
            op("Norm/Mul_3", "Norm/moving_mean", "Norm/Mul"),
            op("Norm/Sub", "Norm/beta", "Norm/Mul_3"),
            op("Norm/Add_2", "Norm/Mul_2", "Norm/Sub"),
        ],
        ["Norm/Add_2"],
        {
            "Norm/moving_variance": np.abs(numbers(4, seed=1)) + np.float32(0.5),
            "Norm/moving_mean": numbers(4, seed=2),
            "Norm/gamma": numbers(4, seed=3),
            "Norm/beta": numbers(4, seed=4),
            "epsilon": 1e-3,
        },
        volume=VOLUME.shape,
    )


def test_a_chain_of_constants_folds_as_a_whole_and_the_graph_computes_the_same() -> None:
    model = batch_norm()
    (expected,) = reference(model, volume=VOLUME)
    assert FoldConstants()(model).modified
    assert [each.name for each in model.graph] == ["Norm/Mul_2", "Norm/Add_2"]
    (found,) = reference(model, volume=VOLUME)
    np.testing.assert_array_equal(found, expected)
    valid(model)


def test_constants_that_only_folded_nodes_read_are_gone() -> None:
    model = batch_norm()
    FoldConstants()(model)
    assert set(model.graph.initializers) == {"Norm/Mul/folded", "Norm/Sub/folded"}


def test_what_depends_on_the_volume_is_left_alone() -> None:
    model = graph([op("A/Relu", "volume"), op("B/Mul", "A/Relu", "two")], ["B/Mul"], {"two": 2.0}, volume=(1, 2))
    before = ir.to_proto(model).SerializeToString()
    assert not FoldConstants()(model).modified
    assert ir.to_proto(model).SerializeToString() == before


def test_a_node_without_an_optional_input_and_one_that_reads_a_constant_twice_fold() -> None:
    kernel = numbers(3, 4)
    model = graph(
        [
            op("A/Clip", "kernel", "", "largest"),
            op("A/Mul", "A/Clip", "A/Clip"),
            op("A/Transpose", "A/Mul", perm=[1, 0]),
            op("A/Add", "volume", "A/Transpose"),
        ],
        ["A/Add"],
        {"kernel": kernel, "largest": 0.5},
        volume=(4, 3),
    )
    FoldConstants()(model)
    folded = constant(node(model, "A/Add").inputs[1])
    assert folded is not None
    np.testing.assert_array_equal(folded, np.square(np.minimum(kernel, np.float32(0.5))).T)


@pytest.mark.parametrize(("kind", "dtype"), [(7, np.int64), (10, np.float16), (9, np.bool_)])
def test_a_folded_constant_has_the_type_that_the_node_gave_it(kind: int, dtype: type) -> None:
    model = graph([op("A/Cast", "numbers", to=kind)], ["A/Cast"], {"numbers": [0.0, 1.0, 2.5]}, volume=(1,))
    FoldConstants()(model)
    (value,) = model.graph.initializers.values()
    assert value.dtype == ir.DataType(kind)
    (found,) = (constant(value) for value in model.graph.outputs)
    assert found is not None
    assert found.dtype == dtype


def test_a_node_of_constants_that_is_left_breaks_the_promise() -> None:
    model = batch_norm()
    with pytest.raises(ir.passes.PostconditionError, match=r"depend on constants alone are left: .*Norm/Add"):
        FoldConstants().ensures(model)
    FoldConstants()(model)
    FoldConstants().ensures(copy_of(model))
