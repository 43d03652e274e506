"""`summary --expect`: every case is done, refused, unfinished or missing, by name; what is lost is exit code 3."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eenet_runtime.cli import app
from eenet_runtime.errors import DatasetError
from eenet_runtime.folders.accounting import account_for, is_accounted_for
from eenet_runtime.folders.folder import FolderSettings, segment_folder
from eenet_runtime.folders.outcomes import CaseOutcome, Status
from eenet_runtime.folders.shards import Shard
from eenet_runtime.folders.stopping import StopRequest
from eenet_runtime.segmenter.segmenter import Segmenter
from tests.synthetic import Head, write_case

PLAIN = FolderSettings(preview=False)
NAMES = ("A", "B", "C", "D", "E", "F")
"""Of two parts, some belong to each."""


@pytest.fixture
def cases(tmp_path: Path, head: Head) -> Path:
    folder = tmp_path / "in"
    for name in NAMES:
        write_case(folder, name, head, label=False)
    return folder


def statuses(output: Path, cases: Path | None, shards: int | None = None) -> dict[str, str]:
    return {outcome.case_id: outcome.status.value for outcome in account_for(output, cases, shards).outcomes}


def summary(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["summary", *map(str, arguments)])
    return result.exit_code, result.stderr


def test_a_whole_run_is_accounted_for(segmenter: Segmenter, cases: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    segment_folder(segmenter, cases, output, PLAIN)
    run = account_for(output, cases)
    assert {outcome.status for outcome in run.outcomes} == {Status.DONE}
    assert is_accounted_for(run)
    assert summary(output, "--expect", cases)[0] == 0


def test_a_part_that_never_ran_is_missed_and_its_cases_are_named(
    segmenter: Segmenter, cases: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    segment_folder(segmenter, cases, output, replace(PLAIN, shard=Shard(1, 2)))
    lost = {name for name in NAMES if Shard(2, 2).holds(name)}
    assert lost
    code, errors = summary(output, "--expect", cases, "--expect-shards", "2")
    assert code == 3
    assert "missing shard 2/2: never ran, or was killed before its first summary" in errors
    assert {line.split(":")[0] for line in errors.splitlines() if "[not-run]" in line} == {
        f"missing {name}" for name in lost
    }
    written = json.loads((output / "summary.json").read_text())
    assert (written["missing"], written["unfinished"], written["refused"]) == (len(lost), 0, 0)
    assert written["expected"]["missing_shards"] == {"2/2": "never ran, or was killed before its first summary"}
    rows = {row["case_id"]: row for row in csv.DictReader((output / "summary.csv").read_text().splitlines())}
    assert {name for name, row in rows.items() if row["status"] == "missing"} == lost
    assert {rows[name]["codes"] for name in lost} == {"not-run"}


def test_what_a_stopped_run_did_not_come_to_is_unfinished_and_stays_so_when_asked_again(
    segmenter: Segmenter, cases: Path, tmp_path: Path
) -> None:
    output, stop = tmp_path / "out", StopRequest()

    def stop_soon(count: int, _total: int | None, _outcome: CaseOutcome) -> None:
        if count == 2:
            stop.request()

    segment_folder(segmenter, cases, output, PLAIN, on_case=stop_soon, stop=stop)
    for _ in range(2):  # the second time the summary is one that was gathered
        found = statuses(output, cases)
        assert set(found.values()) == {"done", "unfinished"}
        code, errors = summary(output, "--expect", cases, "--expect-shards", "1")
        assert code == 3
        assert "missing shard 1/1: did not come to its end" in errors
    segment_folder(segmenter, cases, output, PLAIN)
    assert set(statuses(output, cases, 1).values()) == {"done"}


def test_refused_cases_are_accounted_for(segmenter: Segmenter, cases: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    (cases / "B" / "B_t2.nii.gz").unlink()
    segment_folder(segmenter, cases, output, PLAIN)
    run = account_for(output, cases, 1)
    refused = {outcome.case_id: outcome.code for outcome in run.failed}
    assert refused == {"B": "missing-modality"}
    assert is_accounted_for(run)
    code, errors = summary(output, "--expect", cases)
    assert code == 3
    assert "[missing-modality]" in errors
    assert "6 expected: 5 done, 0 done before, 1 refused, 0 unfinished, 0 missing" in errors


@pytest.mark.parametrize("what", ["a damaged mask", "a mask without its report"])
def test_results_that_are_not_whole_are_unfinished(
    segmenter: Segmenter, cases: Path, tmp_path: Path, what: str
) -> None:
    output = tmp_path / "out"
    segment_folder(segmenter, cases, output, PLAIN)
    if what == "a damaged mask":
        (output / "C.nii.gz").write_bytes(b"half")
    else:
        (output / "C.json").unlink()
    found = statuses(output, cases)
    assert found.pop("C") == "unfinished"
    assert set(found.values()) == {"done"}


def test_a_case_that_came_after_the_run_is_missing_and_one_that_went_was_not_expected(
    segmenter: Segmenter, cases: Path, tmp_path: Path, head: Head
) -> None:
    output = tmp_path / "out"
    segment_folder(segmenter, cases, output, PLAIN)
    write_case(cases, "G", head)
    (cases / "A").rename(tmp_path / "elsewhere")
    run = account_for(output, cases)
    assert {outcome.case_id for outcome in run.outcomes if outcome.status is Status.MISSING} == {"G"}
    assert run.expected is not None
    assert run.expected.unexpected == ("A",)


def test_of_an_empty_output_folder_everything_is_missing(cases: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    assert set(statuses(output, cases).values()) == {"missing"}
    with pytest.raises(DatasetError, match="no report and no summary"):
        account_for(output, None)


def test_parts_of_another_division_do_not_count(segmenter: Segmenter, cases: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for index in (1, 2):
        segment_folder(segmenter, cases, output, replace(PLAIN, shard=Shard(index, 2)))
    assert is_accounted_for(account_for(output, cases, 2))
    run = account_for(output, cases, 3)
    assert run.expected is not None
    assert list(run.expected.missing_shards) == ["1/3", "2/3", "3/3"]
    assert not is_accounted_for(run)
