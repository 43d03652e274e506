"""What follows a convolution and is a number for each of its channels belongs into its kernel and bias."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from eenet_export.passes.counted import (
    CountedPass,
    add_constant,
    constant,
    layer_of,
    only_user,
    remove_unused,
    replace_value,
    required,
)

CONVOLUTIONS: Final = ("Conv", "ConvTranspose")


class BatchNorms(CountedPass):
    """Convolution, times a factor, plus an offset: with the statistics of inference that is a convolution.

    factor = gamma / sqrt(variance + epsilon) and offset = beta - mean * factor were folded into constants before.

    Attributes:
        factors: what each kernel was multiplied with, by layer, one number for each output channel.
    """

    what: ClassVar[str] = "batch norms behind convolutions"

    def __init__(self, expected: int) -> None:
        super().__init__(expected)
        self.factors: dict[str, NDArray[np.float32]] = {}

    def rewrite(self, graph: ir.Graph) -> int:
        """Fold each pair of Mul and Add."""
        found = 0
        for conv in [node for node in graph if node.op_type in CONVOLUTIONS]:
            product = only_user(conv.outputs[0], "Mul")
            total = only_user(product.outputs[0], "Add") if product else None
            if product is None or total is None:
                continue
            factor, offset = _per_channel(product, conv), _per_channel(total, conv)
            kernel = constant(conv.inputs[1])
            if factor is None or offset is None or kernel is None or len(conv.inputs) > 2:
                continue
            axis = _output_axis(conv)
            along = [1] * kernel.ndim
            along[axis] = -1
            scaled = kernel * factor.reshape(along)
            conv.replace_input_with(1, add_constant(graph, f"{layer_of(conv)}/kernel/scaled", scaled))
            self.factors[layer_of(conv)] = factor.astype(np.float32)
            _move_into_bias(graph, conv, offset, total)
            found += 1
        remove_unused(graph)
        return found


class Biases(CountedPass):
    """Convolution, plus an offset: the offset is its bias. Counts every convolution that has one in the end."""

    what: ClassVar[str] = "convolutions with a bias"

    def rewrite(self, graph: ir.Graph) -> int:
        """Fold each Add."""
        for conv in [node for node in graph if node.op_type in CONVOLUTIONS]:
            total = only_user(conv.outputs[0], "Add")
            offset = _per_channel(total, conv) if total else None
            if total is not None and offset is not None and len(conv.inputs) == 2:
                _move_into_bias(graph, conv, offset, total)
        remove_unused(graph)
        return sum(node.op_type in CONVOLUTIONS and len(node.inputs) == 3 for node in graph)


class WeightNames(CountedPass):
    """Name kernels and biases after their layers, as the weights file does: `Conv3D_1_L1/kernel`."""

    what: ClassVar[str] = "convolutions with constant weights"

    def rewrite(self, graph: ir.Graph) -> int:
        """Give each convolution initialisers of its own."""
        found = 0
        for conv in [node for node in graph if node.op_type in CONVOLUTIONS]:
            values = [constant(value) for value in conv.inputs[1:]]
            if any(value is None for value in values):
                continue
            for index, (what, numbers) in enumerate(zip(("kernel", "bias"), values, strict=False), 1):
                old, name = conv.inputs[index], f"{layer_of(conv)}/{what}"
                if old is not None and old.name == name:
                    continue
                conv.replace_input_with(index, add_constant(graph, name, required(numbers, conv, "constant weights")))
            found += 1
        remove_unused(graph)
        return found


def _output_axis(conv: ir.Node) -> int:
    """Axis of a kernel along which the outputs lie: (out, in, ...), and (in, out, ...) if it is transposed."""
    return 0 if conv.op_type == "Conv" else 1


def _per_channel(node: ir.Node, conv: ir.Node) -> np.ndarray | None:
    """The constant of a Mul or Add that is one number for each channel of a convolution's output, as a vector."""
    kernel = constant(conv.inputs[1])
    values = [value for value in (constant(item) for item in node.inputs) if value is not None]
    if kernel is None or len(values) != 1:
        return None
    rank, channels = kernel.ndim, kernel.shape[_output_axis(conv)]
    full = values[0].reshape((1,) * (rank - values[0].ndim) + values[0].shape)
    if full.shape != (1, channels, *(1,) * (rank - 2)):
        return None
    return full.ravel()


def _move_into_bias(graph: ir.Graph, conv: ir.Node, bias: np.ndarray, addition: ir.Node) -> None:
    """Move an addition into the convolution before it."""
    conv.resize_inputs(3)
    conv.replace_input_with(2, add_constant(graph, f"{layer_of(conv)}/bias/added", bias))
    replace_value(graph, addition.outputs[0], conv.outputs[0])
