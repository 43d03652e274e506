"""ONNX external data inside a safetensors file: one weights file for graphs of every precision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from eenet_export.graph.weights import bind_weights, folded, stored_tensors
from eenet_export.passes.convolutions import BatchNorms, Biases, WeightNames
from eenet_export.passes.float16 import Float16, Policy
from eenet_runtime.errors import ExportError
from tests.export.passes.onnx_graphs import copy_of, graph, numbers, op, run

SHAPE = (1, 3, 5, 4)
VOLUME = numbers(*SHAPE, seed=9)
FACTOR = np.linspace(0.5, 1.7, 6, dtype=np.float32)
NAME = "weights.safetensors"


def tensors(
    kernel_type: type[np.floating[Any]] = np.float32, changes: Mapping[str, NDArray[Any]] = {}
) -> dict[str, NDArray[Any]]:
    """What the file holds: kernels as ONNX has them, vectors in FP32, and a number that inference does not read."""
    return {
        "Conv/kernel": numbers(6, 3, 3, 3, seed=1).astype(kernel_type),
        "Up/kernel": numbers(6, 6, 2, 2, seed=2).astype(kernel_type),
        "Last/kernel": numbers(4, 6, 1, 1, seed=3).astype(kernel_type),
        "Last/bias": numbers(4, seed=4),
        "Norm/count": np.array(7, dtype=np.int64),
        **changes,
    }


def network(stored: dict[str, NDArray[Any]]) -> tuple[ir.Model, dict[str, NDArray[np.float32]]]:
    """A canonical graph of these weights, and what its kernels were multiplied with: two batch norms were folded."""
    per_channel = (1, 6, 1, 1)
    weights = {name: stored[name].astype(np.float32) for name in ("Conv/kernel", "Up/kernel", "Last/kernel")}
    model = graph(
        [
            op("Conv/Conv", "volume", "Conv/kernel"),
            op("Conv/Mul", "Conv/Conv", "factor"),
            op("Conv/Add", "Conv/Mul", "offset"),
            op("Up/ConvTranspose", "Conv/Add", "Up/kernel", strides=[2, 2]),
            op("Up/Mul", "Up/ConvTranspose", "factor"),
            op("Up/Add", "Up/Mul", "offset"),
            op("Last/Conv", "Up/Add", "Last/kernel", "Last/bias"),
            op("Last/Softmax", "Last/Conv", axis=1),
        ],
        ["Last/Softmax"],
        {
            **weights,
            "Last/bias": stored["Last/bias"],
            "factor": FACTOR.reshape(per_channel),
            "offset": numbers(*per_channel, seed=5),
        },
        opset=21,
        volume=SHAPE,
    )
    batch_norms = BatchNorms(2)
    for step in (batch_norms, Biases(3), WeightNames(3)):
        step(model)
    return model, batch_norms.factors


def write(folder: Path, stored: dict[str, NDArray[Any]]) -> Path:
    save_file(stored, folder / NAME)
    return folder / NAME


def save(model: ir.Model, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(ir.to_proto(model).SerializeToString())
    onnx.checker.check_model(str(path), full_check=True)
    return path


def run_file(path: Path) -> NDArray[Any]:
    """What ONNX Runtime makes of a stored graph and the file beside it."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"volume": VOLUME})[0])


def external(path: Path) -> dict[str, onnx.TensorProto]:
    """The initialisers that a stored graph reads from another file."""
    proto = onnx.load(path, load_external_data=False)
    return {
        tensor.name: tensor for tensor in proto.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL
    }


def test_stored_tensors_lie_where_the_header_says(tmp_path: Path) -> None:
    stored = tensors(np.float16)
    path = write(tmp_path, stored)
    found = stored_tensors(path)
    assert set(found) == set(stored)
    entry = found["Conv/kernel"]
    assert (entry.dtype, entry.shape, entry.length) == (ir.DataType.FLOAT16, (6, 3, 3, 3), 324)
    content = path.read_bytes()
    for name, entry in found.items():
        raw = np.frombuffer(content[entry.offset : entry.offset + entry.length], stored[name].dtype)
        np.testing.assert_array_equal(raw, stored[name].ravel())


