"""A bundle whose graph has what matters to an engine: 3D convolutions, a group norm of opset 21, labels as bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from eenet_runtime.bundle.manifest import MANIFEST_NAME, Artifact, Manifest, describe_files
from eenet_runtime.volumes.presets import GeometryPreset
from tests.synthetic import TINY

WEIGHTS_NAME = "weights.data"


def write_engine_bundle(folder: Path, *precisions: str, preset: GeometryPreset = TINY) -> Path:
    """Write a bundle with one ONNX artefact for each precision, `model.<precision>.onnx`, and one weights file each.

    Returns:
        The folder, made here.
    """
    folder.mkdir(parents=True)
    names: list[str] = []
    for precision in precisions:
        graph, weights = f"model.{precision}.onnx", f"{precision}.{WEIGHTS_NAME}"
        onnx.save_model(
            engine_graph(precision, preset),
            folder / graph,
            save_as_external_data=True,
            location=weights,
            size_threshold=0,
        )
        names += [graph, weights]
    manifest = Manifest(
        name="engines",
        preset=preset,
        artifacts=tuple(Artifact("onnx", f"model.{precision}.onnx", precision, precision) for precision in precisions),
        files=describe_files(folder, tuple(names)),
    )
    (folder / MANIFEST_NAME).write_text(manifest.to_json())
    return folder


def engine_graph(precision: str, preset: GeometryPreset = TINY) -> onnx.ModelProto:
    """`volume` to `labels` and `probabilities`; convolution 3^3 to 16, group norm of 8, ReLU, convolution 1^3 to 4."""
    kind, dtype = (TensorProto.FLOAT16, np.float16) if precision == "fp16" else (TensorProto.FLOAT, np.float32)
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values: NDArray[np.float64] = random.normal(0, 0.1, shape)
        return numpy_helper.from_array(values.astype(dtype), name)

    shape = [1, 4, *preset.shape]
    nodes = [
        helper.make_node("Cast", ["volume"], ["x"], to=kind),
        helper.make_node("Conv", ["x", "w1", "b1"], ["y"], pads=[1] * 6, name="first"),
        helper.make_node("GroupNormalization", ["y", "scale", "offset"], ["n"], num_groups=8, epsilon=1e-3),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("Conv", ["r", "w2", "b2"], ["logits"], name="last"),
        helper.make_node("ArgMax", ["logits"], ["indices"], axis=1, keepdims=0),
        helper.make_node("Cast", ["indices"], ["labels"], to=TensorProto.UINT8),
        helper.make_node("Cast", ["logits"], ["logits32"], to=TensorProto.FLOAT),
        helper.make_node("Softmax", ["logits32"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "engine",
        [helper.make_tensor_value_info("volume", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, *preset.shape]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape),
        ],
        [
            weight("w1", 16, 4, 3, 3, 3),
            weight("b1", 16),
            weight("scale", 16),
            weight("offset", 16),
            weight("w2", 4, 16, 1, 1, 1),
            weight("b2", 4),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
