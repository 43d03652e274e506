"""How far the engines are from what the machine allows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eenet_bench.cli import app
from eenet_bench.limits import roofline
from eenet_bench.limits.graph_cost import LayerCost
from eenet_bench.limits.machine_rates import MachineRates, measure_rates
from eenet_bench.limits.roofline import EngineTime, Roofline, measure_roofline, roofline_table
from eenet_bench.measuring.environment import describe_environment
from eenet_bench.measuring.noise import NoiseWatch
from eenet_bench.pages.charts import Axis, Series
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


def test_the_picture_has_the_roof_of_the_machines_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Series] = {}

    def draw(title: str, across: Axis, up: Axis, series: Sequence[Series]) -> bytes:
        drawn.update({one.name: one for one in series})
        return b""

    monkeypatch.setattr(roofline, "draw_points", draw)
    layer = LayerCost("c", "Conv", flops=8e9, read_bytes=3e9, written_bytes=1e9, output=(1, 2, 3))
    rates = MachineRates(flops_per_s=200e9, bytes_per_s=20e9, threads=2)
    engine = EngineTime("openvino", "cpu", seconds=(0.1, 0.2, 0.4))
    report = Roofline("tiny", describe_environment(), rates, (layer,), (engine,), NoiseWatch().finish(()))
    roofline._picture(report)
    # GFLOP/s over FLOP per byte: memory up to 10, arithmetic from there.
    assert drawn["the machine"].points == [(0.1, 2.0), (10.0, 200.0), (1000.0, 200.0)]
    assert drawn["layers, at best"].points == [(2.0, 40.0)]
    assert np.asarray(drawn["openvino"].points) == pytest.approx(np.array([[2.0, 40.0]]))
