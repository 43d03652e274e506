"""A folder of cases: one bad case never stops the others, and the summary says what became of each."""

from __future__ import annotations

import csv
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest

from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import BackendError, DatasetError, OutputError
from eenet_runtime.folders import work as work_module
from eenet_runtime.folders.folder import FolderSettings, segment_folder
from eenet_runtime.folders.outcomes import CaseOutcome, outcome_table
from eenet_runtime.results.result_files import ResultPaths, segment_to_files
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import Modality
from tests.synthetic import Head, make_head, write_case

NO_PREVIEW = FolderSettings(preview=False)
OVERWRITE = FolderSettings(preview=False, overwrite=True)


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
    codes = {case["case_id"]: case.get("code") for case in summary["cases"]}
    assert codes == {"A_good": None, "B_zeros": "empty-image", "C_missing": "missing-modality", "D_good": None}
    assert {name: row["codes"] for name, row in rows.items() if row["codes"]} == {
        "B_zeros": "empty-image",
        "C_missing": "missing-modality",
    }
    assert rows["A_good"]["status"] == "done"
    assert float(rows["A_good"]["dice_ET"]) == 1.0
    assert float(rows["A_good"]["WT_ml"]) > float(rows["A_good"]["ET_ml"]) > 0
    assert rows["B_zeros"]["WT_ml"] == ""


def test_an_engine_that_fails_on_one_case_does_not_stop_the_others(
    segmenter: Segmenter, tmp_path: Path, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A", "B"):
        write_case(tmp_path / "in", name, head)
    original = segmenter.compute

    def fail_on_a(prepared: Any, **options: Any) -> Any:
        if prepared.case_id == "A":
            raise BackendError("ONNX Runtime computed NaN")
        return original(prepared, **options)

    monkeypatch.setattr(segmenter, "compute", fail_on_a)
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

    def look(count: int, total: int | None, outcome: CaseOutcome) -> None:
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

    monkeypatch.setattr(work_module, "clear_the_way", stop)
    with pytest.raises(KeyboardInterrupt):
        segment_folder(segmenter, mixed, output, OVERWRITE)
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


def test_a_name_that_ends_like_probability_maps_is_refused(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    # The mask of `A_probabilities` and the maps of `A` would have one name.
    for name in ("A", "A_probabilities"):
        write_case(tmp_path / "in", name, head, label=False)
    run = segment_folder(
        segmenter, tmp_path / "in", tmp_path / "out", FolderSettings(preview=False, probabilities=True)
    )
    assert [outcome.case_id for outcome in run.outcomes if outcome.done] == ["A"]
    assert "kept for probability maps" in run.failed[0].reason
    maps = nib.load(tmp_path / "out" / "A_probabilities.nii.gz")
    assert maps.shape == (*head.shape, 3)


def test_the_next_case_is_read_and_the_one_before_is_written_while_one_is_computed(
    segmenter: Segmenter, head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"Case_{index}" for index in range(5)]
    for name in names:
        write_case(tmp_path / "in", name, head, label=False)
    events = {f"{stage} {name}": threading.Event() for stage in ("prepare", "finish") for name in names}

    def note(stage: str) -> None:
        original = getattr(segmenter, stage)

        def noted(case: Any, **options: Any) -> Any:
            result = original(case, **options)
            events[f"{stage} {case.case_id}"].set()
            return result

        monkeypatch.setattr(segmenter, stage, noted)

    compute = segmenter.compute

    def compute_late(case: Any, **options: Any) -> Any:
        """Compute only when what shall happen meanwhile has happened; a run that waits its turn waits for ever."""
        index = names.index(case.case_id)
        if index + 1 < len(names):
            assert events[f"prepare {names[index + 1]}"].wait(60), "the next case was not read meanwhile"
        if index > 0:
            assert events[f"finish {names[index - 1]}"].wait(60), "the case before was not finished meanwhile"
        return compute(case, **options)

    for stage in ("prepare", "finish"):
        note(stage)
    monkeypatch.setattr(segmenter, "compute", compute_late)
    run = segment_folder(segmenter, tmp_path / "in", tmp_path / "out", NO_PREVIEW)
    assert [outcome.case_id for outcome in run.outcomes] == names
    assert run.failed == []


def test_the_time_limit_does_not_count_that_a_case_waits_for_the_one_before_it(
    tiny_bundle: Path, head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        write_case(tmp_path / "in", f"Case_{index}", head, label=False)
    with Segmenter(tiny_bundle, threads=1, time_limit_s=1.9) as segmenter:
        labels = segmenter.backend.labels

        def slow(volume: Any) -> Any:
            time.sleep(1.0)
            return labels(volume)

        monkeypatch.setattr(segmenter.backend, "labels", slow)
        # A case that waits for the one before it is 2 s old when it is computed, and has cost 1 s.
        assert not segment_folder(segmenter, tmp_path / "in", tmp_path / "out", NO_PREVIEW).failed


def test_the_masks_are_those_of_one_case_at_a_time(segmenter: Segmenter, tmp_path: Path) -> None:
    for index in range(4):
        write_case(tmp_path / "in", f"Case_{index}", make_head((44 + index, 52, 20)), label=False)
    segment_folder(segmenter, tmp_path / "in", tmp_path / "out")
    (tmp_path / "alone").mkdir()
    cases = find_cases(tmp_path / "in").cases
    assert len(cases) == 4
    for files in cases:
        segment_to_files(segmenter, files, ResultPaths.in_folder(tmp_path / "alone", files.case_id))
        for suffix in (".nii.gz", ".png"):
            name = f"{files.case_id}{suffix}"
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


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
