"""Evaluating masks of a folder, and what is said about the ones that cannot be evaluated."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from eenet_bench.cli import app
from eenet_bench.evaluation.evaluate import CaseEvaluation, evaluate_folder, masks_without_truth
from eenet_bench.evaluation.evaluation_report import (
    ceiling_table,
    evaluation_table,
    lesion_tables,
    statistics,
    write_evaluation,
)
from eenet_bench.evaluation.lesionwise import LesionMetrics
from eenet_bench.evaluation.metrics import RegionMetrics
from eenet_bench.evaluation.truth import find_truth, scheme_by_name
from eenet_runtime.errors import DatasetError
from eenet_runtime.folders.folder import FolderSettings, segment_folder
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import BRATS2020, BRATS2023, MSD, LabelScheme
from eenet_runtime.volumes.presets import EENET_FAST
from tests.lost_inputs import LOST, lose
from tests.synthetic import LAYOUT_SCHEMES, LAYOUTS, TINY, TINY_2MM, Head, make_head, write_case, write_volume

REGIONS = ("ET", "TC", "WT")


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    write_case(tmp_path / "cases", "A", make_head())
    write_case(tmp_path / "cases", "B", make_head(), layout="brats2023")
    return tmp_path / "cases"


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Right masks of both cases, each in the convention of its case."""
    for name, scheme in (("A", BRATS2020), ("B", BRATS2023)):
        _write_mask(tmp_path / "masks", name, make_head(), scheme)
    return tmp_path / "masks"


def _write_mask(folder: Path, name: str, head: Head, scheme: LabelScheme) -> None:
    write_volume(folder / f"{name}.nii.gz", scheme.to_file(head.labels), head.affine)


def _by_id(results: list[CaseEvaluation]) -> dict[str, CaseEvaluation]:
    return {result.case_id: result for result in results}


def _dice(result: CaseEvaluation) -> dict[str, float]:
    return {region: metrics.dice for region, metrics in result.regions.items()}


