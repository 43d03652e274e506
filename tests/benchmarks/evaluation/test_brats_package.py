"""Today's figures against the challenges' own package: literal figures of it, and the package itself where it is."""

from __future__ import annotations

import json
import math
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eenet_bench.cli import app
from eenet_bench.evaluation.brats_agreement import Comparison, compare_with_package
from eenet_bench.evaluation.metrics import case_metrics
from eenet_runtime.errors import EENetError
from eenet_runtime.volumes.labels import BRATS2023, Region
from tests.brats_masks import ANISOTROPIC_MM, MATCHED_HD95_AT_ANISOTROPIC, PACKAGE_SAYS, Said, mask_and_truth
from tests.places import ROOT
from tests.synthetic import write_volume

MM = (1.0, 1.0, 1.0)


def _finite(value: float | None) -> float | None:
    return 373.0 if value == math.inf else value


@pytest.mark.parametrize("name", PACKAGE_SAYS)
def test_todays_figures_are_those_of_the_challenges_package(name: str) -> None:
    metrics = case_metrics(*mask_and_truth(name), MM)
    for region, said in PACKAGE_SAYS[name].items():
        whole, lesions = metrics.regions[region], metrics.matched_lesions[region]
        counts = (lesions.true_positives, lesions.false_positives, lesions.false_negatives)
        assert counts == (said.found, said.false, said.missed)
        # Where both are empty the package has no Dice, and we have 1, as in BraTS 2023.
        assert whole.dice == pytest.approx(1.0 if said.dice is None else said.dice, rel=0, abs=1e-6)
        ours = (whole.pooled_hd95_mm, lesions.dice, lesions.hd95_mm)
        theirs = (_finite(said.hd95), said.matched_dice, _finite(said.matched_hd95))
        for figure, expected in zip(ours, theirs, strict=True):
            assert (figure is None) == (expected is None)
            assert figure is None or figure == pytest.approx(expected, rel=0, abs=1e-6)


@pytest.mark.parametrize("name", MATCHED_HD95_AT_ANISOTROPIC)
def test_lesions_on_anisotropic_voxels_are_measured_in_millimetres(name: str) -> None:
    lesions = case_metrics(*mask_and_truth(name), ANISOTROPIC_MM).matched_lesions[Region.ET]
    # The package has the voxel's sizes in single precision: 1.2 mm is 4e-8 more there.
    assert lesions.hd95_mm == pytest.approx(MATCHED_HD95_AT_ANISOTROPIC[name], rel=1e-7)


def test_the_directed_maximum_is_above_the_challenges_figure_where_one_direction_is_worse() -> None:
    tail = case_metrics(*mask_and_truth("a tail"), MM).regions[Region.ET]
    assert tail.pooled_hd95_mm == pytest.approx(3.9)
    assert tail.directed_hd95_mm > 2 * 3.9


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """All pairs as masks and label files, in voxels of 2 mm."""
    for number, name in enumerate(PACKAGE_SAYS):
        mask, truth = (BRATS2023.to_file(labels) for labels in mask_and_truth(name))
        write_volume(tmp_path / "masks" / f"P{number:02d}.nii.gz", mask, np.diag([2.0, 2.0, 2.0, 1.0]))
        write_volume(tmp_path / "truth" / f"P{number:02d}-seg.nii.gz", truth, np.diag([2.0, 2.0, 2.0, 1.0]))
    return tmp_path / "masks", tmp_path / "truth"


_STAND_IN = """#!{python}
import json, os, sys
if sys.argv[1] == "-c":
    print("0.0.10")
    sys.exit(0)
options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
assert sys.argv[1:3] == ["-m", "brats_evaluation.evaluation"] and options["--config"] == "gli"
said = json.load(open({figures!r}))
names = sorted(os.listdir(options["--ref_path"]))
assert names == sorted(os.listdir(options["--pred_path"]))
cases = [dict(case, subject_name=name) for name, case in zip(names, said)]
json.dump({{"metrics": cases, "missings": []}}, open(options["--summary_json"], "w"))
"""


