"""Latency of a tiny bundle, measured in a process of its own."""

from __future__ import annotations

from pathlib import Path

from eenet_bench.latency import latency_table, measure_latency
from tests.synthetic import make_head, write_case


def test_every_stage_and_the_memory_of_a_backend_are_measured(tiny_bundle: Path, tmp_path: Path) -> None:
    write_case(tmp_path, "A", make_head())
    (result,) = measure_latency(tiny_bundle, tmp_path, repeats=2)
    assert result.reason == ""
    assert set(result.stages_s) == {"read", "prepare", "network", "restore", "clean"}
    assert all(seconds > 0 for seconds in result.stages_s.values())
    assert 20 < result.peak_rss_mb < 2000
    assert "onnxruntime" in latency_table([result])


def test_a_backend_that_cannot_run_is_listed_with_its_reason(tiny_bundle: Path, tmp_path: Path) -> None:
    write_case(tmp_path, "A", make_head())
    (result,) = measure_latency(tiny_bundle, tmp_path, repeats=1, backends=["abacus"])
    assert "unknown backend 'abacus'" in latency_table([result])
