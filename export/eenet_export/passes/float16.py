"""FP16 arithmetic as a pass over the canonical graph, with a policy that says what stays FP32 and why.

Types flow forwards: each node computes in FP16 unless the policy keeps it, and a Cast is written wherever a tensor has
the other type than its reader wants. Nothing is inferred: ONNX' shape inference does not know GroupNormalization and
would lose the types behind the first one, after which a converter that relies on it leaves Casts out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Final

import numpy as np
import onnx_ir as ir

from eenet_export.passes.counted import add_constant, constant, remove_unused, required
from eenet_runtime.errors import ExportError

_HALF, _SINGLE = ir.DataType.FLOAT16, ir.DataType.FLOAT
_FP16: Final = np.finfo(np.float16)
_OWN_TYPE: Final = {("Resize", 2)}
"""Inputs that ONNX wants in FP32 whatever the others are: an operation and the number of its input."""
_LARGEST_SHIFT: Final = 2
"""eps * 4^-2 = 6.25e-5 is the smallest that FP16 holds with all its digits (Keras' epsilon is 1e-3)."""


@dataclass(frozen=True)
class Policy:
    """What stays FP32.

    Attributes:
        reasons: why, by pattern over node names.
    """

    reasons: Mapping[str, str]

    @classmethod
    def default(cls) -> Policy:
        """The toolkit's own: `float16_policy.toml`."""
        return cls.parse(files("eenet_export.passes").joinpath("float16_policy.toml").read_text(encoding="utf-8"))

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Read a policy file.

        Raises:
            ExportError: not TOML, or not a list of patterns with reasons.
        """
        try:
            entries = tomllib.loads(text)["keep"]
            reasons = {pattern: str(entry["reason"]) for entry in entries for pattern in _patterns(entry["nodes"])}
            return cls(reasons)
        except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise ExportError(f"precision policy: expected tables [[keep]] with nodes and reason ({error})") from error

    def keeps(self, name: str) -> bool:
        """Whether a node of this name computes in FP32."""
        return any(fnmatchcase(name, pattern) for pattern in self.reasons)


def _patterns(nodes: object) -> list[str]:
    # A string is a sequence, too: of one pattern for each of its letters.
    if not isinstance(nodes, list) or not all(isinstance(pattern, str) for pattern in nodes):
        raise TypeError(f"nodes = {nodes!r}")
    return nodes


@dataclass(frozen=True)
class HalfReport:
    """What turning a graph to FP16 did.

    Attributes:
        kept: nodes that compute in FP32.
        casts: Casts that were written.
        values: numbers in initialisers that are FP16 now.
        clamped: of these, magnitudes beyond 65504 that were set to it.
        flushed_to_zero: of these, numbers other than zero that became zero.
        scaled: layers whose output was made smaller before a norm, and by which power of two.
    """

    kept: int
    casts: int
    values: int
    clamped: int
    flushed_to_zero: int
    scaled: Mapping[str, int]


class Float16(ir.passes.InPlacePass):
    """Turn a canonical graph to FP16.

    Args:
        policy: what stays FP32.
        half_input: whether `volume` is FP16, which halves what is copied to a GPU, or FP32.
        shifts: layers whose convolution feeds nothing but a group norm, and the power of two by which its output is to
            be made smaller (see `shrink_before_norms`).
    """

    def __init__(self, policy: Policy, *, half_input: bool = False, shifts: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.policy = policy
        self.half_input = half_input
        self.shifts = dict(shifts or {})
        self.report: HalfReport | None = None

    def requires(self, model: ir.Model) -> None:
        """Every pattern of the policy fits a node."""
        names = [node.name or "" for node in model.graph]
        for pattern in self.policy.reasons:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ir.passes.PreconditionError(f"FP16 policy: {pattern} fits no node of the graph")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Scale where asked to, then convert from the input to the outputs."""
        shrink_before_norms(model.graph, self.shifts)
        walk = _Walk(model.graph, self.policy, self.half_input)
        walk.run()
        self.report = HalfReport(walk.kept, walk.casts, walk.values, walk.clamped, walk.flushed, self.shifts)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """Each node reads tensors of one floating-point type, the outputs have theirs, and the order holds."""
        seen: set[ir.Value] = {*model.graph.inputs, *model.graph.initializers.values()}
        for node in model.graph:
            used = [(index, value) for index, value in enumerate(node.inputs) if value is not None]
            if any(value not in seen for _, value in used):
                raise ir.passes.PostconditionError(f"node {node.name} stands before one that it depends on")
            for _, value in used:
                if value.dtype is None:
                    raise ir.passes.PostconditionError(f"node {node.name} reads {value.name}, whose type is unknown")
            seen.update(node.outputs)
            own = {value.dtype for index, value in used if (node.op_type, index) not in _OWN_TYPE}
            if len(own & {_HALF, _SINGLE}) > 1:
                raise ir.passes.PostconditionError(f"node {node.name} reads FP16 and FP32")
        for value in model.graph.outputs:
            if value.dtype not in (ir.DataType.UINT8, _SINGLE):
                raise ir.passes.PostconditionError(f"output {value.name} is {value.dtype}")


def shrink_before_norms(graph: ir.Graph, shifts: Mapping[str, int]) -> None:
    """Multiply the kernel and bias of convolutions by 2^-k and the epsilon of the group norm behind them by 4^-k.

    A group norm gives the same for a scaled input, so nothing changes but the range in between.

    Raises:
        ExportError: a layer that is no convolution which feeds a group norm alone, or a shift beyond 2.
    """
    convolutions = {(node.name or "").split("/")[0]: node for node in graph if node.op_type == "Conv"}
    for layer, shift in shifts.items():
        conv = convolutions.get(layer)
        users = list(conv.outputs[0].uses()) if conv else []
        if conv is None or len(users) != 1 or users[0].node.op_type != "GroupNormalization":
            raise ExportError(f"layer {layer}: expected a convolution that feeds a group norm and nothing else")
        if not 0 < shift <= _LARGEST_SHIFT:
            raise ExportError(f"layer {layer}: shift {shift} found, expected 1 to {_LARGEST_SHIFT}")
        for index in range(1, len(conv.inputs)):
            old = required(conv.inputs[index], conv, "weights")
            values = required(constant(old), conv, "constant weights")
            name = old.name or ""
            old.name = f"{name}/before"
            if name in graph.initializers:
                del graph.initializers[name]
            conv.replace_input_with(index, add_constant(graph, name, values * np.float32(2.0**-shift)))
        norm = users[0].node
        epsilon = required(norm.attributes.get("epsilon"), norm, "an epsilon").as_float()
        norm.attributes["epsilon"] = ir.AttrFloat32("epsilon", epsilon * 4.0**-shift)
    remove_unused(graph)


class _Walk:
    """Types of one conversion."""

    def __init__(self, graph: ir.Graph, policy: Policy, half_input: bool) -> None:
        self.graph, self.policy, self.half_input = graph, policy, half_input
        self.converted: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
        self.kept = self.casts = self.values = self.clamped = self.flushed = 0

    def run(self) -> None:
        """Convert node by node in the graph's order."""
        if self.half_input:
            self.graph.inputs[0].type = ir.TensorType(_HALF)
        outputs = set(self.graph.outputs)
        for node in list(self.graph):
            single = self.policy.keeps(node.name or "")
            self.kept += single
            wanted = _SINGLE if single else _HALF
            for index, value in enumerate(node.inputs):
                if value is None or value.dtype not in (_HALF, _SINGLE) or (node.op_type, index) in _OWN_TYPE:
                    continue
                if value.dtype != wanted:
                    node.replace_input_with(index, self._as(value, wanted, node))
            for output in node.outputs:
                if output.dtype in (_HALF, _SINGLE):
                    output.type = ir.TensorType(wanted)
                if output in outputs and output.dtype == _HALF:
                    raise ExportError(f"output {output.name}: FP16 found; the policy must keep what makes it in FP32")
        remove_unused(self.graph)

    def _as(self, value: ir.Value, wanted: ir.DataType, reader: ir.Node) -> ir.Value:
        """A value in another type: a converted initialiser, or a Cast right before its first reader."""
        key = (value, wanted)
        if key not in self.converted:
            numbers = constant(value)
            self.converted[key] = (
                self._cast(value, wanted, reader) if numbers is None else self._rounded(value, numbers)
            )
        return self.converted[key]

    def _cast(self, value: ir.Value, wanted: ir.DataType, reader: ir.Node) -> ir.Value:
        self.casts += 1
        name = f"{value.name}/to_{'fp32' if wanted == _SINGLE else 'fp16'}"
        cast = ir.node("Cast", [value], {"to": wanted.value}, name=name)
        cast.outputs[0].name = name
        cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(wanted), value.shape
        self.graph.insert_before(reader, cast)
        return cast.outputs[0]

    def _rounded(self, value: ir.Value, numbers: np.ndarray) -> ir.Value:
        limited = np.clip(numbers, _FP16.min, _FP16.max)
        half = limited.astype(np.float16)
        self.values += numbers.size
        self.clamped += int(np.count_nonzero(limited != numbers))
        self.flushed += int(np.count_nonzero((half == 0) & (numbers != 0)))
        name = value.name or ""
        value.name = f"{name}/fp32"
        if name in self.graph.initializers:
            del self.graph.initializers[name]
        return add_constant(self.graph, name, half)
