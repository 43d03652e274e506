"""The self-test says what served and how it did; an engine for a GPU serves nothing before it has passed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.backends import Candidates, Choice, make_backend
from eenet_runtime.bundle.manifest import Artifact, Bundle, describe_files, open_bundle
from eenet_runtime.errors import BackendError, BundleError, SelfTestError
from eenet_runtime.machine.devices import Device
from eenet_runtime.results.result_files import ResultPaths, segment_to_files
from eenet_runtime.segmenter import segmenter as segmenter_module
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.selftest import selftest as selftest_module
from eenet_runtime.selftest import serving
from eenet_runtime.selftest.golden import GoldenCase, read_golden
from eenet_runtime.selftest.norm_stress import LIMIT, StressResult
from eenet_runtime.selftest.selftest import Check, describe_self_test, require_passed, self_test
from tests.golden import add_golden
from tests.synthetic import CLASSIFIER, case_files, edit_manifest, make_head, write_bundle, write_case


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-c", "from eenet_runtime.cli import main; main()"]
    return subprocess.run([*start, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_bundle(tmp_path_factory.mktemp("selftest") / "bundle")
    add_golden(folder)
    return folder


@pytest.fixture(scope="module")
def golden(bundle: Path) -> GoldenCase:
    return read_golden(open_bundle(bundle))


@pytest.fixture(scope="module")
def wrong(golden: GoldenCase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose engine computes something else than its golden case says."""
    folder = write_bundle(tmp_path_factory.mktemp("selftest") / "wrong", weights=CLASSIFIER * np.float32(0.5))
    add_golden(folder, golden)
    return folder


def test_the_command_says_what_served_and_passes(bundle: Path) -> None:
    result = _run("selftest", bundle, "--threads", 1, "--backend", "onnxruntime")
    assert result.returncode == 0, result.stderr
    assert "not verified" in result.stdout
    assert re.search(r"served by onnxruntime \d\S+ on cpu \(1 thread\)", result.stdout)
    assert "artefact model.onnx: onnx, arithmetic fp32, weights fp32" in result.stdout
    assert "agreement 1.000000; Dice ET 1.00000, TC 1.00000, WT 1.00000; probabilities within" in result.stdout
    assert result.stdout.splitlines()[-1] == "PASS"


def test_the_command_fails_with_exit_code_4_when_the_engine_computes_something_else(wrong: Path) -> None:
    result = _run("selftest", wrong, "--threads", 1, "--backend", "onnxruntime")
    assert result.returncode == 4
    assert "FAIL: agreement 0." in result.stdout
    assert len(result.stderr.splitlines()) == 1
    assert "model.onnx: self-test failed with onnxruntime" in result.stderr


def test_a_bundle_without_a_golden_case_cannot_be_tested(tiny_bundle: Path) -> None:
    result = _run("selftest", tiny_bundle)
    assert result.returncode == 2
    assert "no golden case found" in result.stderr


def test_a_folder_is_not_started_with_an_engine_that_fails(wrong: Path, tmp_path: Path) -> None:
    write_case(tmp_path / "in", "A", make_head())
    result = _run("infer", "folder", tmp_path / "in", tmp_path / "out", "--model", wrong, "--selftest")
    assert result.returncode == 4
    assert not (tmp_path / "out").exists()


def test_the_report_says_whether_the_engine_was_tested(bundle: Path, tmp_path: Path) -> None:
    files = case_files(tmp_path / "in", "A", make_head())
    (tmp_path / "out").mkdir()
    paths = ResultPaths.in_folder(tmp_path / "out", "A")
    for asked, said in ((True, "passed"), (False, "not asked for")):
        with Segmenter(bundle, threads=1, selftest=asked) as loaded:
            segment_to_files(loaded, files, paths, preview=False)
        assert json.loads(paths.report.read_text())["engine"]["self_test"] == said


def test_an_engine_on_a_cpu_is_tested_when_somebody_asks(wrong: Path) -> None:
    with Segmenter(wrong, threads=1) as loaded:
        assert loaded.self_test is None
    with pytest.raises(SelfTestError, match="it must not be used on this machine"):
        Segmenter(wrong, threads=1, selftest=True)


