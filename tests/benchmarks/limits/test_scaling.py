"""What sizes, threads and cases in flight cost."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eenet_bench.cli import app
from eenet_bench.limits import scaling
from eenet_bench.limits.scaling import measure_scaling, scaling_table
from eenet_bench.limits.scaling_worker import serve
from eenet_bench.peers.models import Models
from eenet_runtime.errors import DatasetError
from eenet_runtime.volumes.presets import GeometryPreset
from tests.synthetic import TINY, Head, write_bundle, write_case

LARGER = GeometryPreset("larger", (96, 64, 24), 1.0, (2, 2, 2))


@pytest.fixture
def tiny_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """The geometries get the tests' model: what is measured is another matter than how."""

    def make(folder: Path, preset: GeometryPreset, weights: Path, **options: object) -> Models:
        return Models(write_bundle(folder / "bundle", preset), None, "tiny")

    monkeypatch.setattr(scaling, "make_models", make)
    monkeypatch.setattr(scaling, "usable_cpus", lambda: 2)


def test_every_geometry_engine_and_number_of_threads_is_a_point(
    tiny_bundle: Path, tmp_path: Path, head: Head, tiny_models: None
) -> None:
    write_case(tmp_path, "A", head)
    report = measure_scaling(tiny_bundle, tmp_path, 2, ("onnxruntime", "native"), (TINY, LARGER))
    ran = [(p.geometry, p.threads, len(p.seconds)) for p in report.points if not p.reason]
    assert ran == [("tiny-64", 1, 2), ("tiny-64", 2, 2), ("larger", 1, 2), ("larger", 2, 2)]
    small, large = (p for p in report.points if p.engine == "onnxruntime" and p.threads == 1)
    assert large.megavoxels == 1.5 * small.megavoxels
    assert large.gflop == pytest.approx(1.5 * small.gflop, rel=1e-3)
    assert [(one.cases, len(one.seconds), one.reason) for one in report.in_flight] == [(n, 2, "") for n in (1, 2, 3)]
    table = scaling_table(report)
    assert "cases in flight" in table
    assert "native did not run" in table


def test_the_command_writes_the_figures_and_the_picture(
    tiny_bundle: Path, tmp_path: Path, tiny_models: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "measure_scaling", partial(measure_scaling, geometries=(TINY,)))
    arguments = ["scaling", str(tiny_bundle), "--rounds", "1", "--backends", "onnxruntime", "-o", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    stored = json.loads((tmp_path / "scaling.json").read_text())
    assert stored["in_flight"] == []
    assert {point["engine"] for point in stored["points"]} == {"onnxruntime"}
    assert (tmp_path / "scaling.png").read_bytes()[:4] == b"\x89PNG"


def test_a_folder_without_cases_is_refused_before_anything_is_measured(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError):
        measure_scaling(tiny_bundle, tmp_path / "empty")


def test_the_worker_computes_volumes_and_folders(tiny_bundle: Path, tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head)
    requests: list[dict[str, Any]] = [{"do": "network"}, {"do": "folder", "cases": str(tmp_path), "count": 3}]
    ready, network, folder = serve(tiny_bundle, "onnxruntime", 1, 1, requests)
    assert ready["device"].startswith("cpu")
    assert 0 < network["seconds"] < folder["seconds"]


def test_an_engine_that_is_not_there_is_a_reason(tiny_bundle: Path) -> None:
    (answer,) = serve(tiny_bundle, "tensorrt", 1, 1, [])
    assert "tensorrt" in answer["reason"]
