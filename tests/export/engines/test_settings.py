"""Settings that no engine can have, names of plans, and the differences between the libraries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eenet_export.engines import flavour as flavour_module
from eenet_export.engines.flavour import (
    Flavour,
    choose_targets,
    create_config,
    create_network,
    find_build_gpu,
    known_compute_capabilities,
    load_flavour,
)
from eenet_export.engines.names import plan_name
from eenet_export.engines.settings import EngineSettings
from eenet_export.engines.watch import Fractions
from eenet_runtime.backends import cuda
from eenet_runtime.bundle.engine_file import AMPERE_PLUS, SAME_COMPUTE_CAPABILITY, TENSORRT, TENSORRT_RTX, BuildGpu
from eenet_runtime.errors import BackendError, ExportError

GPU = BuildGpu("NVIDIA L4", "8.9", 58, "13.0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flavour": "onnx"}, "unknown engine 'onnx'; known engines: tensorrt, tensorrt-rtx"),
        ({"flavour": TENSORRT, "precision": "int8"}, "precision 'int8' found, expected fp16 or fp32"),
        ({"flavour": TENSORRT, "opt_level": 6}, "level 6 found, expected 0 to 5"),
        ({"flavour": TENSORRT, "workspace_gb": 0.0}, "workspace of 0.0 GiB"),
        ({"flavour": TENSORRT, "workspace_gb": float("nan")}, "workspace of nan GiB"),
        ({"flavour": TENSORRT, "hardware_compatibility": "all"}, "hardware compatibility 'all'"),
        ({"flavour": TENSORRT, "compute_capabilities": ("8.6",)}, "is for the GPU it is built on"),
        ({"flavour": TENSORRT_RTX, "hardware_compatibility": AMPERE_PLUS}, "list the compute capabilities instead"),
        ({"flavour": TENSORRT_RTX, "timing_cache": Path("cache")}, "leave the cache out"),
    ],
)
def test_settings_that_cannot_be_are_refused_when_they_are_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        EngineSettings(**options)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("model.fp16.onnx", "fp16", "1.7.1.116", ("8.6",)), "model.cc86.trt1.7.1.116.fp16.plan"),
        (("model.onnx", "fp32", "1.7.1.116", ("8.0", "8.6", "12.0")), "model.cc80-86-120.trt1.7.1.116.fp32.plan"),
        (("model.onnx", "fp16", "10.9.0.34", ("8.9",), "NVIDIA L4"), "model.nvidia-l4.trt10.9.0.34.fp16.plan"),
        (
            ("model.onnx", "fp16", "11.4.0.106", ("9.0",), "NVIDIA H100 80GB HBM3"),
            "model.nvidia-h100-80gb-hbm3.trt11.4.0.106.fp16.plan",
        ),
        (("m.onnx", "fp16", "11.4", ("8.9",), "NVIDIA L4", AMPERE_PLUS), "m.ampere-plus.trt11.4.fp16.plan"),
        (("m.onnx", "fp16", "11.4", ("8.9",), "NVIDIA L4", SAME_COMPUTE_CAPABILITY), "m.cc89.trt11.4.fp16.plan"),
    ],
)
def test_a_plan_is_named_after_where_it_runs(arguments: tuple[Any, ...], name: str) -> None:
    assert plan_name(*arguments) == name


def test_progress_counts_nested_phases_and_never_goes_back() -> None:
    progress = Fractions()
    progress.start("all", None, 4)
    progress.start("first", "all", 2)
    assert progress.step("first", 0) == pytest.approx(1 / 8)
    assert progress.step("first", 1) == pytest.approx(1 / 4)
    progress.finish("first")
    assert progress.step("all", 0) == pytest.approx(1 / 4)
    progress.start("second", "all", 10)
    assert progress.step("second", 4) == pytest.approx(3 / 8)
    progress.start("second", "all", 10)
    assert progress.step("second", 0) == pytest.approx(3 / 8)
    assert progress.step("all", 3) == 1.0


def test_a_phase_that_names_itself_as_its_parent_does_not_hang_a_build() -> None:
    progress = Fractions()
    progress.start("loop", "loop", 2)
    assert 0 <= progress.step("loop", 1) <= 1


class FakeNetwork:
    def __init__(self, flags: int, typed: bool) -> None:
        self.flags, self.typed = flags, typed

    def get_flag(self, flag: int) -> bool:
        return self.typed


def _fake(strongly_typed: int | None, typed: bool = True) -> tuple[Flavour, Any]:
    flags = SimpleNamespace() if strongly_typed is None else SimpleNamespace(STRONGLY_TYPED=strongly_typed)
    builder = SimpleNamespace(create_network=lambda flags: FakeNetwork(flags, typed))
    return Flavour(TENSORRT, SimpleNamespace(NetworkDefinitionCreationFlag=flags), "x"), builder


@pytest.mark.parametrize(("value", "bits"), [(1, 2), (0, 1), (None, 0)])
def test_the_flag_for_strong_types_is_asked_for_by_name(value: int | None, bits: int) -> None:
    flavour, builder = _fake(value)
    assert create_network(flavour, builder).flags == bits


def test_a_network_that_may_choose_its_types_is_refused() -> None:
    flavour, builder = _fake(1, typed=False)
    with pytest.raises(ExportError, match="no strongly typed network"):
        create_network(flavour, builder)


def test_a_library_that_makes_no_network_is_reported() -> None:
    flavour, _ = _fake(0)
    with pytest.raises(ExportError, match="no strongly typed network"):
        create_network(flavour, SimpleNamespace(create_network=lambda flags: None))


def test_an_older_library_that_lacks_a_compatibility_is_reported() -> None:
    config = SimpleNamespace(set_memory_pool_limit=lambda *_: None, clear_flag=lambda _: None)
    trt = SimpleNamespace(
        MemoryPoolType=SimpleNamespace(WORKSPACE=0),
        ProfilingVerbosity=SimpleNamespace(DETAILED=2),
        BuilderFlag=SimpleNamespace(TF32=6),
        HardwareCompatibilityLevel=SimpleNamespace(NONE=0, AMPERE_PLUS=1),
    )
    flavour, builder = Flavour(TENSORRT, trt, "10.9.0.34"), SimpleNamespace(create_builder_config=lambda: config)
    options: dict[str, Any] = {"workspace_bytes": 1, "opt_level": 3}
    create_config(flavour, builder, (), compatibility=AMPERE_PLUS, **options)
    assert config.hardware_compatibility_level == 1
    with pytest.raises(ExportError, match=r"tensorrt 10\.9\.0\.34 knows no hardware compatibility same_compute"):
        create_config(flavour, builder, (), compatibility=SAME_COMPUTE_CAPABILITY, **options)


def _rtx_with(*names: str) -> Flavour:
    members = dict.fromkeys(names)
    return Flavour(TENSORRT_RTX, SimpleNamespace(ComputeCapability=SimpleNamespace(__members__=members)), "9")


RTX = _rtx_with("NONE", "CURRENT", "SM120", "SM75", "SM80", "SM86")


@pytest.mark.parametrize(
    ("asked", "targets"), [((), ("8.0", "8.6", "12.0")), (("12.0", "7.5"), ("7.5", "12.0")), (("8.6",), ("8.6",))]
)
def test_targets_are_sorted_and_ampere_and_newer_by_default(asked: Sequence[str], targets: Sequence[str]) -> None:
    assert known_compute_capabilities(RTX) == ("7.5", "8.0", "8.6", "12.0")
    assert choose_targets(RTX, asked, None) == targets


@pytest.mark.parametrize("capability", ["9.0", "86", "8.60", ""])
def test_an_unknown_target_is_refused_with_the_list_of_known_ones(capability: str) -> None:
    with pytest.raises(ExportError, match=rf"{capability} found, tensorrt-rtx 9 builds for 7\.5, 8\.0, 8\.6, 12\.0"):
        choose_targets(RTX, (capability,), None)


def test_an_engine_of_tensorrt_runs_where_it_is_built() -> None:
    assert choose_targets(Flavour(TENSORRT, None, "11"), (), GPU) == ("8.9",)


@pytest.mark.parametrize(
    ("name", "module", "extra"), [(TENSORRT, "tensorrt", "tensorrt"), (TENSORRT_RTX, "tensorrt_rtx", "rtx")]
)
def test_a_missing_library_names_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    def refuse(wanted: str) -> Any:
        raise ModuleNotFoundError(f"No module named {wanted!r}")

    monkeypatch.setattr(flavour_module, "importlib", SimpleNamespace(import_module=refuse))
    with pytest.raises(ExportError, match=rf'^{module} is not installed; .*pip install "eenet\[{extra}\]"$'):
        load_flavour(name)


@pytest.mark.parametrize(
    ("version", "fits"), [("8.6.1", False), ("10.8.0.43", False), ("10.9.0.34", True), ("11.4", True)]
)
def test_a_library_too_old_for_group_norms_is_refused(
    monkeypatch: pytest.MonkeyPatch, version: str, fits: bool
) -> None:
    fake = SimpleNamespace(import_module=lambda name: SimpleNamespace(__version__=version))
    monkeypatch.setattr(flavour_module, "importlib", fake)
    if fits:
        assert load_flavour(TENSORRT).version == version
        return
    with pytest.raises(ExportError, match=rf"tensorrt {version} found, expected 10\.9 or newer"):
        load_flavour(TENSORRT)


def test_tensorrt_without_a_gpu_says_so_and_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_here(index: int = 0) -> Any:
        raise BackendError("no NVIDIA GPU found")

    monkeypatch.setattr(cuda, "find_gpu", none_here)
    with pytest.raises(ExportError, match=r"built on the GPU that will run it \(no NVIDIA GPU found\); tensorrt-rtx"):
        find_build_gpu(Flavour(TENSORRT, None, "11"))


def test_rtx_needs_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cuda, "find_gpu")
    assert find_build_gpu(Flavour(TENSORRT_RTX, None, "1.7")) is None