# A golden case without a tumour


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a network that labels no tumour at all."""
    folder = write_bundle(tmp_path_factory.mktemp("selftest") / "healthy", weights=CLASSIFIER * np.float32(0))
    add_golden(folder)
    return folder


def test_a_self_test_without_a_tumour_says_that_its_masks_prove_nothing(healthy: Path) -> None:
    result = _run("selftest", healthy, "--threads", 1, "--backend", "onnxruntime")
    assert result.returncode == 0, result.stderr
    assert "Dice ET not proven (no voxel), TC not proven (no voxel), WT not proven (no voxel)" in result.stdout
    assert result.stdout.splitlines()[-1] == (
        "PASS, but no tumour voxel in the golden case, so that the masks prove nothing"
    )


def test_a_report_says_so_too(healthy: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    paths = ResultPaths.in_folder(tmp_path / "out", "A")
    with Segmenter(healthy, threads=1, selftest=True) as loaded:
        segment_to_files(loaded, case_files(tmp_path / "in", "A", make_head()), paths, preview=False)
    said = json.loads(paths.report.read_text())["engine"]["self_test"]
    assert said == "passed, but no tumour voxel in the golden case, so that the masks prove nothing"


def test_info_says_what_a_self_test_can_prove(healthy: Path, bundle: Path) -> None:
    said = "self-test: golden case golden.npz: no tumour voxel in the golden case, so that the masks prove nothing"
    assert said in _run("info", healthy).stdout
    assert re.search(r"self-test: golden case golden\.npz: ET \d+, TC \d+, WT \d+ voxels", _run("info", bundle).stdout)


def test_an_engine_for_a_gpu_that_gives_labels_only_serves_nothing_without_a_tumour_to_find(
    healthy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(read_golden(open_bundle(healthy)).labels, PLAN)
    _serve(monkeypatch, plan)
    with pytest.raises(SelfTestError, match="no tumour voxel in the golden case"):
        Segmenter(healthy)
    assert plan.calls == ["labels", "close"]


# Engines for GPUs


@dataclass
class Plan:
    """A TensorRT engine as the rest of the runtime sees one: gives labels only, and knows what it was loaded from."""

    mask: NDArray[np.uint8] | None
    artifact: Artifact
    calls: list[str] = field(default_factory=list)
    name: str = "tensorrt-rtx"
    version: str = "1.7"
    device: str = "a GPU"
    gpu_index: int | None = 0

    def __call__(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        raise BackendError("labels only")

    def labels(self, volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        self.calls.append("labels")
        if self.mask is None:
            raise BackendError("the GPU fell off the bus")
        return self.mask

    def close(self) -> None:
        self.calls.append("close")


PLAN = Artifact("tensorrt-rtx", "model.plan", "fp32", "fp16", probabilities_name="")
HALF_PLAN = replace(PLAN, precision="fp16")
STRESS = "model.norm-stress.plan"


def _serve(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    def load(bundle: Bundle, choice: Choice, threads: int | None) -> Plan:
        return plan

    def candidates(bundle: Bundle, *, backend: str, device: str, precision: str | None) -> Candidates:
        return Candidates((Choice(PLAN.kind, PLAN, "the test says so", Device("cuda")),))

    monkeypatch.setattr(segmenter_module, "candidates", candidates)
    monkeypatch.setattr(serving, "load", load)


def test_an_engine_for_a_gpu_is_tested_before_the_first_case(
    bundle: Path, golden: GoldenCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(golden.labels, PLAN)
    _serve(monkeypatch, plan)
    with Segmenter(bundle) as loaded:
        assert plan.calls == ["labels"]
        assert loaded.artifact == PLAN
        assert loaded.self_test is not None
        assert loaded.self_test.golden.max_abs_difference is None


def test_an_engine_for_a_gpu_that_computes_something_else_serves_nothing(
    bundle: Path, golden: GoldenCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(np.ascontiguousarray(golden.labels[::-1]), PLAN)
    _serve(monkeypatch, plan)
    with pytest.raises(SelfTestError, match=r"model\.plan: self-test failed with tensorrt-rtx 1\.7 on a GPU"):
        Segmenter(bundle)
    assert plan.calls == ["labels", "close"]


def test_an_engine_that_fails_during_the_test_is_closed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(None, PLAN)
    _serve(monkeypatch, plan)
    with pytest.raises(BackendError, match="fell off the bus"):
        Segmenter(bundle)
    assert plan.calls == ["labels", "close"]


def test_an_engine_for_a_gpu_without_a_golden_case_serves_nothing(
    tiny_bundle: Path, golden: GoldenCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(golden.labels, PLAN)
    _serve(monkeypatch, plan)
    with pytest.raises(BundleError, match="no golden case found"):
        Segmenter(tiny_bundle)
    assert plan.calls == ["close"]


# Half precision on a GPU


@pytest.fixture
def with_stress(bundle: Path, tmp_path: Path) -> Path:
    """The bundle with a file for the norm stress test beside the engine."""
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    (folder / STRESS).write_bytes(b"a plan")
    names = [entry.path for entry in open_bundle(folder).manifest.files]
    edit_manifest(folder, {"files": [asdict(entry) for entry in describe_files(folder, (*names, STRESS))]})
    return folder


@pytest.mark.parametrize(("error", "passes"), [(0.002, True), (0.4, False), (float("inf"), False)])
def test_an_engine_in_half_precision_serves_only_with_norms_that_are_right(
    with_stress: Path, golden: GoldenCase, monkeypatch: pytest.MonkeyPatch, error: float, passes: bool
) -> None:
    ran: list[tuple[bytes, str, int]] = []

    def run(plan: bytes, flavour: str, device: int) -> StressResult:
        ran.append((plan, flavour, device))
        return StressResult(error, error <= LIMIT)

    monkeypatch.setattr(selftest_module, "norm_stress_of_plan", run)
    engine = Plan(golden.labels, HALF_PLAN, gpu_index=1)
    result = self_test(open_bundle(with_stress), engine)
    assert ran == [(b"a plan", "tensorrt-rtx", 1)]
    assert result.passed == passes
    assert result.golden.passed
    assert "norm stress test: error" in describe_self_test(result)


def test_an_engine_in_half_precision_without_its_norm_stress_test_serves_nothing(
    bundle: Path, golden: GoldenCase
) -> None:
    result = self_test(open_bundle(bundle), Plan(golden.labels, HALF_PLAN))
    assert not result.passed
    assert str(result.reason).startswith(f"norm stress test: {STRESS} is not in the bundle")


def test_a_norm_stress_plan_that_was_changed_after_the_bundle_was_opened_is_not_run(
    with_stress: Path, golden: GoldenCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_bundle(with_stress)
    (with_stress / STRESS).write_bytes(b"another")
    monkeypatch.setattr(selftest_module, "norm_stress_of_plan", lambda *_: pytest.fail("it was run"))
    with pytest.raises(BundleError, match="SHA-256 is not the manifest's"):
        self_test(opened, Plan(golden.labels, HALF_PLAN))


# Further checks


def test_a_further_check_that_fails_fails_the_test(bundle: Path) -> None:
    opened = open_bundle(bundle)
    backend = make_backend(opened, threads=1)
    good, bad = Check("norms", True, "error 0.001"), Check("norms", False, "error 0.4 found, expected at most 0.01")
    passed = self_test(opened, backend, [lambda: good])
    require_passed(opened, passed)
    assert "norms: error 0.001" in describe_self_test(passed)
    failed = self_test(opened, backend, [lambda: good, lambda: bad])
    assert failed.golden.passed
    with pytest.raises(SelfTestError, match=r"norms: error 0\.4 found, expected at most"):
        require_passed(opened, failed)
    assert describe_self_test(failed).endswith("FAIL: norms: error 0.4 found, expected at most 0.01")


def test_a_self_test_is_of_the_artefact_that_the_engine_was_loaded_from(bundle: Path, golden: GoldenCase) -> None:
    opened = open_bundle(bundle)
    (onnx,) = opened.manifest.artifacts
    both = replace(opened, manifest=replace(opened.manifest, artifacts=(PLAN, onnx)))
    assert self_test(both, make_backend(both, backend="onnxruntime", threads=1)).artifact == onnx
    assert self_test(opened, Plan(golden.labels, PLAN)).artifact == PLAN
