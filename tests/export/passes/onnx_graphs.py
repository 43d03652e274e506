"""Small ONNX graphs written by hand, as a conversion writes them: a tensor is named after the node that makes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def op(name: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node with one output. `layer/Operation_2` says what it is, and what it and its output are called."""
    op_type = re.sub(r"_\d+$", "", name.rsplit("/", 1)[1])
    return helper.make_node(op_type, list(inputs), [name], name=name, **attributes)


def graph(
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[str],
    constants: Mapping[str, Any],
    *,
    opset: int = 18,
    **inputs: Sequence[int],
) -> ir.Model:
    """A graph with the type and shape of every tensor.

    Args:
        nodes: in an order in which they can be computed.
        outputs: names of the graph's outputs.
        constants: initialisers; arrays as they are, Python integers as int64, Python floats as float32.
        opset: of ONNX.
        inputs: shapes of the graph's float32 inputs, by name.
    """
    proto = helper.make_model(
        helper.make_graph(
            nodes,
            "small",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [numpy_helper.from_array(_array(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )
    model: ir.Model = ir.from_proto(_with_shapes(proto))
    return model


def copy_of(model: ir.Model) -> ir.Model:
    """The same graph once more."""
    copy: ir.Model = ir.from_proto(ir.to_proto(model))
    return copy


def run(model: ir.Model, *outputs: str, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
    """What ONNX Runtime computes, without its rewrites; any tensor of the graph may be asked for."""
    import onnxruntime

    proto = ir.to_proto(model)
    present = {value.name for value in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in present)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(list(outputs) or None, inputs))


def reference(model: ir.Model, *outputs: str, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
    """What ONNX' own reference implementation computes."""
    results = ReferenceEvaluator(ir.to_proto(model)).run(list(outputs) or None, inputs)
    return [np.asarray(result) for result in results]


def valid(model: ir.Model) -> None:
    """Let ONNX check the graph, its types and its order.

    Shape inference does not know GroupNormalization, so the types are checked with something in its place.
    """
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    onnx.shape_inference.infer_shapes(_norms_as_relus(proto), strict_mode=True, check_type=True, data_prop=True)


def node(model: ir.Model, name: str) -> ir.Node:
    """The node of this name."""
    return next(each for each in model.graph if each.name == name)


def nodes(model: ir.Model, *op_types: str) -> list[ir.Node]:
    """The nodes of these kinds, in the graph's order."""
    return [each for each in model.graph if each.op_type in op_types]


def numbers(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Normally distributed float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def channels_first(volume: NDArray[Any]) -> NDArray[Any]:
    """(1, H, W, D, C) to (1, C, H, W, D)."""
    return np.ascontiguousarray(np.moveaxis(volume, -1, 1))


def group_norm(
    volume: NDArray[Any], groups: int, gamma: NDArray[Any], beta: NDArray[Any], epsilon: float
) -> NDArray[np.float64]:
    """The definition in float64, for (1, C, H, W, D): Wu and He 2018, doi 10.1007/978-3-030-01261-8_1."""
    exact = volume.astype(np.float64)
    grouped = exact.reshape(groups, -1)
    deviations = grouped - grouped.mean(axis=1, keepdims=True)
    normal = deviations / np.sqrt((deviations**2).mean(axis=1, keepdims=True) + epsilon)
    along = (1, -1, *(1,) * (volume.ndim - 2))
    result: NDArray[np.float64] = normal.reshape(exact.shape) * gamma.reshape(along) + beta.reshape(along)
    return result


def _array(value: Any) -> NDArray[Any]:
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _with_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    inferred = onnx.shape_inference.infer_shapes(_norms_as_relus(proto), strict_mode=True, data_prop=True)
    del inferred.graph.node[:]
    inferred.graph.node.extend(proto.graph.node)
    return inferred


def _norms_as_relus(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for shape inference: what a group norm makes has its input's type and shape, as a ReLU's result has."""
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    for each in copy.graph.node:
        if each.op_type == "GroupNormalization":
            each.op_type = "Relu"
            del each.input[1:]
            del each.attribute[:]
    return copy
