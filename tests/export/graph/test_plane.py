"""The 2D network cut out of the demo bundle's graph: the same function, no own weights, nothing of the 3D part."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.utils
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from eenet_export.graph.graphs import FP32_FILE, WEIGHTS_FILE
from eenet_export.graph.plane import PLANE_FILE, write_plane
from eenet_runtime.backends.onnxruntime_backend import load_onnxruntime
from eenet_runtime.errors import ExportError
from tests.places import DEMO_BUNDLE

BUNDLE = DEMO_BUNDLE
BORDERS = ("Slices_To_Channels/Reshape", "L1_Dec/Reshape/Transpose")
"""The tensors of the demo bundle's graph between which its 2D network lies."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo bundle's graph and weights, and the 2D network cut out of it."""
    folder = tmp_path_factory.mktemp("plane")
    for name in (FP32_FILE, WEIGHTS_FILE):
        shutil.copyfile(BUNDLE / name, folder / name)
    write_plane(folder / FP32_FILE, folder)
    return folder


def run(path: Path, output: str, **inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a stored graph."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (found,) = session.run([output], inputs)
    return np.asarray(found)


def test_it_computes_what_the_whole_graph_computes_between_its_borders(folder: Path) -> None:
    cut = onnx.utils.Extractor(onnx.load(folder / FP32_FILE)).extract_model([BORDERS[0]], [BORDERS[1]])
    onnx.save(cut, folder / "cut.onnx")
    plane = np.random.default_rng(0).random((1, 96, 96, 3), dtype=np.float32)
    expected = run(folder / "cut.onnx", BORDERS[1], **{BORDERS[0]: plane})
    slices = run(folder / PLANE_FILE, "slices", plane=plane)
    assert slices.shape == (1, 96, 96, 3)
    np.testing.assert_array_equal(slices, expected)


def test_it_has_all_of_the_2d_network_and_no_group_norm(folder: Path) -> None:
    nodes = onnx.load(folder / PLANE_FILE, load_external_data=False).graph.node
    whole = onnx.load(folder / FP32_FILE, load_external_data=False).graph.node
    counts, all_counts = (Counter(node.op_type for node in graph) for graph in (nodes, whole))
    assert counts["GroupNormalization"] == 0
    assert counts["ConvTranspose"] == 5
    # The 16 poolings, as one node each in earlier graphs, and as two in later ones.
    poolings = ("GlobalAveragePool", "ReduceMean")
    assert {kind: counts[kind] for kind in poolings} == {kind: all_counts[kind] for kind in poolings}
    assert counts["GlobalAveragePool"] + counts["ReduceMean"] / 2 == 16


def test_its_kernels_are_in_the_weights_file(folder: Path) -> None:
    tensors = onnx.load(folder / PLANE_FILE, load_external_data=False).graph.initializer
    kernels = [tensor for tensor in tensors if tensor.name.endswith("/kernel/stored")]
    assert len(kernels) == 86
    for tensor in kernels:
        assert {entry.key: entry.value for entry in tensor.external_data}["location"] == WEIGHTS_FILE
    assert (folder / PLANE_FILE).stat().st_size < 3e5


def test_the_same_graph_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    shutil.copyfile(folder / WEIGHTS_FILE, tmp_path / WEIGHTS_FILE)
    assert write_plane(folder / FP32_FILE, tmp_path).read_bytes() == (folder / PLANE_FILE).read_bytes()


def test_a_graph_without_the_borders_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"plane\.onnx: 0 reshapes of slices into channels found, expected one"):
        write_plane(folder / PLANE_FILE, tmp_path)


def test_a_cut_that_something_leads_around_is_refused(folder: Path, tmp_path: Path) -> None:
    whole = ir.load(folder / FP32_FILE)
    border = next(node for node in whole.graph if node.name == BORDERS[0])
    # A second way from the encoder into the 2D network.
    around = ir.node("Reshape", border.inputs, name="around")
    around.outputs[0].name = "around"
    whole.graph.insert_after(border, around)
    first = next(use.node for use in border.outputs[0].uses())
    first.replace_input_with(0, around.outputs[0])
    shutil.copyfile(folder / WEIGHTS_FILE, tmp_path / WEIGHTS_FILE)
    (tmp_path / FP32_FILE).write_bytes(ir.to_proto(whole).SerializeToString())
    with pytest.raises(ExportError, match=r"model\.onnx: 8 group norms found in its 2D network, expected none"):
        write_plane(tmp_path / FP32_FILE, tmp_path)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / FP32_FILE).write_bytes(b"no graph")
    with pytest.raises(ExportError, match=r"model\.onnx: not a readable ONNX graph"):
        write_plane(tmp_path / FP32_FILE, tmp_path)
