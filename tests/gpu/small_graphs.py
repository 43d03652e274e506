"""Small ONNX graphs with the parts of the network that engines could get wrong, for engines of the GPU tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from eenet_runtime.bundle.manifest import MANIFEST_NAME, Artifact, Manifest, describe_files
from eenet_runtime.selftest.norm_stress import EPSILON, GROUPS
from eenet_runtime.volumes.presets import GeometryPreset

_CHANNELS: Final = 16
_OPSET: Final = 21
"""The first whose GroupNormalization has a scale for each channel."""
_TYPES: Final = {"fp32": (TensorProto.FLOAT, np.float32), "fp16": (TensorProto.FLOAT16, np.float16)}


def write_small_bundle(folder: Path, preset: GeometryPreset) -> Path:
    """A bundle of convolution, group norm, ReLU, convolution and softmax, as ONNX in FP32 and in FP16."""
    folder.mkdir(parents=True)
    artifacts = []
    for precision in ("fp32", "fp16"):
        name = f"model.{precision}.onnx"
        (folder / name).write_bytes(small_network(preset, precision).SerializeToString())
        artifacts.append(Artifact("onnx", name, precision, precision))
    manifest = Manifest(
        name="small",
        preset=preset,
        artifacts=tuple(artifacts),
        files=describe_files(folder, tuple(artifact.path for artifact in artifacts)),
        created="2024-01-01T00:00:00+00:00",
    )
    (folder / MANIFEST_NAME).write_text(manifest.to_json())
    return folder


def small_network(preset: GeometryPreset, precision: str) -> onnx.ModelProto:
    """`volume` float32 to `labels` uint8 and `probabilities` float32; the same weights, rounded, in each precision."""
    kind, dtype = _TYPES[precision]
    random = np.random.default_rng(3)

    def constant(name: str, *shape: int, scale: float, offset: float = 0.0) -> onnx.TensorProto:
        values: NDArray[Any] = random.normal(offset, scale, shape)
        return numpy_helper.from_array(values.astype(dtype), name)

    constants = [
        constant("first", _CHANNELS, 4, 3, 3, 3, scale=0.1),
        constant("first_bias", _CHANNELS, scale=0.5),
        constant("scale", _CHANNELS, scale=0.2, offset=1.0),
        constant("offset", _CHANNELS, scale=0.2),
        constant("last", 4, _CHANNELS, 3, 3, 3, scale=0.2),
        constant("last_bias", 4, scale=0.2),
    ]
    nodes = [
        helper.make_node("Cast", ["volume"], ["input"], to=kind),
        helper.make_node("Conv", ["input", "first", "first_bias"], ["a"], pads=[1] * 6),
        helper.make_node("GroupNormalization", ["a", "scale", "offset"], ["b"], num_groups=GROUPS, epsilon=EPSILON),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "last", "last_bias"], ["logits"], pads=[1] * 6),
        helper.make_node("ArgMax", ["logits"], ["indices"], axis=1, keepdims=0),
        helper.make_node("Cast", ["indices"], ["labels"], to=TensorProto.UINT8),
        helper.make_node("Cast", ["logits"], ["scores"], to=TensorProto.FLOAT),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    shape = [1, 4, *preset.shape]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("volume", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, *preset.shape]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape),
        ],
        constants,
    )
    return _model(graph)


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    return model
