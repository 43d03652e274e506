"""The acceptance run, as far as it goes without a GPU: real builds for RTX, and timing on an imagined one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eenet_bench.acceptance import acceptance
from eenet_bench.acceptance.acceptance import FAILED, LEFT_OUT, PASSED, AcceptanceReport, Step, accept
from eenet_bench.acceptance.acceptance_page import acceptance_markdown, acceptance_page, acceptance_text
from eenet_bench.acceptance.gpu_events import time_engine
from eenet_bench.measuring.environment import describe_environment
from eenet_runtime.errors import BackendError
from eenet_runtime.machine.devices import GpuInfo, GpuSurvey
from tests.export.engines.engine_graphs import write_engine_bundle
from tests.runtime.backends.fake_cuda import CudaStatus, FakeCuda
from tests.runtime.backends.fake_tensorrt import FakeTensorRT, fake_plan
from tests.synthetic import TINY, make_head, write_case

pytest.importorskip("tensorrt_rtx", reason='needs pip install "eenet[rtx]"')


class EventCuda(FakeCuda):
    """An imagined GPU with events, on which every piece of work takes a millisecond."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0
        self.times: dict[int, int] = {}

    def put(self, work: Any) -> None:
        def timed() -> None:
            work()
            self.clock += 1

        super().put(timed)

    def cudaEventCreate(self) -> tuple[Any, ...]:  # noqa: N802  # the names are CUDA's
        return self._did("cudaEventCreate", make="event")

    def cudaEventDestroy(self, event: int) -> tuple[Any, ...]:  # noqa: N802
        return self._free("event", event)

    def cudaEventRecord(self, event: int, stream: int) -> tuple[Any, ...]:  # noqa: N802
        assert not self.recording, "an event in a recording would become part of the graph"
        self._queue.append(lambda: self.times.__setitem__(event, self.clock))
        return self._did("cudaEventRecord")

    def cudaEventElapsedTime(self, first: int, second: int) -> tuple[Any, ...]:  # noqa: N802
        if self._queue:
            return (CudaStatus.cudaErrorInvalidValue, None)  # not waited for
        return CudaStatus.cudaSuccess, float(self.times[second] - self.times[first])


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> EventCuda:
    imagined = EventCuda()
    monkeypatch.setattr("eenet_runtime.backends.cuda._load_cuda", lambda: imagined)
    return imagined


def _plan(**traits: Any) -> bytes:
    shape = TINY.shape
    tensors = [
        ("volume", "INPUT", (1, 4, *shape), "FLOAT"),
        ("labels", "OUTPUT", (1, *shape), "UINT8"),
        ("probabilities", "OUTPUT", (1, 4, *shape), "FLOAT"),
    ]
    return fake_plan(tensors, **traits)


@pytest.mark.parametrize(("flavour", "capturable"), [("tensorrt", True), ("tensorrt-rtx", False)])
def test_an_engine_is_timed_by_events_and_by_the_host_and_leaves_nothing_behind(
    cuda: EventCuda, flavour: str, capturable: bool
) -> None:
    trt = FakeTensorRT(cuda, rtx=flavour == "tensorrt-rtx")
    volume = np.random.default_rng(0).normal(size=(*TINY.shape, 4)).astype(np.float32)
    found = time_engine(trt, _plan(capturable=capturable), flavour, volume, repeats=3)
    assert [times.output for times in found] == ["labels", "probabilities"]
    for times in found:
        assert times.replayed == capturable
        assert times.host.count == 3
        assert times.host.smallest > 0
        # Copy, compute, copy back: three pieces of work, whether they are replayed or not.
        assert (times.device.smallest, times.device.largest) == (3, 3)
        assert (times.upload.median, times.compute.median, times.download.median) == (1, 1, 1)
    assert cuda.live == []


def test_a_gpu_that_fails_while_it_is_timed_is_an_error_and_leaves_nothing_behind(cuda: EventCuda) -> None:
    cuda.failures["cudaEventRecord"] = CudaStatus.cudaErrorIllegalAddress
    volume = np.zeros((*TINY.shape, 4), np.float32)
    with pytest.raises(BackendError, match="CUDA failed while"):
        time_engine(FakeTensorRT(cuda), _plan(), "tensorrt", volume, repeats=1)
    assert cuda.live == []


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    write_case(folder, "A", make_head())
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_engine_bundle(tmp_path_factory.mktemp("bundles") / "engines", "fp16")


def test_without_a_gpu_everything_else_is_done_and_the_rest_is_left_out_with_the_reason(
    bundle: Path, cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptance, "find_gpus", lambda: GpuSurvey(why_none="no NVIDIA driver"))
    # The graph of this bundle is not the network: the gate would refuse its weights. It has tests of its own.
    monkeypatch.setattr(acceptance._Run, "gate", lambda self: None)
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    report = accept(bundle, cases)
    steps = {(step.engine, step.what): step for step in report.steps}
    assert steps["tensorrt-rtx fp16", "build"].outcome == PASSED
    assert "kernels" in steps["tensorrt-rtx fp16", "build"].detail
    assert steps["tensorrt fp16", "build"].outcome == LEFT_OUT
    for what in ("self-test", "timing"):
        assert steps["tensorrt-rtx fp16", what] == Step("tensorrt-rtx fp16", what, LEFT_OUT, "no NVIDIA driver")
    assert report.verdict.startswith("NOT ACCEPTED: no engine ran (no NVIDIA driver)")
    assert not report.failed
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_with_require_gpu_a_machine_without_one_fails(
    bundle: Path, cases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from eenet_bench.cli import main

    monkeypatch.setattr(acceptance, "find_gpus", lambda: GpuSurvey(why_none="no NVIDIA driver"))
    monkeypatch.setattr("sys.argv", ["eenet-bench", "gpu", str(bundle), "--cases", str(cases), "--require-gpu"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--require-gpu: no NVIDIA driver" in capsys.readouterr().err


def test_the_verdict_is_never_better_than_its_worst_step() -> None:
    gpu = GpuInfo(0, "Imagined GPU", "8.6", 12 << 30)
    report = AcceptanceReport("id", "tiny <b>", "p", describe_environment(), gpu, "")
    assert report.verdict == "NOT ACCEPTED: no engine could be run"
    report.steps.append(Step("tensorrt fp16", "timing", PASSED, "1 ms"))
    assert report.verdict == "ACCEPTED on Imagined GPU: tensorrt fp16"
    report.steps.append(Step("tensorrt fp16", "self-test", FAILED, "norm stress test: error 1.0"))
    assert report.verdict == "FAILED: tensorrt fp16, self-test: norm stress test: error 1.0"
    assert json.loads(report.to_json())["verdict"] == report.verdict
    for text in (acceptance_text(report), acceptance_markdown(report), acceptance_page(report)):
        assert report.verdict in text
        assert "Imagined GPU, compute capability 8.6" in text
    assert "<b>tiny" not in acceptance_page(report)
    assert "tiny &lt;b&gt;" in acceptance_page(report)
