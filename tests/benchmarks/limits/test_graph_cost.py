"""What a graph costs on paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from eenet_bench.limits.graph_cost import LayerCost, by_kind, graph_cost
from tests.places import DEMO_BUNDLE

DEMO_GRAPH = DEMO_BUNDLE / "model.onnx"


def write_graph(path: Path, nodes: list[onnx.NodeProto], input_shape: list[int], **weights: np.ndarray) -> Path:
    values = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        values,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), path)
    return path


def test_a_convolution_counts_two_operations_for_each_output_value_and_weight_of_its_channel(tmp_path: Path) -> None:
    kernel = np.ones((6, 2, 3, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", "k"], ["y"], "conv", group=2, pads=[1] * 6, strides=[1, 1, 2])
    (layer,) = graph_cost(write_graph(tmp_path / "g.onnx", [node], [1, 4, 8, 8, 8], k=kernel))
    assert layer.output == (1, 6, 8, 8, 4)
    assert layer.flops == 2 * (6 * 8 * 8 * 4) * (2 * 27)
    assert layer.read_bytes == 4 * (4 * 8 * 8 * 8 + kernel.size)
    assert layer.written_bytes == 4 * 6 * 8 * 8 * 4


def test_a_transposed_convolution_counts_its_input(tmp_path: Path) -> None:
    kernel = np.ones((4, 3, 2, 2), np.float32)
    node = helper.make_node("ConvTranspose", ["x", "k"], ["y"], "up", strides=[2, 2])
    (layer,) = graph_cost(write_graph(tmp_path / "g.onnx", [node], [1, 4, 5, 5], k=kernel))
    assert layer.flops == 2 * (4 * 5 * 5) * (3 * 2 * 2)


def test_what_only_changes_names_and_shapes_is_free(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["r"], "reshape"),
        helper.make_node("Relu", ["r"], ["y"], "relu"),
    ]
    layers = graph_cost(write_graph(tmp_path / "g.onnx", nodes, [2, 6], s=np.array([3, 4], np.int64)))
    assert [layer.kind for layer in layers] == ["Relu"]
    assert layers[0].flops == 12


def test_the_demo_network_costs_what_its_geometry_says() -> None:
    """0.18 TFLOP: a sixth of eenet-144's 1.15, as their volumes are; nearly all of it in convolutions."""
    layers = graph_cost(DEMO_GRAPH)
    total = sum(layer.flops for layer in layers)
    assert total == pytest.approx(0.1816e12, rel=1e-3)
    assert by_kind(layers)["Conv"] > 0.99 * total


def test_the_bound_of_a_layer_is_its_slower_half() -> None:
    layer = LayerCost("l", "Conv", flops=100.0, read_bytes=30.0, written_bytes=10.0, output=(1,))
    assert layer.bound_s(flops_per_s=10.0, bytes_per_s=10.0) == 10.0
    assert layer.bound_s(flops_per_s=100.0, bytes_per_s=10.0) == 4.0
    assert layer.intensity == 2.5
