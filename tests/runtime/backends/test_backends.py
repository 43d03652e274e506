"""Which engine runs which artefact, and how the choice is explained."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from eenet_runtime.backends import backend_names, choice, choose, make_backend, tensorrt_backend, tensorrt_rtx_backend
from eenet_runtime.backends.onnxruntime_backend import OnnxRuntimeBackend
from eenet_runtime.backends.openvino_backend import OpenVinoBackend
from eenet_runtime.bundle.manifest import Artifact, Bundle, BundleFile, Manifest, open_bundle
from eenet_runtime.errors import BackendError
from tests.synthetic import TINY

FP32 = Artifact("onnx", "model.onnx", "fp32", "fp16")
FP16 = Artifact("onnx", "model.fp16.onnx", "fp16", "fp16")
INT8 = Artifact("onnx", "model.int8.onnx", "int8", "int8")
PLAN = Artifact("tensorrt", "model.plan", "fp16", "fp16")
PLAN_FP32 = Artifact("tensorrt", "model.fp32.plan", "fp32", "fp32")
RTX_PLAN = Artifact("tensorrt-rtx", "model.rtx", "fp16", "fp16")


def bundle_of(*artifacts: Artifact) -> Bundle:
    """A bundle in memory; choosing reads no file."""
    files = tuple(BundleFile(artifact.path, f"hash of {artifact.path}", 1) for artifact in artifacts)
    return Bundle(Path("bundle"), Manifest("any", TINY, artifacts, files), "0" * 16)


def install_only(monkeypatch: pytest.MonkeyPatch, packages: Sequence[str]) -> None:
    """Let only these engines look installed."""
    monkeypatch.setattr(choice, "find_spec", lambda name: object() if name in packages else None)


def test_auto_takes_openvino_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install_only(monkeypatch, ["openvino", "onnxruntime"])
    found = choose(bundle_of(FP32))
    assert (found.name, found.artifact) == ("openvino", FP32)
    assert found.why.startswith("auto takes openvino: the fastest CPU engine, and installed; model.onnx: ")


def test_auto_takes_onnxruntime_where_openvino_is_missing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    install_only(monkeypatch, ["onnxruntime"])
    found = choose(bundle_of(FP32))
    assert (found.name, found.artifact) == ("onnxruntime", FP32)
    assert "auto takes onnxruntime: openvino is not installed" in found.why


def test_without_any_engine_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    install_only(monkeypatch, [])
    with pytest.raises(BackendError, match=r'neither openvino nor onnxruntime is installed; .*"eenet\[cpu\]"'):
        choose(bundle_of(FP32))


@pytest.mark.parametrize("name", ["auto", "openvino", "onnxruntime"])
def test_a_cpu_takes_the_fp32_graph_wherever_it_stands_in_the_bundle(name: str) -> None:
    found = choose(bundle_of(RTX_PLAN, INT8, FP16, FP32), backend=name)
    assert found.artifact == FP32
    assert "model.onnx: CPU engines take fp32 unless another precision is asked for" in found.why


@pytest.mark.parametrize("name", ["auto", "openvino", "onnxruntime"])
def test_a_cpu_takes_no_other_precision_by_itself(name: str) -> None:
    with pytest.raises(BackendError, match=r"model\.fp16\.onnx \(onnx-fp16\) found, .* needs onnx-fp32$"):
        choose(bundle_of(INT8, FP16), backend=name)


@pytest.mark.parametrize(("precision", "artifact"), [("fp16", FP16), ("int8", INT8), ("fp32", FP32)])
def test_a_precision_that_is_asked_for_is_taken(precision: str, artifact: Artifact) -> None:
    found = choose(bundle_of(FP32, INT8, FP16), backend="openvino", precision=precision)
    assert found.artifact == artifact
    assert found.why == f"openvino was asked for; {artifact.path}: {precision} was asked for"


def test_a_precision_that_the_bundle_lacks_is_refused_with_what_it_has() -> None:
    with pytest.raises(
        BackendError,
        match=r"^bundle: artefacts model\.onnx \(onnx-fp32\), model\.plan \(tensorrt-fp16\) found, "
        r"onnxruntime needs onnx-int8$",
    ):
        choose(bundle_of(FP32, PLAN), backend="onnxruntime", precision="int8")


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_an_engine_that_is_asked_for_is_not_replaced_by_another(name: str) -> None:
    with pytest.raises(BackendError, match=f"model.onnx .onnx-fp32. found, {name} needs {name}$"):
        choose(bundle_of(FP32), backend=name)


def test_a_gpu_engine_takes_the_first_of_its_artefacts_or_the_precision_that_is_asked_for() -> None:
    bundle = bundle_of(FP32, PLAN, PLAN_FP32)
    assert choose(bundle, backend="tensorrt").artifact == PLAN
    assert choose(bundle, backend="tensorrt").why == (
        "tensorrt was asked for; model.plan: the first tensorrt artefact of the bundle"
    )
    assert choose(bundle, backend="tensorrt", precision="fp32").artifact == PLAN_FP32


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BackendError, match="unknown backend 'abacus'; known backends: auto, native, onnxruntime, "):
        choose(bundle_of(FP32), backend="abacus")


@pytest.mark.parametrize(("name", "kind"), [("openvino", OpenVinoBackend), ("onnxruntime", OnnxRuntimeBackend)])
def test_a_cpu_engine_is_loaded_with_the_threads_that_are_asked_for(
    tiny_bundle: Path, name: str, kind: type[Any]
) -> None:
    backend = make_backend(open_bundle(tiny_bundle), backend=name, threads=1)
    assert isinstance(backend, kind)
    assert backend.name == name
    assert backend.device == "cpu (1 thread)"
    backend.close()


def test_both_cpu_engines_give_the_same_mask(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    volume = np.random.default_rng(3).normal(size=(*TINY.shape, 4)).astype(np.float32)
    first, second = (
        make_backend(bundle, backend=name, threads=1).labels(volume) for name in ("openvino", "onnxruntime")
    )
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first)) > 1


@dataclass(frozen=True)
class Recorded:
    """Stands for a GPU backend and remembers how it was made."""

    path: Path
    artifact: Artifact
    preset: Any
    device: int
    sha256: str


@pytest.mark.parametrize(
    ("name", "module", "kind", "artifact"),
    [
        ("tensorrt", tensorrt_backend, "TensorRTBackend", PLAN),
        ("tensorrt-rtx", tensorrt_rtx_backend, "TensorRTRTXBackend", RTX_PLAN),
    ],
)
def test_a_gpu_engine_gets_its_plan_the_device_and_the_hash_of_the_manifest(
    monkeypatch: pytest.MonkeyPatch, name: str, module: ModuleType, kind: str, artifact: Artifact
) -> None:
    monkeypatch.setattr(
        module, kind, lambda path, artifact, preset, device, sha256: Recorded(path, artifact, preset, device, sha256)
    )
    made: Any = make_backend(bundle_of(FP32, PLAN, RTX_PLAN), backend=name, device="cuda:1")
    assert made == Recorded(Path("bundle") / artifact.path, artifact, TINY, 1, f"hash of {artifact.path}")


def test_choosing_imports_no_engine(tiny_bundle: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from eenet_runtime.backends import choose; "
        "from eenet_runtime.bundle.manifest import open_bundle; choose(open_bundle(Path(sys.argv[1]))); "
        "print(sorted({'openvino', 'onnxruntime', 'tensorrt', 'tensorrt_rtx', 'cuda'} & set(sys.modules)))"
    )
    finished = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tiny_bundle)], capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "[]"


def test_every_name_but_auto_is_an_engine_that_can_be_asked_for() -> None:
    kinds = {"onnxruntime": "onnx", "onnxruntime-tensorrt": "onnx", "openvino": "onnx"}
    for name in backend_names()[1:]:
        artifact = replace(FP32, kind=kinds.get(name, name))
        assert choose(bundle_of(artifact), backend=name, precision="fp32").artifact == artifact
