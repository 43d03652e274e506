"""The whole network through the conversion, at a small geometry."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from eenet_export.convert import ExportedModel, write_model
from eenet_export.weights import stored_tensors
from eenet_runtime.presets import GeometryPreset
from eenet_train.network import build_eenet
from eenet_train.weights import WeightPrecision, load_weights, named_weights, round_weights

pytestmark = [pytest.mark.tf, pytest.mark.slow]

SMALL = GeometryPreset("small", (64, 64, 24), 3.0, (2, 2, 2))
SHAPE = (1, *SMALL.shape, 4)
UNUSED_IN_INFERENCE = {"normalization/count"}
ROUNDING_ERROR = 2e-5
"""Keras and ONNX Runtime add the same numbers in different orders; 5e-6 was measured."""


@dataclass(frozen=True)
class Exported:
    """The network with weights like a trained one's, its files, one input and what Keras says to it."""

    model: Any
    files: ExportedModel
    graph: Any
    volume: NDArray[np.float32]
    probabilities: NDArray[np.float32]


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
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    keras.utils.set_random_seed(0)
    model = build_eenet(SMALL)
    randomise(model)
    round_weights(model, WeightPrecision.FP16)
    files = write_model(model, tmp_path_factory.mktemp("bundle"), WeightPrecision.FP16)
    volume = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    probabilities = np.asarray(model(volume, training=False))
    return Exported(model, files, onnx.load(files.graph, load_external_data=False), volume, probabilities)


@pytest.fixture(scope="module")
def rebuilt() -> Any:
    """The network without weights of its own."""
    return build_eenet(SMALL)


def run(graph: Path, volume: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    (output,) = session.run(["probabilities"], {"volume": volume})
    assert isinstance(output, np.ndarray)
    return output


def test_the_graph_reads_one_volume_and_gives_its_probabilities(exported: Exported) -> None:
    session = onnxruntime.InferenceSession(str(exported.files.graph), providers=["CPUExecutionProvider"])
    tensors = [(t.name, tuple(t.shape), t.type) for t in (*session.get_inputs(), *session.get_outputs())]
    assert tensors == [("volume", SHAPE, "tensor(float)"), ("probabilities", SHAPE, "tensor(float)")]
    assert [(opset.domain, opset.version) for opset in exported.graph.opset_import] == [("", 18)]
    onnx.checker.check_model(str(exported.files.graph), full_check=True)


def test_onnx_runtime_computes_what_keras_computes(exported: Exported) -> None:
    found, expected = run(exported.files.graph, exported.volume), exported.probabilities
    # A comparison of constant outputs would prove nothing.
    assert set(np.unique(expected.argmax(axis=-1))) == {0, 1, 2, 3}
    assert expected.std(axis=(0, 1, 2, 3)).min() > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING_ERROR)
    second, first = np.sort(expected, axis=-1)[..., -2:].transpose(4, 0, 1, 2, 3)
    tied = first - second < 2 * ROUNDING_ERROR
    assert tied.mean() < 1e-3
    np.testing.assert_array_equal(found.argmax(axis=-1)[~tied], expected.argmax(axis=-1)[~tied])


@pytest.mark.parametrize("weight", ["normalization/variance", "block4b_dwconv/kernel"])
def test_a_changed_weight_in_the_file_changes_the_output_as_in_keras(
    exported: Exported, rebuilt: Any, tmp_path: Path, weight: str
) -> None:
    for path in (exported.files.graph, exported.files.weights):
        shutil.copy(path, tmp_path)
    stored = stored_tensors(exported.files.weights)[weight]
    dtype = np.float16 if stored.onnx_type == onnx.TensorProto.FLOAT16 else np.float32
    with (tmp_path / exported.files.weights.name).open("r+b") as stream:
        stream.seek(stored.offset)
        values = np.frombuffer(stream.read(stored.length), dtype)
        stream.seek(stored.offset)
        stream.write(np.multiply(values, 2, dtype=dtype).tobytes())
    found = run(tmp_path / exported.files.graph.name, exported.volume)
    assert np.abs(found - exported.probabilities).max() > 10 * ROUNDING_ERROR
    load_weights(rebuilt, tmp_path / exported.files.weights.name)
    expected = np.asarray(rebuilt(exported.volume, training=False))
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING_ERROR)


def test_every_weight_of_the_network_is_bound_to_its_place_in_the_file(exported: Exported) -> None:
    tensors = stored_tensors(exported.files.weights)
    assert tensors.keys() == named_weights(exported.model).keys()
    bound = {
        tensor.name.removesuffix("/stored"): {entry.key: entry.value for entry in tensor.external_data}
        for tensor in exported.graph.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    assert bound == {
        name: {"location": "weights.safetensors", "offset": str(stored.offset), "length": str(stored.length)}
        for name, stored in tensors.items()
        if name not in UNUSED_IN_INFERENCE
    }


def test_the_graph_file_holds_no_weights_of_its_own(exported: Exported) -> None:
    inside = [t for t in exported.graph.graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
    assert max(np.prod(tensor.dims) for tensor in inside) <= 8  # shapes, axes, paddings, epsilons
    assert exported.files.graph.stat().st_size < 500_000
    assert 28e6 < exported.files.weights.stat().st_size < 30e6


def test_nodes_are_named_after_layers_and_nothing_tells_where_the_graph_was_made(exported: Exported) -> None:
    layers = {layer.name for layer in exported.model.layers} | {"volume"}
    graph = exported.graph.graph
    for node in graph.node:
        assert node.name.split("/")[0] in layers
        assert re.fullmatch(r"\w+(/\w+)+", node.name)
        assert (node.doc_string, len(node.metadata_props)) == ("", 0)
    assert len({node.name for node in graph.node}) == len(graph.node)
    for part in (exported.graph, graph):
        assert (part.doc_string, len(part.metadata_props)) == ("", 0)
    assert graph.name == "small"
