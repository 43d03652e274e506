"""The two outputs: `labels`, the class of each voxel, and `probabilities`; both from the logits."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from eenet_export.passes.counted import CountedPass, add_constant, producer, required

LABELS = "labels"
PROBABILITIES = "probabilities"
LAYER = "Labels"
"""Stands for a layer in the names of the nodes that make labels."""


class Outputs(CountedPass):
    """Add the output `labels`, uint8 (1, H, W, D), to a graph that ends in a softmax over the channels.

    The highest logit is found by comparing class after class: where two are equal the lower class stays, as argmax has
    it. ArgMax would write int64 indices of eight bytes a voxel, which no engine but a CPU's needs; TensorRT makes one
    kernel of this chain and two of ArgMax and Cast.
    """

    what: ClassVar[str] = "softmaxes over the classes at the end"

    def rewrite(self, graph: ir.Graph) -> int:
        """Rewrite the end of the graph."""
        softmax = producer(graph.outputs[0], "Softmax")
        if softmax is None or "axis" not in softmax.attributes or softmax.attributes["axis"].as_int() != 1:
            return 0
        labels = _labels(graph, required(softmax.inputs[0], softmax, "an input"))
        softmax.outputs[0].name = PROBABILITIES
        graph.outputs.insert(0, labels)
        return 1


def _labels(graph: ir.Graph, logits: ir.Value) -> ir.Value:
    """Append the comparison chain; (1, classes, H, W, D) in, (1, H, W, D) out."""
    batch, classes, *volume = required(logits.shape, logits, "a shape").numpy()
    shape = ir.Shape([batch, *volume])

    def append(op_type: str, inputs: list[ir.Value], kind: ir.DataType, name: str, **attributes: object) -> ir.Value:
        node = ir.node(op_type, inputs, attributes, name=f"{LAYER}/{name}")
        node.outputs[0].name = node.name
        node.outputs[0].type, node.outputs[0].shape = ir.TensorType(kind), shape
        graph.append(node)
        return node.outputs[0]

    def integers(name: str, *values: int) -> ir.Value:
        return add_constant(graph, f"{LAYER}/{name}", np.array(values, dtype=np.int64))

    axis = integers("axis", 1)
    kind = logits.dtype or ir.DataType.FLOAT
    numbers = [add_constant(graph, f"{LAYER}/class_{index}", np.float32(index)) for index in range(classes)]
    channels = []
    for index in range(classes):
        sliced = append(
            "Slice", [logits, integers(f"from_{index}", index), integers(f"to_{index}", index + 1), axis], kind,
            f"Slice_{index}",
        )  # fmt: skip
        sliced.shape = ir.Shape([batch, 1, *volume])
        channels.append(append("Squeeze", [sliced, axis], kind, f"Squeeze_{index}"))
    highest, label = channels[0], numbers[0]
    for index in range(1, classes):
        higher = append("Greater", [channels[index], highest], ir.DataType.BOOL, f"Greater_{index}")
        label = append("Where", [higher, numbers[index], label], ir.DataType.FLOAT, f"Where_{index}")
        if index < classes - 1:
            highest = append("Max", [highest, channels[index]], kind, f"Max_{index}")
    result = append("Cast", [label], ir.DataType.UINT8, "Cast", to=ir.DataType.UINT8.value)
    result.name = LABELS
    return result
