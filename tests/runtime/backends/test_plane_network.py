"""The 2D network in either engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eenet_runtime.backends import plane_network
from eenet_runtime.backends.plane_network import PLANE_ENGINES, load_plane_network
from eenet_runtime.errors import BackendError
from tests.native_stand_in import write_plane_graph

PLANE = np.random.default_rng(0).random((1, 64, 32, 3), dtype=np.float32)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_plane_graph(tmp_path / "plane.onnx", 64, 32)


@pytest.mark.parametrize("engine", PLANE_ENGINES)
@pytest.mark.parametrize("writeable", [True, False])
def test_each_engine_computes_a_fresh_array_and_leaves_the_plane(graph: Path, engine: str, writeable: bool) -> None:
    network = load_plane_network(graph, (64, 32), 1, engine)
    plane = PLANE.copy()
    plane.flags.writeable = writeable
    first = network(plane)
    second = network(plane + 1)
    np.testing.assert_array_equal(first, 2 * PLANE)
    np.testing.assert_array_equal(second, 2 * (PLANE + 1))
    np.testing.assert_array_equal(plane, PLANE)
    assert network.engine.startswith(f"{engine} ")


@pytest.mark.parametrize(
    ("installed", "taken"),
    [(PLANE_ENGINES, "onnxruntime"), (("openvino",), "openvino"), (("onnxruntime",), "onnxruntime")],
)
def test_onnxruntime_is_taken_where_it_is_installed(
    graph: Path, monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], taken: str
) -> None:
    monkeypatch.setattr(plane_network, "find_spec", lambda name: object() if name in installed else None)
    assert load_plane_network(graph, (64, 32), 1).engine.startswith(taken)


@pytest.mark.parametrize("engine", PLANE_ENGINES)
def test_a_graph_of_another_geometry_is_refused(graph: Path, engine: str) -> None:
    with pytest.raises(BackendError, match=r"plane\.onnx: tensors .* found, this geometry expects .*\(1, 96, 32, 3\)"):
        load_plane_network(graph, (96, 32), 1, engine)


@pytest.mark.parametrize("engine", PLANE_ENGINES)
def test_a_file_that_is_no_graph_is_refused_in_one_line(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "plane.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(BackendError, match=r"plane\.onnx: .* cannot load it") as caught:
        load_plane_network(path, (64, 32), 1, engine)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", PLANE_ENGINES)
def test_a_failure_while_computing_names_the_engine(graph: Path, engine: str) -> None:
    network = load_plane_network(graph, (64, 32), 1, engine)
    with pytest.raises(BackendError, match=r"failed while computing the 2D network"):
        network(PLANE[:, :32])
