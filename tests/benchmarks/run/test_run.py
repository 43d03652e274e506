"""A run over a tiny bundle: every engine in a process of its own, and its report in all its forms."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from eenet_bench.measuring.spread import spread
from eenet_bench.pages.pages import html_table
from eenet_bench.pages.report_files import write_forms
from eenet_bench.pages.report_table import Table
from eenet_bench.run import subjects
from eenet_bench.run.latency import OUTSIDE_REPEATS
from eenet_bench.run.replay import Replay
from eenet_bench.run.run import RunReport, RunSettings, run_benchmark
from eenet_bench.run.run_page import run_page
from eenet_bench.run.run_tables import run_markdown, run_text
from eenet_runtime.bundle.manifest import MANIFEST_NAME, Artifact, describe_files, open_bundle
from eenet_runtime.errors import BackendError, BundleError, DatasetError, OutputError
from eenet_runtime.machine.hardware import Memory
from tests.synthetic import make_head, write_case

STAGES = {"read", "check", "prepare", "network", "restore", "clean", "write"}
QUICK = RunSettings(repeats=1, max_cases=1, threads=1, backends=("onnxruntime",), parity=False)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    for name in ("A", "B"):
        write_case(folder, name, make_head())
    return folder


@pytest.fixture(scope="module")
def report(tiny_bundle: Path, cases: Path) -> RunReport:
    """Two engines, and one that is not there."""
    backends = ("onnxruntime", "openvino", "tensorrt")
    return run_benchmark(tiny_bundle, cases, RunSettings(repeats=2, max_cases=2, threads=1, backends=backends))


@pytest.mark.alone
def test_cold_start_stages_throughput_and_memory_of_an_engine_are_measured(report: RunReport) -> None:
    result = report.measured[0]
    assert (result.subject.name, result.status) == ("onnxruntime fp32", "ok")
    latency = result.latency
    assert latency is not None
    assert latency.device == "cpu (1 thread)"
    assert set(latency.stages) == STAGES
    # Two rounds of two cases; the warm-up is not among them.
    assert [(s.round, s.case_id) for s in latency.samples] == [(0, "A"), (0, "B"), (1, "A"), (1, "B")]
    for sample in latency.samples:
        assert 0 < sum(sample.stages_s.values()) <= sample.total_s
        assert sample.calibration_s > 0
        assert sample.calibration_cpu_s > 0
        assert set(sample.cpu_s) == {*STAGES, "total"}
        assert 0 < sum(sample.cpu_s[stage] for stage in STAGES) <= sample.cpu_s["total"]
        assert len(sample.outside) == OUTSIDE_REPEATS
        for again in sample.outside:
            assert set(again.stages_s) == set(again.cpu_s) == STAGES - {"network"}
            assert again.stages_s["prepare"] > 0
    assert 0.01 < latency.cold_start_s < 60
    assert latency.first_case_s > 0
    assert latency.cases_per_minute is not None
    assert latency.cases_per_minute > 1
    assert latency.peak_rss_bytes is not None
    assert 20e6 < latency.peak_rss_bytes < 2e9


def test_engines_are_held_against_the_reference_in_speed_and_result(report: RunReport) -> None:
    reference, other = report.measured
    assert report.speed_reference == report.parity_reference == reference.subject.name
    assert reference.total_ratio is None
    assert other.total_ratio is not None
    assert other.total_ratio.low <= other.total_ratio.value <= other.total_ratio.high
    assert [(row.case_id, row.candidate, row.reference) for row in other.parity] == [
        (case, "openvino fp32", "onnxruntime fp32") for case in ("A", "B")
    ]
    assert all(row.patient_dice == {"ET": 1.0, "TC": 1.0, "WT": 1.0} for row in other.parity)


def test_masks_are_held_against_the_labels_of_the_cases(report: RunReport) -> None:
    assert [result.subject.name for result in report.measured] == ["onnxruntime fp32", "openvino fp32"]
    for result in report.measured:
        assert set(result.truth_dice) == {"A", "B"}
        assert all(set(dice) == {"ET", "TC", "WT"} for dice in result.truth_dice.values())
        assert all(value > 0.9 for dice in result.truth_dice.values() for value in dice.values())


def test_the_report_names_the_model_the_cases_and_the_machine(report: RunReport, tiny_bundle: Path) -> None:
    content = json.loads(report.to_json())
    assert (content["kind"], content["bundle_name"]) == ("run", "tiny")
    files = sum(path.stat().st_size for path in tiny_bundle.iterdir() if path.name != "manifest.json")
    assert content["results"][0]["file_bytes"] == files
    assert list(content["cases"]) == ["A", "B"]
    assert all(len(digest) == 64 for digest in content["cases"]["A"].values())
    assert content["environment"]["cpu"]
    assert content["environment"]["cores"] >= content["environment"]["system"]["threads"] >= 1
    assert "numpy" in content["environment"]["system"]["packages"]
    assert len(content["noise"]["calibration_s"]) == 2


def test_every_form_of_the_report_names_the_engines_and_why_one_did_not_run(report: RunReport) -> None:
    for text in (run_text(report), run_markdown(report), run_page(report)):
        assert "tiny (tiny-64, " in text
        assert all(name in text for name in ("onnxruntime fp32", "openvino fp32", "cold start s", "prepare ms"))
        assert "did not run" in text
        assert "the bundle has no tensorrt artefact for it" in text


def test_the_page_needs_no_other_file_and_escapes_what_it_is_given(report: RunReport) -> None:
    page = run_page(replace(report, bundle_name="<script>alert(1)</script>"))
    assert "<script" not in page
    assert not re.search(r"(src|href)=|url\(|@import", page)
    assert page.count("<svg") == 4


def test_columns_of_words_begin_at_the_left_and_figures_end_at_the_right() -> None:
    page = html_table(
        Table("T", ["engine", "status", "ms", "reason"], [["a", "ok", "1.5", "-"], ["b", "ok", "-", "x" * 61]])
    )
    assert '<th scope="col" class="words">status</th><th scope="col">ms</th>' in page
    assert '<td class="words">ok</td><td>1.5</td><td class="words">-</td>' in page
    assert f'<td class="words long">{"x" * 61}</td>' in page


def test_a_folder_that_cannot_be_made_is_an_error_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_forms(tmp_path / "file" / "folder", "results", json="{}")
    write_forms(tmp_path / "new" / "folder", "results", json="{}", png=b"picture")
    assert (tmp_path / "new" / "folder" / "results.json").read_text() == "{}"
    assert (tmp_path / "new" / "folder" / "results.png").read_bytes() == b"picture"


def test_a_replay_answers_what_the_engine_answered_and_does_not_ask_it_again() -> None:
    class Engine:
        calls = 0

        def labels(self, volume: Any) -> Any:
            self.calls += 1
            return volume + self.calls

    engine = Engine()
    segmenter = SimpleNamespace(backend=engine)
    replay = Replay(cast(Any, engine))
    with replay.in_place_of_the_engine(segmenter):
        assert segmenter.backend.labels(np.zeros(1)) == [1]
        with replay.again():
            assert segmenter.backend.labels(np.ones(1)) == [1]
        assert segmenter.backend.labels(np.ones(1)) == [3]
    assert segmenter.backend is engine
    assert engine.calls == 2


def test_it_is_an_error_if_no_engine_can_run(tiny_bundle: Path, cases: Path) -> None:
    with pytest.raises(BackendError, match=r"no engine could run: tensorrt.*: .*the bundle has no tensorrt artefact"):
        run_benchmark(tiny_bundle, cases, replace(QUICK, backends=("tensorrt",)))


def test_an_engine_that_does_not_fit_beside_the_others_is_not_loaded(
    tiny_bundle: Path, cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eenet_bench.run.run.find_memory", lambda: Memory(None, 1 << 20, None))
    report = run_benchmark(tiny_bundle, cases, replace(QUICK, backends=("onnxruntime", "openvino")))
    assert [result.status for result in report.results] == ["ok", "did not run"]
    assert "0.0 GiB of memory are free beside the other engines" in report.results[1].subject.reason


def test_a_case_that_cannot_be_read_is_the_reason(tiny_bundle: Path, tmp_path: Path) -> None:
    write_case(tmp_path, "A", make_head())
    (tmp_path / "A" / "A_t2.nii.gz").write_text("not an image")
    with pytest.raises(BackendError, match=r"onnxruntime fp32: .*A_t2\.nii\.gz: not a NIfTI file"):
        run_benchmark(tiny_bundle, tmp_path, QUICK)


def test_what_cannot_be_measured_is_refused_before_a_process_starts(
    tiny_bundle: Path, cases: Path, tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match="unknown backend 'abacus'; known backends: keras, native, onnxruntime"):
        run_benchmark(tiny_bundle, cases, RunSettings(backends=("abacus",)))
    with pytest.raises(BundleError):
        run_benchmark(tmp_path, cases)
    with pytest.raises(DatasetError):
        run_benchmark(tiny_bundle, tmp_path)


def test_every_engine_of_the_runtime_is_listed_and_none_is_measured_twice(tiny_bundle: Path) -> None:
    found = subjects.find_subjects(open_bundle(tiny_bundle))
    assert {subject.backend for subject in found} == set(subjects.SUBJECT_NAMES)
    assert len({subject.name for subject in found}) == len(found)
    keras = found[0]
    assert keras.reason == "the bundle has no weights.safetensors, from which the network would be rebuilt"
    (asked,) = subjects.find_subjects(open_bundle(tiny_bundle), ["openvino:fp64"])
    assert asked.reason == "the bundle has no artefact fp64 for openvino"


@pytest.mark.parametrize(("bias", "code"), [(0.0, 0), (4.0, 4)])
def test_the_command_ends_with_4_where_an_engine_computes_something_else_after_showing_the_figures(
    tiny_bundle: Path, cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, bias: float, code: int
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    _add_biased_int8(bundle, bias)
    arguments = ["run", bundle, "--cases", cases, "--repeats", "1", "--max-cases", "1", "--threads", "1"]
    arguments += ["--backends", "onnxruntime", "--output", tmp_path / "out"]
    assert _run(arguments, monkeypatch) == code
    printed = capsys.readouterr()
    assert "onnxruntime int8" in printed.out
    assert ("onnxruntime int8 differs" in printed.out) == bool(code)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["results.html", "results.json", "results.md"]


def _add_biased_int8(bundle: Path, bias: float) -> None:
    """Another graph in the bundle, with more of one class everywhere; called INT8, whatever it computes."""
    import onnx
    from onnx import helper, numpy_helper

    manifest = open_bundle(bundle).manifest
    model = onnx.load(bundle / manifest.artifacts[0].path, load_external_data=False)
    index = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Softmax")
    softmax = model.graph.node[index]
    shift = np.zeros((1, 4, 1, 1, 1), np.float32)
    shift[0, 2] = bias
    model.graph.initializer.append(numpy_helper.from_array(shift, "shift"))
    model.graph.node.insert(index, helper.make_node("Add", [softmax.input[0], "shift"], ["shifted"]))
    model.graph.node[index + 1].input[0] = "shifted"
    (bundle / "model.int8.onnx").write_bytes(model.SerializeToString())
    artifacts = (*manifest.artifacts, Artifact("onnx", "model.int8.onnx", "int8", "int8"))
    names = (*(entry.path for entry in manifest.files), "model.int8.onnx")
    changed = replace(manifest, artifacts=artifacts, files=describe_files(bundle, names))
    (bundle / MANIFEST_NAME).write_text(changed.to_json())


def _run(arguments: list[object], monkeypatch: pytest.MonkeyPatch) -> int:
    """The program itself, with its exit codes."""
    from eenet_bench.cli import main

    monkeypatch.setattr("sys.argv", ["eenet-bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_process_that_dies_is_a_reason_and_not_a_hang(
    tiny_bundle: Path, cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(BackendError, match="its process ended with exit code 1"):
        run_benchmark(tiny_bundle, cases, QUICK)


def test_a_spread_is_what_numpy_says() -> None:
    described = spread([4.0, 1.0, 2.0])
    assert (described.count, described.smallest, described.median, described.largest) == (3, 1.0, 2.0, 4.0)
    assert (described.lower_quartile, described.upper_quartile) == (1.5, 3.0)
    assert described.mean == pytest.approx(7 / 3)
    assert described.standard_deviation == pytest.approx(np.sqrt(14 / 9))
