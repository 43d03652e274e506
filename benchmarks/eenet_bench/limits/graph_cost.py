"""What a canonical ONNX graph costs on paper: multiplications and additions, and bytes moved, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]

_FLOAT_BYTES: Final = 4
_FREE: Final = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Identity", "Constant", "Shape"})
"""They change names and shapes, not values in memory."""
_PER_VALUE: Final = {"GroupNormalization": 8, "Softmax": 5, "Sigmoid": 4}
"""Operations for each value that is read; one for every other kind."""


@dataclass(frozen=True)
class LayerCost:
    """One node of the graph.

    Attributes:
        name, kind: the node's, and its ONNX operator.
        flops: operations, a multiplication and an addition as two; padding is counted as if it were data.
        read_bytes, written_bytes: its inputs (weights among them) and its outputs in FP32, each moved once.
        output: shape of the first output.
    """

    name: str
    kind: str
    flops: float
    read_bytes: float
    written_bytes: float
    output: Shape

    @property
    def moved_bytes(self) -> float:
        """Read and written."""
        return self.read_bytes + self.written_bytes

    @property
    def intensity(self) -> float:
        """Operations for each byte moved."""
        return self.flops / self.moved_bytes if self.moved_bytes else 0.0

    def bound_s(self, flops_per_s: float, bytes_per_s: float) -> float:
        """The least time of this layer for itself: its operations or its bytes, whichever takes longer."""
        return max(self.flops / flops_per_s, self.moved_bytes / bytes_per_s)


def graph_cost(path: Path) -> tuple[LayerCost, ...]:
    """Every node that computes or moves something, in the graph's order.

    Args:
        path: `model.onnx` of a bundle; nothing is run.

    Raises:
        ValueError: a node whose shapes cannot be told without running it.
    """
    import onnx

    from eenet_export.graph.weights import folded

    model = onnx.shape_inference.infer_shapes(folded(path), strict_mode=True)
    shapes = _shapes(model.graph)
    return tuple(_layer(node, shapes) for node in model.graph.node if node.op_type not in _FREE)


def by_kind(costs: Sequence[LayerCost]) -> Mapping[str, float]:
    """Operations by ONNX operator, most first."""
    totals: dict[str, float] = {}
    for cost in costs:
        totals[cost.kind] = totals.get(cost.kind, 0.0) + cost.flops
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
    return shapes


def _layer(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> LayerCost:
    try:
        inputs = [shapes[name] for name in node.input if name]
        outputs = [shapes[name] for name in node.output if name]
    except KeyError as error:
        raise ValueError(f"node {node.name}: the shape of {error.args[0]} is not known") from None
    count = _COUNTS.get(node.op_type)
    flops = count(node, inputs, outputs[0]) if count else _per_value(node, inputs, outputs[0])
    read = _FLOAT_BYTES * sum(math.prod(shape) for shape in inputs)
    written = _FLOAT_BYTES * sum(math.prod(shape) for shape in outputs)
    return LayerCost(node.name, node.op_type, float(flops), float(read), float(written), outputs[0])


def _convolution(node: Any, inputs: Sequence[Shape], output: Shape) -> float:
    """Two operations for each output value and weight of its channel; ONNX' kernel is (out, in / groups, ...)."""
    return 2.0 * math.prod(output) * math.prod(inputs[1][1:])


def _transposed_convolution(node: Any, inputs: Sequence[Shape], output: Shape) -> float:
    """Two operations for each input value and weight of its channel; ONNX' kernel is (in, out / groups, ...)."""
    return 2.0 * math.prod(inputs[0]) * math.prod(inputs[1][1:])


def _product(node: Any, inputs: Sequence[Shape], output: Shape) -> float:
    return 2.0 * math.prod(output) * inputs[0][-1]


def _per_value(node: Any, inputs: Sequence[Shape], output: Shape) -> float:
    largest = max(math.prod(shape) for shape in (*inputs, output))
    return float(_PER_VALUE.get(node.op_type, 1) * largest)


_COUNTS: Final[Mapping[str, Callable[[Any, Sequence[Shape], Shape], float]]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "MatMul": _product,
    "Gemm": _product,
}
