"""INT8 convolutions as a pass over the canonical graph: explicit QuantizeLinear and DequantizeLinear, nothing implied.

A quantised convolution reads its input through a pair Q -> DQ with one scale, and its kernel from an INT8 initialiser
through a DQ with one scale for each output channel. Everything is symmetric (zero point 0), which TensorRT asks for and
CPUs do not mind. Biases, norms, sums and everything else stay as they are. Engines recognise this form and run such a
convolution in integers; one that does not computes the same numbers in floating point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from eenet_export.passes.counted import add_constant, constant, layer_of, remove_unused, required
from eenet_export.passes.float16 import Policy
from eenet_runtime.errors import ExportError

LARGEST: Final = 127
"""Magnitudes go up to here on both sides; -128 is not used, so that zero stays in the middle."""
OPSET: Final = 21
"""The first whose QuantizeLinear and DequantizeLinear take FP16, and what the canonical graph has."""


@dataclass(frozen=True)
class Int8Report:
    """What turning a graph to INT8 did.

    Attributes:
        quantised: layers whose convolution computes in INT8.
        kept: convolutions that do not, by the policy.
        scales: step of each quantised tensor, by its name.
        values: numbers in kernels that are INT8 now.
        worst_kernel_error: largest relative error of a kernel as a whole: the norm of what rounding changed, divided by
            the norm of the kernel.
    """

    quantised: tuple[str, ...]
    kept: int
    scales: Mapping[str, float]
    values: int
    worst_kernel_error: float


def default_policy() -> Policy:
    """Which convolutions keep their precision: `int8_policy.toml`."""
    return Policy.parse(files("eenet_export.passes").joinpath("int8_policy.toml").read_text(encoding="utf-8"))


def quantised_convolutions(graph: ir.Graph, policy: Policy) -> list[ir.Node]:
    """The convolutions that a policy leaves to INT8, in the graph's order.

    Raises:
        ExportError: a pattern of the policy that fits no node.
    """
    names = [node.name or "" for node in graph]
    for pattern in policy.reasons:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ExportError(f"INT8 policy: {pattern} fits no node of the graph")
    return [node for node in graph if node.op_type == "Conv" and not policy.keeps(node.name or "")]


class Int8(ir.passes.InPlacePass):
    """Turn convolutions of a canonical graph, in FP32 or FP16, to INT8.

    Args:
        policy: which convolutions stay as they are.
        limits: largest magnitude that the input of each quantised convolution keeps, by the tensor's name; see
            `eenet_export.graph.calibration`. What lies beyond is clipped.
    """

    def __init__(self, policy: Policy, limits: Mapping[str, float]) -> None:
        super().__init__()
        self.policy = policy
        self.limits = dict(limits)
        self.report: Int8Report | None = None

    def requires(self, model: ir.Model) -> None:
        """An opset that knows the operations, and a limit above zero for every tensor that is to be quantised."""
        if model.opset_imports.get("", 0) < OPSET:
            raise ir.passes.PreconditionError(f"opset {model.opset_imports.get('')} found, INT8 needs {OPSET}")
        for node in quantised_convolutions(model.graph, self.policy):
            name = _input_of(node).name or ""
            if not 0 < self.limits.get(name, 0) < np.inf:
                raise ir.passes.PreconditionError(
                    f"tensor {name}: calibrated magnitude {self.limits.get(name)} found, expected a number above 0"
                )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Quantise."""
        graph = model.graph
        convolutions = quantised_convolutions(graph, self.policy)
        total = sum(node.op_type == "Conv" for node in graph)
        inputs: dict[ir.Value, ir.Value] = {}
        scales: dict[str, float] = {}
        errors, values = [0.0], 0
        for node in convolutions:
            source = _input_of(node)
            if source not in inputs:
                scale = _scale(self.limits[source.name or ""], source)
                inputs[source] = _quantise_tensor(graph, source, scale, node)
                scales[source.name or ""] = float(scale)
            node.replace_input_with(0, inputs[source])
            kernel = _kernel_of(node)
            errors.append(_quantise_kernel(graph, node, kernel))
            values += kernel.size
        remove_unused(graph)
        layers = tuple(layer_of(node) for node in convolutions)
        self.report = Int8Report(layers, total - len(convolutions), scales, values, max(errors))
        return ir.passes.PassResult(model, modified=bool(convolutions))

    def ensures(self, model: ir.Model) -> None:
        """Each quantised convolution reads input and kernel from a DequantizeLinear, whose zero point is 0."""
        for node in quantised_convolutions(model.graph, self.policy):
            for value in node.inputs[:2]:
                producer = value.producer() if value is not None else None
                if producer is None or producer.op_type != "DequantizeLinear":
                    raise ir.passes.PostconditionError(f"node {node.name} reads an input that is not quantised")
                zero = constant(producer.inputs[2])
                if zero is None or zero.dtype != np.int8 or zero.any():
                    raise ir.passes.PostconditionError(f"node {producer.name} has a zero point other than INT8 0")


