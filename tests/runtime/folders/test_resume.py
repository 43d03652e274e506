"""A finished case is kept only where everything that it follows from is what it was, by hash."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from eenet_runtime.bundle.manifest import PostprocessingSettings
from eenet_runtime.cases.content_checks import CheckPolicy
from eenet_runtime.folders.folder import FolderSettings, plan_folder, segment_folder
from eenet_runtime.folders.outcomes import FolderRun, Status
from eenet_runtime.results.mask_settings import MaskSettings
from eenet_runtime.results.report import CaseReport, read_report
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import MSD, Modality
from tests.synthetic import Head, write_case, write_volume

PLAIN = FolderSettings(preview=False)


@dataclass(frozen=True)
class Finished:
    """A folder of two cases, A and B, that has been done."""

    segmenter: Segmenter
    cases: Path
    output: Path

    def again(self, settings: FolderSettings = PLAIN) -> FolderRun:
        return segment_folder(self.segmenter, self.cases, self.output, settings)

    def plan(self, settings: FolderSettings = PLAIN, mask_settings: MaskSettings | None = None) -> dict[str, str]:
        found = plan_folder(self.cases, self.output, settings, mask_settings or MaskSettings.of(self.segmenter))
        return {case.case_id: f"{case.action} {case.why or ''}".strip() for case in found}


@pytest.fixture
def finished(segmenter: Segmenter, head: Head, tmp_path: Path) -> Finished:
    cases, output = tmp_path / "in", tmp_path / "out"
    write_case(cases, "A", head)
    write_case(cases, "B", head, label=False)
    segment_folder(segmenter, cases, output, PLAIN)
    return Finished(segmenter, cases, output)


def statuses(run: FolderRun) -> dict[str, Status]:
    return {outcome.case_id: outcome.status for outcome in run.outcomes}


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_finished_cases_are_kept_as_they_are_and_listed_as_done_before(finished: Finished) -> None:
    before = {name: state for name, state in snapshot(finished.output).items() if not name.startswith("summary")}
    run = finished.again()
    assert statuses(run) == {"A": Status.DONE_BEFORE, "B": Status.DONE_BEFORE}
    after = {name: state for name, state in snapshot(finished.output).items() if not name.startswith("summary")}
    assert after == before
    summary = json.loads((finished.output / "summary.json").read_text())
    assert (summary["done"], summary["done_before"], summary["refused"]) == (2, 2, 0)
    assert summary["cases"][0]["status"] == "done before"
    assert summary["cases"][0]["dice"] == {"ET": 1.0, "TC": 1.0, "WT": 1.0}


def test_overwrite_computes_all_of_them_again(finished: Finished) -> None:
    settings = replace(PLAIN, overwrite=True)
    assert finished.plan(settings) == {"A": "compute --overwrite", "B": "compute --overwrite"}
    assert statuses(finished.again(settings)) == {"A": Status.DONE, "B": Status.DONE}


def test_a_plan_writes_nothing(finished: Finished, tmp_path: Path) -> None:
    before = snapshot(finished.output)
    assert finished.plan() == {"A": "keep", "B": "keep"}
    assert snapshot(finished.output) == before
    elsewhere = replace(finished, output=tmp_path / "elsewhere")
    assert elsewhere.plan() == {"A": "compute no finished result", "B": "compute no finished result"}
    assert not elsewhere.output.exists()


def _change_voxel(finished: Finished) -> None:
    head_file = finished.cases / "A" / "A_t2.nii.gz"
    head_file.write_bytes((finished.cases / "A" / "A_flair.nii.gz").read_bytes())


def _drop_label(finished: Finished) -> None:
    (finished.cases / "A" / "A_seg.nii.gz").unlink()


def _change_label(finished: Finished) -> None:
    label = finished.cases / "A" / "A_seg.nii.gz"
    label.write_bytes((finished.cases / "A" / "A_t1.nii.gz").read_bytes())


def _truncate_mask(finished: Finished) -> None:
    mask = finished.output / "A.nii.gz"
    mask.write_bytes(mask.read_bytes()[:-1])


def _swap_masks(finished: Finished) -> None:
    shutil.copyfile(finished.output / "summary.json", finished.output / "A.nii.gz")


def _edit_report(change: Callable[[dict[str, Any]], None]) -> Callable[[Finished], None]:
    def edit(finished: Finished) -> None:
        path = finished.output / "A.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


CHANGES: dict[str, tuple[Callable[[Finished], object], str]] = {
    "an input": (_change_voxel, "t2 has changed"),
    "a label that is gone": (_drop_label, "the label has changed"),
    "another label": (_change_label, "the label has changed"),
    "a damaged mask": (_truncate_mask, "A.nii.gz is not the file that its report describes"),
    "another mask": (_swap_masks, "A.nii.gz is not the file that its report describes"),
    "no mask": (lambda finished: (finished.output / "A.nii.gz").unlink(), "A.nii.gz is not the file"),
    "no report": (lambda finished: (finished.output / "A.json").unlink(), "no finished result"),
    "an empty report": (lambda finished: (finished.output / "A.json").write_bytes(b""), "no finished result"),
    "a report of an older release": (_edit_report(lambda report: report.update(schema_version=1)), "no finished"),
    "a report that lacks a field": (_edit_report(lambda report: report.pop("outputs")), "no finished result"),
    "a report of another type": (_edit_report(lambda report: report.update(settings=[])), "no finished result"),
    "another toolkit": (
        _edit_report(lambda report: report["settings"].update(eenet_version="0.0.1")),
        "eenet_version was 0.0.1, is ",
    ),
    "another model": (_edit_report(lambda report: report["settings"].update(bundle_id="x")), "bundle_id was x, is "),
    "another engine": (_edit_report(lambda report: report["settings"].update(backend="x")), "backend was x, is "),
    "another precision": (_edit_report(lambda report: report["settings"].update(precision="int8")), "precision was"),
    "a channel that was renamed": (
        _edit_report(lambda report: report["inputs"]["t2"].update(channel=1)),
        "t2 has changed",
    ),
    "fewer modalities": (_edit_report(lambda report: report["inputs"].pop("t2")), "made from other modalities"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_case_is_computed_again_if_anything_that_it_follows_from_changed(finished: Finished, what: str) -> None:
    change, why = CHANGES[what]
    change(finished)
    plan = finished.plan()
    assert plan["B"] == "keep"
    assert plan["A"].startswith(f"compute {why}")
    run = finished.again()
    assert statuses(run)["B"] is Status.DONE_BEFORE
    # An input that was replaced by another modality's file may be refused; what counts is that it was looked at.
    assert statuses(run)["A"] in (Status.DONE, Status.REFUSED)
    if statuses(run)["A"] is Status.DONE:
        assert finished.plan()["A"] == "keep"


def test_channels_that_dataset_json_calls_otherwise_now_are_other_inputs(
    segmenter: Segmenter, head: Head, tmp_path: Path
) -> None:
    # One 4D file with the same bytes: only the names of its channels tell that the mask was made from others.
    write_case(tmp_path / "in", "BRATS_001", head, "msd", label=False)
    segment_folder(segmenter, tmp_path / "in", tmp_path / "out", PLAIN)
    described = tmp_path / "in" / "dataset.json"
    text = described.read_text()
    described.write_text(text.replace('"0": "FLAIR"', '"0": "T2w"').replace('"3": "T2w"', '"3": "FLAIR"'))
    assert described.read_text() != text
    (case,) = plan_folder(tmp_path / "in", tmp_path / "out", PLAIN, MaskSettings.of(segmenter))
    assert (case.action, case.why) == ("compute", "t2 has changed")


def test_other_settings_of_the_masks_compute_all_again(finished: Finished) -> None:
    settings = MaskSettings.of(finished.segmenter)
    assert finished.plan(replace(PLAIN, scheme=MSD))["A"].startswith("compute label values were BACKGROUND 0, NCR 1")
    assert finished.plan(replace(PLAIN, preview=True)) == {"A": "compute made without preview"} | {
        "B": "compute made without preview"
    }
    strict = replace(settings, checks=CheckPolicy.STRICT.value)
    assert finished.plan(mask_settings=strict)["A"] == "compute checks was default, is strict"
    cleaned = MaskSettings.planned(
        finished.segmenter.bundle, finished.segmenter.choice, PostprocessingSettings(0.5, 0.0), CheckPolicy.DEFAULT
    )
    assert finished.plan(mask_settings=cleaned)["A"].startswith("compute postprocessing was min_tumour_ml 0, ")


def test_results_that_nobody_asks_for_any_more_are_kept_with_the_case(finished: Finished) -> None:
    with_preview = replace(PLAIN, preview=True)
    assert set(statuses(finished.again(with_preview)).values()) == {Status.DONE}
    assert finished.plan() == {"A": "keep", "B": "keep"}
    (finished.output / "A.png").unlink()
    assert finished.plan() == {"A": "keep", "B": "keep"}
    assert finished.plan(with_preview)["A"] == "compute A.png is not the file that its report describes"


def test_probability_maps_are_a_result_like_the_others(finished: Finished) -> None:
    with_maps = replace(PLAIN, probabilities=True)
    assert finished.plan(with_maps)["A"] == "compute made without probabilities"
    finished.again(with_maps)
    assert (finished.output / "A_probabilities.nii.gz").exists()
    assert finished.plan(with_maps) == {"A": "keep", "B": "keep"}
    report = read_report(finished.output / "A.json")
    assert report is not None
    assert set(report.outputs) == {"mask", "probabilities"}
    # The maps of an earlier run go with its mask.
    finished.again(replace(PLAIN, overwrite=True))
    assert not (finished.output / "A_probabilities.nii.gz").exists()


def test_inputs_that_moved_are_the_same_inputs(finished: Finished) -> None:
    moved = finished.cases.with_name("moved")
    finished.cases.rename(moved)
    assert replace(finished, cases=moved).plan() == {"A": "keep", "B": "keep"}


def test_a_refused_case_is_tried_again(finished: Finished, head: Head) -> None:
    bad = head.with_image(Modality.T2, head.labels * 0)
    write_case(finished.cases, "C", bad, label=False)
    assert statuses(finished.again())["C"] is Status.REFUSED
    assert finished.plan()["C"] == "compute no finished result"
    write_volume(finished.cases / "C" / "C_t2.nii.gz", head.images[Modality.T2], head.affine)
    assert statuses(finished.again()) == {"A": Status.DONE_BEFORE, "B": Status.DONE_BEFORE, "C": Status.DONE}


def test_a_plan_names_what_will_be_refused(finished: Finished) -> None:
    (finished.cases / "B" / "B_t1.nii.gz").unlink()
    assert finished.plan()["B"].startswith("refuse ")
    assert "t1 missing for case B" in finished.plan()["B"]


def test_a_report_reads_back_as_it_was_written(finished: Finished) -> None:
    report = read_report(finished.output / "A.json")
    assert report is not None
    assert CaseReport.from_json(report.to_json()) == report
    assert report.to_json() == (finished.output / "A.json").read_text()
    with pytest.raises(ValueError, match="not a report of schema version"):
        CaseReport.from_json((finished.output / "summary.json").read_text().replace('"schema_version": 2', '"x": 2'))
