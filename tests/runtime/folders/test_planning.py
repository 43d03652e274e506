"""A plan: what is there, what will be refused, what a case takes, and into how many parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eenet_runtime.cli import app
from eenet_runtime.errors import DatasetError
from eenet_runtime.folders.planning import Cost, Node, divide, forecast, measure
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import Modality
from tests.synthetic import Head, make_head, write_case, write_volume

NODE = Node(cores=16, memory_mb=64 * 1024)
COST = Cost("A", load_s=2.0, case_s=1.5, memory_mb=735, threads=4)


@pytest.fixture
def cases(tmp_path: Path, head: Head) -> Path:
    """Two good cases, and one for each way to be found out by names and headers."""
    folder = tmp_path / "in"
    for name in ("A", "B", "another-grid", "lacking", "truncated"):
        write_case(folder, name, head, label=False)
    moved = head.affine.copy()
    moved[0, 3] += 5
    write_volume(folder / "another-grid" / "another-grid_t2.nii.gz", head.images[Modality.T2], moved)
    (folder / "lacking" / "lacking_t1ce.nii.gz").unlink()
    path = folder / "truncated" / "truncated_flair.nii.gz"
    path.write_bytes(path.read_bytes()[:40])
    return folder


def test_refusals_that_names_and_headers_tell_are_foreseen_with_their_codes(cases: Path) -> None:
    found = forecast(cases)
    assert [case.case_id for case in found.cases] == ["A", "B"]
    codes = {case.case_id: case.code for case in found.refused}
    assert codes["another-grid"] == "grid-mismatch"
    assert codes["lacking"] == "missing-modality"
    assert codes["truncated"] in ("truncated", "damaged-gzip")


def test_raw_images_may_lie_on_several_grids(cases: Path) -> None:
    assert "another-grid" in [case.case_id for case in forecast(cases, raw=True).cases]


def test_turned_images_are_one_grid_here_as_they_are_in_a_run(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head)
    turned = head.stored_as((1, 0, 2), (True, False, False))
    write_volume(tmp_path / "A" / "A_t2.nii.gz", turned.images[Modality.T2], turned.affine)
    assert [case.case_id for case in forecast(tmp_path).cases] == ["A"]


def test_one_case_is_measured_and_nothing_of_it_stays(segmenter: Segmenter, cases: Path) -> None:
    before = sorted(cases.rglob("*"))
    cost = measure(segmenter, forecast(cases).cases, load_s=0.5)
    assert cost.case_id in ("A", "B")
    assert 0 < cost.case_s < 60
    assert 20 < cost.memory_mb < 20_000
    assert cost.load_s == 0.5
    assert sorted(cases.rglob("*")) == before


def test_where_all_are_refused_nothing_can_be_measured(segmenter: Segmenter, tmp_path: Path) -> None:
    head = make_head()
    write_case(tmp_path, "A", head.with_image(Modality.T2, np.zeros_like(head.images[Modality.T2])))
    with pytest.raises(DatasetError, match=r"none of the cases that were tried could be measured: .*all voxels are 0"):
        measure(segmenter, forecast(tmp_path).cases, load_s=0)


def test_a_part_of_average_size_fills_half_of_the_wall_time() -> None:
    division = divide(10_000, NODE, wall_s=600, cost=COST)
    assert division.shards * (300 - 2) >= 10_000 * 1.5 > (division.shards - 1) * (300 - 2)
    assert division.shard_s is not None
    assert division.shard_s <= 300


def test_every_place_gets_four_parts_and_no_part_is_without_a_case() -> None:
    division = divide(10_000, NODE, wall_s=3600 * 24, cost=COST)
    assert (division.at_once, division.shards) == (4, 16)
    assert divide(10_000, Node(16, 64 * 1024, count=8), 3600 * 24, COST).shards == 128
    assert divide(3, NODE, wall_s=3600, cost=COST).shards == 3
    assert divide(0, NODE, wall_s=3600).shards == 1


def test_memory_is_asked_for_with_a_margin_and_limits_what_runs_at_once() -> None:
    division = divide(100, Node(cores=64, memory_mb=4096), wall_s=3600, cost=COST)
    assert division.memory_mb == 1280  # 1.5 times 735, in steps of 256
    assert division.at_once == 3


def test_what_cannot_work_is_said() -> None:
    with pytest.raises(DatasetError, match="a part needs 1280 MB, a machine of 1024 MB found"):
        divide(100, Node(16, 1024), wall_s=3600, cost=COST)
    with pytest.raises(DatasetError, match="expected a wall time of more than twice that"):
        divide(100, NODE, wall_s=6, cost=COST)


def test_the_command_tells_counts_codes_cost_and_parts(cases: Path, tiny_bundle: Path) -> None:
    arguments = ["plan", str(cases), "--model", str(tiny_bundle), "--measure", "--threads", "1", "--wall-time", "10"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "5 cases: 2 to try, 3 refused as far as names and headers tell" in result.stdout
    assert "  1 grid-mismatch" in result.stdout
    assert "[missing-modality]" in result.stderr
    assert "s a case" in result.stdout
    assert "2 shards, about" in result.stdout
    assert "guesses" not in result.stdout


def test_without_a_measure_the_plan_says_that_it_guesses(cases: Path) -> None:
    result = CliRunner().invoke(app, ["plan", str(cases)])
    assert result.exit_code == 0
    assert "--measure does one case and tells" in result.stdout
    assert CliRunner().invoke(app, ["plan", str(cases), "--measure"]).exit_code == 2
