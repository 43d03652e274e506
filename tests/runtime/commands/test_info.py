"""`eenet-run info`: quick, without a model, and it says why what is not there is not."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from eenet_runtime.bundle.manifest import Artifact, open_bundle
from eenet_runtime.commands import machine_info as info
from eenet_runtime.commands.machine_info import (
    describe_bundle,
    describe_serving,
    describe_system,
    serving_info,
    system_info,
)
from eenet_runtime.machine.cgroup import Cgroups
from eenet_runtime.machine.devices import GpuInfo, GpuSurvey
from eenet_runtime.machine.hardware import Processor, find_memory, find_processor, free_disk_bytes
from tests.synthetic import write_bundle

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu sse4_2 avx avx2 fma avx512f

processor\t: 1
model name\t: Another
"""
GPU = GpuInfo(0, "NVIDIA RTX A4000", "8.6", 16 << 30)


def run(*arguments: object) -> str:
    start = [sys.executable, "-c", "from eenet_runtime.cli import main; main()", "info"]
    return subprocess.run([*start, *map(str, arguments)], capture_output=True, text=True, check=True).stdout


def test_it_takes_less_than_a_second_and_imports_no_engine() -> None:
    code = (
        "import sys, eenet_runtime.commands.machine_info as info; info.describe_system(info.system_info()); "
        "print(sorted({'numpy', 'nibabel', 'openvino', 'onnxruntime', 'cuda', 'tensorrt_rtx'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time: a busy machine is not a slow program.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_the_system_is_told_in_words() -> None:
    text = run()
    for part in ("eenet ", "processor: ", "threads: ", "memory: ", "disk: ", "engines:", "packages: "):
        assert part in text
    assert f"openvino             {version('openvino')}; can serve" in text
    assert f"numpy {version('numpy')}" in text


def test_the_system_and_the_bundle_are_told_in_json(tiny_bundle: Path) -> None:
    alone = json.loads(run("--json"))
    assert alone["bundle"] is None
    assert alone["serving"] is None
    assert alone["system"]["threads"] == alone["system"]["cpus"]["affinity"] or alone["system"]["cpus"]["quota"]
    both = json.loads(run(tiny_bundle, "--json"))
    assert both["bundle"]["name"] == "tiny"
    assert both["serving"]["backend"] in ("native", "openvino")
    assert both["serving"]["why"].startswith("auto takes ")


def test_a_bundle_is_told_with_what_would_serve_it_and_what_was_proved(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    assert "parity: nothing was compared" in describe_bundle(bundle)
    assert "self-test: impossible, it has no golden case" in describe_bundle(bundle)
    text = describe_serving(serving_info(bundle))
    assert text.startswith("serves here: openvino on cpu with model.onnx\n  why: auto takes openvino")
    assert text.endswith("if it fails: onnxruntime on cpu, model.onnx")
    assert text in run(tiny_bundle)


def test_a_bundle_that_nothing_here_can_serve_says_why(tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "bundle", artifacts=(Artifact("onnx", "model.onnx", "int8", "int8"),)))
    assert describe_serving(serving_info(bundle)).startswith("serves here: nothing: ")
    assert "artefacts model.onnx (onnx-int8) found" in describe_serving(serving_info(bundle))


def test_an_engine_says_why_it_cannot_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"tensorrt-cu12": "10.9", "tensorrt-rtx": "1.7", "cuda-bindings": "13.0", "eenet-native": "0.1"}
    monkeypatch.setattr(info, "_version", installed.get)
    monkeypatch.setattr(info, "find_gpus", lambda: GpuSurvey(why_none="no NVIDIA driver"))
    monkeypatch.setattr(info, "find_processor", lambda: Processor("an old one", ("sse4_2", "avx")))
    said = {engine.name: engine.obstacle for engine in system_info().engines}
    assert said["openvino"] == 'not installed; pip install "eenet[openvino]"'
    assert said["tensorrt"] == said["tensorrt-rtx"] == "no NVIDIA driver"
    assert said["native"] == "this processor has no AVX2 and no FMA"
    monkeypatch.setattr(info, "find_gpus", lambda: GpuSurvey((GPU,), "13.0"))
    assert {engine.name: engine.obstacle for engine in system_info().engines}["tensorrt"] == ""
    assert "GPU cuda:0: NVIDIA RTX A4000, compute capability 8.6, 16.0 GiB, driver for CUDA 13.0" in describe_system(
        system_info()
    )
    del installed["cuda-bindings"]
    assert "cuda-bindings is not installed" in {e.name: e.obstacle for e in system_info().engines}["tensorrt"]


def test_the_processor_is_read_from_linux_and_unknown_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    found = find_processor(tmp_path / "cpuinfo")
    assert found.model == "Some CPU @ 2.00GHz"
    assert found.features == ("sse4_2", "avx", "avx2", "fma", "avx512f")
    unknown = find_processor(tmp_path / "missing")
    assert unknown.features == ()
    assert unknown.model


def test_memory_is_read_from_linux_and_its_total_from_posix_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:       1024 kB\nMemFree: 1 kB\nMemAvailable:    512 kB\n")
    nowhere = Cgroups(tmp_path / "no", tmp_path / "such")
    found = find_memory(tmp_path / "meminfo", nowhere)
    assert (found.total_bytes, found.available_bytes, found.limit_bytes) == (1 << 20, 1 << 19, None)
    without = find_memory(tmp_path / "missing", nowhere)
    assert without.total_bytes
    assert without.available_bytes is None
    system = replace(system_info(), memory=without, disk_free_bytes=None)
    assert "unknown available" in describe_system(system)


def test_a_folder_that_is_not_there_has_unknown_space(tmp_path: Path) -> None:
    assert free_disk_bytes(tmp_path)
    assert free_disk_bytes(tmp_path / "missing") is None
