"""The INT8 graph of a bundle as a file: derived from the FP32 graph, calibrated on real cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eenet_export.graph.calibration import quantise
from eenet_export.graph.graphs import FP32_FILE, INT8_FILE, WEIGHTS_FILE, load_graph, read_factors, save_graph
from eenet_export.graph.weights import bind_weights


def write_int8(folder: Path, volumes: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
    """Derive `model.int8.onnx` from the folder's `model.onnx`.

    Args:
        folder: holds the FP32 graph and the weights file, from which the kernels that stay FP32 are read.
        volumes: inputs of real cases, float32 (1, 4, H, W, D).

    Returns:
        What was quantised and how far it reaches, as plain data.

    Raises:
        ExportError: the graph is not readable, or a tensor cannot be quantised.
        OutputError: the file cannot be written.
    """
    model = load_graph(folder / FP32_FILE)
    report = quantise(model, volumes)
    bind_weights(model, read_factors(folder / FP32_FILE), folder / WEIGHTS_FILE)
    save_graph(model, folder / INT8_FILE)
    return asdict(report)
