"""Raw phantoms through the whole chain: registered, stripped, segmented, and the mask back on the T1ce's grid."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine
from typer.testing import CliRunner, Result

from eenet_runtime.cli import app
from eenet_runtime.volumes.dice import dice
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import BRATS2020
from eenet_train.phantom.raw import SMALL
from eenet_train.phantom.raw.write import write_raw_phantoms
from tests.dicom_oracles import errors_of, segments_by_dcmqi, segments_by_highdicom
from tests.dicom_studies import write_study
from tests.dicom_study import study_of_case
from tests.orthanc_server import OrthancServer
from tests.places import DEMO_BUNDLE

pytestmark = pytest.mark.slow


def run(cases: Path, results: Path, *options: str) -> Result:
    """`eenet-run infer folder --raw`."""
    command = ["infer", "folder", str(cases), str(results), "--raw", "--model", str(DEMO_BUNDLE), "--no-preview"]
    return CliRunner().invoke(app, [*command, *options])


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Two small heads; the second case holds the first one's T2."""
    folder = tmp_path_factory.mktemp("raw")
    names = write_raw_phantoms(folder, cases=2, seed=701, settings=SMALL)
    first, second = (folder / "cases" / name for name in names)
    shutil.copy(first / f"{first.name}_t2.nii.gz", second / f"{second.name}_t2.nii.gz")
    return folder, names


@pytest.fixture(scope="module")
def results(phantoms: tuple[Path, list[str]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Both cases, by the demo model and the strip networks that come with the toolkit."""
    folder = tmp_path_factory.mktemp("results")
    return folder, run(phantoms[0] / "cases", folder, "--keep-aligned")


def test_the_tumour_comes_back_on_the_t1ces_own_grid(
    phantoms: tuple[Path, list[str]], results: tuple[Path, Result]
) -> None:
    case = phantoms[1][0]
    mask = nib.load(results[0] / f"{case}.nii.gz")
    t1ce = nib.load(phantoms[0] / "cases" / case / f"{case}_t1ce.nii.gz")
    truth = nib.load(phantoms[0] / "truth" / case / f"{case}_t1ce_seg.nii.gz")
    assert mask.shape == t1ce.shape
    assert np.array_equal(mask.affine, t1ce.affine)
    # The phantom's labels are those of the model's training; 0.93 was seen.
    assert dice(np.asarray(mask.dataobj) > 0, np.asarray(truth.dataobj) > 0) > 0.88


def test_the_matrices_of_the_report_are_the_phantoms(
    phantoms: tuple[Path, list[str]], results: tuple[Path, Result]
) -> None:
    case = phantoms[1][0]
    found = json.loads((results[0] / f"{case}.json").read_text())["raw"]["t1ce_to_series"]
    truth = json.loads((phantoms[0] / "truth" / case / "truth.json").read_text())["series"]
    brain = nib.load(phantoms[0] / "truth" / case / f"{case}_t1ce_brain.nii.gz")
    points = apply_affine(brain.affine, np.argwhere(np.asarray(brain.dataobj) > 0))
    for name in ("t1", "t2", "flair"):
        there = apply_affine(np.array(truth[name]["t1ce_to_series"]), points)
        here = apply_affine(np.array(found[name]), points)
        assert np.linalg.norm(here - there, axis=1).mean() < 1.0, name  # voxels of 4 mm


def test_another_persons_t2_is_refused_by_name_and_the_other_case_is_done(
    phantoms: tuple[Path, list[str]], results: tuple[Path, Result]
) -> None:
    first, second = phantoms[1]
    assert results[1].exit_code != 0
    summary = json.loads((results[0] / "summary.json").read_text())
    reasons = {case["case_id"]: case for case in summary["cases"]}
    assert reasons[first]["status"] == "done"
    assert reasons[second]["status"] != "done"
    assert f"{second}_t2.nii.gz" in json.dumps(reasons[second])
    assert not (results[0] / f"{second}.nii.gz").exists()


def test_the_aligned_images_are_one_case_of_brats_layout(
    phantoms: tuple[Path, list[str]], results: tuple[Path, Result]
) -> None:
    case = phantoms[1][0]
    images = [
        nib.load(results[0] / "aligned" / case / f"{case}_{name}.nii.gz") for name in ("t1", "t1ce", "t2", "flair")
    ]
    assert {image.shape for image in images} == {(240, 240, 155)}
    assert len({image.affine.tobytes() for image in images}) == 1
    heads = [np.asarray(image.dataobj) != 0 for image in images]
    assert 900_000 < heads[1].sum() < 2_100_000  # one brain, in cubic millimetres


def test_a_finished_raw_case_is_kept_and_one_without_raw_is_made_anew(
    phantoms: tuple[Path, list[str]], results: tuple[Path, Result]
) -> None:
    case = phantoms[1][0]
    mask = results[0] / f"{case}.nii.gz"
    before = mask.stat().st_mtime_ns, mask.read_bytes()
    again = run(phantoms[0] / "cases", results[0], "--keep-aligned")
    assert (mask.stat().st_mtime_ns, mask.read_bytes()) == before
    assert again.exit_code == results[1].exit_code
    assert BRATS2020.name in (results[0] / f"{case}.json").read_text()


@pytest.fixture(scope="module")
def study_results(phantoms: tuple[Path, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first head as a study from a scanner, among a localizer and a diffusion map, through `infer dicom`."""
    case, output = phantoms[0] / "cases" / phantoms[1][0], tmp_path_factory.mktemp("dicom")
    write_study(output / "study", study_of_case(case))
    command = ["infer", "dicom", str(output / "study"), str(output / "results"), "--model", str(DEMO_BUNDLE)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return output


def test_a_study_from_the_scanner_gives_its_tumour_on_the_t1ces_own_frames(
    phantoms: tuple[Path, list[str]], study_results: Path
) -> None:
    truth = nib.load(phantoms[0] / "truth" / phantoms[1][0] / f"{phantoms[1][0]}_t1ce_seg.nii.gz")
    grid = Grid((truth.shape[0], truth.shape[1], truth.shape[2]), truth.affine)
    found = segments_by_highdicom(study_results / "results" / "seg.dcm", grid)
    assert dice(found > 0, np.asarray(truth.dataobj) > 0) > 0.88
    report = json.loads((study_results / "results" / "report.json").read_text())
    assert {name: entry["series"] for name, entry in report["inputs"].items()} == {
        "t1": "2", "t1ce": "6", "t2": "4", "flair": "3",
    }  # fmt: skip
    assert report["raw"]["way"] == "registered and stripped"


def test_what_orthanc_gives_back_is_the_mask_for_dcmqi_and_no_validator_finds_an_error(
    study_results: Path, tmp_path: Path
) -> None:
    results = study_results / "results"
    with OrthancServer(tmp_path) as pacs:
        pacs.store(study_results / "study" / "S6")
        for path in results.glob("*.dcm"):
            pacs.store(path)
        (seg,) = pacs.files(Modality="SEG")
        assert len(pacs.get("/studies")) == 1
    (tmp_path / "seg.dcm").write_bytes(seg)
    mask = nib.load(results / "mask.nii.gz")
    grid = Grid((mask.shape[0], mask.shape[1], mask.shape[2]), mask.affine)
    numbers = segments_by_dcmqi(tmp_path / "seg.dcm", tmp_path / "dcmqi", grid)
    # Segments are numbered in the order of the classes: here all three are there.
    np.testing.assert_array_equal(numbers, np.asarray(mask.dataobj))
    for path in sorted(results.glob("*.dcm")):
        assert errors_of(path) == [], path.name
