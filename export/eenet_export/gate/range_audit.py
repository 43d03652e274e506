"""Will it fit into FP16? The largest magnitude of every tensor, measured on real cases with the FP32 graph.

FP16 ends at 65504, and the square of anything beyond 255 overflows. A CPU engine runs an FP16 graph in FP32, so a
parity test on a CPU says nothing about either; this audit does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from eenet_export.passes.counted import add_constant
from eenet_runtime.backends.onnxruntime_backend import load_onnxruntime
from eenet_runtime.errors import ParityError

LARGEST: Final = 65504 / 4
"""A quarter of FP16's range: other cases than the measured ones must fit too."""
SQUARE_FITS: Final = 255.0
"""The largest magnitude whose square is an FP16 number."""


@dataclass(frozen=True)
class RangeAudit:
    """The result.

    Attributes:
        largest: magnitude of each tensor, largest over all cases; a tensor is named after the node that makes it.
        before_norms: of these, tensors beyond 255 that feed a group norm.
        shifts: convolutions among them whose output may be made smaller, and by which power of two it should be.
    """

    largest: Mapping[str, float]
    before_norms: Mapping[str, float]
    shifts: Mapping[str, int]


def audit_ranges(model: ir.Model, volumes: Iterable[NDArray[np.float32]]) -> RangeAudit:
    """Measure.

    Args:
        model: the canonical FP32 graph with its weights inside.
        volumes: inputs of real cases, (1, 4, H, W, D).

    Raises:
        ParityError: a tensor beyond a quarter of FP16's range, or one that is not finite; the message names it.
    """
    onnxruntime = load_onnxruntime()

    probe, names = _with_maxima(model)
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    # The default order computes all probes last and keeps every tensor until then.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    largest = dict.fromkeys(names, 0.0)
    for volume in volumes:
        results = np.array(session.run(None, {model.graph.inputs[0].name: volume})).reshape(len(names), 2)
        for name, (value, total) in zip(names, results, strict=True):
            # A maximum steps over what is not a number, a sum does not.
            largest[name] = float(np.maximum(largest[name], np.nan if np.isnan(total) else value))
    worst = max(largest, key=lambda name: np.nan_to_num(largest[name], nan=np.inf))
    if not largest[worst] <= LARGEST:
        raise ParityError(
            f"tensor {worst}: magnitude {largest[worst]:.4g} found, FP16 graphs are made up to {LARGEST:.0f}; "
            "export FP32 only, or train with weight decay"
        )
    fed = {str(node.inputs[0].name) for node in model.graph if node.op_type == "GroupNormalization" and node.inputs[0]}
    beyond = {name: value for name, value in largest.items() if name in fed and value > SQUARE_FITS}
    return RangeAudit(largest, beyond, _shifts(model.graph, beyond))


def _shifts(graph: ir.Graph, beyond: Mapping[str, float]) -> dict[str, int]:
    """Where a group norm is the only reader of a convolution, and how far to go: at most two powers of two."""
    shifts = {}
    for node in graph:
        output = node.outputs[0]
        if node.op_type != "Conv" or output.name not in beyond or len(output.uses()) != 1:
            continue
        layer = (node.name or "").split("/")[0]
        shifts[layer] = min(2, int(np.ceil(np.log2(beyond[str(output.name)] / SQUARE_FITS))))
    return shifts


def _with_maxima(model: ir.Model) -> tuple[onnx.ModelProto, list[str]]:
    """The graph with two numbers for outputs of every floating-point tensor: its largest magnitude, and their sum."""
    probe = ir.from_proto(ir.to_proto(model))
    graph, names = probe.graph, []
    axes = add_constant(graph, "audit/axes", np.array([], dtype=np.int64))
    results = []
    for node in list(graph):
        for output in node.outputs:
            if output.dtype not in (ir.DataType.FLOAT, None):
                continue
            size = ir.node("Abs", [output], name=f"{output.name}/audit_abs")
            added = [size]
            for op_type in ("ReduceMax", "ReduceSum"):
                name = f"{output.name}/audit_{op_type}"
                number = ir.node(op_type, [size.outputs[0], axes], {"keepdims": 0}, name=name)
                number.outputs[0].name = name
                number.outputs[0].type, number.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
                added.append(number)
                results.append(number.outputs[0])
            graph.insert_after(node, added)
            names.append(str(output.name))
    graph.outputs.clear()
    graph.outputs.extend(results)
    return ir.to_proto(probe), names
