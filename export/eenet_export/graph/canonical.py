"""One order and one set of names for a converted graph, so that the same network always gives the same bytes.

tf2onnx numbers nodes with a counter of the process and keeps TensorFlow's scopes. Here the order comes from the graph
alone (each node right after what it needs, from the output backwards) and a node is named after its Keras layer and
its operation: `Conv3D_1_L1/Conv`, `GroupNorm_1_L1/ReduceMean_3`. A tensor is named after the node that makes it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

import onnx


def canonical_graph(
    model: onnx.ModelProto,
    *,
    name: str,
    input_names: Mapping[str, str],
    output_name: str,
    layers: frozenset[str],
) -> onnx.ModelProto:
    """Sort and rename a graph; what the output does not depend on is dropped, documentation strings too.

    Args:
        model: a graph with one output and without subgraphs; it is not changed.
        name: name of the new graph.
        input_names: old name -> new name for every graph input.
        output_name: new name of the output.
        layers: the Keras layers that nodes can be named after.

    Returns:
        A new model. Its inputs are in the order of `input_names`, its initialisers in the order of their first use.
    """
    source = model.graph
    nodes = list(_in_dependency_order(source))
    node_names = _node_names(nodes, layers, input_names)
    constants = {tensor.name: tensor for tensor in source.initializer}
    renamed = {"": "", **input_names}
    initializers = []
    for node, node_name in zip(nodes, node_names, strict=True):
        for index, tensor in enumerate(node.input):
            if tensor in constants and tensor not in renamed:
                renamed[tensor] = f"{node_name}/constant_{index}"
                initializers.append(onnx.TensorProto.FromString(constants[tensor].SerializeToString()))
                initializers[-1].name = renamed[tensor]
        for index, tensor in enumerate(node.output):
            renamed[tensor] = node_name if index == 0 else f"{node_name}/output_{index}"
    renamed[source.output[0].name] = output_name
    used = {tensor for node in nodes for tensor in node.input}
    inputs = {value.name: value for value in source.input}
    graph = onnx.helper.make_graph(
        [_renamed_node(node, node_name, renamed) for node, node_name in zip(nodes, node_names, strict=True)],
        name,
        [_renamed_value(inputs[old], new) for old, new in input_names.items() if old in used],
        [_renamed_value(source.output[0], output_name)],
        initializers,
    )
    opsets = [opset for opset in model.opset_import if opset.domain == ""]
    return onnx.helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )


def _in_dependency_order(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes that the output depends on, depth first from the output, each after its inputs."""
    producers = {tensor: node for node in graph.node for tensor in node.output if tensor}
    done: set[str] = set()
    pending = [graph.output[0].name]
    while pending:
        node = producers.get(pending[-1])
        if node is None or node.output[0] in done:
            pending.pop()
            continue
        missing = [t for t in node.input if t in producers and producers[t].output[0] not in done]
        if missing:
            pending.extend(reversed(missing))
        else:
            done.add(node.output[0])
            yield node


def _node_names(nodes: list[onnx.NodeProto], layers: frozenset[str], input_names: Mapping[str, str]) -> list[str]:
    """`layer/Operation`, numbered from the second on.

    A node outside every layer's scope (tf2onnx' optimiser makes such) belongs to the layer that its input comes from.
    """
    owners = {old: new.split("/")[0] for old, new in input_names.items()}
    seen: Counter[str] = Counter()
    names = []
    for node in nodes:
        owner = _layer_of(node.name, layers) or next(owners[tensor] for tensor in node.input if tensor in owners)
        owners.update(dict.fromkeys(node.output, owner))
        base = f"{owner}/{node.op_type}"
        seen[base] += 1
        names.append(base if seen[base] == 1 else f"{base}_{seen[base]}")
    return names


def _layer_of(node_name: str, layers: frozenset[str]) -> str | None:
    """The layer in TensorFlow's scope `model/layer_1/operation`, where `_1` may be a number of TensorFlow's own."""
    for scope in node_name.split("/"):
        for candidate in (scope, re.sub(r"_\d+$", "", scope)):
            if candidate in layers:
                return candidate
    return None


def _renamed_node(node: onnx.NodeProto, name: str, tensors: Mapping[str, str]) -> onnx.NodeProto:
    renamed = onnx.NodeProto(op_type=node.op_type, name=name)
    renamed.input.extend(tensors[tensor] for tensor in node.input)
    renamed.output.extend(tensors[tensor] for tensor in node.output)
    renamed.attribute.extend(sorted(node.attribute, key=lambda attribute: attribute.name))
    return renamed


def _renamed_value(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    return onnx.ValueInfoProto(name=name, type=value.type)