def test_the_masks_of_the_runtime_are_evaluated_in_the_convention_of_each_case(
    cases: Path, segmenter: Segmenter, tmp_path: Path
) -> None:
    run = segment_folder(segmenter, cases, tmp_path / "masks")
    results = _by_id(evaluate_folder(tmp_path / "masks", cases))
    assert len(run.outcomes) == len(results) == 2
    for outcome in run.outcomes:
        assert outcome.report is not None
        assert outcome.report.dice is not None
        assert _dice(results[outcome.case_id]) == pytest.approx(outcome.report.dice, abs=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_truth_and_masks_of_every_layout_are_understood(layout: str, tmp_path: Path) -> None:
    name = "BRATS_001" if layout == "msd" else "A"
    write_case(tmp_path / "cases", name, make_head(), layout=layout)
    _write_mask(tmp_path / "masks", name, make_head(), LAYOUT_SCHEMES[layout])
    (result,) = evaluate_folder(tmp_path / "masks", tmp_path / "cases")
    assert result.reason == ""
    assert set(_dice(result).values()) == {1.0}


def test_the_report_beside_a_mask_tells_its_label_values(cases: Path, segmenter: Segmenter, tmp_path: Path) -> None:
    segment_folder(segmenter, cases, tmp_path / "masks", FolderSettings(scheme=MSD, preview=False))
    results = evaluate_folder(tmp_path / "masks", cases)
    assert len(results) == 2
    for result in results:
        # Read as BraTS, the Decathlon's oedema would be necrosis.
        assert set(_dice(result).values()) == {1.0}


def test_label_values_that_the_caller_names_count_more_than_the_layouts(cases: Path, tmp_path: Path) -> None:
    for name in ("A", "B"):
        _write_mask(tmp_path / "masks", name, make_head(), MSD)
    results = evaluate_folder(tmp_path / "masks", cases, scheme=MSD)
    assert [set(_dice(result).values()) for result in results] == [{1.0}, {1.0}]


def test_a_broken_report_is_a_reason_and_not_a_guess(cases: Path, masks: Path) -> None:
    (masks / "A.json").write_text("{}")
    assert "A.json: not a report of eenet-run" in _by_id(evaluate_folder(masks, cases))["A"].reason


def test_a_missing_mask_and_a_mask_on_another_grid_are_named_not_left_out(cases: Path, tmp_path: Path) -> None:
    head = make_head()
    write_volume(tmp_path / "masks" / "B.nii.gz", head.labels, head.affine + np.diag([0.5, 0, 0, 0]))
    results = _by_id(evaluate_folder(tmp_path / "masks", cases))
    assert "A.nii.gz: file not found" in results["A"].reason
    assert "another grid" in results["B"].reason


def test_one_bad_mask_does_not_stop_the_others(cases: Path, masks: Path) -> None:
    (masks / "A.nii.gz").write_text("not an image")
    results = _by_id(evaluate_folder(masks, cases))
    assert "not a NIfTI file" in results["A"].reason
    assert set(_dice(results["B"]).values()) == {1.0}


def test_a_case_without_a_label_and_an_incomplete_case_are_refused(cases: Path, masks: Path) -> None:
    write_case(cases, "C", make_head(), label=False)
    write_case(cases, "D", make_head())
    (cases / "D" / "D_t2.nii.gz").unlink()
    results = _by_id(evaluate_folder(masks, cases))
    assert list(results) == ["A", "B", "C", "D"]
    assert "case C has no label" in results["C"].reason
    assert "t2 missing" in results["D"].reason


def test_a_mask_stored_along_other_axes_is_compared_in_the_world(cases: Path, masks: Path) -> None:
    turned = make_head().stored_as((2, 0, 1), (True, False, True))
    _write_mask(masks, "A", turned, BRATS2020)
    result = _by_id(evaluate_folder(masks, cases))["A"]
    assert result.reason == ""
    assert set(_dice(result).values()) == {1.0}


def test_a_mask_of_several_volumes_is_refused(cases: Path, masks: Path) -> None:
    head = make_head()
    write_volume(masks / "A.nii.gz", np.stack([head.labels] * 2, axis=-1), head.affine)
    assert "2 channels found" in _by_id(evaluate_folder(masks, cases))["A"].reason


@pytest.mark.parametrize(
    ("name", "scheme"), [("A_seg.nii.gz", BRATS2020), ("A-seg.nii.gz", BRATS2023), ("A_seg.nii", BRATS2020)]
)
def test_label_files_alone_are_truth_enough(name: str, scheme: LabelScheme, tmp_path: Path) -> None:
    head = make_head()
    write_volume(tmp_path / "labels" / name, scheme.to_file(head.labels), head.affine)
    _write_mask(tmp_path / "masks", "A", head, scheme)
    (result,) = evaluate_folder(tmp_path / "masks", tmp_path / "labels")
    assert result.case_id == "A"
    assert set(_dice(result).values()) == {1.0}


def test_a_dataset_json_above_label_files_tells_their_values(tmp_path: Path) -> None:
    write_case(tmp_path / "set", "A", make_head(), layout="nnunet")
    _write_mask(tmp_path / "masks", "A", make_head(), LAYOUT_SCHEMES["nnunet"])
    (result,) = evaluate_folder(tmp_path / "masks", tmp_path / "set" / "labelsTr")
    assert set(_dice(result).values()) == {1.0}


def test_label_files_that_do_not_tell_their_values_need_the_callers_word(tmp_path: Path) -> None:
    for folder in ("labels", "masks"):
        _write_mask(tmp_path / folder, "A", make_head(), BRATS2023)
    (silent,) = evaluate_folder(tmp_path / "masks", tmp_path / "labels")
    assert "say them with --labels" in silent.reason
    (told,) = evaluate_folder(tmp_path / "masks", tmp_path / "labels", scheme=BRATS2023)
    assert set(_dice(told).values()) == {1.0}


def test_two_label_files_of_one_case_are_refused(tmp_path: Path) -> None:
    head = make_head()
    for name in ("a/X_seg.nii.gz", "b/X_seg.nii.gz", "Y_seg.nii.gz"):
        write_volume(tmp_path / name, BRATS2020.to_file(head.labels), head.affine)
    found = find_truth(tmp_path)
    assert [label.case_id for label in found.labels] == ["Y"]
    assert [case.case_id for case in found.refused] == ["X"]


def test_folders_that_are_missing_or_hold_no_label_are_errors(cases: Path, masks: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for predictions, truth in ((tmp_path / "nowhere", cases), (masks, tmp_path / "nowhere"), (masks, empty)):
        with pytest.raises(DatasetError):
            evaluate_folder(predictions, truth)
    with pytest.raises(DatasetError, match="known: brats2020, brats2023, msd"):
        scheme_by_name("brats1999")


def test_the_ceiling_is_one_without_resampling_and_below_one_with_it(cases: Path, masks: Path) -> None:
    same = evaluate_folder(masks, cases, ceiling=TINY)
    coarse = evaluate_folder(masks, cases, ceiling=TINY_2MM)
    assert len(same) == len(coarse) == 2
    for fine, rough in zip(same, coarse, strict=True):
        assert set(_dice(fine).values()) == {1.0}
        assert set(fine.ceiling.values()) == {1.0}
        assert all(0.7 < value < 1.0 for value in rough.ceiling.values())


def _ball(shape: tuple[int, ...], radius: float) -> NDArray[np.bool_]:
    centre = [(size - 1) / 2 for size in shape]
    offsets = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    ball: NDArray[np.bool_] = np.sqrt((offsets**2).sum(axis=0)) < radius
    return ball


def test_a_thin_rim_has_a_lower_ceiling_than_a_thick_one(tmp_path: Path) -> None:
    ceilings = {}
    for name, inner in (("thick", 4.0), ("thin", 9.0)):
        head = make_head()
        labels = np.where(_ball(head.shape, 10), 3, 0) - np.where(_ball(head.shape, inner), 2, 0)
        head = replace(head, labels=labels.astype(np.uint8))
        write_case(tmp_path / "cases", name, head)
        _write_mask(tmp_path / "masks", name, head, BRATS2020)
    for result in evaluate_folder(tmp_path / "masks", tmp_path / "cases", ceiling=EENET_FAST):
        assert result.reason == ""
        ceilings[result.case_id] = result.ceiling
    assert ceilings["thin"]["ET"] < 0.8 < 0.9 < ceilings["thick"]["ET"] < 1
    # Around the rim the class is lost more often than the tumour.
    assert ceilings["thin"]["ET"] < ceilings["thin"]["TC"] < 1


def test_a_ceiling_needs_images(tmp_path: Path) -> None:
    head = make_head()
    write_volume(tmp_path / "labels" / "A_seg.nii.gz", BRATS2020.to_file(head.labels), head.affine)
    _write_mask(tmp_path / "masks", "A", head, BRATS2020)
    with pytest.raises(DatasetError, match="the ceiling needs the images"):
        evaluate_folder(tmp_path / "masks", tmp_path / "labels", ceiling=TINY)


def _result(case_id: str, dice: float, ceiling: float) -> CaseEvaluation:
    metrics = RegionMetrics(dice, pooled_hd95_mm=1.0, directed_hd95_mm=2.0, sensitivity=0.5, specificity=0.99999)
    matched = LesionMetrics(dice, 3.0, true_positives=1, false_positives=4, false_negatives=2)
    grouped = LesionMetrics(dice / 2, 4.0, true_positives=2, false_positives=0, false_negatives=1)
    figures = (dict.fromkeys(REGIONS, metrics), dict.fromkeys(REGIONS, matched), dict.fromkeys(REGIONS, grouped))
    return CaseEvaluation(case_id, *figures, dict.fromkeys(REGIONS, ceiling))


def _without_the_region(case_id: str) -> CaseEvaluation:
    """A case in which neither truth nor mask has any of a region, as far as its figures go."""
    metrics = RegionMetrics(1.0, None, 0.0, 1.0, 1.0)
    matched, grouped = LesionMetrics(None, None, 0, 0, 0), LesionMetrics(1.0, 0.0, 0, 0, 0)
    return CaseEvaluation(
        case_id, dict.fromkeys(REGIONS, metrics), dict.fromkeys(REGIONS, matched), dict.fromkeys(REGIONS, grouped)
    )


def test_statistics_are_taken_over_the_evaluated_cases_only() -> None:
    results = [_result("A", 0.5, 1.0), _result("B", 1.0, 1.0), CaseEvaluation("C", reason="no mask")]
    described = statistics(results)["dice_ET"]
    assert (described.count, described.mean, described.median) == (2, 0.75, 0.75)
    assert described.standard_deviation == 0.25
    assert (described.lower_quartile, described.upper_quartile) == (0.625, 0.875)
    assert statistics([CaseEvaluation("C", reason="no mask")]) == {}


def test_the_tables_end_with_the_mean() -> None:
    results = [_result("A", 0.5, 0.8), _result("B", 0.7, 1.0), CaseEvaluation("C", reason="no mask")]
    lines = [line.split() for line in evaluation_table(results).splitlines()]
    assert [line[0] for line in lines[2:4]] == ["A", "B"]
    assert ["mean", "0.600"] in [line[:2] for line in lines]
    last = ceiling_table(results).splitlines()[-1].split()
    assert last == ["mean", *["0.600"] * 3, *["0.900"] * 3, *["0.667"] * 3]


def test_a_region_that_cannot_survive_has_no_share() -> None:
    assert ceiling_table([_result("A", 0.0, 0.0)]).splitlines()[-1].split()[-1] == "-"


def test_tables_of_nothing_have_a_header_only() -> None:
    refused = [CaseEvaluation("C", reason="no mask")]
    assert len(evaluation_table(refused).splitlines()) == 2
    assert len(ceiling_table(refused).splitlines()) == 2


def test_masks_of_no_case_are_pointed_out(cases: Path, masks: Path) -> None:
    _write_mask(masks, "Z", make_head(), BRATS2020)
    results = evaluate_folder(masks, cases)
    assert [path.name for path in masks_without_truth(masks, results)] == ["Z.nii.gz"]


def test_the_command_writes_json_and_csv_and_ends_with_0(cases: Path, masks: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = ["evaluate", str(masks), str(cases), "--output", str(output), "--ceiling", "eenet-fast"]
    finished = CliRunner().invoke(app, arguments)
    assert finished.exit_code == 0, finished.output
    assert "ceiling ET" in finished.stdout
    content = json.loads((output / "evaluation.json").read_text())
    assert (content["evaluated"], content["refused"]) == (2, 0)
    assert content["statistics"]["dice_WT"]["mean"] == 1.0
    rows = list(csv.DictReader((output / "evaluation.csv").read_text().splitlines()))
    assert [(row["case_id"], row["status"], row["dice_ET"]) for row in rows] == [
        ("A", "done", "1.0"),
        ("B", "done", "1.0"),
    ]
    assert 0 < float(rows[0]["ceiling_ET"]) < 1


def test_the_command_ends_with_3_and_keeps_the_reason_if_a_case_was_refused(
    cases: Path, masks: Path, tmp_path: Path
) -> None:
    (masks / "A.nii.gz").unlink()
    finished = CliRunner().invoke(app, ["evaluate", str(masks), str(cases), "--output", str(tmp_path / "out")])
    assert finished.exit_code == 3
    assert "refused A: " in finished.output
    rows = list(csv.DictReader((tmp_path / "out" / "evaluation.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["refused", "done"]
    assert "file not found" in rows[0]["reason"]
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["refused"] == 1


def test_the_lesion_tables_add_up_the_lesions_and_not_their_means() -> None:
    results = [_result("A", 0.5, 1.0), _result("B", 1.0, 1.0), CaseEvaluation("C", reason="no mask")]
    matched, grouped = ([line.split() for line in table.splitlines()] for table in lesion_tables(results).split("\n\n"))
    assert matched[0] == ["lesions", "matched", "one", "to", "one", "(BraTS", "2026)"]
    assert matched[3] == ["A", *["0.500"] * 3, *["3.0"] * 3, *["1/4/2"] * 3]
    assert grouped[0] == ["lesions", "grouped", "by", "dilation", "(BraTS", "2023)"]
    assert [line[0] for line in grouped[3:5]] == ["A", "B"]
    assert grouped[3][1:] == ["0.250"] * 3 + ["4.0"] * 3 + ["2/0/1"] * 3
    assert grouped[5] == ["mean", *["0.375"] * 3, *["4.0"] * 3, *["4/0/2"] * 3]
    assert len(lesion_tables([CaseEvaluation("C", reason="no mask")]).splitlines()) == 2 * 3 + 1


def test_both_definitions_of_hd95_are_named_and_todays_comes_first() -> None:
    head, _, first = (line.split("  ") for line in evaluation_table([_result("A", 0.5, 1.0)]).splitlines()[:3])
    columns = [cell.strip() for cell in head if cell.strip()]
    assert columns[4:10] == [f"HD95 {which} {region}" for which in ("pooled", "directed") for region in REGIONS]
    assert [cell.strip() for cell in first if cell.strip()][4:10] == ["1.0"] * 3 + ["2.0"] * 3


def test_a_figure_that_its_definition_does_not_give_is_no_number_anywhere(tmp_path: Path) -> None:
    results = [_result("A", 0.5, 1.0), _without_the_region("B")]
    assert statistics(results)["hd95_pooled_mm_ET"].count == 1
    assert statistics(results)["hd95_pooled_mm_ET"].mean == 1.0
    assert statistics(results)["hd95_directed_mm_ET"].mean == 1.0
    assert "hd95_pooled_mm_ET" not in statistics([_without_the_region("B")])
    (row,) = [line.split() for line in evaluation_table(results).splitlines() if line.startswith("B")]
    assert row == ["B", *["1.000"] * 3, *["-"] * 3, *["0.0"] * 3, *["1.000"] * 3, *["1.00000"] * 3]
    write_evaluation(results, tmp_path)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["cases"][1]["matched_lesions"]["ET"]["hd95_mm"] is None
    rows = list(csv.DictReader((tmp_path / "evaluation.csv").read_text().splitlines()))
    assert [row["matched_dice_ET"] for row in rows] == ["0.5", ""]


def test_lesion_wise_figures_are_in_the_files(cases: Path, masks: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    finished = CliRunner().invoke(app, ["evaluate", str(masks), str(cases), "--output", str(output)])
    assert finished.exit_code == 0, finished.output
    assert "lesions matched one to one (BraTS 2026)" in finished.stdout
    content = json.loads((output / "evaluation.json").read_text())
    assert content["schema_version"] == 2
    for rules in ("matched", "grouped"):
        assert content["cases"][0][f"{rules}_lesions"]["ET"]["true_positives"] == 1
    assert content["statistics"]["grouped_hd95_directed_mm_TC"]["mean"] == 0.0
    assert content["statistics"]["matched_hd95_pooled_mm_TC"]["mean"] == 0.0
    row = next(csv.DictReader((output / "evaluation.csv").read_text().splitlines()))
    for rules in ("matched", "grouped"):
        assert (row[f"{rules}_dice_WT"], *(row[f"{rules}_{count}_WT"] for count in ("tp", "fp", "fn"))) == (
            "1.0",
            "1",
            "0",
            "0",
        )
    # Names that until schema 1 meant one definition without saying which.
    assert not {"hd95_mm_ET", "lesion_dice_ET", "lesion_hd95_mm_ET"} & set(row)
    assert "Evaluation of 2 cases" in (output / "evaluation.html").read_text()


def test_several_processes_say_the_same_as_one(cases: Path, masks: Path) -> None:
    (masks / "A.nii.gz").write_text("not an image")
    write_case(cases, "C", make_head())
    _write_mask(masks, "C", make_head(), BRATS2020)
    seen: list[tuple[int, int]] = []
    together = evaluate_folder(masks, cases, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert together == evaluate_folder(masks, cases)
    assert [result.reason != "" for result in together] == [True, False, False]
    assert seen == [(1, 3), (2, 3), (3, 3)]


class _Killer:
    """Ends the process that unpickles it, as the kernel does when memory runs out."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (1,)


def test_a_killed_process_is_a_reason_and_not_the_end(cases: Path, masks: Path) -> None:
    results = evaluate_folder(masks, cases, scheme=cast(LabelScheme, _Killer()), workers=2)
    assert [result.case_id for result in results] == ["A", "B"]
    assert all("try again with fewer workers" in result.reason for result in results)


def test_progress_is_for_terminals_only(cases: Path, masks: Path) -> None:
    finished = CliRunner().invoke(app, ["evaluate", str(masks), str(cases)])
    assert "cases evaluated" not in finished.output


@pytest.mark.parametrize("word", ["flair", "seg"])
@pytest.mark.parametrize("what", LOST)
def test_a_file_of_the_truth_that_is_no_file_is_told_as_what_it_is(
    cases: Path, masks: Path, what: str, word: str
) -> None:
    path = cases / "A" / f"A_{word}.nii.gz"
    said = lose(path, what)
    results = _by_id(evaluate_folder(masks, cases))
    assert {name: result.reason for name, result in results.items()} == {"A": f"{path}: {said}", "B": ""}


@pytest.mark.parametrize("what", LOST)
def test_a_label_file_alone_that_is_no_file_is_told_as_what_it_is(tmp_path: Path, what: str) -> None:
    head = make_head()
    for name in ("A", "B"):
        write_volume(tmp_path / "truth" / f"{name}_seg.nii.gz", BRATS2020.to_file(head.labels), head.affine)
        _write_mask(tmp_path / "masks", name, head, BRATS2020)
    path = tmp_path / "truth" / "A_seg.nii.gz"
    said = lose(path, what)
    results = _by_id(evaluate_folder(tmp_path / "masks", tmp_path / "truth"))
    assert {name: result.reason for name, result in results.items()} == {"A": f"{path}: {said}", "B": ""}


@pytest.mark.parametrize("what", LOST)
def test_a_mask_and_a_report_that_are_no_files_are_told_as_what_they_are(cases: Path, masks: Path, what: str) -> None:
    said = lose(masks / "A.nii.gz", what)
    (masks / "B.json").touch()
    lose(masks / "B.json", "a link without a target")  # which label values did it tell?
    results = _by_id(evaluate_folder(masks, cases))
    assert results["A"].reason == f"{masks / 'A.nii.gz'}: {said}"
    assert "B.json: not a report of eenet-run" in results["B"].reason


def test_truth_without_any_label_tells_of_the_first_case_that_was_refused(tmp_path: Path) -> None:
    write_case(tmp_path / "truth", "A", make_head(), label=False)
    said = lose(tmp_path / "truth" / "A" / "A_t1.nii.gz", "a link without a target")
    with pytest.raises(DatasetError, match=f"no label found; .*the first case refused: .*A_t1.nii.gz: {said}"):
        find_truth(tmp_path / "truth")
