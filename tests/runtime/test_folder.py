"""A folder of cases: one bad case never stops the others, and the summary says what became of each."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from eenet_runtime import folder as folder_module
from eenet_runtime.errors import BackendError, DatasetError, OutputError
from eenet_runtime.folder import CaseOutcome, FolderSettings, outcome_table, segment_folder
from eenet_runtime.labels import Modality
from eenet_runtime.segmenter import Segmenter
from tests.synthetic import Head, write_case

NO_PREVIEW = FolderSettings(preview=False)


def summary_of(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "summary.json").read_text())
    return content


def rows_of(output: Path) -> list[dict[str, str]]:
    with (output / "summary.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def mixed(tmp_path: Path, head: Head) -> Path:
    """Good cases around one without a modality and one with an image of zeros."""
    data = tmp_path / "in"
    for name in ("A_good", "B_zeros", "C_missing", "D_good"):
        write_case(data, name, head if name != "B_zeros" else head.with_image(Modality.T1CE, head.labels * 0))
    (data / "C_missing" / "C_missing_t2.nii.gz").unlink()
    (data / "scan.nii.gz").write_bytes(b"")
    return data


def test_bad_cases_are_named_with_their_reasons_and_the_others_are_done(
    segmenter: Segmenter, mixed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    run = segment_folder(segmenter, mixed, output, NO_PREVIEW)
    assert {outcome.case_id: outcome.done for outcome in run.outcomes} == {
        "A_good": True,
        "B_zeros": False,
        "C_missing": False,
        "D_good": True,
    }
    masks = {path.name for path in output.glob("*.nii.gz")}
    assert masks == {"A_good.nii.gz", "D_good.nii.gz"}
    summary = summary_of(output)
    assert (summary["done"], summary["refused"]) == (2, 2)
    assert summary["ignored_files"] == [str(mixed / "scan.nii.gz")]
    reasons = {case["case_id"]: case.get("reason", "") for case in summary["cases"]}
    assert "B_zeros_t1ce.nii.gz: all voxels are 0" in reasons["B_zeros"]
    assert "t2 missing for case C_missing" in reasons["C_missing"]
    rows = {row["case_id"]: row for row in rows_of(output)}
    assert {name: row["reason"] for name, row in rows.items()} == reasons
    assert rows["A_good"]["status"] == "done"
    assert float(rows["A_good"]["dice_ET"]) == 1.0
    assert float(rows["A_good"]["WT_ml"]) > float(rows["A_good"]["ET_ml"]) > 0
    assert rows["B_zeros"]["WT_ml"] == ""


def test_an_engine_that_fails_on_one_case_does_not_stop_the_others(
    segmenter: Segmenter, tmp_path: Path, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A", "B"):
        write_case(tmp_path / "in", name, head)
    original = segmenter.segment

    def fail_on_a(files: Any) -> Any:
        if files.case_id == "A":
            raise BackendError("ONNX Runtime computed NaN")
        return original(files)

    monkeypatch.setattr(segmenter, "segment", fail_on_a)
    run = segment_folder(segmenter, tmp_path / "in", tmp_path / "out", NO_PREVIEW)
    assert [(outcome.case_id, outcome.done) for outcome in run.outcomes] == [("A", False), ("B", True)]


def test_old_results_of_a_refused_case_are_taken_away(segmenter: Segmenter, mixed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    for name in ("B_zeros", "C_missing"):
        for suffix in (".nii.gz", ".png", ".json"):
            (output / f"{name}{suffix}").write_bytes(b"of an earlier run")
    segment_folder(segmenter, mixed, output, NO_PREVIEW)
    assert not list(output.glob("B_zeros*"))
    assert not list(output.glob("C_missing*"))


def test_the_summary_is_there_and_right_after_every_case(segmenter: Segmenter, mixed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    seen: list[int] = []

    def look(count: int, total: int, outcome: CaseOutcome) -> None:
        assert total == 4
        assert summary_of(output)["cases"][-1]["case_id"] == outcome.case_id
        assert len(rows_of(output)) == len(summary_of(output)["cases"]) == count
        seen.append(count)

    segment_folder(segmenter, mixed, output, NO_PREVIEW, look)
    assert seen == [1, 2, 3, 4]


def test_a_run_that_stops_early_leaves_no_summary_of_an_older_one(
    segmenter: Segmenter, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for case in ("B_zeros", "C_missing"):
        shutil.rmtree(mixed / case)
    output = tmp_path / "out"
    segment_folder(segmenter, mixed, output, NO_PREVIEW)
    assert summary_of(output)["done"] == 2

    def stop(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_module, "segment_to_files", stop)
    with pytest.raises(KeyboardInterrupt):
        segment_folder(segmenter, mixed, output, NO_PREVIEW)
    assert not list(output.glob("summary.*"))


def test_no_temporary_file_is_left(segmenter: Segmenter, mixed: Path, tmp_path: Path) -> None:
    segment_folder(segmenter, mixed, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *(f"{case}{suffix}" for case in ("A_good", "D_good") for suffix in (".nii.gz", ".png", ".json")),
        "summary.json",
        "summary.csv",
    }


@pytest.mark.parametrize("output", ["in", "in/masks", "in/../in/masks"])
def test_an_output_folder_inside_the_input_is_refused(
    segmenter: Segmenter, mixed: Path, tmp_path: Path, output: str
) -> None:
    before = sorted(mixed.rglob("*"))
    with pytest.raises(DatasetError, match="lies inside the input folder"):
        segment_folder(segmenter, mixed, tmp_path / output)
    assert sorted(mixed.rglob("*")) == before


def test_a_file_where_the_output_folder_should_be_is_refused(segmenter: Segmenter, mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="a file stands where the output folder should be"):
        segment_folder(segmenter, mixed, tmp_path / "file")
    with pytest.raises(OutputError, match="cannot be made"):
        segment_folder(segmenter, mixed, tmp_path / "file" / "deeper")


def test_a_folder_without_cases_makes_no_output_folder(segmenter: Segmenter, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no case found"):
        segment_folder(segmenter, tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_case_called_summary_is_refused(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    write_case(tmp_path / "in", "summary", head, "flat")
    run = segment_folder(segmenter, tmp_path / "in", tmp_path / "out", NO_PREVIEW)
    assert "kept for the run's summary" in run.failed[0].reason
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"summary.json", "summary.csv"}


def test_a_name_in_another_encoding_does_not_stop_the_run(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    # Old archives hold Latin-1 names, which are no UTF-8; Python gives them to us with surrogates.
    name = b"M\xfcller".decode("utf-8", "surrogateescape")
    write_case(tmp_path / "in", name, head, label=False)
    write_case(tmp_path / "in", "Zoe", head, label=False)
    run = segment_folder(segmenter, tmp_path / "in", tmp_path / "out")
    assert not run.failed
    assert [case["case_id"] for case in summary_of(tmp_path / "out")["cases"]] == [name, "Zoe"]
    assert [row["case_id"] for row in rows_of(tmp_path / "out")] == [name, "Zoe"]


def test_the_table_has_a_line_for_every_case(segmenter: Segmenter, mixed: Path, tmp_path: Path) -> None:
    run = segment_folder(segmenter, mixed, tmp_path / "out", NO_PREVIEW)
    header, rule, *rows = outcome_table(run.outcomes).splitlines()
    assert header.split()[:3] == ["case", "ET", "ml"]
    assert set(rule) == {"-", " "}
    assert {row.split()[0] for row in rows} == {"A_good", "B_zeros", "C_missing", "D_good"}
    good = next(row.split() for row in rows if row.startswith("A_good"))
    assert good[4:7] == ["1.000", "1.000", "1.000"]
    assert outcome_table([]).splitlines()[0].startswith("case")
