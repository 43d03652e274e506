"""TensorRT engines of both kinds on a real GPU: built, loaded, run, compared with ONNX Runtime on the CPU, refused.

Engines for RTX are built for the GPU at hand. Where RTX knows no such GPU (an H100, say) its tests are skipped, with
that reason; a missing package is a failure under --require-gpu.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.backends.base import Backend
from eenet_runtime.backends.cuda import CudaSession, find_gpu
from eenet_runtime.backends.onnxruntime_backend import OnnxRuntimeBackend
from eenet_runtime.backends.tensorrt_backend import TensorRTBackend, load_tensorrt
from eenet_runtime.backends.tensorrt_rtx_backend import TensorRTRTXBackend, load_tensorrt_rtx
from eenet_runtime.bundle.engine_file import FLAVOURS, TENSORRT, TENSORRT_RTX, EngineSidecar, sidecar_name
from eenet_runtime.bundle.manifest import TIE, Artifact, Bundle, open_bundle
from eenet_runtime.errors import BackendError, BundleError
from eenet_runtime.files.atomic import sha256_of_file
from tests.gpu.small_graphs import write_small_bundle
from tests.places import ROOT
from tests.synthetic import TINY

pytestmark = pytest.mark.gpu

REPOSITORY: Final = ROOT
DEMO: Final = REPOSITORY / "models" / "eenet-fast-phantom"

MAX_DIFFERENCE: Final = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest difference of a probability from ONNX Runtime's in FP32 on the small graph."""
MIN_AGREEMENT: Final = {"fp32": 0.9999, "fp16": 0.998}
"""Share of voxels with the same class there. Its logits are small, so FP16 flips more of them than in the network."""


@dataclass(frozen=True)
class Built:
    """A small bundle with one engine in it."""

    bundle: Bundle
    artifact: Artifact
    precision: str

    @property
    def plan(self) -> Path:
        return self.bundle.path_of(self.artifact)

    def load(self) -> Backend:
        return self.load_plan(self.plan)

    def load_plan(self, plan: Path, sha256: str = "") -> Backend:
        """Load another file than the bundle's as this artefact; by default its hash is the one that it has."""
        kind = TensorRTRTXBackend if self.artifact.kind == TENSORRT_RTX else TensorRTBackend
        return kind(plan, self.artifact, self.bundle.manifest.preset, sha256=sha256 or sha256_of_file(plan))


