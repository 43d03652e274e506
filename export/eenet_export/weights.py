"""Bind the weight inputs of a converted graph to the weights file: ONNX external data inside weights.safetensors.

External data is a file name, an offset and a length (ONNX, docs/ExternalData.md); the tensors of a safetensors file
are raw little-endian bytes at known offsets. So the graph holds no weights of its own, and the file, about 29 MB with
FP16 kernels, exists once. A stored FP16 kernel is widened by a Cast, which engines fold when they load the model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from eenet_runtime.errors import ExportError

_ONNX_TYPES = {
    "F16": onnx.TensorProto.FLOAT16,
    "F32": onnx.TensorProto.FLOAT,
    "I32": onnx.TensorProto.INT32,
    "I64": onnx.TensorProto.INT64,
}
"""Data types of safetensors headers that Keras weights are stored in."""


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies in a safetensors file.

    Attributes:
        onnx_type: element type, a value of `onnx.TensorProto.DataType`.
        shape: sizes of the axes, in Keras' order.
        offset: first byte, from the start of the file.
        length: number of bytes.
    """

    onnx_type: int
    shape: tuple[int, ...]
    offset: int
    length: int


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """Read the header of a safetensors file.

    The format: eight bytes with the header's length N (little-endian), N bytes of JSON, then the tensors, whose
    offsets in the header count from the header's end.

    Raises:
        ExportError: not a safetensors file, or a data type that weights do not have.
    """
    try:
        with path.open("rb") as stream:
            header_length = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = dict(json.loads(stream.read(header_length)))
    except (OSError, ValueError, TypeError, MemoryError, OverflowError) as error:
        raise ExportError(f"{path}: not a readable safetensors file ({error})") from error
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] not in _ONNX_TYPES:
            raise ExportError(
                f"{path}: {name} has data type {entry['dtype']}, expected one of {', '.join(_ONNX_TYPES)}"
            )
        begin, end = entry["data_offsets"]
        tensors[name] = StoredTensor(
            _ONNX_TYPES[entry["dtype"]], tuple(entry["shape"]), 8 + header_length + begin, end - begin
        )
    return tensors


def bind_weights(model: onnx.ModelProto, weights_path: Path) -> onnx.ModelProto:
    """Turn every graph input that is a tensor of the weights file into an initialiser that points into the file.

    Args:
        model: a graph with weights as inputs, see `convert_to_onnx`; it is not changed.
        weights_path: the weights file; the graph must be written into the same folder.

    Returns:
        A new model whose only input is the one that is not in the file.

    Raises:
        ExportError: unreadable file, a weight that the file lacks, or one of another shape.
    """
    tensors = stored_tensors(weights_path)
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    graph = bound.graph
    weights = list(graph.input[1:])
    del graph.input[1:]
    casts = []
    for value in weights:
        if value.name not in tensors:
            raise ExportError(f"{weights_path}: {value.name} is missing")
        tensor = tensors[value.name]
        wanted = value.type.tensor_type
        shape = tuple(dimension.dim_value for dimension in wanted.shape.dim)
        if tensor.shape != shape:
            raise ExportError(f"{weights_path}: {value.name} has shape {tensor.shape}, the graph expects {shape}")
        name = value.name
        if tensor.onnx_type != wanted.elem_type:
            name = f"{value.name}/stored"
            casts.append(onnx.helper.make_node("Cast", [name], [value.name], f"{value.name}/Cast", to=wanted.elem_type))
        graph.initializer.append(_external_initializer(name, tensor, weights_path.name))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return bound


def _external_initializer(name: str, tensor: StoredTensor, location: str) -> onnx.TensorProto:
    initializer = onnx.TensorProto(
        name=name, data_type=tensor.onnx_type, dims=tensor.shape, data_location=onnx.TensorProto.EXTERNAL
    )
    for key, value in (("location", location), ("offset", tensor.offset), ("length", tensor.length)):
        initializer.external_data.add(key=key, value=str(value))
    return initializer
