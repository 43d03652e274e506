"""The ONNX graphs of a bundle as files: FP32 from Keras, the others from FP32, all over one weights file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import keras
import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from eenet_export.graph.canonicalise import NetworkCounts, canonicalise
from eenet_export.graph.convert import convert_to_onnx
from eenet_export.graph.weights import bind_weights, folded
from eenet_export.passes.convolutions import CONVOLUTIONS, WeightNames
from eenet_export.passes.counted import constant, required
from eenet_export.passes.float16 import Float16, HalfReport, Policy
from eenet_runtime.bundle.weights_file import WEIGHTS_FILE as WEIGHTS_FILE
from eenet_runtime.errors import ExportError
from eenet_runtime.files.atomic import open_for_replace
from eenet_train.network.weights import WeightPrecision, WeightRounding, named_weights, save_weights

FP32_FILE: Final = "model.onnx"
FP16_FILE: Final = "model.fp16.onnx"
INT8_FILE: Final = "model.int8.onnx"
_FACTOR: Final = "/kernel/factor"


def write_fp32(model: keras.Model, folder: Path, precision: WeightPrecision) -> WeightRounding:
    """Write `model.onnx` and `weights.safetensors` into an existing folder; same model, same bytes.

    Args:
        model: the network; `eenet_train.network.weights.round_weights` has given it the weights of this precision.
        folder: where to.
        precision: of the stored kernels; the arithmetic is FP32.

    Raises:
        ExportError: a model that cannot be converted, or weights that cannot be stored.
        OutputError: a file cannot be written.
    """
    weights = {name: keras.ops.convert_to_numpy(variable) for name, variable in named_weights(model).items()}
    counts = NetworkCounts.of_model(model)
    canonical = canonicalise(convert_to_onnx(model), weights, counts)
    rounding = save_weights(model, folder / WEIGHTS_FILE, precision)
    _require_bound(bind_weights(canonical.model, canonical.factors, folder / WEIGHTS_FILE), counts.convolutions)
    save_graph(canonical.model, folder / FP32_FILE)
    return rounding


def write_fp16(
    folder: Path,
    policy: Policy | None = None,
    *,
    shifts: Mapping[str, int] | None = None,
    half_input: bool = False,
) -> HalfReport:
    """Derive `model.fp16.onnx` from the folder's `model.onnx`.

    Args:
        folder: holds the FP32 graph and the weights file.
        policy: what stays FP32; the toolkit's own by default.
        shifts: see `Float16`.
        half_input: whether the graph's input is FP16.

    Raises:
        ExportError: the graph is not readable, or the policy does not fit it.
        OutputError: the file cannot be written.
    """
    model = load_graph(folder / FP32_FILE)
    factors = dict(read_factors(folder / FP32_FILE))
    half = Float16(policy or Policy.default(), shifts=shifts, half_input=half_input)
    try:
        half(model)
    except (ir.passes.PassError, ir.passes.InvariantError) as error:
        raise ExportError(str(error.__cause__ or error)) from error
    for layer, shift in half.report.scaled.items() if half.report else ():
        stored = model.graph.initializers[f"{layer}/kernel"]
        kernel = required(constant(stored), stored, "constant weights")
        factors[layer] = factors.get(layer, np.ones(kernel.shape[0], np.float32)) * np.float32(2.0**-shift)
    kernels = sum(node.op_type in CONVOLUTIONS for node in model.graph)
    _require_bound(bind_weights(model, factors, folder / WEIGHTS_FILE), kernels)
    save_graph(model, folder / FP16_FILE)
    assert half.report is not None
    return half.report


def _require_bound(bound: int, expected: int) -> None:
    if bound != expected:
        raise ExportError(f"{bound} kernels of the graph were found in the weights file, expected {expected}")


def load_graph(path: Path) -> ir.Model:
    """A stored graph with its weights inside, nothing spelled out that depends on constants alone.

    Raises:
        ExportError: not a readable graph.
    """
    model: ir.Model = ir.from_proto(folded(path))
    WeightNames(sum(node.op_type in CONVOLUTIONS for node in model.graph))(model)
    return model


def save_graph(model: ir.Model, path: Path) -> None:
    """Write a graph and check it; same graph, same bytes.

    Raises:
        ExportError: ONNX' checker refuses it.
        OutputError: the file cannot be written.
    """
    with open_for_replace(path) as temporary:
        temporary.write_bytes(ir.to_proto(model).SerializeToString(deterministic=True))
        try:
            onnx.checker.check_model(str(temporary), full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ExportError(f"{path.name}: not a valid graph ({str(error).splitlines()[0]})") from error


def read_factors(path: Path) -> Mapping[str, NDArray[np.float32]]:
    """What the kernels of a stored graph are multiplied with, by layer; see `bind_weights`."""
    factors = {}
    for name, value in ir.load(path).graph.initializers.items():
        numbers = constant(value)
        if name.endswith(_FACTOR) and numbers is not None:
            factors[name.removesuffix(_FACTOR)] = numbers.ravel().astype(np.float32)
    return factors