def _as_the_package_writes(said: Said) -> dict[str, float | int]:
    names = ("global_bin_dsc", "global_bin_hd95", "sq_dsc", "sq_hd95", "tp", "fp", "fn")
    return {name: math.nan if value is None else value for name, value in zip(names, said, strict=True)}


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A program that answers as a Python with the package would."""
    cases = []
    for name, regions in PACKAGE_SAYS.items():
        metrics = case_metrics(*mask_and_truth(name), MM)
        figures = {}
        for region in Region:
            # What is not written down literally is all ET: the same figures in all three regions.
            said = regions.get(region, regions[Region.ET])
            assert metrics.regions[region].dice == pytest.approx(1.0 if said.dice is None else said.dice)
            figures[region.value.lower()] = _as_the_package_writes(said)
        cases.append(figures)
    (tmp_path / "figures.json").write_text(json.dumps(cases))
    program = tmp_path / "python-with-package"
    program.write_text(_STAND_IN.format(python=sys.executable, figures=str(tmp_path / "figures.json")))
    program.chmod(0o755)
    return program


def _agreement(folders: tuple[Path, Path], python: Path) -> list[str]:
    return ["brats-agreement", str(folders[0]), str(folders[1]), "--python", str(python)]


def test_the_command_shows_the_largest_difference_and_ends_with_0(folders: tuple[Path, Path], stand_in: Path) -> None:
    finished = CliRunner().invoke(app, _agreement(folders, stand_in))
    assert finished.exit_code == 0, finished.output
    assert "beside brats-evaluation 0.0.10, voxels taken as 1 mm" in finished.stdout
    lines = [line for line in finished.stdout.splitlines() if line.startswith("HD95, pooled")]
    # 15 cases of three regions, one case without any tumour.
    assert lines[0].split()[2:4] == ["45", "3"]
    assert float(lines[0].split()[4]) < 1e-6


def test_a_figure_that_differs_is_named_and_ends_with_4(
    folders: tuple[Path, Path], stand_in: Path, tmp_path: Path
) -> None:
    cases = json.loads((tmp_path / "figures.json").read_text())
    cases[3]["tc"]["sq_dsc"] = 0.99
    (tmp_path / "figures.json").write_text(json.dumps(cases))
    finished = CliRunner().invoke(app, _agreement(folders, stand_in))
    assert finished.exit_code == 4
    assert "P03 TC: Dice of matched lesions is 1.0 here and 0.99 there" in finished.output


def test_a_case_without_a_mask_is_refused_and_the_others_compared(folders: tuple[Path, Path], stand_in: Path) -> None:
    (folders[0] / "P14.nii.gz").unlink()
    finished = CliRunner().invoke(app, _agreement(folders, stand_in))
    assert finished.exit_code == 3
    assert "refused P14: " in finished.output
    assert "HD95, pooled" in finished.stdout


def test_a_value_on_one_side_only_is_no_agreement() -> None:
    assert Comparison("A", "Dice", Region.ET, None, None).difference == 0.0
    assert Comparison("A", "Dice", Region.ET, 1.0, None).difference == math.inf


def test_a_python_without_the_package_says_so_in_one_line(folders: tuple[Path, Path], tmp_path: Path) -> None:
    without = tmp_path / "python-without"
    without.write_text("#!/bin/sh\necho PackageNotFoundError >&2\nexit 1\n")
    without.chmod(0o755)
    with pytest.raises(EENetError, match=r"brats-evaluation is not installed there; install the extra brats"):
        compare_with_package(*folders, python=without)
    with pytest.raises(EENetError, match="cannot be started"):
        compare_with_package(*folders, python=folders[0] / "no-such-python")


def test_a_program_that_fails_is_an_error_with_its_code(folders: tuple[Path, Path], tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text('#!/bin/sh\n[ "$1" = -c ] && echo 0.0.10 && exit 0\necho "no room left" >&2\nexit 7\n')
    program.chmod(0o755)
    with pytest.raises(EENetError, match=r"ended with code 7 and without figures \(no room left\)"):
        compare_with_package(*folders, python=program)


def test_nothing_of_ours_imports_the_package() -> None:
    for room in ("runtime", "train", "export", "benchmarks"):
        for path in (ROOT / room).rglob("*.py"):
            lines = path.read_text(encoding="utf-8").splitlines()
            imports = [line for line in lines if line.strip().startswith(("import ", "from "))]
            assert not [line for line in imports if "brats_evaluation" in line or "panoptica" in line], path


def _package_python() -> Path | None:
    """A Python that has the package: that of EENET_BRATS_PYTHON, or this one."""
    named = os.environ.get("EENET_BRATS_PYTHON")
    if named:
        return Path(named)
    return Path(sys.executable) if find_spec("brats_evaluation") else None


@pytest.mark.skipif(
    _package_python() is None,
    reason="brats-evaluation is not installed: install the extra brats, or name a Python in EENET_BRATS_PYTHON",
)
def test_the_package_itself_agrees_to_a_millionth(folders: tuple[Path, Path]) -> None:
    agreement = compare_with_package(*folders, python=_package_python())
    assert len(agreement.comparisons) == 15 * 3 * 7
    assert agreement.refused == {}
    assert agreement.beyond(1e-6) == []
