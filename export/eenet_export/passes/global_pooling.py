"""Global pooling: a mean over the plane that keeps its axes, instead of one that drops them and a reshape behind it."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from eenet_export.passes.counted import CountedPass, constant, layer_of, only_user, remove_unused, replace_value


class GlobalPooling(CountedPass):
    """ReduceMean over H and W, reshape to (1, C, 1, 1), becomes GlobalAveragePool; reshapes to the same shape go."""

    what: ClassVar[str] = "global poolings"

    def rewrite(self, graph: ir.Graph) -> int:
        """Rewrite each mean; then drop every Reshape that changes nothing."""
        found = 0
        for mean in [node for node in graph if node.op_type == "ReduceMean"]:
            reshape, axes = only_user(mean.outputs[0], "Reshape"), constant(mean.inputs[1])
            source = mean.inputs[0]
            if reshape is None or axes is None or source is None or source.shape is None or len(source.shape) != 4:
                continue
            result = reshape.outputs[0]
            expected = (*source.shape.numpy()[:2], 1, 1)
            if sorted(axes.ravel()) != [2, 3] or result.shape is None or result.shape.numpy() != expected:
                continue
            pool = ir.node("GlobalAveragePool", [source], name=f"{layer_of(mean)}/GlobalAveragePool")
            pool.outputs[0].name = pool.name
            pool.outputs[0].type, pool.outputs[0].shape = result.type, result.shape
            graph.insert_after(mean, pool)
            replace_value(graph, result, pool.outputs[0])
            found += 1
        for reshape in [node for node in graph if node.op_type == "Reshape"]:
            before, after = reshape.inputs[0], reshape.outputs[0]
            if before is not None and before.shape is not None and before.shape == after.shape:
                replace_value(graph, after, before)
        remove_unused(graph)
        return found
