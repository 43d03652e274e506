"""The shipped demo model on the shipped example cases, and what the README says about both."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from eenet_runtime.bundle.manifest import Bundle, open_bundle
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.folders.folder import segment_folder
from eenet_runtime.folders.outcomes import FolderRun
from eenet_runtime.segmenter.segmenter import Segmenter
from tests.places import ROOT

BUNDLE = ROOT / "models" / "eenet-fast-phantom"
EXAMPLES = ROOT / "examples"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(BUNDLE)


@pytest.fixture(scope="module")
def results(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[FolderRun, Path]:
    output = tmp_path_factory.mktemp("demo")
    with Segmenter(bundle) as segmenter:
        return segment_folder(segmenter, EXAMPLES, output), output


def test_the_demo_finds_the_tumours_of_the_example_cases(results: tuple[FolderRun, Path]) -> None:
    run, _ = results
    assert len(run.outcomes) == 2
    assert not run.failed
    dice = [outcome.report.dice for outcome in run.outcomes if outcome.report and outcome.report.dice]
    mean = {region: float(np.mean([scores[region] for scores in dice])) for region in ("WT", "TC", "ET")}
    # The floors of the whole toolkit's first promise; the model card has the figures over eight cases.
    assert mean["WT"] >= 0.80
    assert mean["TC"] >= 0.65
    assert mean["ET"] >= 0.50


def test_the_masks_of_the_demo_lie_on_the_grid_of_the_t1(results: tuple[FolderRun, Path]) -> None:
    _, output = results
    cases = find_cases(EXAMPLES).cases
    assert len(cases) == 2
    for case in cases:
        mask = nib.load(output / f"{case.case_id}.nii.gz")
        t1 = nib.load(next(iter(case.images.values())).path)
        assert mask.shape == t1.shape == (240, 240, 155)
        assert np.array_equal(mask.affine, t1.affine)
        assert mask.get_data_dtype() == np.uint8
        assert set(np.unique(np.asanyarray(mask.dataobj))) <= {0, 1, 2, 4}


def test_the_example_cases_are_small_and_were_not_trained_on(bundle: Bundle) -> None:
    size = sum(path.stat().st_size for path in EXAMPLES.rglob("*") if path.is_file())
    assert size < 16e6
    # A phantom's name holds its seed: Phantom_<seed>_<index>.
    seeds = {case.case_id.split("_")[1] for case in find_cases(EXAMPLES).cases}
    assert seeds == {"0003"}
    assert "phantoms of seeds 1 and 21 to 26" in bundle.manifest.provenance["note"]


def test_the_settings_behind_the_demo_model_can_be_read() -> None:
    from eenet_train.recipe.settings import read_settings

    parts = [read_settings(path) for path in sorted((ROOT / "docs" / "demo-model").glob("part-*.yaml"))]
    assert [part.steps for part in parts] == [320, 400, 500, 700, 350]
    assert {part.preset.name for part in parts} == {"eenet-fast"}


@pytest.mark.tf
def test_keras_the_oracle_and_onnx_agree_on_the_example_cases(bundle: Bundle) -> None:
    from eenet_bench.run.parity import measure_parity
    from eenet_export.gate.parity import ParityLimits, require_parity

    rows = measure_parity(bundle, find_cases(EXAMPLES).cases)
    compared = {(row.case_id, row.candidate, row.reference) for row in rows}
    for case in find_cases(EXAMPLES).cases:
        assert {(case.case_id, "keras", "oracle"), (case.case_id, "onnx-fp32", "oracle")} <= compared
    require_parity(rows, ParityLimits())


def test_the_python_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(compile(snippet, "README.md", "exec"), {})
    assert capsys.readouterr().out.count("Phantom_") == 2
