"""The OpenVINO backend: what it computes, in which precision, what it refuses, and whom it tells."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.backends.onnxruntime_backend import OnnxRuntimeBackend
from eenet_runtime.backends.openvino_backend import OpenVinoBackend
from eenet_runtime.bundle.manifest import Artifact
from eenet_runtime.errors import BackendError
from tests.synthetic import BIAS, CLASSIFIER, MODEL_NAME, TINY, TINY_2MM

ARTIFACT = Artifact("onnx", MODEL_NAME, "fp32", "fp32")

LOAD_AND_RUN = f"""
import sys
import numpy as np
from pathlib import Path
from eenet_runtime.backends.openvino_backend import OpenVinoBackend
from eenet_runtime.bundle.manifest import Artifact
from eenet_runtime.volumes.presets import GeometryPreset
preset = GeometryPreset({TINY.name!r}, {TINY.shape!r}, 1.0, {TINY.depth_strides!r})
backend = OpenVinoBackend(Path(sys.argv[1]), Artifact("onnx", {MODEL_NAME!r}, "fp32", "fp32"), preset, 1)
backend(np.zeros((*preset.shape, 4), dtype=np.float32))
backend.labels(np.zeros((*preset.shape, 4), dtype=np.float32))
print(sorted(name for name in sys.modules if "telemetry" in name))
"""


@pytest.fixture(scope="module")
def backend(tiny_bundle: Path) -> Iterator[OpenVinoBackend]:
    loaded = OpenVinoBackend(tiny_bundle / MODEL_NAME, ARTIFACT, TINY, threads=1)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def volume() -> NDArray[np.float32]:
    return np.random.default_rng(5).normal(size=(*TINY.shape, 4)).astype(np.float32)


def test_it_computes_what_onnx_runtime_computes(
    backend: OpenVinoBackend, tiny_bundle: Path, volume: NDArray[np.float32]
) -> None:
    other = OnnxRuntimeBackend(tiny_bundle / MODEL_NAME, ARTIFACT, TINY, threads=1)
    probabilities = backend(volume)
    assert probabilities.shape == (*TINY.shape, 4)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, other(volume), atol=1e-6)
    labels = backend.labels(volume)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, other.labels(volume))
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=-1))


def test_two_calls_with_one_volume_give_the_same(backend: OpenVinoBackend, volume: NDArray[np.float32]) -> None:
    first = backend(volume)
    backend.labels(volume)
    np.testing.assert_array_equal(backend(volume), first)


def test_results_belong_to_the_caller_and_the_volume_stays_as_it_was(
    backend: OpenVinoBackend, volume: NDArray[np.float32]
) -> None:
    before = volume.copy()
    first = backend(volume)
    kept = first.copy()
    backend(-volume)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(volume, before)
    first[...] = 0
    np.testing.assert_array_equal(backend(volume), kept)


@pytest.mark.parametrize("order", ["channels last", "channels first", "read-only"])
def test_a_volume_may_lie_in_memory_in_any_order(
    backend: OpenVinoBackend, volume: NDArray[np.float32], order: str
) -> None:
    same = volume.copy()
    if order == "channels first":
        same = np.moveaxis(np.ascontiguousarray(np.moveaxis(volume, -1, 0)), 0, -1)
    same.flags.writeable = order != "read-only"
    np.testing.assert_array_equal(backend.labels(same), backend.labels(volume))


def test_a_volume_that_lies_channels_first_is_not_copied(backend: OpenVinoBackend, volume: NDArray[np.float32]) -> None:
    channels_first = np.moveaxis(np.ascontiguousarray(np.moveaxis(volume, -1, 0)), 0, -1)
    peaks = {}
    for name, array in (("first", channels_first), ("last", volume)):
        backend.labels(array)
        tracemalloc.start()
        backend.labels(array)
        peaks[name] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks["first"] < volume.nbytes / 4
    assert peaks["last"] >= volume.nbytes


def test_neither_output_computes_the_other(tiny_bundle: Path, volume: NDArray[np.float32]) -> None:
    backend = OpenVinoBackend(tiny_bundle / MODEL_NAME, ARTIFACT, TINY, threads=1)
    backend.labels(volume)
    assert set(backend._compiled) == {"labels"}
    assert "Softmax" not in _traits(backend, "labels", "layerType")
    backend(volume)
    assert "Softmax" in _traits(backend, "probabilities", "layerType")
    assert "TopK" not in _traits(backend, "probabilities", "layerType")


def test_it_computes_in_single_precision_on_processors_with_bf16_too(
    backend: OpenVinoBackend, volume: NDArray[np.float32]
) -> None:
    backend(volume)
    backend.labels(volume)
    for output, compiled in backend._compiled.items():
        assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
        computed_in = _traits(backend, output, "runtimePrecision")
        assert "f32" in computed_in
        assert not computed_in & {"bf16", "f16"}


def test_an_fp16_graph_is_computed_in_fp32_and_the_device_says_so(tmp_path: Path, volume: NDArray[np.float32]) -> None:
    _write_half_graph(tmp_path / "half.onnx")
    backend = OpenVinoBackend(tmp_path / "half.onnx", replace(ARTIFACT, precision="fp16"), TINY, threads=1)
    assert backend.device == "cpu (1 thread, computes in fp32)"
    # Computed in FP16, the logits would be off by up to 2^-9, and the probabilities by more than is allowed here.
    logits = volume @ CLASSIFIER + BIAS
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(backend(volume), exponentials / exponentials.sum(axis=-1, keepdims=True), atol=1e-5)


def test_the_device_names_the_threads_that_were_asked_for(backend: OpenVinoBackend, tiny_bundle: Path) -> None:
    assert backend.device == "cpu (1 thread)"
    assert OpenVinoBackend(tiny_bundle / MODEL_NAME, ARTIFACT, TINY, threads=2).device == "cpu (2 threads)"


def test_one_stream_of_the_threads_that_were_asked_for_is_tied_to_no_processor(
    tiny_bundle: Path, volume: NDArray[np.float32]
) -> None:
    backend = OpenVinoBackend(tiny_bundle / MODEL_NAME, ARTIFACT, TINY, threads=2)
    backend.labels(volume)
    compiled = backend._compiled["labels"]
    found = {name: compiled.get_property(name) for name in ("NUM_STREAMS", "INFERENCE_NUM_THREADS")}
    assert found == {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 2}
    # Pinned, the threads of two processes would wait for each other on the same processors.
    assert compiled.get_property("ENABLE_CPU_PINNING") is False


def test_threads_that_call_at_once_get_their_own_results(backend: OpenVinoBackend, volume: NDArray[np.float32]) -> None:
    volumes = [np.roll(volume, step, axis=0) for step in range(6)]
    alone = [backend(each) for each in volumes]
    with ThreadPoolExecutor(3) as pool:
        for expected, found in zip(alone, pool.map(backend, volumes), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_loading_and_running_tells_nobody_and_writes_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in tiny_bundle.iterdir())
    finished = subprocess.run(
        [sys.executable, "-c", LOAD_AND_RUN, str(tiny_bundle / MODEL_NAME)],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.strip() == "[]"
    assert list(tmp_path.rglob("*")) == []
    assert sorted(path.name for path in tiny_bundle.iterdir()) == before


def test_a_missing_package_names_what_to_install(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match=r'openvino is not installed; .*pip install "eenet\[cpu\]"'):
        OpenVinoBackend(tiny_bundle / MODEL_NAME, ARTIFACT, TINY)


@pytest.mark.parametrize("content", [None, b"this is no graph"])
def test_a_graph_that_cannot_be_read_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BackendError, match=r"broken\.onnx: OpenVINO cannot load it \(.+\)"):
        OpenVinoBackend(path, ARTIFACT, TINY)


@pytest.mark.parametrize(
    "change",
    [
        {"input_name": "image"},
        {"input_dtype": "float16"},
        {"labels_name": "mask"},
        {"probabilities_name": ""},
    ],
)
def test_a_graph_with_other_tensors_than_announced_is_refused(tiny_bundle: Path, change: dict[str, str]) -> None:
    with pytest.raises(BackendError, match=r"model\.onnx: tensors .* found, the manifest announces"):
        OpenVinoBackend(tiny_bundle / MODEL_NAME, replace(ARTIFACT, **change), TINY)


def test_a_graph_of_another_geometry_is_refused(tiny_bundle: Path) -> None:
    other = replace(TINY_2MM, shape=(96, 64, 24))
    with pytest.raises(BackendError, match=r"\(1, 4, 64, 64, 24\).* found, .*\(1, 4, 96, 64, 24\)"):
        OpenVinoBackend(tiny_bundle / MODEL_NAME, ARTIFACT, other)


def test_probabilities_that_are_not_finite_are_an_error(backend: OpenVinoBackend, volume: NDArray[np.float32]) -> None:
    broken = volume.copy()
    broken[3, 3, 3, 1] = np.inf
    with pytest.raises(BackendError, match="NaN or infinity"):
        backend(broken)


def test_a_volume_of_another_shape_or_type_is_a_bug_of_the_caller(
    backend: OpenVinoBackend, volume: NDArray[np.float32]
) -> None:
    with pytest.raises(ValueError, match="the model reads float32"):
        backend(volume[:-1])
    with pytest.raises(ValueError, match="volume is float64"):
        backend.labels(volume.astype(np.float64))


def test_a_closed_model_computes_nothing_and_may_be_closed_again(
    tiny_bundle: Path, volume: NDArray[np.float32]
) -> None:
    backend = OpenVinoBackend(tiny_bundle / MODEL_NAME, ARTIFACT, TINY, threads=1)
    backend.labels(volume)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.labels(volume)


def _traits(backend: OpenVinoBackend, output: str, trait: str) -> set[str]:
    """What OpenVINO says about the nodes that it really runs for one output."""
    nodes: list[Any] = backend._compiled[output].get_runtime_model().get_ops()
    return {str(node.get_rt_info()[trait].value) for node in nodes}


def _write_half_graph(path: Path) -> None:
    """The classifier of `tests.synthetic` in FP16, softmax in FP32."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape = [1, 4, *TINY.shape]
    kernel = np.ascontiguousarray(CLASSIFIER.T)[:, :, None, None, None].astype(np.float16)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["volume"], ["half"], to=TensorProto.FLOAT16),
            helper.make_node("Conv", ["half", "weights", "bias"], ["half_logits"]),
            helper.make_node("Cast", ["half_logits"], ["logits"], to=TensorProto.FLOAT),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["half_logits"], ["indices"], axis=1, keepdims=0),
            helper.make_node("Cast", ["indices"], ["labels"], to=TensorProto.UINT8),
        ],
        "half",
        [helper.make_tensor_value_info("volume", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, *TINY.shape]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape),
        ],
        [numpy_helper.from_array(kernel, "weights"), numpy_helper.from_array(BIAS.astype(np.float16), "bias")],
    )
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
