"""The summary of several runs: figures that can be recomputed by hand, refusals, warnings and the three files."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eenet_runtime.errors import OutputError, TrainingError
from eenet_runtime.pictures.box_plot import BoxPlot
from eenet_runtime.pictures.colours import RUN_COLOURS
from eenet_runtime.pictures.drawing import nice_ticks
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Region
from eenet_train.pictures.summary_picture import Curve, draw_summary
from eenet_train.runs.run_folder import RegionScores, RunFolder, RunRecord, Versions, write_record
from eenet_train.runs.summary import summarise, summary_table, write_summary
from tests.synthetic import TINY, TINY_2MM

RECORD = RunRecord(
    preset=TINY_2MM,
    modalities=CHANNEL_ORDER,
    normalization="zscore-nonzero",
    training_cases=("T1", "T2", "T3"),
    validation_cases=(),
    steps_done=40,
    steps_planned=40,
    loss=0.25,
    validation_dice=None,
    encoder_weights="none",
    versions=Versions("0.1.0", "2.21.0", "3.12.0", "2.0.0", "3.11.7"),
    recipe="eenet",
    fold=0,
    folds=2,
)
Scores = dict[int, dict[str, tuple[float, float, float]]]
"""Epoch, case, Dice of ET, TC and WT."""
FIRST: Scores = {
    1: {"A": (0.1, 0.2, 0.3), "B": (0.3, 0.4, 0.5)},
    2: {"A": (0.5, 0.7, 0.9), "B": (0.7, 0.9, 1.0)},
    4: {"A": (0.4, 0.6, 0.8), "B": (0.6, 0.8, 0.9)},
}
SECOND: Scores = {2: {"C": (0.1, 0.3, 0.5)}, 4: {"C": (0.2, 0.4, 0.6)}}


def _write_run(folder: Path, scores: Scores, *, with_log: bool = True, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    run = RunFolder(folder)
    cases = tuple(sorted({case for epoch in scores.values() for case in epoch}))
    write_record(run, dataclasses.replace(RECORD, validation_cases=cases, **changes))
    for epoch, by_case in scores.items():
        mean = tuple(np.mean(list(by_case.values()), axis=0))
        rows = [
            (case, region.value, f"{dice:.6f}")
            for case, values in (by_case | {"mean": mean}).items()
            for region, dice in zip(Region, values, strict=True)
        ]
        run.validation.append(epoch, rows)
    if with_log:
        for epoch in range(1, 5):
            run.log.append(epoch, [(str(epoch * 10), "0.25", "", "0.001")])
    return folder


@pytest.fixture
def folds(tmp_path: Path) -> list[Path]:
    """Two folds of two."""
    return [_write_run(tmp_path / "fold-0", FIRST), _write_run(tmp_path / "fold-1", SECOND, fold=1)]


def test_each_run_counts_at_its_best_epoch(folds: list[Path]) -> None:
    first, second = summarise(folds).runs
    assert first.best is not None
    assert (first.name, first.best.epoch, first.best.steps) == ("fold-0", 2, 20)
    assert dataclasses.astuple(first.best.dice) == pytest.approx((0.6, 0.8, 0.95))
    assert second.best is not None
    assert second.best.epoch == 4
    assert [(v.epoch, v.steps) for v in first.validations] == [(1, 10), (2, 20), (4, 40)]


def test_means_and_deviations_are_over_runs_and_over_all_cases(folds: list[Path]) -> None:
    summary = summarise(folds)
    runs, cases = summary.over_runs, summary.over_cases
    assert runs is not None
    assert runs.count == 2
    assert dataclasses.astuple(runs.mean) == pytest.approx((0.4, 0.6, 0.775))
    assert runs.deviation is not None
    assert np.isclose(runs.deviation.ET, 0.4 / np.sqrt(2)), "of a sample: n - 1"
    assert cases is not None
    assert cases.count == 3
    assert dataclasses.astuple(cases.mean) == pytest.approx(((0.5 + 0.7 + 0.2) / 3, 2.0 / 3, 2.5 / 3))
    assert cases.deviation is not None
    assert np.isclose(cases.deviation.WT, np.std([0.9, 1.0, 0.6], ddof=1))


def test_the_table_has_a_line_for_each_run_and_both_spreads(folds: list[Path]) -> None:
    lines = summary_table(summarise(folds)).splitlines()
    words = [" ".join(line.split()) for line in lines]
    assert words[0] == "run fold training validation steps loss best epoch ET TC WT mean"
    assert words[2] == "fold-0 0 of 2 3 2 40 0.2500 2 0.6000 0.8000 0.9500 0.7833"
    assert words[3] == "fold-1 1 of 2 3 1 40 0.2500 4 0.2000 0.4000 0.6000 0.4000"
    assert words[4] == "mean of 2 runs 0.4000 0.6000 0.7750 0.5917"
    assert words[6].startswith("mean of 3 cases 0.4667")
    assert not any(line.startswith("warning") for line in lines)


def test_one_run_has_no_deviation_over_runs(tmp_path: Path) -> None:
    summary = summarise([_write_run(tmp_path / "only", FIRST, folds=0)])
    assert summary.over_runs is not None
    assert summary.over_runs.deviation is None
    assert summary_table(summary).splitlines()[2].split()[:2] == ["only", "-"]
    assert summary.warnings == ()


def test_a_run_without_validation_is_named_and_left_out(folds: list[Path], tmp_path: Path) -> None:
    summary = summarise([*folds, _write_run(tmp_path / "blind", {}, folds=2)])
    assert summary.over_runs is not None
    assert summary.over_runs.count == 2
    assert "blind has no validation; it is left out of the means" in summary.warnings
    alone = summarise([tmp_path / "blind"])
    assert alone.over_cases is None
    assert "-" in summary_table(alone).splitlines()[2].split()
    assert write_summary(alone, tmp_path / "out")[2].is_file()


def test_shared_validation_cases_are_warned_about(folds: list[Path], tmp_path: Path) -> None:
    again = _write_run(tmp_path / "again", {4: {"B": (1, 1, 1), "D": (1, 1, 1)}}, fold=1)
    summary = summarise([folds[0], again])
    expected = "1 validation cases are in more than one run (B in fold-0 and again); the figures over all cases"
    assert [warning[: len(expected)] for warning in summary.warnings] == [expected]
    assert f"warning: {expected}" in summary_table(summary)


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"steps_done": 30}, "other is not finished: 30 of 40 steps"),
        ({"recipe": "paper"}, "the runs have different recipes: eenet, paper"),
        ({"steps_planned": 60, "steps_done": 60}, "the runs have different steps: 40, 60"),
        ({"encoder_weights": "imagenet"}, "the runs have different first encoder weights: imagenet, none"),
        ({"folds": 5}, "the runs have different numbers of folds: 2, 5"),
        ({"warnings": ("it has collapsed",)}, "other: it has collapsed"),
    ],
)
def test_runs_that_are_hard_to_compare_are_warned_about(
    changes: dict[str, Any], warning: str, folds: list[Path], tmp_path: Path
) -> None:
    other = _write_run(tmp_path / "other", SECOND, fold=1, **changes)
    assert summarise([folds[0], other]).warnings == (warning,)


def test_missing_folds_are_warned_about(tmp_path: Path) -> None:
    run = _write_run(tmp_path / "fold", FIRST, fold=1, folds=4)
    assert summarise([run]).warnings == ("of 4 folds (counted from 0) these are missing: 0, 2, 3",)


def test_runs_of_different_presets_are_refused(folds: list[Path], tmp_path: Path) -> None:
    other = _write_run(tmp_path / "other", SECOND, preset=TINY)
    with pytest.raises(TrainingError, match=f"a run of preset {TINY.name} found, expected {TINY_2MM.name}") as refusal:
        summarise([folds[0], other])
    assert str(refusal.value).startswith(f"{other}: ")


def test_no_runs_a_run_twice_and_no_run_at_all_are_refused(folds: list[Path], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no runs found"):
        summarise([])
    with pytest.raises(TrainingError, match="given twice"):
        summarise([folds[0], folds[1], folds[0] / ".." / "fold-0"])
    with pytest.raises(TrainingError, match=r"run\.json: cannot be read"):
        summarise([tmp_path])


@pytest.mark.parametrize("row", ["2,A,ET,high", "2,A,XX,0.5", "2,Z,ET,0.5"])
def test_a_damaged_table_is_refused_with_its_name(row: str, folds: list[Path]) -> None:
    table = RunFolder(folds[0]).validation.path
    table.write_text(table.read_text() + row + "\n")
    with pytest.raises(TrainingError, match=r"validation\.csv: not the validations of a run"):
        summarise(folds)


def test_runs_of_one_name_are_told_apart_by_their_parents(tmp_path: Path) -> None:
    paths = [_write_run(tmp_path / "a" / "run", FIRST), _write_run(tmp_path / "b" / "run", SECOND, fold=1)]
    assert [run.name for run in summarise(paths).runs] == ["a/run", "b/run"]


def test_without_a_log_steps_follow_from_the_epochs(tmp_path: Path) -> None:
    (run,) = summarise([_write_run(tmp_path / "run", FIRST, with_log=False)]).runs
    assert [validation.steps for validation in run.validations] == [10, 20, 40]


def test_three_files_hold_the_summary(folds: list[Path], tmp_path: Path) -> None:
    paths = write_summary(summarise(folds), tmp_path / "out")
    assert [path.name for path in paths] == ["summary.json", "summary.csv", "summary.png"]
    content = json.loads(paths[0].read_text())
    assert content["preset"] == TINY_2MM.name
    assert content["runs"][0]["best_dice"]["WT"] == pytest.approx(0.95)
    assert content["runs"][0]["last_dice"]["WT"] == pytest.approx(0.85)
    assert content["runs"][1]["best_cases"] == {"C": {"ET": 0.2, "TC": 0.4, "WT": 0.6}}
    assert content["over_cases"]["count"] == 3
    rows = list(csv.reader(paths[1].read_text().splitlines()))
    assert [row[0] for row in rows][1:4] == ["fold-0", "fold-1", "mean of 2 runs"]
    assert len({len(row) for row in rows}) == 1
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_summary(summarise(folds), tmp_path / "out")] == before


def test_a_loss_that_is_no_number_leaves_valid_json(tmp_path: Path) -> None:
    run = _write_run(tmp_path / "run", {}, loss=float("nan"), steps_done=0)
    text = write_summary(summarise([run]), tmp_path / "out")[0].read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["runs"][0]["loss"] is None


def test_an_output_that_is_a_file_is_refused(folds: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="out"):
        write_summary(summarise(folds), tmp_path / "out")


def _pixels(curves: list[Curve]) -> np.ndarray:
    with Image.open(io.BytesIO(draw_summary(curves))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def _found(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.argwhere(np.abs(pixels - colour).max(axis=-1) < 12)


def test_a_curve_rises_from_its_first_point_to_its_last() -> None:
    pixels = _pixels([Curve("run", ((100, 0.2), (1000, 0.9)), dict.fromkeys(Region, ()))])
    drawn = _found(pixels[40:400, 60:480], RUN_COLOURS[0])  # Left of the legend.
    left, right = drawn[drawn[:, 1].argmin()], drawn[drawn[:, 1].argmax()]
    assert left[0] > right[0] + 100, "rows count downwards"
    assert left[1] == pytest.approx(70 + 55 - 60, abs=4), "100 of 1000 steps"


def test_points_of_cases_carry_the_colour_of_their_run() -> None:
    curves = [
        Curve(name, ((10, dice),), dict.fromkeys(Region, (dice,))) for name, dice in (("low", 0.25), ("high", 0.75))
    ]
    pixels = _pixels(curves)[40:400, 690:]
    rows = [_found(pixels, colour)[:, 0] + 40 for colour in RUN_COLOURS[:2]]
    assert rows[0].mean() == pytest.approx(400 - 0.25 * 352, abs=2)
    assert rows[1].mean() == pytest.approx(400 - 0.75 * 352, abs=2)


def test_many_runs_with_long_names_can_be_drawn() -> None:
    curves = [Curve(f"{'x' * 60}-{n}", ((5, n / 20),), dict.fromkeys(Region, (n / 20,))) for n in range(20)]
    assert _pixels(curves).shape == (460, 1120, 3)


def test_a_box_is_tukeys() -> None:
    assert BoxPlot.from_values([0.1, 0.5, 0.6, 0.7, 0.8]) == BoxPlot(0.5, 0.5, 0.6, 0.7, 0.8)
    assert BoxPlot.from_values([0.4]) == BoxPlot(0.4, 0.4, 0.4, 0.4, 0.4)
    assert BoxPlot.from_values([0.0, 1.0, 1.0, 1.0]) == BoxPlot(1.0, 0.75, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("largest", "ticks"),
    [
        (0, [0]),
        (1, [0, 1]),
        (7, [0, 2, 4, 6]),
        (12, [0, 5, 10]),
        (600, [0, 200, 400, 600]),
        (125, [0, 25, 50, 75, 100, 125]),
        (99_999, [0, 20_000, 40_000, 60_000, 80_000]),
    ],
)
def test_ticks_are_round_and_few(largest: int, ticks: list[int]) -> None:
    assert nice_ticks(largest) == ticks


def test_scores_of_a_run_are_those_of_its_table(folds: list[Path]) -> None:
    best = summarise(folds).runs[0].best
    assert best is not None
    assert [(case.case_id, case.dice) for case in best.cases] == [
        ("A", RegionScores(0.5, 0.7, 0.9)),
        ("B", RegionScores(0.7, 0.9, 1.0)),
    ]
