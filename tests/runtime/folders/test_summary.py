"""Summaries: safe in a spreadsheet, and gathered afterwards from what really lies in the folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eenet_runtime.errors import DatasetError
from eenet_runtime.folders.folder import FolderSettings, segment_folder
from eenet_runtime.folders.outcomes import CaseOutcome, FolderRun
from eenet_runtime.folders.shards import Shard
from eenet_runtime.folders.summary import gather_summary, is_summary_name, spreadsheet_text, summary_name, write_summary
from eenet_runtime.segmenter.segmenter import Segmenter
from tests.synthetic import Head, write_case

HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "a\nb",
    "\t=1",
    "a\r\n=1",
    "x,y",
    '"quoted"',
    "\x1b[31mred",
]


@given(text=st.text())
def test_no_cell_is_a_formula_or_more_than_one_line(text: str) -> None:
    cell = spreadsheet_text(text)
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))
    assert len(cell.splitlines()) <= 1
    assert "\x1b" not in cell


def test_harmless_text_stays_as_it_is() -> None:
    latin = b"M\xfcller".decode("utf-8", "surrogateescape")
    for text in ("BraTS20_Training_001", "Müller 患者", "a-b+c=d@e", latin, ""):
        assert spreadsheet_text(text) == text


def test_hostile_names_and_reasons_give_one_row_each(tmp_path: Path) -> None:
    run = FolderRun([CaseOutcome(name, reason=f"{name}: refused") for name in HOSTILE], total=len(HOSTILE))
    write_summary(run, tmp_path)
    assert len((tmp_path / "summary.csv").read_text().splitlines()) == 1 + len(HOSTILE)
    with (tmp_path / "summary.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["case_id"] for row in rows] == [spreadsheet_text(name) for name in HOSTILE]
    assert all(row["status"] == "refused" for row in rows)
    # JSON needs no such care and keeps the names as they are.
    assert [case["case_id"] for case in json.loads((tmp_path / "summary.json").read_text())["cases"]] == HOSTILE


@pytest.mark.parametrize("name", ["summary", "Summary", "summary-1-of-2", "SUMMARY-12-of-400"])
def test_names_of_summaries_are_kept_for_them(name: str) -> None:
    assert is_summary_name(name)


def test_a_part_has_a_summary_of_its_own() -> None:
    assert summary_name(Shard(1, 1)) == "summary"
    assert summary_name(Shard(2, 8)) == "summary-2-of-8"
    assert is_summary_name(summary_name(Shard(2, 8)))
    assert not is_summary_name("summary-of-the-year")


@pytest.fixture
def output(segmenter: Segmenter, head: Head, tmp_path: Path) -> Path:
    for name in ("A", "B", "C"):
        write_case(tmp_path / "in", name, head)
    (tmp_path / "in" / "C" / "C_t2.nii.gz").unlink()
    segment_folder(segmenter, tmp_path / "in", tmp_path / "out", FolderSettings(preview=False))
    return tmp_path / "out"


def test_a_gathered_summary_says_what_the_runs_said(output: Path) -> None:
    before = json.loads((output / "summary.json").read_text())
    (output / ".eenet-0123abcd.Z.json").write_bytes((output / "A.json").read_bytes())
    (output / "notes.json").write_text("[1, 2]")
    run = gather_summary(output)
    write_summary(run, output)
    after = json.loads((output / "summary.json").read_text())
    assert (after["done"], after["refused"]) == (2, 1)
    assert sorted(after["cases"], key=str) == sorted(before["cases"], key=str)
    # Gathered from a gathered summary it is the same again.
    assert gather_summary(output).outcomes == run.outcomes


def test_a_mask_that_is_damaged_does_not_count_as_done(output: Path) -> None:
    mask = output / "A.nii.gz"
    mask.write_bytes(mask.read_bytes()[:-5])
    (output / "B.nii.gz").unlink()
    failed = {outcome.case_id: outcome.reason for outcome in gather_summary(output).failed}
    assert set(failed) == {"A", "B", "C"}
    assert failed["A"].endswith("A.nii.gz: not the file that its report describes")


def test_a_report_speaks_louder_than_an_older_refusal(output: Path) -> None:
    (output / "C.json").write_text((output / "A.json").read_text().replace('"case_id": "A"', '"case_id": "C"'))
    assert gather_summary(output).failed == []


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        gather_summary(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no report and no summary found"):
        gather_summary(tmp_path)


def test_warnings_have_their_codes_in_report_summary_and_csv(
    segmenter_2mm: Segmenter, head: Head, tmp_path: Path
) -> None:
    write_case(tmp_path / "in", "A", head)
    output = tmp_path / "out"
    run = segment_folder(segmenter_2mm, tmp_path / "in", output, FolderSettings(preview=False))
    report = run.outcomes[0].report
    assert report is not None
    assert report.warning_codes == ("resampled",)
    assert [str(remark) for remark in report.remarks] == [f"notice: {report.warnings[0]} [resampled]"]
    (entry,) = json.loads((output / "summary.json").read_text())["cases"]
    assert entry["warning_codes"] == ["resampled"]
    (row,) = csv.DictReader((output / "summary.csv").read_text().splitlines())
    assert row["codes"] == "resampled"


def test_a_summary_of_an_earlier_release_gives_no_code(tmp_path: Path) -> None:
    content = {"cases": [{"case_id": "A", "status": "refused", "reason": "odd"}]}
    (tmp_path / "summary-1-of-2.json").write_text(json.dumps(content))
    assert [outcome.code for outcome in gather_summary(tmp_path).outcomes] == ["unknown"]
