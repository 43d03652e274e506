"""Graphs beside the segmenting network, in either CPU engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from eenet_runtime.backends import onnxruntime_graph, openvino_graph
from eenet_runtime.backends.engines import engine_named
from eenet_runtime.backends.graph import Graph, GraphRequest, graph_engines, load_graph
from eenet_runtime.errors import BackendError

LOADERS: dict[str, Callable[[GraphRequest], Graph]] = {
    "onnxruntime": onnxruntime_graph.load,
    "openvino": openvino_graph.load,
}


def request_of(operation: str = "Neg", input_name: str = "x") -> GraphRequest:
    """One operation on one array of any length."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node(operation, ["x"], ["y"])], "one", tensors[:1], tensors[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return GraphRequest(model.SerializeToString(), "one.onnx", input_name, "y", threads=1)


@pytest.mark.parametrize("engine", LOADERS)
def test_a_graph_computes_and_says_who_it_is(engine: str) -> None:
    graph = LOADERS[engine](request_of())
    values = np.array([1, -2, 3], np.float32)
    values.flags.writeable = False
    assert graph(values).tolist() == [-1, 2, -3]
    assert (graph.name, graph.device) == (engine, "cpu (1 thread)")
    graph.rest()
    assert graph(np.ones(5, np.float32)).tolist() == [-1] * 5


@pytest.mark.parametrize("engine", LOADERS)
def test_not_a_number_is_an_error_and_no_result(engine: str) -> None:
    graph = LOADERS[engine](request_of("Log"))
    with pytest.raises(BackendError, match="NaN or infinity"):
        graph(np.array([-1.0], np.float32))


@pytest.mark.parametrize("engine", LOADERS)
def test_a_closed_graph_computes_nothing(engine: str) -> None:
    graph = LOADERS[engine](request_of())
    graph.close()
    graph.close()
    with pytest.raises(BackendError):
        graph(np.ones(1, np.float32))


@pytest.mark.parametrize("engine", LOADERS)
def test_a_graph_of_other_tensors_is_refused_by_name(engine: str) -> None:
    with pytest.raises(BackendError, match=r"one\.onnx: tensors x, y found, expected image and y"):
        LOADERS[engine](request_of(input_name="image"))


@pytest.mark.parametrize("engine", LOADERS)
def test_a_damaged_graph_is_refused_by_name(engine: str) -> None:
    with pytest.raises(BackendError, match=r"one\.onnx: .* cannot load it"):
        LOADERS[engine](GraphRequest(b"no graph", "one.onnx", "x", "y", threads=1))


def test_the_engines_name_leads_to_its_file() -> None:
    for name in LOADERS:
        assert load_graph(engine_named(name), request_of()).name == name
    assert {spec.name for spec in graph_engines()} == set(LOADERS)


def test_an_engine_that_loads_no_graph_counts_as_auto() -> None:
    assert graph_engines("native") == graph_engines()
    assert [spec.name for spec in graph_engines("onnxruntime")] == ["onnxruntime"]