@pytest.mark.parametrize("kernel_type", [np.float16, np.float32])
def test_a_bound_graph_computes_with_the_stored_weights(tmp_path: Path, kernel_type: type[np.floating[Any]]) -> None:
    stored = tensors(kernel_type)
    model, factors = network(stored)
    (expected,) = run(model, volume=VOLUME)
    assert bind_weights(model, factors, write(tmp_path, stored)) == 3
    path = save(model, tmp_path)
    assert len(external(path)) == 4  # three kernels and a bias
    np.testing.assert_allclose(run_file(path), expected, rtol=0, atol=1e-6)


def test_a_file_that_was_changed_behind_the_graph_changes_what_it_computes(tmp_path: Path) -> None:
    """So it is the file that is read; and the comparison of these tests can fail."""
    stored = tensors()
    model, factors = network(stored)
    (expected,) = run(model, volume=VOLUME)
    bind_weights(model, factors, write(tmp_path, stored))
    path = save(model, tmp_path)
    stored["Conv/kernel"] = np.ascontiguousarray(stored["Conv/kernel"][:, [1, 0, 2]])  # two modalities swapped
    write(tmp_path, stored)
    assert np.abs(run_file(path) - expected).max() > 0.01


def test_only_what_the_file_holds_in_another_way_is_spelled_out(tmp_path: Path) -> None:
    kinds = {}
    for kernel_type in (np.float16, np.float32):
        stored = tensors(kernel_type)
        model, factors = network(stored)
        bind_weights(model, factors, write(tmp_path, stored))
        kinds[kernel_type] = [each.name for each in model.graph if "/kernel/" in str(each.name)]
    assert sorted(map(str, kinds[np.float32])) == ["Conv/kernel/Mul", "Up/kernel/Mul"]
    assert sorted(map(str, kinds[np.float16])) == [
        "Conv/kernel/Cast",
        "Conv/kernel/Mul",
        "Last/kernel/Round",
        "Up/kernel/Cast",
        "Up/kernel/Mul",
    ]


