"""The whole network through conversion and passes, at a small geometry: FP32 and FP16, over one weights file."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from eenet_export.graph import graphs
from eenet_export.graph.canonicalise import NetworkCounts, canonicalise
from eenet_export.graph.convert import convert_to_onnx
from eenet_export.graph.graphs import FP16_FILE, FP32_FILE, WEIGHTS_FILE, write_fp16, write_fp32
from eenet_export.graph.weights import folded, stored_tensors
from eenet_export.passes.float16 import HalfReport
from eenet_runtime.errors import ExportError, OutputError
from eenet_runtime.volumes.presets import GeometryPreset
from eenet_train.network.network import build_eenet
from eenet_train.network.weights import WeightPrecision, load_weights, named_weights, round_weights

pytestmark = [pytest.mark.tf, pytest.mark.slow]

Convert = Callable[[Any], onnx.ModelProto]

SMALL = GeometryPreset("small", (64, 64, 24), 3.0, (2, 2, 2))
FIRST = (1, 4, *SMALL.shape)
ROUNDING_ERROR = 2e-5
"""Keras and ONNX Runtime add the same numbers in different orders; 1e-5 was measured."""
HALF_ERROR = 0.02
"""FP16 tensors between the layers; 4e-3 was measured."""


@dataclass(frozen=True)
class Exported:
    """The network with weights like a trained one's, its files, one input and what Keras says to it."""

    model: Any
    folder: Path
    half: HalfReport
    volume: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    def graph(self, name: str) -> Any:
        """A graph without its weights."""
        return onnx.load(self.folder / name, load_external_data=False)


def randomise(model: Any, seed: int = 0) -> None:
    """Give biases and normalisation layers values that an exporter cannot confuse: fresh ones are 0 and 1."""
    generator = np.random.default_rng(seed)
    for name, variable in named_weights(model).items():
        if name.endswith(("/gamma", "/moving_variance")):
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
        elif name.endswith(("/bias", "/beta", "/moving_mean")):
            variable.assign(generator.normal(0.0, 0.1, variable.shape))
    layer = model.get_layer("normalization")
    layer.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.05, 0.06, 0.07]), np.zeros((), np.int64)])
    layer.finalize_state()


@pytest.fixture(scope="module")
def exported(kept_conversions: Convert, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    keras.utils.set_random_seed(0)
    model = build_eenet(SMALL)
    randomise(model)
    round_weights(model, WeightPrecision.FP16)
    folder = tmp_path_factory.mktemp("bundle")
    write_fp32(model, folder, WeightPrecision.FP16)
    half = write_fp16(folder)
    volume = np.random.default_rng(1).normal(size=(1, *SMALL.shape, 4)).astype(np.float32)
    probabilities = np.moveaxis(np.asarray(model(volume, training=False)), -1, 1)
    return Exported(model, folder, half, np.ascontiguousarray(np.moveaxis(volume, -1, 1)), probabilities)


@pytest.fixture(scope="module")
def rebuilt() -> Any:
    """The network without weights of its own."""
    return build_eenet(SMALL)


def run(graph: Path | bytes, volume: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False
    source = graph if isinstance(graph, bytes) else str(graph)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    labels, probabilities = session.run(["labels", "probabilities"], {"volume": volume})
    return labels, probabilities


@pytest.mark.parametrize("name", [FP32_FILE, FP16_FILE])
def test_a_graph_reads_one_volume_channels_first_and_gives_labels_and_probabilities(
    exported: Exported, name: str
) -> None:
    session = onnxruntime.InferenceSession(str(exported.folder / name), providers=["CPUExecutionProvider"])
    tensors = [(t.name, tuple(t.shape), t.type) for t in (*session.get_inputs(), *session.get_outputs())]
    assert tensors == [
        ("volume", FIRST, "tensor(float)"),
        ("labels", (1, *SMALL.shape), "tensor(uint8)"),
        ("probabilities", FIRST, "tensor(float)"),
    ]
    graph = exported.graph(name)
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 21)]
    axes = [dimension.denotation for dimension in graph.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["DATA_BATCH", "DATA_CHANNEL", "HEIGHT", "WIDTH", "DEPTH"]
    onnx.checker.check_model(str(exported.folder / name), full_check=True)


def test_the_canonical_graph_holds_what_engines_like_and_nothing_of_the_converters(exported: Exported) -> None:
    counts = Counter(node.op_type for node in folded(exported.folder / FP32_FILE).graph.node)
    assert counts["GroupNormalization"] == 14
    assert counts["Transpose"] == 2
    assert counts["Conv"] + counts["ConvTranspose"] == 117
    assert counts["Resize"] == 3
    assert counts["ReduceMean"] == 2 * 16  # global poolings, over width and over height
    assert not {"BatchNormalization", "GlobalAveragePool", "Tile", "Expand", "Cast"} & (set(counts) - {"Cast"})
    assert counts["Cast"] == 1  # the labels
    norms = [n for n in exported.graph(FP32_FILE).graph.node if n.op_type == "GroupNormalization"]
    assert {onnx.helper.get_node_attr_value(node, "num_groups") for node in norms} == {8}
    assert all(np.isclose(onnx.helper.get_node_attr_value(node, "epsilon"), 1e-3) for node in norms)


def test_onnx_runtime_computes_what_keras_computes(exported: Exported) -> None:
    labels, found = run(exported.folder / FP32_FILE, exported.volume)
    expected = exported.probabilities
    # A comparison of constant outputs would prove nothing.
    assert set(np.unique(expected.argmax(axis=1))) == {0, 1, 2, 3}
    assert expected.std(axis=(0, 2, 3, 4)).min() > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING_ERROR)
    np.testing.assert_array_equal(labels, found.argmax(axis=1))
    second, first = np.sort(expected, axis=1)[:, -2:].transpose(1, 0, 2, 3, 4)
    tied = first - second < 2 * ROUNDING_ERROR
    assert tied.mean() < 1e-3
    np.testing.assert_array_equal(labels[~tied], expected.argmax(axis=1)[~tied])


