"""ONNX Runtime on a GPU computes there or refuses; no GPU is needed to see that, only its module's behaviour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eenet_runtime.backends import Choice, load, onnxruntime_backend
from eenet_runtime.backends.onnxruntime_backend import OnnxRuntimeBackend, load_onnxruntime
from eenet_runtime.bundle.manifest import open_bundle
from eenet_runtime.errors import BackendError
from eenet_runtime.machine.devices import Device
from tests.synthetic import TINY

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"


class FakeOnnxRuntime:
    """The real module, but for its list of providers and for what a session says that it runs on."""

    def __init__(self, available: list[str], really: list[str]) -> None:
        self._real = load_onnxruntime()
        self.available, self.really = available, really
        self.asked: list[Any] = []
        self.entries: dict[str, str] = {}
        self.fallback: object = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_available_providers(self) -> list[str]:
        return self.available

    def InferenceSession(self, model: str, options: Any, providers: list[Any], enable_fallback: int) -> Any:  # noqa: N802
        self.asked, self.fallback = providers, enable_fallback
        entry = "session.disable_cpu_ep_fallback"
        self.entries = {entry: options.get_session_config_entry(entry)}
        # Nodes may run on the CPU here, where there is nothing else.
        session = self._real.InferenceSession(model, self._real.SessionOptions(), providers=["CPUExecutionProvider"])
        session.get_providers = lambda: self.really
        return session


def backend_on(
    monkeypatch: pytest.MonkeyPatch, bundle: Path, module: FakeOnnxRuntime, *, tensorrt: bool = False, **changes: Any
) -> OnnxRuntimeBackend:
    """The tiny model on the second GPU of a machine whose onnxruntime behaves like this."""
    monkeypatch.setattr(onnxruntime_backend, "load_onnxruntime", lambda: module)
    opened = open_bundle(bundle)
    artifact = replace(opened.manifest.artifacts[0], **changes)
    path = opened.path_of(artifact)
    return OnnxRuntimeBackend(path, artifact, TINY, 1, Device("cuda", 1), tensorrt=tensorrt)


def test_on_a_gpu_tf32_and_any_other_processor_are_forbidden(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path
) -> None:
    module = FakeOnnxRuntime([TENSORRT, CUDA, "CPUExecutionProvider"], [CUDA, "CPUExecutionProvider"])
    backend = backend_on(monkeypatch, tiny_bundle, module)
    assert module.asked == [(CUDA, {"device_id": "1", "use_tf32": "0"})]
    assert module.entries == {"session.disable_cpu_ep_fallback": "1"}
    assert module.fallback == 0
    assert (backend.name, backend.device) == ("onnxruntime", "cuda:1 (CUDA execution provider)")
    assert backend.gpu_index == 1
    monkeypatch.undo()
    opened = open_bundle(tiny_bundle)
    artifact = opened.manifest.artifacts[0]
    assert OnnxRuntimeBackend(opened.path_of(artifact), artifact, TINY, 1).gpu_index is None


def test_the_package_for_cpus_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path
) -> None:
    module = FakeOnnxRuntime(["AzureExecutionProvider", "CPUExecutionProvider"], [])
    with pytest.raises(BackendError, match=r"no CUDAExecutionProvider .* cuda:1 was asked for; .*eenet\[gpu\]"):
        backend_on(monkeypatch, tiny_bundle, module)


@pytest.mark.parametrize("really", [["CPUExecutionProvider"], []])
def test_a_session_that_fell_back_to_the_cpu_is_refused(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, really: list[str]
) -> None:
    module = FakeOnnxRuntime([CUDA, "CPUExecutionProvider"], really)
    with pytest.raises(BackendError, match=r"CUDAExecutionProvider was asked for on cuda:1; CUDA or cuDNN"):
        backend_on(monkeypatch, tiny_bundle, module)


def test_tensorrt_takes_no_fp32_graph_for_it_would_compute_it_in_tf32(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path
) -> None:
    module = FakeOnnxRuntime([TENSORRT, CUDA], [TENSORRT, CUDA])
    with pytest.raises(BackendError, match="computes fp32 graphs in TF32"):
        backend_on(monkeypatch, tiny_bundle, module, tensorrt=True)
    backend = backend_on(monkeypatch, tiny_bundle, module, tensorrt=True, precision="fp16")
    assert [name for name, _ in module.asked] == [TENSORRT, CUDA]
    assert backend.name == "onnxruntime-tensorrt"


def test_the_real_package_for_cpus_refuses_a_gpu(tiny_bundle: Path) -> None:
    if CUDA in load_onnxruntime().get_available_providers():
        pytest.skip("onnxruntime-gpu is installed here")
    bundle = open_bundle(tiny_bundle)
    choice = Choice("onnxruntime", bundle.manifest.artifacts[0], "the test says so", Device("cuda"))
    with pytest.raises(BackendError, match="this onnxruntime has no CUDAExecutionProvider"):
        load(bundle, choice)
