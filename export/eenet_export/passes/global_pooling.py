"""Global pooling: a mean over width and one over height, instead of one over the plane that drops its axes.

Not one GlobalAveragePool: ONNX Runtime adds a whole plane into one FP32 number, which was off by 6e-5 of the mean for
7,680 pixels and moved probabilities of a trained `eenet-144` by 1.8e-2. In two steps it is right to 1e-7.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from eenet_export.passes.counted import (
    CountedPass,
    add_constant,
    constant,
    input_at,
    layer_of,
    only_user,
    remove_unused,
    replace_value,
    required,
)


class GlobalPooling(CountedPass):
    """ReduceMean over H and W, reshape to (1, C, 1, 1), becomes two ReduceMean; reshapes to the same shape go."""

    what: ClassVar[str] = "global poolings"

    def rewrite(self, graph: ir.Graph) -> int:
        """Rewrite each mean; then drop every Reshape that changes nothing."""
        found = 0
        for mean in [node for node in graph if node.op_type == "ReduceMean"]:
            reshape, axes = only_user(mean.outputs[0], "Reshape"), constant(input_at(mean, 1))
            source = mean.inputs[0]
            if reshape is None or axes is None or source is None or source.shape is None or len(source.shape) != 4:
                continue
            result = reshape.outputs[0]
            expected = (*source.shape.numpy()[:2], 1, 1)
            if sorted(axes.ravel()) != [2, 3] or result.shape is None or result.shape.numpy() != expected:
                continue
            rows = self._mean(graph, mean, source, 3)
            plane = self._mean(graph, rows, rows.outputs[0], 2)
            replace_value(graph, result, plane.outputs[0])
            found += 1
        for reshape in [node for node in graph if node.op_type == "Reshape"]:
            before, after = reshape.inputs[0], reshape.outputs[0]
            if before is not None and before.shape is not None and before.shape == after.shape:
                replace_value(graph, after, before)
        remove_unused(graph)
        return found

    @staticmethod
    def _mean(graph: ir.Graph, after: ir.Node, source: ir.Value, axis: int) -> ir.Node:
        """A mean over one axis, which it keeps."""
        name = f"{layer_of(after)}/ReduceMean_{'W' if axis == 3 else 'H'}"
        axes = add_constant(graph, f"{name}/axes", np.array([axis]))
        node = ir.node("ReduceMean", [source, axes], {"keepdims": 1}, name=name)
        sizes = [
            1 if index == axis else size for index, size in enumerate(required(source.shape, after, "a shape").numpy())
        ]
        node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = name, source.type, ir.Shape(sizes)
        graph.insert_after(after, node)
        return node
