"""Of several candidates the first that loads and proves itself serves; what was asked for by name is the only one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.backends import Backend, Candidates, Choice, candidates, load
from eenet_runtime.bundle.manifest import Artifact, Bundle, open_bundle
from eenet_runtime.errors import BackendError, BundleError, SelfTestError
from eenet_runtime.machine.devices import Device
from eenet_runtime.selftest import serving
from eenet_runtime.selftest.golden import read_golden
from eenet_runtime.selftest.serving import serve
from tests.golden import add_golden
from tests.synthetic import write_bundle

PLAN = Artifact("tensorrt", "model.plan", "fp32", "fp32", probabilities_name="")
ON_GPU = Choice("tensorrt", PLAN, "auto takes tensorrt on cuda:0", Device("cuda"))


@dataclass
class Engine:
    """A GPU engine that computes this mask."""

    mask: NDArray[np.uint8]
    artifact: Artifact = PLAN
    name: str = "tensorrt"
    version: str = "11.4"
    device: str = "a GPU"
    gpu_index: int | None = 0
    closed: bool = False

    def __call__(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        raise BackendError("labels only")

    def labels(self, volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        return self.mask

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = write_bundle(tmp_path_factory.mktemp("serving") / "bundle")
    add_golden(folder)
    return open_bundle(folder)


@pytest.fixture
def gpu_and_cpu(bundle: Bundle) -> Candidates:
    """What `auto` finds on a machine with a GPU and a plan for it."""
    return Candidates((ON_GPU, *candidates(bundle, device="cpu").choices))


def let_the_gpu(monkeypatch: pytest.MonkeyPatch, do: Callable[[], Backend]) -> None:
    def load_or_stand_in(bundle: Bundle, choice: Choice, threads: int | None) -> Backend:
        return do() if choice.device.kind == "cuda" else load(bundle, choice, threads)

    monkeypatch.setattr(serving, "load", load_or_stand_in)


def test_an_engine_that_proves_itself_serves(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, gpu_and_cpu: Candidates
) -> None:
    let_the_gpu(monkeypatch, lambda: Engine(read_golden(bundle).labels))
    served = serve(bundle, gpu_and_cpu, 1, selftest=False)
    assert served.choice.why == ON_GPU.why
    assert served.self_test is not None
    assert served.self_test.passed


def test_an_engine_that_computes_something_else_is_closed_and_the_cpu_serves_and_says_so(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, gpu_and_cpu: Candidates, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(np.ascontiguousarray(read_golden(bundle).labels[::-1]))
    let_the_gpu(monkeypatch, lambda: engine)
    with caplog.at_level(logging.WARNING, logger="eenet_runtime"):
        served = serve(bundle, gpu_and_cpu, 1, selftest=False)
    assert engine.closed
    assert served.backend.name == served.choice.name == "openvino"
    assert served.self_test is None
    assert "; tensorrt on cuda:0 was turned down: " in served.choice.why
    assert "self-test failed with tensorrt 11.4 on a GPU" in served.choice.why
    assert [record.getMessage() for record in caplog.records] == [
        "tensorrt on cuda:0 was turned down (SelfTestError)",
    ]


@pytest.mark.parametrize("error", [BackendError("no memory"), BundleError("no sidecar")])
def test_an_engine_that_cannot_be_loaded_is_turned_down(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, gpu_and_cpu: Candidates, error: Exception
) -> None:
    def fail() -> Backend:
        raise error

    let_the_gpu(monkeypatch, fail)
    served = serve(bundle, gpu_and_cpu, 1, selftest=False)
    assert served.choice.why.endswith(f"tensorrt on cuda:0 was turned down: {error}")


def test_what_was_asked_for_is_not_replaced(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    let_the_gpu(monkeypatch, lambda: Engine(np.zeros((64, 64, 24), np.uint8)))
    with pytest.raises(SelfTestError, match="it must not be used on this machine"):
        serve(bundle, Candidates((ON_GPU,)), 1, selftest=False)


def test_where_nothing_serves_every_reason_is_told(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    let_the_gpu(monkeypatch, lambda: Engine(np.zeros((64, 64, 24), np.uint8)))
    second = Choice("tensorrt-rtx", PLAN, "auto takes it", Device("cuda", 1))
    with pytest.raises(SelfTestError, match=r"self-test failed .*; tensorrt on cuda:0 was turned down: .*self-test"):
        serve(bundle, Candidates((ON_GPU, second)), 1, selftest=False)


def test_without_a_golden_case_no_engine_on_a_gpu_serves(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, gpu_and_cpu: Candidates
) -> None:
    let_the_gpu(monkeypatch, lambda: Engine(np.zeros((64, 64, 24), np.uint8)))
    opened = open_bundle(tiny_bundle)
    assert "no golden case found" in serve(opened, gpu_and_cpu, 1, selftest=False).choice.why
    with pytest.raises(BundleError, match="no golden case found"):
        serve(opened, Candidates((ON_GPU,)), 1, selftest=False)


def test_an_onnx_graph_on_a_gpu_must_prove_itself_too(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    onnx = bundle.manifest.artifacts[0]
    let_the_gpu(monkeypatch, lambda: Engine(np.zeros((64, 64, 24), np.uint8), onnx, "onnxruntime"))
    with pytest.raises(BackendError, match="labels only"):  # it was asked for the golden case's probabilities
        serve(bundle, Candidates((Choice("onnxruntime", onnx, "asked for", Device("cuda")),)), 1, selftest=False)
