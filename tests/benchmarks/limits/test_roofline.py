"""How far the engines are from what the machine allows."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from eenet_bench.cli import app
from eenet_bench.limits.machine_rates import measure_rates
from eenet_bench.limits.roofline import measure_roofline, roofline_table
from tests.synthetic import TINY


def test_rates_are_those_of_a_machine() -> None:
    rates = measure_rates(1)
    assert 1e9 < rates.flops_per_s < 1e13
    assert 1e8 < rates.bytes_per_s < 1e12
    assert rates.threads == 1


def test_engines_stand_beside_the_bound_and_what_did_not_run_has_a_reason(tiny_bundle: Path) -> None:
    report = measure_roofline(tiny_bundle, rounds=2, threads=1)
    voxels = TINY.shape[0] * TINY.shape[1] * TINY.shape[2]
    convolution = next(layer for layer in report.layers if layer.kind == "Conv")
    assert convolution.flops == 2 * voxels * 4 * 4
    assert report.flops == sum(layer.flops for layer in report.layers)
    assert report.bound_s >= report.flops / report.rates.flops_per_s
    engines = {engine.name: engine for engine in report.engines}
    assert len(engines["onnxruntime"].seconds) == len(engines["openvino"].seconds) == 2
    assert "native" in engines["native"].reason
    table = roofline_table(report)
    assert "bound by" in table
    assert "native did not run" in table


def test_the_command_writes_the_figures_and_the_picture(tiny_bundle: Path, tmp_path: Path) -> None:
    arguments = ["roofline", str(tiny_bundle), "--rounds", "1", "--threads", "1", "-o", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    stored = json.loads((tmp_path / "roofline.json").read_text())
    assert stored["preset"] == "tiny-64"
    assert stored["bound_s"] > 0
    assert (tmp_path / "roofline.png").read_bytes()[:4] == b"\x89PNG"
