"""Evaluating masks of a folder, and the ceiling that coarse voxels set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eenet_bench.cli import app
from eenet_bench.evaluate import CaseEvaluation, evaluate_folder
from eenet_runtime.folder import segment_folder
from eenet_runtime.segmenter import Segmenter
from tests.synthetic import TINY, TINY_2MM, make_head, write_case, write_volume


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    write_case(tmp_path / "cases", "A", make_head())
    write_case(tmp_path / "cases", "B", make_head(), layout="brats2023")
    return tmp_path / "cases"


def _by_id(results: list[CaseEvaluation]) -> dict[str, CaseEvaluation]:
    return {result.case_id: result for result in results}


def test_the_masks_of_the_runtime_are_evaluated_in_the_convention_of_each_case(
    cases: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    with Segmenter(tiny_bundle) as segmenter:
        run = segment_folder(segmenter, cases, tmp_path / "masks")
    results = _by_id(evaluate_folder(tmp_path / "masks", cases))
    for outcome in run.outcomes:
        assert outcome.report is not None
        assert outcome.report.dice is not None
        for region, value in outcome.report.dice.items():
            assert results[outcome.case_id].regions[region].dice == pytest.approx(value, abs=1e-5)


def test_a_missing_mask_and_a_mask_on_another_grid_are_named_not_left_out(cases: Path, tmp_path: Path) -> None:
    head = make_head()
    write_volume(tmp_path / "masks" / "B.nii.gz", head.labels, head.affine + np.diag([0.5, 0, 0, 0]))
    results = _by_id(evaluate_folder(tmp_path / "masks", cases))
    assert "A.nii.gz: file not found" in results["A"].reason
    assert "another grid" in results["B"].reason
    finished = CliRunner().invoke(app, ["evaluate", str(tmp_path / "masks"), str(cases)])
    assert finished.exit_code == 3


def test_the_ceiling_is_one_without_resampling_and_below_one_with_it(cases: Path, tmp_path: Path) -> None:
    head = make_head()
    for name, scheme in (("A", (0, 1, 2, 4)), ("B", (0, 1, 2, 3))):
        values = np.array(scheme, np.uint8)[head.labels]
        write_volume(tmp_path / "masks" / f"{name}.nii.gz", values, head.affine)
    same = _by_id(evaluate_folder(tmp_path / "masks", cases, ceiling=TINY))
    coarse = _by_id(evaluate_folder(tmp_path / "masks", cases, ceiling=TINY_2MM))
    for name in ("A", "B"):
        assert all(metrics.dice == 1.0 for metrics in same[name].regions.values())
        assert set(same[name].ceiling.values()) == {1.0}
        assert all(0.7 < value < 1.0 for value in coarse[name].ceiling.values())
