"""The weights of a network as one file: `weights.safetensors`, in FP32 or with FP16 kernels.

A tensor is named after its layer and its variable (`Conv3D_1_L1/kernel`). The file is the only copy of the weights in
a bundle: the ONNX graphs point into it, Keras reads it back through `load_weights`, and any other program can read it
with a safetensors library (https://github.com/huggingface/safetensors: a JSON header, then the raw tensors).

Kernels lie as ONNX wants them: Keras' last two axes come first and in reverse, so (3, 3, 3, in, out) becomes
(out, in, 3, 3, 3), and a transposed kernel's (3, 3, out, in) becomes (in, out, 3, 3). A depthwise kernel is stored
(1, channels, ...), the same bytes as ONNX' (channels, 1, ...). The file says so in its metadata, `kernels: onnx`.

FP16 is for the disk only; every consumer widens the stored numbers and computes in FP32. It holds the kernels, 99 % of
the numbers. Vectors (biases, scale, offset and statistics of the normalisation layers) stay in FP32: they are small,
and a variance of 1e-5, common in a batch norm, would lose its digits in FP16.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from eenet_runtime.errors import ExportError
from eenet_runtime.files.atomic import open_for_replace

_FP16: Final = np.finfo(np.float16)
METADATA: Final = {"kernels": "onnx"}
"""What the file says about itself; one without it holds kernels as Keras has them."""


class WeightPrecision(enum.StrEnum):
    """How kernels are stored."""

    FP32 = "fp32"
    FP16 = "fp16"


@dataclass(frozen=True)
class WeightRounding:
    """What storing a model's weights did to their values.

    Attributes:
        precision: how kernels are stored.
        values: numbers stored, in all weights together.
        rounded: numbers that the storage changed.
        flushed_to_zero: of these, numbers other than zero that became zero (magnitude below 3e-8).
        subnormal: numbers stored with fewer than FP16's eleven significant bits (magnitude below 6.1e-5).
    """

    precision: WeightPrecision
    values: int
    rounded: int
    flushed_to_zero: int
    subnormal: int


def named_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Every weight of a model under its name in the weights file, in the order of the layers.

    Weights are what training learns and normalisation layers keep; states of random generators are not among them.

    Raises:
        ExportError: two weights of the same name (layers in nested models).
    """
    named: dict[str, keras.Variable] = {}
    for layer in model.layers:
        for variable in layer.weights:
            name = f"{layer.name}/{variable.name}"
            if name in named:
                raise ExportError(f"model {model.name}: two weights are called {name}; every layer needs its own name")
            named[name] = variable
    return named


def round_weights(model: keras.Model, precision: WeightPrecision) -> WeightRounding:
    """Give a model, in place, exactly the weights that `save_weights` stores.

    Afterwards the model, its oracle and every export of it hold the same numbers.

    Raises:
        ExportError: a weight that is not finite or beyond FP16's largest number; the model is not changed.
    """
    stored, rounding = _stored_weights(model, precision)
    _assign(model, stored)
    return rounding


def save_weights(model: keras.Model, path: Path, precision: WeightPrecision) -> WeightRounding:
    """Write a model's weights; the model keeps its own. Same weights, same bytes.

    Raises:
        ExportError: a weight that is not finite or beyond FP16's largest number.
        OutputError: the file cannot be written.
    """
    stored, rounding = _stored_weights(model, precision)
    with open_for_replace(path) as temporary:
        temporary.write_bytes(safetensors.numpy.save(_as_in_file(stored), metadata=METADATA))
    return rounding


def load_weights(model: keras.Model, path: Path) -> None:
    """Set every weight of a model of the same architecture from a weights file.

    Raises:
        ExportError: no such file, not a weights file, or a tensor that is missing, not in the model or of another
            shape; the model is not changed.
    """
    if not path.is_file():
        raise ExportError(f"{path}: no such file; expected the weights of a bundle")
    try:
        stored = read_weights(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise ExportError(f"{path}: not a readable safetensors file ({error})") from error
    expected = named_weights(model)
    if missing := sorted(expected.keys() - stored.keys()):
        raise ExportError(f"{path}: {len(missing)} weights of {model.name} are missing, the first is {missing[0]}")
    if extra := sorted(stored.keys() - expected.keys()):
        raise ExportError(f"{path}: {len(extra)} tensors are not weights of {model.name}, the first is {extra[0]}")
    for name, variable in expected.items():
        if stored[name].shape != tuple(variable.shape):
            raise ExportError(
                f"{path}: {name} has shape {stored[name].shape}, {model.name} expects {tuple(variable.shape)}"
            )
    _assign(model, stored)


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a weights file by name, kernels in Keras' layout, in the precision in which they are stored.

    Raises:
        safetensors.SafetensorError, OSError: the file cannot be read.
    """
    with safetensors.safe_open(path, framework="numpy") as file:
        as_onnx = (file.metadata() or {}).get("kernels") == METADATA["kernels"]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return {name: _keras_layout(array) if as_onnx else array for name, array in tensors.items()}


def onnx_layout(array: NDArray[Any]) -> NDArray[Any]:
    """A kernel as the file has it: Keras' last two axes first and in reverse; anything else as it is."""
    spatial = array.ndim - 2
    return array.transpose(-1, -2, *range(spatial)) if spatial > 0 else array


def _keras_layout(array: NDArray[Any]) -> NDArray[Any]:
    """The inverse of `onnx_layout`."""
    return array.transpose(*range(2, array.ndim), 1, 0) if array.ndim > 2 else array


def _as_in_file(stored: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: np.asarray(onnx_layout(array), order="C") for name, array in stored.items()}


def _stored_weights(model: keras.Model, precision: WeightPrecision) -> tuple[dict[str, np.ndarray], WeightRounding]:
    """The arrays of the weights file, and what became of the values."""
    stored = {}
    rounded = flushed = subnormal = 0
    for name, variable in named_weights(model).items():
        value = keras.ops.convert_to_numpy(variable)
        if not np.isfinite(value).all():
            raise ExportError(f"weight {name}: {np.count_nonzero(~np.isfinite(value))} values are not finite")
        stored[name] = value
        if precision is WeightPrecision.FP16 and _is_kernel(value):
            stored[name] = kernel = _as_float16(name, value)
            rounded += int(np.count_nonzero(kernel.astype(value.dtype) != value))
            flushed += int(np.count_nonzero((kernel == 0) & (value != 0)))
            subnormal += int(np.count_nonzero((kernel != 0) & (np.abs(kernel) < _FP16.smallest_normal)))
    values = sum(array.size for array in stored.values())
    return stored, WeightRounding(precision, values, rounded, flushed, subnormal)


def _is_kernel(value: np.ndarray) -> bool:
    return bool(value.ndim > 1 and np.issubdtype(value.dtype, np.floating))


def _as_float16(name: str, value: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        rounded: np.ndarray = value.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise ExportError(
            f"weight {name}: magnitude {np.abs(value).max():.4g} found, FP16 ends at {_FP16.max:.0f}; store it as fp32"
        )
    return rounded


def _assign(model: keras.Model, stored: Mapping[str, Any]) -> None:
    for name, variable in named_weights(model).items():
        variable.assign(stored[name].astype(variable.dtype))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            # It computes with copies of its weights, which an assignment does not renew.
            layer.finalize_state()
