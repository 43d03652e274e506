"""Latency of a tiny bundle, measured in processes of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eenet_bench import latency as module
from eenet_bench.cli import app
from eenet_bench.latency import LatencyReport, LatencySettings, latency_table, measure_latency
from eenet_bench.spread import spread
from eenet_runtime.errors import BackendError, BundleError, DatasetError
from tests.synthetic import make_head, write_case

STAGES = {"read", "prepare", "network", "restore", "clean", "write"}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    for name in ("A", "B"):
        write_case(folder, name, make_head())
    return folder


@pytest.fixture(scope="module")
def report(tiny_bundle: Path, cases: Path) -> LatencyReport:
    return measure_latency(
        tiny_bundle, cases, LatencySettings(repeats=2, max_cases=2, threads=1, backends=("onnxruntime",))
    )


def test_cold_start_stages_and_memory_of_an_engine_are_measured(report: LatencyReport) -> None:
    (result,) = report.backends
    assert result.reason == ""
    assert result.device == "cpu (1 thread)"
    assert set(result.stages_s) == STAGES
    # Two rounds of two cases; the warm-up is not among them.
    assert {described.count for described in result.stages_s.values()} == {4}
    assert result.total_s is not None
    assert sum(described.smallest for described in result.stages_s.values()) <= result.total_s.largest
    assert 0.01 < result.cold_start_s < 60
    assert result.first_case_s > 0
    assert result.peak_rss_bytes is not None
    assert 20e6 < result.peak_rss_bytes < 2e9


def test_the_report_names_the_model_and_the_machine(report: LatencyReport, tiny_bundle: Path) -> None:
    content = json.loads(report.to_json())
    assert content["bundle_name"] == "tiny"
    assert content["model_bytes"] == sum(p.stat().st_size for p in tiny_bundle.iterdir() if p.name != "manifest.json")
    assert content["cases"] == ["A", "B"]
    assert content["environment"]["cpu"]
    assert content["environment"]["cores"] >= content["environment"]["system"]["threads"] >= 1
    assert "numpy" in content["environment"]["system"]["packages"]
    table = latency_table(report)
    assert "tiny (tiny-64, " in table
    assert "onnxruntime" in table


def test_an_engine_that_cannot_run_is_listed_with_its_reason_and_the_others_go_on(
    tiny_bundle: Path, cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Known to this process only: the measured process refuses it, as it would an engine that is not installed.
    monkeypatch.setattr(module, "BACKEND_NAMES", ("auto", "abacus", "onnxruntime"))
    report = measure_latency(tiny_bundle, cases, LatencySettings(repeats=1))
    assert [result.backend for result in report.backends] == ["abacus", "onnxruntime"]
    assert report.backends[1].reason == ""
    assert "abacus did not run: unknown backend 'abacus'" in latency_table(report)


def test_it_is_an_error_if_no_engine_can_run(tiny_bundle: Path, cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKEND_NAMES", ("auto", "abacus"))
    with pytest.raises(BackendError, match="no engine could run: abacus: unknown backend"):
        measure_latency(tiny_bundle, cases, LatencySettings(repeats=1))


def test_a_case_that_cannot_be_read_is_the_reason(tiny_bundle: Path, tmp_path: Path) -> None:
    write_case(tmp_path, "A", make_head())
    (tmp_path / "A" / "A_t2.nii.gz").write_text("not an image")
    with pytest.raises(BackendError, match=r"onnxruntime: .*A_t2\.nii\.gz: not a NIfTI file"):
        measure_latency(tiny_bundle, tmp_path, LatencySettings(repeats=1))


def test_what_cannot_be_measured_is_refused_before_a_process_starts(
    tiny_bundle: Path, cases: Path, tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match="unknown backend 'abacus'; known backends: onnxruntime"):
        measure_latency(tiny_bundle, cases, LatencySettings(backends=("abacus",)))
    with pytest.raises(BundleError):
        measure_latency(tmp_path, cases)
    with pytest.raises(DatasetError):
        measure_latency(tiny_bundle, tmp_path)


def test_the_memory_of_the_process_that_measures_is_not_counted() -> None:
    # ru_maxrss, which a new process inherits, would be above 300 MB here.
    ballast = np.ones(300_000_000, dtype=np.uint8)
    code = "from eenet_bench.latency_worker import peak_rss_bytes; print(peak_rss_bytes())"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ballast.any()
    assert 5e6 < int(finished.stdout) < 200e6


def test_a_process_that_dies_is_a_reason_and_not_a_hang(
    tiny_bundle: Path, cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(BackendError, match="its process ended with exit code 1"):
        measure_latency(tiny_bundle, cases, LatencySettings(repeats=1))


def test_the_command_prints_the_table_and_writes_the_json(tiny_bundle: Path, cases: Path, tmp_path: Path) -> None:
    file = tmp_path / "latency.json"
    arguments = ["latency", str(tiny_bundle), str(cases), "--repeats", "1", "--backends", "onnxruntime"]
    finished = CliRunner().invoke(app, [*arguments, "--json", str(file)])
    assert finished.exit_code == 0, finished.output
    assert "cold start s" in finished.stdout
    assert json.loads(file.read_text())["backends"][0]["backend"] == "onnxruntime"


def test_a_spread_is_what_numpy_says() -> None:
    described = spread([4.0, 1.0, 2.0])
    assert (described.count, described.smallest, described.median, described.largest) == (3, 1.0, 2.0, 4.0)
    assert (described.lower_quartile, described.upper_quartile) == (1.5, 3.0)
    assert described.mean == pytest.approx(7 / 3)
    assert described.standard_deviation == pytest.approx(np.sqrt(14 / 9))
