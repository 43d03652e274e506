"""The record of a run and its tables: read back as written, refused when damaged, true after a kill."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from eenet_runtime.errors import GeometryError, OutputError, TrainingError
from eenet_runtime.volumes.labels import CHANNEL_ORDER
from eenet_train.runs.epoch_table import EpochTable
from eenet_train.runs.run_folder import RegionScores, RunFolder, RunRecord, Versions, read_record, write_record
from tests.synthetic import TINY_2MM

RECORD = RunRecord(
    preset=TINY_2MM,
    modalities=CHANNEL_ORDER,
    normalization="zscore-nonzero",
    training_cases=("A", "B"),
    validation_cases=("C",),
    steps_done=20,
    steps_planned=40,
    loss=0.123456789,
    validation_dice=RegionScores(0.5, 0.7, 0.9),
    encoder_weights="none",
    versions=Versions("0.1.0", "2.21.0", "3.12.0", "2.0.0", "3.11.7"),
)


def _changed(**changes: object) -> str:
    return json.dumps({**json.loads(RECORD.to_json()), **changes})


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_record(run, RECORD)
    assert read_record(run) == RECORD


def test_a_record_before_the_first_validation_is_read_back(tmp_path: Path) -> None:
    record = RunRecord.from_json(_changed(validation_dice=None), "run.json")
    assert record.validation_dice is None
    assert RunRecord.from_json(record.to_json(), "run.json") == record


def test_a_record_of_before_modality_dropout_was_noted_says_none() -> None:
    fields = json.loads(RECORD.to_json())
    del fields["modality_dropout"]
    assert RunRecord.from_json(json.dumps(fields), "run.json").modality_dropout == 0


def test_a_record_of_before_warnings_were_noted_has_none() -> None:
    content = json.loads(RECORD.to_json())
    del content["warnings"]
    assert RunRecord.from_json(json.dumps(content), "run.json") == RECORD
    warned = dataclasses.replace(RECORD, warnings=("one", "two"))
    assert RunRecord.from_json(warned.to_json(), "run.json") == warned


def test_the_mean_of_the_scores_is_that_of_the_regions() -> None:
    assert RegionScores(0.5, 0.7, 0.9).mean == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not a run record"),
        ("[]", "not a run record"),
        ("{}", "not a run record"),
        (_changed(schema=2), "run record of schema 2 found, expected 1"),
        (_changed(modalities=["t1", "pd"]), "not a run record"),
        (_changed(preset={"name": "x"}), "not a run record"),
        (_changed(validation_dice={"ET": 1}), "not a run record"),
        (_changed(surprise=1), "not a run record"),
    ],
)
def test_what_is_no_record_is_refused_with_its_name(tmp_path: Path, text: str, reason: str) -> None:
    run = RunFolder(tmp_path)
    run.record.write_text(text)
    with pytest.raises(TrainingError, match=reason) as refusal:
        read_record(run)
    assert str(refusal.value).startswith(f"{run.record}: ")


def test_a_record_of_an_impossible_geometry_is_refused() -> None:
    preset = {"name": "x", "shape": [64, 64, 25], "spacing_mm": 1.0, "depth_strides": [2, 2, 2]}
    with pytest.raises(GeometryError, match="these strides need D = 24"):
        RunRecord.from_json(_changed(preset=preset), "run.json")


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"run\.json: cannot be read \(No such file"):
        read_record(RunFolder(tmp_path))
    (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainingError, match=r"run\.json: cannot be read \(no text file\)"):
        read_record(RunFolder(tmp_path))


def test_the_installed_versions_are_named() -> None:
    versions = Versions.installed()
    assert versions.numpy[0].isdecimal()
    assert versions.python.count(".") == 2


@pytest.fixture
def table(tmp_path: Path) -> EpochTable:
    """Two columns, rows of epochs 1 to 3."""
    table = EpochTable(tmp_path / "table.csv", ("case", "dice"))
    table.append(1, [("A", "0.1"), ("mean, of all", "0.2")])
    table.append(2, [("A", "0.3")])
    table.append(3, [("A", "0.4")])
    return table


def test_a_table_has_one_header_and_its_rows_in_order(table: EpochTable) -> None:
    lines = table.path.read_text().splitlines()
    assert lines == ["epoch,case,dice", "1,A,0.1", '1,"mean, of all",0.2', "2,A,0.3", "3,A,0.4"]
    assert table.rows()[1] == ("1", "mean, of all", "0.2")


def test_rows_after_an_epoch_are_dropped_and_no_others(table: EpochTable) -> None:
    table.keep_until(2)
    assert [row[0] for row in table.rows()] == ["1", "1", "2"]
    before = table.path.stat().st_mtime_ns
    table.keep_until(2)
    assert table.path.stat().st_mtime_ns == before


def test_a_line_that_is_cut_short_is_not_taken_for_a_row(table: EpochTable) -> None:
    with table.path.open("a") as stream:
        stream.write("1")
    table.keep_until(3)
    table.append(4, [("A", "0.5")])
    assert [row[0] for row in table.rows()] == ["1", "1", "2", "3", "4"]
    assert len(table.path.read_text().splitlines()) == 6


def test_a_table_that_was_never_begun_stays_so(tmp_path: Path) -> None:
    table = EpochTable(tmp_path / "table.csv", ("case",))
    table.keep_until(0)
    assert table.rows() == []
    assert not table.path.exists()


def test_a_table_that_cannot_be_written_is_refused_with_its_name(tmp_path: Path) -> None:
    table = EpochTable(tmp_path / "missing" / "table.csv", ("case",))
    with pytest.raises(OutputError, match=r"table\.csv: cannot be written"):
        table.append(1, [("A",)])
