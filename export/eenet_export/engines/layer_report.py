"""What a builder says about the layers it made, read from its log.

Both libraries print, at their most talkative, one line for each layer with its tensors. So kernels, precisions and
memory traffic are known without a GPU, where the library's own inspector would need one. Two spellings are in use:
`Datatype: Half, Format: ...` (11, RTX) and `Format/Datatype: Row major linear FP16` (10).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final

from eenet_runtime.bundle.engine_file import LayerSummary
from eenet_runtime.errors import ExportError

_DTYPE_WORDS: Final = {
    "float32": ("Float", "FP32"),
    "float16": ("Half", "FP16"),
    "bfloat16": ("BFloat16", "BF16"),
    "uint8": ("UInt8",),
    "int8": ("Int8", "INT8"),
    "int32": ("Int32", "INT32"),
    "int64": ("Int64", "INT64"),
    "bool": ("Bool", "BOOL"),
}
_DTYPES: Final = {word: dtype for dtype, words in _DTYPE_WORDS.items() for word in words}
_BYTES: Final = {
    "float32": 4, "float16": 2, "bfloat16": 2, "uint8": 1, "int8": 1, "int32": 4, "int64": 8, "bool": 1,
}  # fmt: skip
_TENSOR: Final = re.compile(
    r"\{ Name: (?P<name>.*?), (?:Location: \w+, )?Dimensions: \[(?P<shape>[-0-9,]*)\]"
    r"[^{}]*?(?:Format/)?Datatype: (?P<dtype>[^,{}]*)"
)
_NO_KERNELS: Final = ("NoOp", "Signal", "Wait", "Constant")
"""Layers that only order or name things."""
_CONVOLUTIONS: Final = re.compile(r"correlation|conv", re.IGNORECASE)
_FUSED_CONVOLUTION: Final = "__myl_Corr"
"""Begins the name of a convolution that is compiled together with what follows it, such as `__myl_CorrSilu`."""


@dataclass(frozen=True)
class LayerTensor:
    """An activation that a layer reads or writes."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """Its size in memory."""
        return math.prod(self.shape) * _BYTES[self.dtype]


@dataclass(frozen=True)
class Layer:
    """One layer of a plan: what it is called, what kind of kernel it is, and its activations."""

    name: str
    kind: str
    inputs: tuple[LayerTensor, ...]
    outputs: tuple[LayerTensor, ...]

    @property
    def is_convolution(self) -> bool:
        """Whether its kernel is one, alone or with what follows."""
        return _CONVOLUTIONS.search(self.kind) is not None or self.name.startswith(_FUSED_CONVOLUTION)


@dataclass(frozen=True)
class LayerReport:
    """What the builder said about a plan.

    Attributes:
        layers: in order of execution, without those that launch nothing.
        activation_bytes: GPU memory of one execution context.
        weights_bytes: GPU memory of the weights.
    """

    layers: tuple[Layer, ...]
    activation_bytes: int
    weights_bytes: int

    @property
    def traffic_bytes(self) -> int:
        """Activations read and written by all layers; weights, caches and what a layer keeps to itself not counted."""
        return sum(tensor.bytes for layer in self.layers for tensor in (*layer.inputs, *layer.outputs))

    @property
    def convolution_dtypes(self) -> tuple[str, ...]:
        """What the convolutions read, in alphabetical order."""
        return tuple(sorted({layer.inputs[0].dtype for layer in self.layers if layer.is_convolution and layer.inputs}))

    def to_json(self) -> str:
        """One line for each layer, so that two reports can be compared with `diff`."""
        lines = ",\n".join(json.dumps(asdict(layer)) for layer in self.layers)
        head = f'"activation_bytes": {self.activation_bytes}, "weights_bytes": {self.weights_bytes}'
        return f'{{{head}, "traffic_bytes": {self.traffic_bytes}, "layers": [\n{lines}\n]}}\n'

    def summary(self) -> LayerSummary:
        """The figures for an engine's sidecar."""
        digest = hashlib.sha256(self.to_json().encode()).hexdigest()
        return LayerSummary(len(self.layers), self.traffic_bytes, self.convolution_dtypes, digest)


def read_layer_report(messages: Iterable[str], builder: str) -> LayerReport:
    """Read a builder's log.

    Args:
        messages: what it logged in one build, with the profiling verbosity DETAILED.
        builder: its name and version, for messages.

    Raises:
        ExportError: there is no report in it, or a line that cannot be read. Without one nothing proves the precision.
    """
    log = "\n".join(messages)
    lines = re.findall(r"^Name: .*, LayerType: .*$", log, re.MULTILINE)
    layers = tuple(layer for layer in (_read_layer(line, builder) for line in lines) if layer.kind not in _NO_KERNELS)
    if not layers:
        raise ExportError(f"{builder} printed no layer report; its version may be unknown to this toolkit")
    return LayerReport(layers, _read_total(log, "Activation", builder), _read_total(log, "Weights", builder))


def _read_layer(line: str, builder: str) -> Layer:
    match = re.fullmatch(
        r"Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), Inputs: \[(?P<inputs>.*?)\]"
        r"(?:, Constants: \[.*?\])?, Outputs: \[(?P<outputs>.*)",
        line,
    )
    if match is None:
        raise ExportError(f"{builder} printed a layer that cannot be read: {line:.120}")
    inputs, outputs = (_read_tensors(match[side], line, builder) for side in ("inputs", "outputs"))
    return Layer(match["name"], match["kind"], inputs, outputs)


def _read_tensors(text: str, line: str, builder: str) -> tuple[LayerTensor, ...]:
    tensors = tuple(
        LayerTensor(
            match["name"],
            tuple(int(size) for size in match["shape"].split(",") if size),
            _read_dtype(match["dtype"], builder),
        )
        for match in _TENSOR.finditer(text)
    )
    if len(tensors) != text.count("{ Name: "):
        raise ExportError(f"{builder} printed a tensor that cannot be read: {line:.120}")
    return tensors


def _read_dtype(text: str, builder: str) -> str:
    for word in text.split():
        if word in _DTYPES:
            return _DTYPES[word]
    raise ExportError(f"{builder} printed a tensor of type {text!r}, which is unknown to this toolkit")


def _read_total(log: str, what: str, builder: str) -> int:
    """The last figure: with several sub-builds, the one of the whole."""
    found = re.findall(rf"^Total {what} Memory: (\d+)(?: bytes)?$", log, re.MULTILINE)
    if not found:
        raise ExportError(f"{builder} did not print the memory of its {what.lower()}")
    return int(found[-1])