def test_the_fp16_graph_computes_nearly_the_same(exported: Exported) -> None:
    labels, found = run(exported.folder / FP16_FILE, exported.volume)
    difference = np.abs(found - exported.probabilities).max()
    assert 1e-4 < difference < HALF_ERROR  # and it is another arithmetic
    assert (labels == exported.probabilities.argmax(axis=1)).mean() > 0.998


def test_half_precision_is_where_the_policy_says(exported: Exported) -> None:
    assert exported.half.clamped == 0
    assert exported.half.scaled == {}
    graph = onnx.shape_inference.infer_shapes(folded(exported.folder / FP16_FILE)).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    kernels = {name: kind for name, kind in types.items() if name.endswith("/kernel")}
    half = [name for name in types if "Conv3D" in name]
    assert half
    assert all(types[name] == onnx.TensorProto.FLOAT16 for name in half)
    assert all(kind == onnx.TensorProto.FLOAT16 for kind in kernels.values())


@pytest.mark.parametrize("weight", ["block4b_dwconv/kernel", "Dec2D_Up_512/kernel"])
def test_a_changed_weight_in_the_file_changes_every_form_alike(
    exported: Exported, rebuilt: Any, tmp_path: Path, weight: str
) -> None:
    for name in (FP32_FILE, FP16_FILE, WEIGHTS_FILE):
        shutil.copy(exported.folder / name, tmp_path)
    stored = stored_tensors(tmp_path / WEIGHTS_FILE)[weight]
    with (tmp_path / WEIGHTS_FILE).open("r+b") as stream:
        stream.seek(stored.offset)
        values = np.frombuffer(stream.read(stored.length), stored.dtype.numpy())
        stream.seek(stored.offset)
        stream.write(np.multiply(values, 2, dtype=values.dtype).tobytes())
    _, found = run(tmp_path / FP32_FILE, exported.volume)
    assert np.abs(found - exported.probabilities).max() > 10 * ROUNDING_ERROR
    load_weights(rebuilt, tmp_path / WEIGHTS_FILE)
    expected = np.moveaxis(np.asarray(rebuilt(np.moveaxis(exported.volume, 1, -1), training=False)), -1, 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING_ERROR)
    _, half = run(tmp_path / FP16_FILE, exported.volume)
    np.testing.assert_allclose(half, expected, rtol=0, atol=HALF_ERROR)


def test_the_graph_files_hold_no_kernels_of_their_own(exported: Exported) -> None:
    for name in (FP32_FILE, FP16_FILE):
        graph = exported.graph(name).graph
        inside = [t for t in graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
        assert max(np.prod(tensor.dims) for tensor in inside) <= 1280  # vectors: factors, biases, shapes
        bound = [t for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL and len(t.dims) > 2]
        assert len(bound) == 117
        assert (exported.folder / name).stat().st_size < 500_000
    assert 28e6 < (exported.folder / WEIGHTS_FILE).stat().st_size < 30e6


def test_nodes_are_named_after_layers_and_nothing_tells_where_the_graph_was_made(exported: Exported) -> None:
    layers = {layer.name for layer in exported.model.layers} | {"volume", "Labels"}
    for part in (exported.graph(FP32_FILE), exported.graph(FP16_FILE)):
        graph = part.graph
        for node in graph.node:
            assert node.name.split("/")[0] in layers
            assert re.fullmatch(r"\w+(/\w+)+", node.name)
            assert (node.doc_string, len(node.metadata_props)) == ("", 0)
        assert len({node.name for node in graph.node}) == len(graph.node)
        for described in (part, graph):
            assert (described.doc_string, len(described.metadata_props)) == ("", 0)


def test_the_same_network_gives_the_same_bytes(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "convert_to_onnx", convert_to_onnx)  # a second conversion, and no kept one
    write_fp32(exported.model, tmp_path, WeightPrecision.FP16)
    write_fp16(tmp_path)
    for name in (FP32_FILE, FP16_FILE, WEIGHTS_FILE):
        assert (tmp_path / name).read_bytes() == (exported.folder / name).read_bytes()


def test_a_network_with_other_counts_than_its_graph_is_refused(exported: Exported, kept_conversions: Convert) -> None:
    weights = {name: keras.ops.convert_to_numpy(v) for name, v in named_weights(exported.model).items()}
    counts = NetworkCounts.of_model(exported.model)
    wrong = NetworkCounts(**{**counts.__dict__, "group_norms": 15})
    with pytest.raises(ExportError, match="pass GroupNorms: 14 group norms found in the graph, expected 15"):
        canonicalise(kept_conversions(exported.model), weights, wrong)


@pytest.mark.usefixtures("kept_conversions")
def test_weights_that_were_not_rounded_first_are_refused(rebuilt: Any, tmp_path: Path) -> None:
    kernel = rebuilt.get_layer("L1_Dec").kernel
    kernel.assign(np.asarray(kernel) * np.float32(1.0001))
    with pytest.raises(ExportError, match="holds other numbers than the graph"):
        write_fp32(rebuilt, tmp_path, WeightPrecision.FP16)
    assert not (tmp_path / FP32_FILE).exists()


def test_a_folder_that_is_not_there_is_refused_and_nothing_is_made(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="absent"):
        write_fp32(exported.model, tmp_path / "absent", WeightPrecision.FP32)
    assert list(tmp_path.iterdir()) == []
