"""Compute once what depends on weights alone: transposed kernels, batch norm factors, reshaped biases."""

from __future__ import annotations

import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from eenet_export.passes.counted import add_constant, constant, remove_unused, replace_value


class FoldConstants(ir.passes.InPlacePass):
    """Replace every node whose inputs are all constants by its value, computed by ONNX's reference implementation."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold in the order of the graph, so that chains fold as a whole."""
        graph, folded = model.graph, 0
        for node in list(graph):
            values = [constant(value) for value in node.inputs if value is not None]
            if not values or any(value is None for value in values):
                continue
            evaluator = ReferenceEvaluator(ir.to_proto(node))
            names = [value.name for value in node.inputs if value is not None]
            results = evaluator.run(None, dict(zip(names, values, strict=True)))
            for output, result in zip(node.outputs, results, strict=True):
                replace_value(graph, output, add_constant(graph, f"{output.name}/folded", result))
            folded += 1
        remove_unused(graph)
        return ir.passes.PassResult(model, modified=folded > 0)

    def ensures(self, model: ir.Model) -> None:
        """No node is left that depends on constants alone."""
        left = [n.name for n in model.graph if n.inputs and all(constant(v) is not None for v in n.inputs if v)]
        if left:
            raise ir.passes.PostconditionError(f"nodes that depend on constants alone are left: {left[:3]}")
