"""The study of the input checks: what is done to a case, and what is counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eenet_bench.cli import app
from eenet_bench.inputs.input_checks import InputCheckStudy, input_check_tables, study_input_checks, write_study
from eenet_bench.inputs.input_faults import variants
from eenet_runtime.cases.content_checks import RULES
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.volumes.labels import Label
from tests.brain import make_brain
from tests.synthetic import TINY, Head, write_bundle, write_case, write_volume


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sound case of adult size, with a label."""
    brain = make_brain()
    images = {name: volume.data for name, volume in brain.volumes.items()}
    labels = np.zeros(brain.grid.shape, dtype=np.uint8)
    labels[30:40, 20:30, 30:40] = Label.ED
    labels[33:37, 23:27, 33:37] = Label.ET
    labels[34:36, 24:26, 34:36] = Label.NCR
    folder = tmp_path_factory.mktemp("cases")
    write_case(folder, "A", Head(images, labels, brain.grid.affine))
    return folder


@pytest.fixture(scope="module")
def study(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> InputCheckStudy:
    heads = tmp_path_factory.mktemp("heads")
    brain = make_brain()
    image = np.asarray(brain.reference.data, dtype=np.int16)
    write_volume(heads / "brain.nii.gz", image, brain.grid.affine)
    write_volume(heads / "with_skull.nii.gz", image + 1, brain.grid.affine)
    return study_input_checks(find_cases(cases).cases, heads)


def _weaker_than_promised(name: str) -> bool:
    """Faults below what the rules promise to find, and voxels that are named for cases of 1 mm; this one has 3."""
    return name.startswith("voxels of") or "moved by 2 mm" in name or "turned" in name


def test_faults_are_found_and_sound_cases_pass(study: InputCheckStudy) -> None:
    promised = [row for row in study.rows if not _weaker_than_promised(row.name)]
    assert len(promised) >= 40
    for row in promised:
        assert row.cases >= 1
        if row.rules:
            assert row.hits == row.cases, row.name
        else:
            assert not row.others, row.name


def test_faults_below_the_promise_are_found_where_they_show_and_told_as_nothing_else(study: InputCheckStudy) -> None:
    weak = {row.name: row for row in study.rows if _weaker_than_promised(row.name)}
    assert len(weak) == 9
    moved = [row for name, row in weak.items() if "moved by 2 mm" in name]
    assert sum(row.hits for row in moved) >= 3
    assert len(moved) == 4
    # A ball of a brain looks the same turned: no bound from below, but no alarm of another rule.
    for name, row in weak.items():
        assert set(row.others) <= ({"coarse-voxels"} if name.startswith("voxels of") else set()), name
    assert weak["voxels of 1 x 1 x 5 mm"].hits == 1


def test_every_rule_has_a_fault_that_it_should_find(study: InputCheckStudy) -> None:
    assert {rule for row in study.rows for rule in row.rules} == set(RULES)


def test_all_23_wrong_orders_are_tried(study: InputCheckStudy) -> None:
    assert sum(row.cases for row in study.rows if "exchanged" in row.name or "names wrong" in row.name) == 23


def test_a_study_says_how_far_it_is_and_takes_cases_without_a_label(cases: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    (files,) = find_cases(cases).cases
    unlabelled = replace(files, label=None)
    study = study_input_checks([unlabelled], on_case=lambda *step: told.append(step))
    assert told == [(1, 1, "A")]
    assert "label as t2" not in {row.name for row in study.rows}


def test_the_figures_of_a_study_do_not_depend_on_its_processes(cases: Path, study: InputCheckStudy) -> None:
    (files,) = find_cases(cases).cases
    both = study_input_checks([replace(files, case_id="B"), files], workers=2)
    alone = {row.name: row for row in study.rows}
    for row in both.rows:
        assert row.cases == 2 * alone[row.name].cases
    measured = {measure.name: measure.values for measure in study.measures}
    assert all(measure.values == 2 * measured[measure.name] for measure in both.measures)


def test_a_folder_without_a_complete_case_is_refused_by_name(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["input-checks", str(tmp_path)])
    assert result.exit_code != 0
    assert str(tmp_path) in str(result.exception)


def test_a_variant_leaves_the_case_as_it_was(cases: Path) -> None:
    brain = make_brain()
    before = {name: volume.data.copy() for name, volume in brain.volumes.items()}
    names = [variant.name for variant in variants(brain, np.ones(brain.grid.shape, np.uint8), np.random.default_rng(0))]
    assert len(names) > 60
    assert all(np.array_equal(before[name], volume.data) for name, volume in brain.volumes.items())


def test_single_images_are_judged_by_size_and_background(study: InputCheckStudy) -> None:
    brain, skull = study.heads
    assert (brain.name, brain.findings) == ("brain", ())
    assert brain.litres == pytest.approx(1.5, abs=0.2)
    assert (skull.name, skull.findings) == ("with_skull", ("not-stripped (certain)",))


def test_the_tables_and_the_file_hold_every_variant_and_rule(study: InputCheckStudy, tmp_path: Path) -> None:
    text = input_check_tables(study)
    assert all(row.name in text for row in study.rows)
    assert all(rule in text for rule in RULES)
    write_study(study, tmp_path / "study.json")
    content = json.loads((tmp_path / "study.json").read_text())
    assert len(content["rows"]) == len(study.rows)


def test_the_command_prints_the_cost_of_each_missing_modality(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path / "cases", "A", head)
    bundle = write_bundle(tmp_path / "bundle", TINY, modality_dropout=0.02)
    arguments = ["missing-modality", str(bundle), str(tmp_path / "cases"), "--threads", "1"]
    result = CliRunner().invoke(app, [*arguments, "--json", str(tmp_path / "cost.json")])
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "cost.json").read_text())["rows"]
    assert [row["mode"] for row in rows] == ["all four", "t1ce", "t2", "flair"]
    complete, *degraded = rows
    assert complete["dice"]["WT"] > 0.95
    assert all(min(row["dice"].values()) < min(complete["dice"].values()) for row in degraded)
    assert "without flair" in result.output


def test_a_bundle_without_dropout_is_measured_only_on_request(tiny_bundle: Path, tmp_path: Path, head: Head) -> None:
    write_case(tmp_path / "cases", "A", head)
    arguments = ["missing-modality", str(tiny_bundle), str(tmp_path / "cases"), "--threads", "1"]
    refused = CliRunner().invoke(app, arguments)
    assert "names no training with modality dropout" in str(refused.exception)
    assert CliRunner().invoke(app, [*arguments, "--assume-dropout"]).exit_code == 0
