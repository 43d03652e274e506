"""The plan for `eenet_runtime.selftest.norm_stress`: one group norm, built like the engine beside which it lies."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from eenet_export.engines.build import BuildTarget, build_engine
from eenet_export.engines.settings import EngineSettings
from eenet_runtime.bundle.engine_file import EngineTensor
from eenet_runtime.selftest.norm_stress import EPSILON, GROUPS, STRESS_SHAPE

_OPSET: Final = 21


def build_norm_stress(settings: EngineSettings, target: BuildTarget, shape: tuple[int, ...] = STRESS_SHAPE) -> bytes:
    """Build the plan of one group norm in FP16.

    Args:
        settings: those of the engine.
        target: where that one runs.
        shape: of input and output, channels first.

    Raises:
        ExportError: the build fails.
        KeyboardInterrupt: the user stopped it.
    """
    tensors = (EngineTensor("x", "input", shape, "float16"), EngineTensor("y", "output", shape, "float16"))
    graph = group_norm_graph(shape).SerializeToString()
    # The timing cache belongs to the network.
    built = build_engine(graph, "norm stress test", tensors, replace(settings, timing_cache=None), target)
    return built.plan


def group_norm_graph(shape: tuple[int, ...]) -> onnx.ModelProto:
    """A group norm over float16 (1, C, H, W, D), scale 1, offset 0.

    Before it stands a convolution that changes nothing: builders read the precision of an engine from convolutions, and
    in the network too every group norm reads one.
    """
    channels = shape[1]
    identity = np.eye(channels, dtype=np.float16).reshape(channels, channels, 1, 1, 1)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "identity"], ["a"]),
            helper.make_node("GroupNormalization", ["a", "scale", "offset"], ["y"], num_groups=GROUPS, epsilon=EPSILON),
        ],
        "one group norm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, shape)],
        [
            numpy_helper.from_array(identity, "identity"),
            numpy_helper.from_array(np.ones(channels, np.float16), "scale"),
            numpy_helper.from_array(np.zeros(channels, np.float16), "offset"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    return model