@pytest.fixture(scope="module", params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    """One of the two libraries, if it can be used on this GPU."""
    name = str(request.param)
    try:
        load_tensorrt_rtx() if name == TENSORRT_RTX else load_tensorrt()
    except BackendError as error:
        if request.config.getoption("--require-gpu"):
            raise
        pytest.skip(str(error))
    if name == TENSORRT_RTX:
        from eenet_export.engines.flavour import known_compute_capabilities, load_flavour

        known, found = known_compute_capabilities(load_flavour(name)), find_gpu().compute_capability
        if found not in known:
            pytest.skip(f"{name} builds for {', '.join(known)}, this GPU has {found}")
    return name


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def built(request: pytest.FixtureRequest, flavour: str, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A small bundle with an engine that gives labels and probabilities. Shared: do not change it."""
    precision = str(request.param)
    folder = write_small_bundle(tmp_path_factory.mktemp("engines") / "small", TINY)
    return _add_engine(folder, flavour, precision, with_probabilities=True)


def _add_engine(folder: Path, flavour: str, precision: str, with_probabilities: bool | None) -> Built:
    from eenet_export.engines import EngineSettings, add_engine

    targets = (find_gpu().compute_capability,) if flavour == TENSORRT_RTX else ()
    settings = EngineSettings(
        flavour, precision, compute_capabilities=targets, with_probabilities=with_probabilities, workspace_gb=1.0
    )
    added = add_engine(folder, settings)
    bundle = open_bundle(folder)
    artifact = next(entry for entry in bundle.manifest.artifacts if bundle.path_of(entry) == added.plan)
    return Built(bundle, artifact, precision)


def _reference(bundle: Bundle) -> OnnxRuntimeBackend:
    """The FP32 graph of a bundle in ONNX Runtime on the CPU."""
    artifact = next(a for a in bundle.manifest.artifacts if (a.kind, a.precision) == ("onnx", "fp32"))
    return OnnxRuntimeBackend(bundle.path_of(artifact), artifact, bundle.manifest.preset)


def _volume(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(*TINY.shape, 4)).astype(np.float32)


def _changed_copy(built: Built, folder: Path, **changes: Any) -> Path:
    """A copy of an engine whose sidecar has other fields; returns the plan."""
    plan, name = folder / built.plan.name, sidecar_name(built.plan.name)
    shutil.copy(built.plan, plan)
    sidecar = EngineSidecar.from_json((built.bundle.folder / name).read_text(), name)
    (folder / name).write_text(replace(sidecar, **changes).to_json())
    return plan


def test_an_engine_computes_what_onnx_runtime_computes(built: Built) -> None:
    backend, reference = built.load(), _reference(built.bundle)
    for seed in range(3):
        volume = _volume(seed)
        expected, computed = reference(volume), backend(volume)
        assert np.abs(computed - expected).max() <= MAX_DIFFERENCE[built.precision]
        labels = backend.labels(volume)
        assert np.mean(labels == reference.labels(volume)) >= MIN_AGREEMENT[built.precision]
        # Against its own probabilities an engine's labels may differ at ties only.
        first, second = np.sort(computed, axis=-1)[..., -1], np.sort(computed, axis=-1)[..., -2]
        assert (labels == computed.argmax(axis=-1))[first - second > TIE].all()
    backend.close()


def test_replayed_runs_give_the_same_result_twice_and_the_same_as_without_graphs(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(session: CudaSession, work: Any) -> Any:
        raise BackendError("no recording in this test")

    volume, other = _volume(1), _volume(2)
    backend = built.load()
    if built.artifact.kind == TENSORRT:
        assert backend.device.endswith(", CUDA graphs)")
    first, labels = backend(volume), backend.labels(volume)
    backend(other)
    assert np.array_equal(backend(volume), first)
    assert np.array_equal(backend.labels(volume), labels)
    backend.close()
    monkeypatch.setattr(CudaSession, "capture", refuse)
    plain = built.load()
    assert "no CUDA graphs" in plain.device
    assert np.array_equal(plain(volume), first)
    assert np.array_equal(plain.labels(volume), labels)
    plain.close()


def test_threads_and_several_backends_do_not_disturb_each_other(built: Built) -> None:
    volumes = [_volume(seed) for seed in range(4)]
    with ThreadPoolExecutor(2) as threads:
        # Loading both at once: one records while the other allocates.
        first, second = threads.map(lambda _: built.load(), range(2))
        expected = [first.labels(volume) for volume in volumes]
        for backend in (first, second):
            for labels, wanted in zip(threads.map(backend.labels, volumes), expected, strict=True):
                assert np.array_equal(labels, wanted)
    first.close()
    second.close()


def test_an_engine_of_labels_only_gives_the_same_labels(flavour: str, tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "small", TINY)
    labels_only = _add_engine(folder, flavour, "fp32", with_probabilities=False)
    backend, volume = labels_only.load(), _volume()
    assert labels_only.artifact.probabilities_name == ""
    agreement = np.mean(backend.labels(volume) == _reference(labels_only.bundle).labels(volume))
    assert agreement >= MIN_AGREEMENT["fp32"]
    with pytest.raises(BackendError, match="gives labels only"):
        backend(volume)
    backend.close()


def test_a_plan_for_another_gpu_is_refused(built: Built, tmp_path: Path) -> None:
    plan = _changed_copy(built, tmp_path, compute_capabilities=("5.0",))
    with pytest.raises(BackendError, match=r"built for compute capability 5\.0, this GPU has"):
        built.load_plan(plan)


def test_a_plan_of_another_version_is_refused(built: Built, tmp_path: Path) -> None:
    plan = _changed_copy(built, tmp_path, tensorrt_version="9.0.0.0")
    with pytest.raises(BackendError, match=r"9\.0\.0\.0"):
        built.load_plan(plan)


def test_a_changed_plan_is_refused_by_backend_and_bundle(built: Built, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(built.bundle.folder, folder)
    plan = folder / built.artifact.path
    content = bytearray(plan.read_bytes())
    content[len(content) // 2] ^= 1
    plan.write_bytes(content)
    digest = next(entry.sha256 for entry in built.bundle.manifest.files if entry.path == built.artifact.path)
    with pytest.raises(BackendError, match=r"SHA-256 .* its sidecar says"):
        built.load_plan(plan)
    with pytest.raises(BundleError, match="SHA-256 is not the manifest's"):
        built.load_plan(plan, digest)
    with pytest.raises(BundleError, match="SHA-256"):
        open_bundle(folder)


@pytest.mark.parametrize("shape", [(1, 16, 32, 32, 32), (1, 16, 192, 160, 36)])
def test_group_norm_keeps_its_statistics_in_fp32(flavour: str, shape: tuple[int, ...]) -> None:
    from eenet_export.engines import EngineSettings
    from eenet_export.engines.build import find_target
    from eenet_export.engines.norm_stress import build_norm_stress
    from eenet_runtime.selftest.norm_stress import LIMIT, norm_stress_of_plan

    targets = (find_gpu().compute_capability,) if flavour == TENSORRT_RTX else ()
    settings = EngineSettings(flavour, "fp16", compute_capabilities=targets)
    plan = build_norm_stress(settings, find_target(settings), shape)
    result = norm_stress_of_plan(plan, flavour)
    assert result.passed, f"error {result.max_abs_error} found, expected at most {LIMIT}"


def test_the_demo_model_passes_the_gate_as_an_engine(flavour: str, tmp_path: Path) -> None:
    from eenet_export.gate.parity import FormResult, ParityCase, compare, require_parity
    from eenet_runtime.cases.discovery import find_cases

    shutil.copytree(DEMO, tmp_path / "demo")
    forms = [(entry.kind, entry.precision) for entry in open_bundle(tmp_path / "demo").manifest.artifacts]
    if ("onnx", "fp16") not in forms:
        pytest.skip("the demo model has no ONNX graph in FP16")
    built = _add_engine(tmp_path / "demo", flavour, "fp16", with_probabilities=True)
    backend, reference = built.load(), _reference(built.bundle)
    rows = []
    for files in find_cases(REPOSITORY / "examples").cases:
        case = ParityCase.read(files, built.bundle.manifest.preset)
        expected = FormResult.from_probabilities("onnx-fp32", reference(case.volume))
        computed = FormResult(built.artifact.form, backend.labels(case.volume), backend(case.volume))
        rows.append(compare(case, expected, computed))
    require_parity(rows)
    backend.close()
