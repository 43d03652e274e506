"""Stages outside the network, beside the naive way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eenet_bench.cli import app
from eenet_bench.limits.stages import SETTINGS, measure_stages, stages_table
from eenet_bench.peers import naive_way
from eenet_runtime.errors import DatasetError
from eenet_runtime.segmenter.postprocessing import clean
from eenet_runtime.volumes.labels import Region
from eenet_runtime.volumes.presets import GeometryPreset
from tests.synthetic import TINY, TINY_2MM, Head, write_case

STAGES = ["read", "prepare", "check", "restore", "clean", "write", "all"]


@pytest.mark.parametrize("layout", ["brats2020", "msd"])
@pytest.mark.parametrize("preset", [TINY, TINY_2MM], ids=lambda preset: preset.name)
def test_both_ways_do_the_same_and_every_stage_is_timed(
    tmp_path: Path, head: Head, layout: str, preset: GeometryPreset
) -> None:
    write_case(tmp_path, "BRATS_001", head, layout)
    report = measure_stages(tmp_path, preset, repeats=2)
    assert report.input_difference < 1e-6
    assert report.mask_difference == 0
    assert [times.stage for times in report.stages] == STAGES
    assert all(times.ours.count == 2 and times.ours.smallest > 0 for times in report.stages)
    assert all(times.ours_processor.count == 2 for times in report.stages)
    *parts, together = report.stages
    assert together.ours.mean == pytest.approx(sum(times.ours.mean for times in parts))
    assert together.naive is not None
    assert together.naive.mean == pytest.approx(sum(times.naive.mean for times in parts if times.naive is not None))


def test_the_naive_way_counts_what_ours_counts(head: Head) -> None:
    labels = head.labels.copy()
    labels[0, 0, 0] = 2
    ours, theirs = labels.copy(), labels.copy()
    cleaned = clean(ours, 0.001, SETTINGS)
    found = naive_way.clean(theirs, 0.001, SETTINGS)
    np.testing.assert_array_equal(ours, theirs)
    assert ours[0, 0, 0] == 0
    assert {region: volume for region, (volume, _) in found.items()} == pytest.approx(cleaned.volumes_ml)
    assert found[Region.WT][1] == cleaned.components == 1


def test_the_command_prints_the_table_and_writes_the_json(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path / "cases", "A", head, "brats2020")
    arguments = ["stages", str(tmp_path / "cases"), "--repeats", "1", "--json", str(tmp_path / "stages.json")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "naive / ours" in result.output
    report = json.loads((tmp_path / "stages.json").read_text())
    assert (report["preset"], report["shape"], report["dtype"]) == ("eenet-144", [46, 54, 22], "int16")
    assert [stage["stage"] for stage in report["stages"]] == STAGES


def test_a_stage_that_only_we_have_has_no_ratio(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head, "brats2020")
    report = measure_stages(tmp_path, TINY, repeats=1, threads=1)
    (line,) = [line for line in stages_table(report).splitlines() if line.startswith("check")]
    assert [cell for cell in line.split() if cell == "-"] == ["-", "-", "-"]


def test_a_case_without_a_label_has_no_stand_in(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head, "brats2020")
    for label in tmp_path.rglob("*_seg*"):
        label.unlink()
    with pytest.raises(DatasetError, match="no usable case with a label"):
        measure_stages(tmp_path, TINY)
