"""Which plans the backends for `tensorrt` and `tensorrt-rtx` refuse, and which of those TensorRT never sees."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eenet_runtime.backends.engine_runner import deserialise
from eenet_runtime.backends.tensorrt_rtx_backend import load_tensorrt_rtx
from eenet_runtime.bundle import bundle_files as bundle
from eenet_runtime.bundle.engine_file import FLAVOURS, TENSORRT, TENSORRT_RTX, EngineSidecar, EngineTensor, sidecar_name
from eenet_runtime.errors import BackendError, BundleError
from tests.runtime.backends.engine_site import SHAPE, Site, described, make_site
from tests.runtime.backends.fake_cuda import CudaStatus, FakeCuda
from tests.runtime.backends.fake_tensorrt import FakeTensorRT, Tensor


@pytest.fixture(params=FLAVOURS)
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return make_site(request.param, tmp_path, monkeypatch)


# Before TensorRT sees the plan


def test_a_plan_with_one_changed_byte_is_refused(site: Site) -> None:
    site.write()
    content = bytearray(site.plan.read_bytes())
    content[-2] ^= 1
    site.plan.write_bytes(content)
    site.refused(r"SHA-256 .* found, its sidecar says")


def test_a_plan_that_was_exchanged_with_its_sidecar_is_refused_by_the_manifests_hash(site: Site) -> None:
    site.write()
    digest = described(site.plan).sha256
    site.load(sha256=digest).close()
    site.write(nan=True)
    site.refused(rf"SHA-256 is not the manifest's {digest[:12]}", BundleError, sha256=digest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tensorrt_version": "10.8.0.43"}, r"built with .* 10\.8\.0\.43, 10\.9\.0\.34 found here"),
        ({"compute_capabilities": ("8.9",)}, r"built for compute capability 8\.9, this GPU has 8\.6"),
        ({"precision": "fp32"}, "a plan in fp32 found, the manifest announces fp16"),
        (
            {"activation_bytes": 9 << 30},
            r"8192 MiB of 12288 MiB are free on Imagined GPU, the engine needs 9\d\d\d MiB",
        ),
        ({"weights_bytes": 8 << 30}, "the engine needs 8951 MiB"),
    ],
)
def test_a_plan_that_does_not_fit_this_machine_is_refused(site: Site, change: dict[str, Any], message: str) -> None:
    site.write(change=change)
    site.refused(message)


def test_a_plan_of_the_other_flavour_is_refused(site: Site) -> None:
    other = {TENSORRT: TENSORRT_RTX, TENSORRT_RTX: TENSORRT}[site.flavour]
    site.write(change={"flavour": other})
    site.refused(f"a plan of {other} found, {site.flavour} needs its own")


def test_a_file_too_large_for_a_plan_is_not_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write()
    monkeypatch.setattr(bundle, "READ_LIMIT_BYTES", 100)
    site.refused("which is no engine of this network", BundleError)


def test_a_plan_without_its_sidecar_is_refused(site: Site) -> None:
    site.write()
    site.plan.with_name(sidecar_name(site.plan.name)).unlink()
    site.refused(r"model\.plan\.json: not found, expected beside the plan", BundleError)


def test_a_header_that_rtx_calls_invalid_is_refused_with_its_reason(site: Site) -> None:
    site.write()
    site.trt.header = (2, 1 | 2)
    if site.flavour == TENSORRT:
        site.load().close()
    else:
        site.refused(r"invalid here \(version_mismatch, unsupported_cc\)")


def test_a_machine_without_a_gpu_is_told_so(site: Site) -> None:
    site.write()
    site.cuda.failures["cudaGetDeviceCount"] = CudaStatus.cudaErrorNoDevice
    site.refused("no NVIDIA GPU found")


def test_a_missing_package_is_named_with_its_extra(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write()
    monkeypatch.setitem(sys.modules, site.trt.__name__, None)
    site.refused(rf"{site.trt.__name__} is not installed; .*eenet\[{'rtx' if site.trt.rtx else 'tensorrt'}\]")


def test_a_tensorrt_that_cannot_start_is_reported(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_runtime(trt: Any, logger: Any) -> Any:
        logger.log(1, "no driver")
        raise TypeError("factory function returned nullptr")

    site.write()
    monkeypatch.setattr(FakeTensorRT, "Runtime", no_runtime)
    site.refused(r"cannot be used here \(no driver\)")


# After TensorRT has seen it


def test_what_tensorrt_cannot_load_is_reported_in_its_words(site: Site) -> None:
    site.write()
    site.plan.write_bytes(b"no plan")
    sidecar = site.plan.with_name(sidecar_name(site.plan.name))
    known = EngineSidecar.from_json(sidecar.read_text(), "")
    sidecar.write_text(replace(known, plan=described(site.plan)).to_json())
    with pytest.raises(BackendError, match=r"cannot load this plan \(magic tag not found\)"):
        site.load()
    assert site.cuda.live == []


@pytest.mark.parametrize(
    ("index", "other"),
    [
        (0, ("volume", "INPUT", (1, 4, *SHAPE[::-1]), "FLOAT")),
        (0, ("volume", "INPUT", (1, 4, *SHAPE), "HALF")),
        (1, ("labels", "OUTPUT", (1, *SHAPE), "INT64")),
        (2, ("scores", "OUTPUT", (1, 4, *SHAPE), "FLOAT")),
        (2, ("probabilities", "INPUT", (1, 4, *SHAPE), "FLOAT")),
    ],
)
def test_an_engine_with_other_tensors_than_announced_is_refused(site: Site, index: int, other: Tensor) -> None:
    tensors = site.tensors()
    tensors[index] = other
    site.write(tensors)
    with pytest.raises(BackendError, match=rf"the engine has .*{other[0]}.*, the manifest announces input volume"):
        site.load()
    assert site.cuda.live == []


def test_a_sidecar_that_announces_other_tensors_than_the_engine_has_is_refused(site: Site) -> None:
    site.write(
        change={"tensors": (EngineTensor("a", "input", (1,), "uint8"), EngineTensor("b", "output", (1,), "uint8"))}
    )
    with pytest.raises(BackendError, match="its sidecar has input a uint8"):
        site.load()


def test_a_tensor_in_a_packed_format_is_refused(site: Site) -> None:
    site.write(format="CHW32")
    with pytest.raises(BackendError, match="tensor volume has format CHW32, expected LINEAR"):
        site.load()


# The real package, where it is installed; none of this needs a GPU


def test_the_real_rtx_has_every_name_that_the_stand_in_has() -> None:
    real = pytest.importorskip("tensorrt_rtx")
    for name in ("DataType", "TensorIOMode", "TensorFormat", "EngineValidity", "EngineInvalidityDiagnostics"):
        standin = getattr(FakeTensorRT(FakeCuda(), rtx=True), name)
        theirs = getattr(real, name).__members__
        assert [member.name for member in standin if member.name not in theirs] == []
    for kind, names in {
        real.Runtime: ("engine_header_size", "get_engine_validity", "deserialize_cuda_engine"),
        real.ICudaEngine: (
            "num_io_tensors",
            "create_execution_context",
            *(f"get_tensor_{what}" for what in ("name", "mode", "shape", "dtype", "format")),
        ),
        real.IExecutionContext: ("set_tensor_address", "execute_async_v3", "is_stream_capturable"),
    }.items():
        assert [name for name in names if not hasattr(kind, name)] == []
    assert int(real.ILogger.ERROR) == FakeTensorRT.ILogger.ERROR


@pytest.mark.parametrize("check_header", [False, True])
def test_the_real_rtx_refuses_a_file_that_is_no_plan(check_header: bool) -> None:
    pytest.importorskip("tensorrt_rtx")
    with pytest.raises(BackendError, match=r"garbage: .*(cannot load this plan|malformed_engine)"):
        deserialise(load_tensorrt_rtx(), b"x" * 4096, "garbage", check_header=check_header)