def _input_of(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    if value is None or value.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
        raise ExportError(f"node {node.name}: an input of another type than FP32 or FP16 found, it cannot be quantised")
    return value


def _kernel_of(node: ir.Node) -> NDArray[Any]:
    kernel = constant(node.inputs[1])
    if kernel is None:
        raise ExportError(f"node {node.name}: a computed kernel found, expected a constant one")
    return kernel


def _scale(largest: float, like: ir.Value) -> NDArray[Any]:
    """The step between two numbers of INT8, in the tensor's own type, as the operations want it."""
    return np.asarray(largest / LARGEST, dtype=required(like.dtype, like, "a data type").numpy())


def _quantise_tensor(graph: ir.Graph, source: ir.Value, scale: NDArray[Any], reader: ir.Node) -> ir.Value:
    """A pair Q -> DQ right before a tensor's first quantised reader."""
    name = source.name or ""
    step = add_constant(graph, f"{name}/scale", scale)
    zero = add_constant(graph, f"{name}/zero_point", np.asarray(0, dtype=np.int8))
    quantise = ir.node("QuantizeLinear", [source, step, zero], name=f"{name}/QuantizeLinear")
    quantise.outputs[0].type, quantise.outputs[0].shape = ir.TensorType(ir.DataType.INT8), source.shape
    quantise.outputs[0].name = quantise.name
    dequantise = ir.node("DequantizeLinear", [quantise.outputs[0], step, zero], name=f"{name}/DequantizeLinear")
    dequantise.outputs[0].type, dequantise.outputs[0].shape = source.type, source.shape
    dequantise.outputs[0].name = dequantise.name
    graph.insert_before(reader, [quantise, dequantise])
    return dequantise.outputs[0]


def _quantise_kernel(graph: ir.Graph, node: ir.Node, kernel: NDArray[Any]) -> float:
    """An INT8 kernel with a DQ in front of its convolution; the kernel's relative error comes back."""
    old = required(node.inputs[1], node, "a kernel")
    name = old.name or ""
    exact = kernel.astype(np.float64)
    largest = np.abs(exact).reshape(len(kernel), -1).max(axis=1)
    # A channel of zeros has no scale of its own; any above zero will do.
    scales = (np.where(largest > 0, largest, 1) / LARGEST).astype(kernel.dtype)
    along = scales.astype(np.float64).reshape(-1, *[1] * (kernel.ndim - 1))
    rounded = np.clip(np.rint(exact / along), -LARGEST, LARGEST)
    stored = add_constant(graph, f"{name}/int8", rounded.astype(np.int8))
    steps = add_constant(graph, f"{name}/scales", scales)
    zeros = add_constant(graph, f"{name}/zero_points", np.zeros(len(kernel), dtype=np.int8))
    dequantise = ir.node("DequantizeLinear", [stored, steps, zeros], {"axis": 0}, name=f"{name}/DequantizeLinear")
    dequantise.outputs[0].type, dequantise.outputs[0].shape = old.type, old.shape
    dequantise.outputs[0].name = dequantise.name
    graph.insert_before(node, dequantise)
    node.replace_input_with(1, dequantise.outputs[0])
    return float(np.linalg.norm(rounded * along - exact) / max(float(np.linalg.norm(exact)), 1e-30))
