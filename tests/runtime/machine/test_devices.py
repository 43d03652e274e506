"""Which device an engine gets: what is asked for is never replaced, and `auto` explains itself."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eenet_runtime.backends import choice
from eenet_runtime.backends.choice import Candidates, candidates, choose
from eenet_runtime.bundle.engine_file import (
    BuildGpu,
    EngineFlags,
    EngineSidecar,
    EngineTensor,
    LayerSummary,
    sidecar_name,
)
from eenet_runtime.bundle.manifest import Artifact, Bundle, BundleFile, Manifest
from eenet_runtime.errors import BackendError
from eenet_runtime.machine import devices
from eenet_runtime.machine.devices import CPU, Device, GpuInfo, GpuSurvey, find_gpus, parse_device
from tests.synthetic import TINY

FP32 = Artifact("onnx", "model.onnx", "fp32", "fp16")
FP16 = Artifact("onnx", "model.fp16.onnx", "fp16", "fp16")
PLAN = Artifact("tensorrt", "model.sm86.plan", "fp16", "fp16")
PLAN_89 = Artifact("tensorrt", "model.sm89.plan", "fp16", "fp16")
RTX_PLAN = Artifact("tensorrt-rtx", "model.rtx", "fp16", "fp16")
A4000 = GpuInfo(0, "NVIDIA RTX A4000", "8.6", 16 << 30)
EVERYTHING = {"openvino": "2026.4", "onnxruntime-gpu": "1.32", "tensorrt": "11.4", "tensorrt-rtx": "1.7"}


def machine(monkeypatch: pytest.MonkeyPatch, packages: dict[str, str], gpus: Sequence[GpuInfo] = ()) -> None:
    """Let these packages and GPUs, and no others, be here."""
    names = {"onnxruntime-gpu": "onnxruntime", "tensorrt-rtx": "tensorrt_rtx"}
    modules = {names.get(package, package) for package in packages}
    survey = GpuSurvey(tuple(gpus), "13.0") if gpus else GpuSurvey(why_none="no NVIDIA driver")
    monkeypatch.setattr(choice, "find_spec", lambda name: object() if name in modules else None)
    monkeypatch.setattr(choice, "_version", packages.get)
    monkeypatch.setattr(choice, "find_gpus", lambda: survey)


def bundle_of(folder: Path, *artifacts: Artifact, built_for: str = "8.6") -> Bundle:
    """A bundle whose plans have sidecars: for the compute capability in their name, else `built_for`."""
    for artifact in artifacts:
        if artifact.kind.startswith("tensorrt"):
            capability = "8.9" if "sm89" in artifact.path else built_for
            (folder / sidecar_name(artifact.path)).write_text(sidecar(artifact, capability).to_json())
    return Bundle(folder, Manifest("any", TINY, artifacts, ()), "0" * 16)


def sidecar(artifact: Artifact, capability: str) -> EngineSidecar:
    """What the builder writes beside a plan; only what the choice looks at matters here."""
    volume = (1, 4, *TINY.shape)
    return EngineSidecar(
        flavour=artifact.kind,
        tensorrt_version=EVERYTHING[artifact.kind],
        precision=artifact.precision,
        plan=BundleFile(artifact.path, "0" * 64, 1),
        source=(BundleFile("model.onnx", "0" * 64, 1),),
        tensors=(
            EngineTensor("volume", "input", volume, "float32"),
            EngineTensor("labels", "output", (1, *TINY.shape), "uint8"),
        ),
        compute_capabilities=(capability,),
        gpu=BuildGpu("any", capability, 1, "13.0") if artifact.kind == "tensorrt" else None,
        flags=EngineFlags(3, 1),
        activation_bytes=1,
        weights_bytes=1,
        layers=LayerSummary(1, 1, ("Half",), "0" * 64),
    )


def served(found: Candidates) -> list[str]:
    """Engine and device of every candidate, in their order."""
    return [f"{entry.name} {entry.device}" for entry in found.choices]


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("auto", Device("auto")),
        ("cpu", CPU),
        ("cuda", Device("cuda")),
        ("cuda:0", Device("cuda")),
        ("cuda:3", Device("cuda", 3)),
    ],
)
def test_a_device_has_four_spellings(text: str, device: Device) -> None:
    assert parse_device(text) == device
    assert parse_device(str(device)) == device


@pytest.mark.parametrize("text", ["", "gpu", "cuda:", "cuda:-1", "cuda:1:2", "cpu:0", "CUDA", "cuda: 1", "auto:1"])
def test_any_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(BackendError, match="expected auto, cpu, cuda or cuda:n"):
        parse_device(text)


# auto


def test_auto_takes_an_engine_that_was_built_for_the_gpu_and_keeps_the_cpu_behind_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(monkeypatch, EVERYTHING, [A4000])
    found = candidates(bundle_of(tmp_path, FP32, RTX_PLAN, PLAN))
    assert served(found) == [
        "tensorrt cuda:0",
        "tensorrt-rtx cuda:0",
        "onnxruntime cuda:0",
        "openvino cpu",
        "onnxruntime cpu",
    ]
    assert found.first.why == (
        "auto takes tensorrt on cuda:0: NVIDIA RTX A4000, compute capability 8.6; "
        "model.sm86.plan: the first tensorrt artefact of the bundle"
    )


def test_auto_goes_on_to_the_cpu_without_a_gpu_and_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, EVERYTHING)
    first = choose(bundle_of(tmp_path, PLAN, FP32))
    assert (first.name, first.device) == ("openvino", CPU)
    assert "tensorrt on cuda:0 was turned down: no NVIDIA driver" in first.why


def test_a_bundle_without_engines_for_a_gpu_says_nothing_about_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(monkeypatch, {"openvino": "2026.4", "onnxruntime": "1.32", "tensorrt": "11.4"}, [A4000])
    first = choose(bundle_of(tmp_path, FP32))
    assert first.name == "openvino"
    assert "cuda" not in first.why
    assert "tensorrt" not in first.why


@pytest.mark.parametrize(
    ("packages", "built_for", "reason"),
    [
        ({"openvino": "2026.4"}, "8.6", "tensorrt is not installed"),
        ({**EVERYTHING, "tensorrt": "10.9"}, "8.6", "built with tensorrt 11.4, 10.9 found here"),
        (EVERYTHING, "7.5", "built for compute capability 7.5, this GPU has 8.6"),
    ],
)
def test_a_plan_that_does_not_fit_is_turned_down_before_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, packages: dict[str, str], built_for: str, reason: str
) -> None:
    machine(monkeypatch, packages, [A4000])
    found = candidates(bundle_of(tmp_path, PLAN, FP32, built_for=built_for))
    assert "tensorrt cuda:0" not in served(found)
    assert found.choices[-1].device == CPU
    assert "tensorrt on cuda:0 was turned down: " in found.first.why
    assert reason in found.first.why


def test_a_plan_without_a_sidecar_is_turned_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, EVERYTHING, [A4000])
    bundle = bundle_of(tmp_path, PLAN, FP32)
    (tmp_path / sidecar_name(PLAN.path)).unlink()
    assert "turned down: " in choose(bundle).why
    assert "cannot be read" in choose(bundle).why


def test_of_several_plans_the_one_for_this_gpu_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, EVERYTHING, [A4000, replace(A4000, index=1, compute_capability="8.9")])
    bundle = bundle_of(tmp_path, PLAN_89, PLAN, FP32)
    for name in ("auto", "tensorrt"):
        assert choose(bundle, backend=name, device="cuda").artifact == PLAN
        assert choose(bundle, backend=name, device="cuda:1").artifact == PLAN_89


def test_auto_takes_onnxruntime_on_a_gpu_where_its_package_for_gpus_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(monkeypatch, {"openvino": "2026.4", "onnxruntime-gpu": "1.32"}, [A4000])
    first = choose(bundle_of(tmp_path, FP16, FP32))
    assert (first.name, first.device, first.artifact) == ("onnxruntime", Device("cuda"), FP32)
    assert "onnxruntime takes fp32 unless another precision is asked for" in first.why


def test_what_failed_is_told_by_whatever_comes_after_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, {"openvino": "2026.4", "tensorrt": "11.4"}, [A4000])
    found = candidates(bundle_of(tmp_path, PLAN, FP32))
    rest = found.without_first(BackendError("the GPU fell off the bus"))
    assert served(rest) == ["openvino cpu"]
    assert rest.first.why.endswith("; tensorrt on cuda:0 was turned down: the GPU fell off the bus")
    assert rest.without_first(BackendError("no")).choices == ()


# What is asked for


def test_cuda_never_becomes_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, EVERYTHING)
    bundle = bundle_of(tmp_path, PLAN, FP32)
    with pytest.raises(BackendError, match="nothing runs it on cuda:0: tensorrt on cuda:0 was turned down: no NVIDIA"):
        candidates(bundle, device="cuda")
    machine(monkeypatch, EVERYTHING, [A4000])
    assert all(entry.device == Device("cuda") for entry in candidates(bundle, device="cuda").choices)
    with pytest.raises(BackendError, match=r"GPU 1 is not there, 1 found \(the first is 0\)"):
        candidates(bundle, device="cuda:1")


def test_cuda_without_any_engine_for_it_names_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, {"openvino": "2026.4", "onnxruntime": "1.32"}, [A4000])
    with pytest.raises(BackendError, match=r'onnxruntime-gpu is not installed; run: pip install "eenet\[gpu\]"'):
        candidates(bundle_of(tmp_path, FP32), device="cuda")


def test_the_cpu_never_becomes_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, EVERYTHING, [A4000])
    found = candidates(bundle_of(tmp_path, PLAN, FP32), device="cpu")
    assert served(found) == ["openvino cpu", "onnxruntime cpu"]


@pytest.mark.parametrize(
    ("name", "device"),
    [("openvino", "cuda:0"), ("native", "cuda:1"), ("tensorrt", "cpu"), ("onnxruntime-tensorrt", "cpu")],
)
def test_an_engine_on_a_device_that_it_does_not_know_is_refused(tmp_path: Path, name: str, device: str) -> None:
    with pytest.raises(BackendError, match=f"{name} runs on .*, device {device} was asked for"):
        candidates(bundle_of(tmp_path, FP32, FP16, PLAN), backend=name, device=device)


def test_an_engine_and_a_device_by_name_are_the_only_candidate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, EVERYTHING, [A4000])
    bundle = bundle_of(tmp_path, PLAN, FP32, FP16)
    assert served(candidates(bundle, backend="onnxruntime", device="cuda:0")) == ["onnxruntime cuda:0"]
    assert served(candidates(bundle, backend="tensorrt")) == ["tensorrt cuda:0"]
    assert served(candidates(bundle, backend="onnxruntime", device="cpu")) == ["onnxruntime cpu"]
    found = candidates(bundle, backend="onnxruntime-tensorrt")
    assert served(found) == ["onnxruntime-tensorrt cuda:0"]
    assert found.first.artifact == FP16


def test_onnxruntime_on_an_open_device_tries_the_gpu_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, FP32)
    machine(monkeypatch, EVERYTHING, [A4000])
    assert served(candidates(bundle, backend="onnxruntime")) == ["onnxruntime cuda:0", "onnxruntime cpu"]
    machine(monkeypatch, {"onnxruntime": "1.32"}, [A4000])
    assert served(candidates(bundle, backend="onnxruntime")) == ["onnxruntime cpu"]


# The native engine


@pytest.mark.parametrize(("obstacle", "first"), [(None, "native"), ("this processor has no AVX2", "openvino")])
def test_auto_prefers_the_native_engine_where_the_processor_is_one_it_is_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, obstacle: str | None, first: str
) -> None:
    machine(monkeypatch, {"eenet_native": "0.1", "openvino": "2026.4"})
    monkeypatch.setattr("eenet_runtime.backends.native_backend.obstacle", lambda: obstacle)
    bundle = bundle_of(tmp_path, FP32, replace(FP32, kind="native", path="plane.onnx"))
    found = choose(bundle)
    assert found.name == first
    assert (obstacle or "auto takes native") in found.why
    assert choose(bundle_of(tmp_path, FP32)).name == "openvino"


# The driver


class FakeDriver:
    """Stands for libcuda: two GPUs, or an error from `cuInit`."""

    def __init__(self, init: int = 0, count: int = 2) -> None:
        self.init, self.count = init, count

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.init

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = 13000
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, handle: Any, index: int) -> int:  # noqa: N802
        handle._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, size: int, handle: Any) -> int:  # noqa: N802
        name.value = f"GPU number {handle.value}".encode()
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, handle: Any) -> int:  # noqa: N802
        value._obj.value = {75: 8, 76: 6}[attribute]
        return 0

    def cuDeviceTotalMem_v2(self, size: Any, handle: Any) -> int:  # noqa: N802
        size._obj.value = 16 << 30
        return 0


def test_the_driver_is_asked_for_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeDriver())
    survey = find_gpus()
    assert survey.gpus[1] == GpuInfo(1, "GPU number 1", "8.6", 16 << 30)
    assert (len(survey.gpus), survey.driver, survey.why_none) == (2, "13.0", "")


@pytest.mark.parametrize(("driver", "reason"), [(FakeDriver(init=100), "error 100"), (FakeDriver(count=0), "no GPU")])
def test_a_driver_without_a_gpu_is_an_answer(monkeypatch: pytest.MonkeyPatch, driver: FakeDriver, reason: str) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    assert find_gpus().gpus == ()
    assert reason in find_gpus().why_none


def test_a_machine_without_a_driver_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert "no NVIDIA driver" in devices.find_gpus().why_none
