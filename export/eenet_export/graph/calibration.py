"""How far does INT8 have to reach? Measured on real cases with the FP32 graph, and the graph quantised with it.

127 steps on each side are few. A step that reaches the largest magnitude wastes most of them on a handful of voxels, so
for each tensor several limits are tried, and the one is taken whose rounding and clipping changes it least in the mean
square. Both runs answer with single numbers, so no tensor is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from eenet_export.passes.counted import add_constant
from eenet_export.passes.float16 import Policy
from eenet_export.passes.int8 import LARGEST, Int8, Int8Report, default_policy, quantised_convolutions
from eenet_runtime.backends.onnxruntime_backend import load_onnxruntime
from eenet_runtime.errors import ExportError

FRACTIONS: Final = tuple(2.0 ** (-step / 4) for step in range(13))
"""Limits that are tried, as shares of the largest magnitude: down to an eighth of it."""


def quantise(model: ir.Model, volumes: Sequence[NDArray[np.float32]], policy: Policy | None = None) -> Int8Report:
    """Turn a canonical graph to INT8, in place.

    Args:
        model: the canonical FP32 graph with its weights inside.
        volumes: inputs of real cases, float32 (1, 4, H, W, D); two or three are enough.
        policy: which convolutions stay as they are; by default `int8_policy.toml`.

    Raises:
        ExportError: no volume, a tensor that is zero or not finite in all of them, or a policy that does not fit.
    """
    chosen = default_policy() if policy is None else policy
    int8 = Int8(chosen, calibrate(model, volumes, chosen))
    try:
        int8(model)
    except (ir.passes.PassError, ir.passes.InvariantError) as error:
        raise ExportError(str(error.__cause__ or error)) from error
    assert int8.report is not None
    return int8.report


def calibrate(model: ir.Model, volumes: Sequence[NDArray[np.float32]], policy: Policy) -> dict[str, float]:
    """The magnitude that INT8 should reach, by tensor, for the input of each convolution that is to be quantised.

    Raises:
        ExportError: see `quantise`.
    """
    if not volumes:
        raise ExportError("INT8: no case to calibrate on found, expected at least one")
    names = list(
        dict.fromkeys(
            str(node.inputs[0].name) for node in quantised_convolutions(model.graph, policy) if node.inputs[0]
        )
    )
    largest = _run(_with_maxima(model, names), volumes).max(axis=0)
    for name, value in zip(names, largest, strict=True):
        if not 0 < value < np.inf:
            raise ExportError(f"tensor {name}: largest magnitude {value} found over all cases, INT8 needs one above 0")
    candidates = {name: [value * share for share in FRACTIONS] for name, value in zip(names, largest, strict=True)}
    errors = _run(_with_errors(model, candidates), volumes).mean(axis=0).reshape(len(names), len(FRACTIONS))
    for name, row in zip(names, errors, strict=True):
        # A maximum steps over NaN, a mean does not.
        if not np.isfinite(row).all():
            raise ExportError(f"tensor {name}: NaN found in a case, INT8 needs finite values")
    best = errors.argmin(axis=1)
    return {name: float(candidates[name][index]) for name, index in zip(names, best, strict=True)}


def _run(probe: ir.Model, volumes: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """The probe's numbers, (cases, outputs)."""
    onnxruntime = load_onnxruntime()

    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    # By default everything that ends in a number is put off to the end, and every tensor kept until then.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    session = onnxruntime.InferenceSession(
        ir.to_proto(probe).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return np.array([[float(value) for value in session.run(None, {name: volume})] for volume in volumes])


def _with_maxima(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy that answers with the largest magnitude of each tensor."""
    probe = _Probe(model)
    for value in probe.values(names):
        probe.answer(value, "ReduceMax", [probe.after(value, "Abs", [value])])
    return probe.finish()


def _with_errors(model: ir.Model, candidates: dict[str, list[float]]) -> ir.Model:
    """A copy that answers with the mean squared error of each tensor, for each of its candidate limits.

    Spelled in plain operations: engines rewrite what they recognise as quantisation.
    """
    probe = _Probe(model)
    for value in probe.values(list(candidates)):
        for limit in candidates[str(value.name)]:
            step = probe.number(limit / LARGEST)
            rounded = probe.after(value, "Round", [probe.after(value, "Div", [value, step])])
            clipped = probe.after(value, "Clip", [rounded, probe.number(-LARGEST), probe.number(LARGEST)])
            change = probe.after(value, "Sub", [probe.after(value, "Mul", [clipped, step]), value])
            probe.answer(value, "ReduceMean", [probe.after(value, "Mul", [change, change])])
    return probe.finish()


class _Probe:
    """A copy of a graph whose outputs are single numbers about its tensors."""

    def __init__(self, model: ir.Model) -> None:
        self._model = ir.from_proto(ir.to_proto(model))
        self._graph = self._model.graph
        self._axes = add_constant(self._graph, "probe/axes", np.array([], dtype=np.int64))
        self._count = 0
        self._last: dict[ir.Value, ir.Node] = {}
        self._answers: list[ir.Value] = []

    def values(self, names: Sequence[str]) -> list[ir.Value]:
        """The copy's tensors of these names, in this order."""
        found = {str(value.name): value for value in self._graph.inputs}
        found |= {str(output.name): output for node in self._graph for output in node.outputs}
        return [found[name] for name in names]

    def number(self, value: float) -> ir.Value:
        """A constant."""
        self._count += 1
        return add_constant(self._graph, f"probe/{self._count}", np.asarray(value, dtype=np.float32))

    def after(self, tensor: ir.Value, op_type: str, inputs: Sequence[ir.Value], **attributes: Any) -> ir.Value:
        """An operation on a tensor, as soon as the tensor is there, so that it need not be kept for it."""
        self._count += 1
        node = ir.node(op_type, inputs, attributes, name=f"probe/{self._count}")
        node.outputs[0].name = node.name
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        last = self._last.get(tensor) or tensor.producer()
        if last is None:
            self._graph.insert_before(self._graph[0], node)
        else:
            self._graph.insert_after(last, node)
        self._last[tensor] = node
        return node.outputs[0]

    def answer(self, tensor: ir.Value, op_type: str, inputs: list[ir.Value]) -> None:
        """A number about a tensor."""
        value = self.after(tensor, op_type, [*inputs, self._axes], keepdims=0)
        value.shape = ir.Shape([])
        self._answers.append(value)

    def finish(self) -> ir.Model:
        """The copy with the answers as its only outputs."""
        self._graph.outputs.clear()
        self._graph.outputs.extend(self._answers)
        return ir.Model(self._graph, ir_version=self._model.ir_version)
