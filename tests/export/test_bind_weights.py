"""ONNX external data inside a safetensors file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import save_file

from eenet_export.weights import bind_weights, stored_tensors
from eenet_runtime.errors import ExportError

X = np.arange(6, dtype=np.float32).reshape(2, 3)
GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
affine (float[2,3] volume, float[3,4] dense_kernel, float[4] dense_bias) => (float[2,4] probabilities) {
    product = MatMul(volume, dense_kernel)
    probabilities = Add(product, dense_bias)
}
"""


def weights_file(folder: Path, **changes: np.ndarray) -> Path:
    generator = np.random.default_rng(0)
    tensors = {
        "aside": np.array(7, dtype=np.int64),
        "dense_kernel": generator.normal(size=(3, 4)).astype(np.float16),
        "dense_bias": generator.normal(size=4).astype(np.float32),
        **changes,
    }
    save_file(tensors, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def test_stored_tensors_lie_where_the_header_says(tmp_path: Path) -> None:
    kernel = np.arange(12, dtype=np.float16).reshape(3, 4)
    path = weights_file(tmp_path, dense_kernel=kernel)
    tensors = stored_tensors(path)
    assert set(tensors) == {"aside", "dense_bias", "dense_kernel"}
    stored = tensors["dense_kernel"]
    assert (stored.shape, stored.length, stored.onnx_type) == ((3, 4), 24, onnx.TensorProto.FLOAT16)
    found = np.frombuffer(path.read_bytes()[stored.offset : stored.offset + stored.length], np.float16)
    np.testing.assert_array_equal(found, kernel.ravel())


@pytest.mark.parametrize("kernel_type", [np.float16, np.float32])
def test_a_bound_graph_computes_with_the_stored_weights(tmp_path: Path, kernel_type: type[np.floating]) -> None:
    generator = np.random.default_rng(1)
    kernel, bias = generator.normal(size=(3, 4)).astype(kernel_type), generator.normal(size=4).astype(np.float32)
    path = weights_file(tmp_path, dense_kernel=kernel, dense_bias=bias)
    bound = bind_weights(onnx.parser.parse_model(GRAPH), path)
    graph_path = tmp_path / "model.onnx"
    graph_path.write_bytes(bound.SerializeToString())
    onnx.checker.check_model(str(graph_path), full_check=True)
    assert [value.name for value in bound.graph.input] == ["volume"]
    assert all(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in bound.graph.initializer)
    session = onnxruntime.InferenceSession(str(graph_path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"volume": X})
    np.testing.assert_allclose(found, X @ kernel.astype(np.float32) + bias, rtol=1e-6, atol=1e-6)


def test_binding_leaves_the_given_graph_alone(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(GRAPH)
    before = model.SerializeToString()
    bind_weights(model, weights_file(tmp_path))
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dense_bias": np.ones(5, np.float32)}, r"dense_bias has shape \(5,\), the graph expects \(4,\)"),
        ({"dense_bias": np.ones(4, np.float64)}, "dense_bias has data type F64"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, np.ndarray], message: str) -> None:
    path = weights_file(tmp_path, **changes)
    with pytest.raises(ExportError, match=message):
        bind_weights(onnx.parser.parse_model(GRAPH), path)


def test_a_weight_that_the_file_lacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"dense_kernel": np.ones((3, 4), np.float32)}, path)
    with pytest.raises(ExportError, match="dense_bias is missing"):
        bind_weights(onnx.parser.parse_model(GRAPH), path)


@pytest.mark.parametrize("content", [b"", b"12345678{", b"\xff" * 8 + b"{}", b"\x03\0\0\0\0\0\0\0[1]"])
def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(ExportError, match="not a readable safetensors file"):
        stored_tensors(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="not a readable safetensors file"):
        stored_tensors(tmp_path / "weights.safetensors")