@pytest.mark.parametrize("kernel_type", [np.float16, np.float32])
def test_an_fp16_graph_reads_its_kernels_from_the_same_file(
    tmp_path: Path, kernel_type: type[np.floating[Any]]
) -> None:
    stored = tensors(kernel_type)
    weights = write(tmp_path, stored)
    model, factors = network(stored)
    Float16(Policy({"Last/Softmax": "probabilities are FP32"}))(model)
    (expected,) = run(model, volume=VOLUME)
    assert bind_weights(model, factors, weights) == 3
    path = save(model, tmp_path)
    # Vectors are FP16 in this graph and FP32 in the file: they stay in the graph.
    assert set(external(path)) == (
        {"Conv/kernel/stored", "Up/kernel/stored", "Last/kernel"}
        if kernel_type is np.float16
        else {"Conv/kernel/stored", "Up/kernel/stored", "Last/kernel/stored"}
    )
    np.testing.assert_allclose(run_file(path), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("kernel_type", [np.float16, np.float32])
def test_a_stored_graph_folds_back_to_the_one_it_was(tmp_path: Path, kernel_type: type[np.floating[Any]]) -> None:
    stored = tensors(kernel_type)
    model, factors = network(stored)
    (expected,) = run(model, volume=VOLUME)
    operations = [each.op_type for each in model.graph]
    bind_weights(model, factors, write(tmp_path, stored))
    path = save(model, tmp_path)
    proto = folded(path)
    assert [each.op_type for each in proto.graph.node] == operations
    (tmp_path / NAME).unlink()
    again: ir.Model = ir.from_proto(proto)
    np.testing.assert_allclose(run(again, volume=VOLUME)[0], expected, rtol=0, atol=1e-6)


def test_a_weight_that_the_file_lacks_stays_in_the_graph_and_is_not_counted(tmp_path: Path) -> None:
    stored = tensors()
    model, factors = network(stored)
    (expected,) = run(model, volume=VOLUME)
    del stored["Last/kernel"]
    assert bind_weights(model, factors, write(tmp_path, stored)) == 2
    path = save(model, tmp_path)
    assert "Last/kernel" not in external(path)
    np.testing.assert_allclose(run_file(path), expected, rtol=0, atol=1e-6)


FOREIGN = {
    "another shape": {"Last/kernel": np.ones((4, 5, 1, 1), np.float32)},
    "two channels swapped": {"Last/kernel": np.ascontiguousarray(tensors()["Last/kernel"][:, ::-1])},
    "kernels of Keras' layout": {"Conv/kernel": np.ascontiguousarray(tensors()["Conv/kernel"].transpose(2, 3, 1, 0))},
    "one number a little off": {"Last/bias": tensors()["Last/bias"] + np.array([0, 1e-5, 0, 0], np.float32)},
    "half precision of others": {"Up/kernel": tensors()["Up/kernel"].astype(np.float16)},
}


@pytest.mark.parametrize("changes", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_file_with_other_weights_than_the_graph_is_refused_by_name(
    tmp_path: Path, changes: dict[str, NDArray[Any]]
) -> None:
    model, factors = network(tensors())
    path = write(tmp_path, tensors(changes=changes))
    (name,) = changes
    message = rf"weights\.safetensors: {name} holds other numbers than the graph, or has another shape"
    with pytest.raises(ExportError, match=message):
        bind_weights(model, factors, path)


def test_a_factor_that_does_not_belong_to_the_graph_is_refused(tmp_path: Path) -> None:
    model, factors = network(tensors())
    with pytest.raises(ExportError, match="Up/kernel holds other numbers"):
        bind_weights(model, {**factors, "Up": factors["Up"][::-1]}, write(tmp_path, tensors()))


def test_a_data_type_that_weights_do_not_have_is_refused(tmp_path: Path) -> None:
    model, factors = network(tensors())
    path = write(tmp_path, tensors(changes={"Last/bias": np.ones(4, np.float64)}))
    with pytest.raises(ExportError, match="Last/bias has data type F64, expected one of F16, F32"):
        bind_weights(model, factors, path)


@pytest.mark.parametrize("missing", [1, 2, 4, 400])
def test_a_file_that_ends_too_early_is_refused(tmp_path: Path, missing: int) -> None:
    path = write(tmp_path, tensors())
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(ExportError, match=r"weights\.safetensors: .* is cut off, or is not as long as its shape says"):
        bind_weights(*network(tensors()), path)


def test_a_header_with_a_length_that_is_not_its_shapes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(entry(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}') + bytes(4))
    with pytest.raises(ExportError, match="a is cut off, or is not as long as its shape says"):
        stored_tensors(path)


def entry(text: bytes) -> bytes:
    """A header and nothing behind it."""
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"12345678{",
        b"\xff" * 8 + b"{}",
        entry(b"[1]"),
        entry(b'{"a": 1}'),
        entry(b'{"a": {"dtype": "F32", "shape": [1]}}'),
        entry(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}'),
    ],
)
def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    with pytest.raises(ExportError, match="not a readable safetensors file"):
        stored_tensors(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="not a readable safetensors file"):
        stored_tensors(tmp_path / NAME)


def test_a_graph_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(ExportError, match=r"model\.onnx: not a readable ONNX graph"):
        folded(path)
    path.write_bytes(b"no graph at all \xff\xff")
    with pytest.raises(ExportError, match=r"model\.onnx: not a readable ONNX graph"):
        folded(path)


def test_a_graph_whose_weights_are_gone_is_refused_by_name(tmp_path: Path) -> None:
    model, factors = network(tensors())
    bind_weights(model, factors, write(tmp_path, tensors()))
    path = save(copy_of(model), tmp_path)
    (tmp_path / NAME).unlink()
    with pytest.raises(ExportError, match=r"model\.onnx: its weights cannot be read"):
        folded(path)
