"""Bind the weights of a canonical graph to the weights file: ONNX external data inside weights.safetensors.

External data is a file name, an offset and a length (ONNX, docs/ExternalData.md); the tensors of a safetensors file
are raw little-endian bytes at known offsets. So the graphs hold no weights of their own, and the file, about 29 MB with
FP16 kernels, exists once. Two things stay spelled out in a stored graph because of it, and nowhere else: a Cast where
the file has another precision than the graph, and the factor of a batch norm that was folded into a kernel. Both depend
on constants alone; engines fold them when they load the model, `folded` does it for those that should not have to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from eenet_export.passes.counted import add_constant, constant, remove_unused
from eenet_export.passes.fold_constants import FoldConstants
from eenet_runtime.bundle import weights_file
from eenet_runtime.errors import BundleError, ExportError

_TOLERANCE: Final = {ir.DataType.FLOAT: 2.0**-21, ir.DataType.FLOAT16: 2.0**-9}
"""Relative difference of a product that was rounded on two ways: a few units in the last place."""


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies in a safetensors file.

    Attributes:
        dtype: element type.
        shape: sizes of the axes, in the file's order.
        offset: first byte, from the start of the file.
        length: number of bytes.
    """

    dtype: ir.DataType
    shape: tuple[int, ...]
    offset: int
    length: int


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """Read the header of a weights file, as the runtime does, with the graph's own data types.

    Raises:
        ExportError: not a safetensors file, one that is cut off, or a data type that weights do not have.
    """
    try:
        stored = weights_file.stored_tensors(path)
    except BundleError as error:
        raise ExportError(str(error)) from error
    return {
        name: StoredTensor(
            ir.DataType.from_numpy(np.dtype(weights_file.DTYPES[tensor.dtype])),
            tensor.shape,
            tensor.offset,
            tensor.length,
        )
        for name, tensor in stored.items()
    }


def bind_weights(model: ir.Model, factors: Mapping[str, NDArray[np.float32]], weights_path: Path) -> int:
    """Let a graph's weights be read from the weights file, in place.

    Every initialiser that is named like a tensor of the file is bound to it, if what the file's numbers come to is
    what the initialiser holds; vectors of another precision than the file's stay in the graph.

    Args:
        model: a canonical graph with its weights inside; it must be saved into the file's folder.
        factors: what each kernel was multiplied with, one number for each output channel, by layer.
        weights_path: the file.

    Returns:
        The number of kernels that were bound.

    Raises:
        ExportError: an unreadable file, or one that holds other weights than the graph.
    """
    stored, graph, kernels = stored_tensors(weights_path), model.graph, 0
    content = np.memmap(weights_path, dtype=np.uint8, mode="r")
    for name, value in list(graph.initializers.items()):
        tensor, held = stored.get(name), constant(value)
        if tensor is None or held is None or (held.ndim < 2 and tensor.dtype != value.dtype):
            continue
        raw = content[tensor.offset : tensor.offset + tensor.length].view(tensor.dtype.numpy())
        layer, _, what = name.rpartition("/")
        factor = None
        if what == "kernel" and layer in factors:
            factor = factors[layer].reshape(_along_outputs(value, held.ndim))
        dtype = value.dtype or ir.DataType.FLOAT
        if raw.size != held.size or not _same(raw.reshape(held.shape) * (1 if factor is None else factor), held, dtype):
            raise ExportError(f"{weights_path}: {name} holds other numbers than the graph, or has another shape")
        external = ir.Value(
            name=name if factor is None and tensor.dtype == dtype else f"{name}/stored",
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(held.shape),
        )
        external.const_value = ir.ExternalTensor(
            weights_path.name,
            tensor.offset,
            tensor.length,
            tensor.dtype,
            shape=ir.Shape(held.shape),
            name=external.name or "",
            base_dir=weights_path.parent,
        )
        del graph.initializers[name]
        graph.register_initializer(external)
        bound = _spelled_out(graph, name, external, factor, dtype)
        ir.convenience.replace_all_uses_with(value, bound)
        kernels += what == "kernel"
    remove_unused(graph)
    graph.sort()
    return kernels


def folded(path: Path) -> onnx.ModelProto:
    """A stored graph with its weights inside and nothing left that depends on constants alone.

    Raises:
        ExportError: not a readable graph.
    """
    try:
        model = ir.load(path)
    except Exception as error:  # protobuf's, which is published without types
        raise ExportError(f"{path}: not a readable ONNX graph ({str(error).splitlines()[0]})") from error
    try:
        FoldConstants()(model)
        ir.external_data.load_to_model(model)
    except (OSError, ValueError, ir.passes.PassError) as error:
        raise ExportError(f"{path}: its weights cannot be read ({str(error).splitlines()[0]})") from error
    return ir.to_proto(model)


def _along_outputs(value: ir.Value, rank: int) -> list[int]:
    """The shape of one number for each output channel, against a kernel: (out, in, ...), or (in, out, ...)."""
    transposed = any(use.node.op_type == "ConvTranspose" for use in value.uses())
    shape = [1] * rank
    shape[1 if transposed else 0] = -1
    return shape


def _same(expected: NDArray[Any], held: NDArray[Any], dtype: ir.DataType) -> bool:
    rounded = expected.astype(held.dtype)
    if dtype not in _TOLERANCE:
        return bool(np.array_equal(rounded, held))
    tiny = float(np.finfo(held.dtype).smallest_subnormal)
    return bool(np.allclose(rounded, held, rtol=_TOLERANCE[dtype], atol=2 * tiny))


def _spelled_out(
    graph: ir.Graph, name: str, external: ir.Value, factor: NDArray[np.float32] | None, dtype: ir.DataType
) -> ir.Value:
    """From what the file holds to what the graph computes with: widen, multiply, round."""
    value = external
    if factor is not None:
        if value.dtype != ir.DataType.FLOAT:
            value = _append(graph, "Cast", [value], f"{name}/Cast", ir.DataType.FLOAT, to=ir.DataType.FLOAT.value)
        factors = add_constant(graph, f"{name}/factor", factor.astype(np.float32))
        value = _append(graph, "Mul", [value, factors], f"{name}/Mul", ir.DataType.FLOAT)
    if value.dtype != dtype:
        value = _append(graph, "Cast", [value], f"{name}/Round", dtype, to=dtype.value)
    return value


def _append(
    graph: ir.Graph, op_type: str, inputs: list[ir.Value], name: str, dtype: ir.DataType, **attributes: int
) -> ir.Value:
    node = ir.node(op_type, inputs, attributes, name=name)
    node.outputs[0].name = name
    node.outputs[0].type, node.outputs[0].shape = ir.TensorType(dtype), inputs[0].shape
    graph.append(node)
    return node.outputs[0]
