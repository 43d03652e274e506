"""A study in, DICOM objects on its own T1ce out, and nothing half-written under a result's name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from eenet_runtime import Segmentation, Segmenter, find_studies
from eenet_runtime.cli import app
from eenet_runtime.dicom.many_studies import settled_studies
from eenet_runtime.dicom.result import DicomOutputs, segment_study
from eenet_runtime.dicom.study_files import segment_study_to_files
from eenet_runtime.errors import CaseError, DatasetError, ResultPathError
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import Modality
from tests.dicom_oracles import segments_by_highdicom
from tests.dicom_studies import PATIENT, write_series
from tests.registered_study import big_head, registered_series, write_registered_study
from tests.synthetic import TINY_2MM, write_bundle

ALL = {"mask.nii.gz", "preview.png", "preview.dcm", "report.json", "report.dcm", "seg.dcm"}
WITHOUT_PICTURES = ALL - {"preview.dcm"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith("overlay_")}


def run(*arguments: object, env: dict[str, str] | None = None, pictures: bool = False) -> tuple[int, str]:
    options = [] if pictures else ["--no-pictures"]
    result = CliRunner().invoke(app, ["infer", "dicom", *map(str, arguments), *options], env=env)
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_registered_study(tmp_path_factory.mktemp("registered"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny-2mm", TINY_2MM)


@pytest.fixture(scope="module")
def loaded(model: Path) -> Iterator[Segmenter]:
    with Segmenter(model, threads=1, raw=True) as segmenter:
        yield segmenter


@pytest.fixture(scope="module")
def results(study: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("results") / "new"
    code, said = run(study, output, "--model", model, pictures=True)
    assert code == 0, said
    return output


def test_a_study_gives_objects_mask_pictures_and_a_report(results: Path) -> None:
    assert names(results) == ALL
    assert list(results.glob("overlay_*.dcm"))


def test_the_mask_and_the_segmentation_are_the_labels_voxel_by_voxel(results: Path) -> None:
    head, mask = big_head(), nib.load(results / "mask.nii.gz")
    found = np.asarray(mask.dataobj)
    stored = nib.orientations.ornt_transform(nib.io_orientation(mask.affine), nib.io_orientation(head.affine))
    # The tiny network's box holds 24 slices of the head.
    np.testing.assert_array_equal(
        nib.orientations.apply_orientation(found, stored)[:, :, 11:35], head.labels[:, :, 11:35]
    )
    grid = Grid((found.shape[0], found.shape[1], found.shape[2]), mask.affine)
    np.testing.assert_array_equal(segments_by_highdicom(results / "seg.dcm", grid), found)


def test_the_report_says_which_series_were_used_and_why(results: Path) -> None:
    report = json.loads((results / "report.json").read_text())
    assert {name: entry["series"] for name, entry in report["inputs"].items()} == {
        "t1": "2", "t1ce": "6", "t2": "4", "flair": "3",
    }  # fmt: skip
    assert all(entry["reasons"] and entry["sha256"] for entry in report["inputs"].values())
    assert report["dicom"]["measurements"]["volumes_ml"]["WT"] == pytest.approx(report["volumes_ml"]["WT"], rel=1e-3)
    assert {"seg.dcm", "report.dcm", "preview.dcm"} <= set(report["outputs"])


def test_nothing_of_the_patient_is_in_the_report_or_on_the_terminal(
    study: Path, model: Path, results: Path, tmp_path: Path
) -> None:
    code, said = run(study, tmp_path / "out", "--model", model)
    assert code == 0
    report = (results / "report.json").read_text()
    for canary in (PATIENT, PATIENT.split("^")[0], "CANARY", "1.2.826.0"):
        assert canary not in said
        assert canary not in report


def test_the_objects_are_the_patients_own_and_of_the_same_study(study: Path, results: Path) -> None:
    source = dcmread(next(path for path in (study / "S6").iterdir()))
    for path in results.glob("*.dcm"):
        made = dcmread(path)
        assert (made.PatientName, made.PatientID) == (source.PatientName, source.PatientID), path.name
        assert made.StudyInstanceUID == source.StudyInstanceUID
        assert made.SeriesInstanceUID != source.SeriesInstanceUID


def test_the_same_study_twice_gives_the_same_bytes(study: Path, model: Path, results: Path, tmp_path: Path) -> None:
    assert run(study, tmp_path / "again", "--model", model, pictures=True)[0] == 0
    for path in sorted(results.iterdir()):
        if path.name != "report.json":  # it says when
            assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_other_settings_are_another_result_with_other_identifiers(
    study: Path, model: Path, results: Path, tmp_path: Path
) -> None:
    assert run(study, tmp_path / "other", "--model", model, "--min-tumour-ml", "0.01")[0] == 0
    for name in ("seg.dcm", "report.dcm"):
        first, second = dcmread(results / name), dcmread(tmp_path / "other" / name)
        assert first.SOPInstanceUID != second.SOPInstanceUID


def test_an_empty_mask_has_no_segmentation_and_a_report_all_the_same(study: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "seg.dcm").write_bytes(b"of an earlier run")
    assert run(study, tmp_path / "out", "--model", model, "--min-tumour-ml", "100000")[0] == 0
    assert names(tmp_path / "out") == WITHOUT_PICTURES - {"seg.dcm"}


def test_label_maps_and_probabilities_are_written_when_they_are_asked_for(
    study: Path, model: Path, tmp_path: Path
) -> None:
    code, said = run(*(study, tmp_path / "out", "--model", model, "--seg", "labelmap", "--probabilities"))
    assert code == 0, said
    assert names(tmp_path / "out") == WITHOUT_PICTURES | {"probabilities.dcm", "probabilities.nii.gz"}
    assert dcmread(tmp_path / "out" / "seg.dcm").SegmentationType == "LABELMAP"
    assert dcmread(tmp_path / "out" / "probabilities.dcm").SegmentationType == "FRACTIONAL"


def test_a_study_without_flair_is_refused_by_name_and_leaves_nothing(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in2"
    for modality in (Modality.T1, Modality.T2, Modality.T1CE):
        write_series(folder / modality.value, registered_series(big_head(), modality))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "seg.dcm").write_bytes(b"of an earlier run")
    code, said = run(folder, tmp_path / "out", "--model", model)
    assert code == 3
    assert "refused study-1: study 1: flair missing (no series looks like it)" in said
    assert names(tmp_path / "out") == set()


def test_what_is_ambiguous_is_refused_until_somebody_settles_it(model: Path, tmp_path: Path) -> None:
    head = big_head()
    for modality in (Modality.T1, Modality.T2, Modality.FLAIR):
        write_series(tmp_path / "in" / modality.value, registered_series(head, modality))
    unsaid = registered_series(head, Modality.T1CE, tags={"ContrastBolusAgent": "Gadovist"}, description="sag")
    write_series(tmp_path / "in" / "x", unsaid)
    code, said = run(tmp_path / "in", tmp_path / "out", "--model", model)
    assert code == 3
    assert "t1ce" in said
    code, said = run(tmp_path / "in", tmp_path / "out", "--model", model, "--series", "t1ce=6")
    assert code == 0, said
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["inputs"]["t1ce"]["chosen"] == "chosen by hand"


def test_two_studies_are_two_results_and_a_refused_one_stops_no_other(study: Path, model: Path, tmp_path: Path) -> None:
    write_registered_study(tmp_path / "in" / "a", time="080000")
    write_series(tmp_path / "in" / "b", registered_series(big_head(), Modality.T1, study=2))
    code, said = run(tmp_path / "in", tmp_path / "out", "--model", model)
    assert code == 3
    done = [path.parent.name for path in (tmp_path / "out").glob("*/report.json")]
    assert len(done) == 1, said
    assert "refused study-" in said


def test_results_of_an_earlier_run_with_other_studies_do_not_stay(study: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "study-2").mkdir()
    (tmp_path / "study-2" / "seg.dcm").write_bytes(b"of an earlier run")
    (tmp_path / "study-2" / "notes.txt").write_bytes(b"somebody's own")
    assert run(study, tmp_path, "--model", model)[0] == 0
    assert [path.name for path in (tmp_path / "study-2").iterdir()] == ["notes.txt"]


def test_a_dry_run_says_what_would_be_used_and_writes_nothing(study: Path, model: Path, tmp_path: Path) -> None:
    code, said = run(study, tmp_path / "out", "--model", model, "--dry-run")
    assert code == 0
    assert "would segment study 1" in said
    assert "series 6" in said
    assert not (tmp_path / "out").exists()


def test_results_never_go_among_the_files_of_the_study(loaded: Segmenter, tmp_path: Path) -> None:
    write_registered_study(tmp_path)
    (found,) = find_studies(tmp_path).studies
    with pytest.raises(ResultPathError, match="files of a study lie here"):
        segment_study_to_files(loaded, found, tmp_path / "S6")


def test_an_error_while_writing_leaves_no_result(
    loaded: Segmenter, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eenet_runtime.dicom import result

    def broken(*_: object, **__: object) -> None:
        raise CaseError("made to fail", code="bad-input")

    monkeypatch.setattr(result, "report_object", broken)
    (found,) = find_studies(study).studies
    with pytest.raises(CaseError, match="made to fail"):
        segment_study_to_files(loaded, found, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_study_is_a_case_of_the_segmenter(loaded: Segmenter, study: Path) -> None:
    (found,) = find_studies(study).studies
    segmentation = loaded.segment(found)
    assert isinstance(segmentation, Segmentation)
    assert segmentation.case_id == "study-1"


def test_a_result_of_python_saves_its_objects(loaded: Segmenter, study: Path, tmp_path: Path) -> None:
    (found,) = find_studies(study).studies
    written = segment_study(loaded, found).save_dicom(tmp_path / "new", DicomOutputs(pictures=False))
    assert {name: path.name for name, path in written.items()} == {"seg": "seg.dcm", "report": "report.dcm"}


def test_series_of_a_number_that_two_studies_have_must_be_named_by_uid(tmp_path: Path) -> None:
    write_series(tmp_path / "a", registered_series(big_head(), Modality.T1))
    write_series(tmp_path / "b", registered_series(big_head(), Modality.T1, study=2))
    found = find_studies(tmp_path)
    with pytest.raises(DatasetError, match="studies 1, 2 all have a series of the number given for t1"):
        settled_studies(found, {Modality.T1: "2"})
    with pytest.raises(DatasetError, match="0 series called 9 for t1"):
        settled_studies(found, {Modality.T1: "9"})
    uid = found.studies[1].decisions[0].series.uid
    settled = settled_studies(found, {Modality.T1: uid})
    assert settled.studies[1].answers[0].why == "chosen by hand"


def test_mercure_gets_flat_objects_and_a_result_without_the_patient(model: Path, tmp_path: Path) -> None:
    write_registered_study(tmp_path / "in")
    (tmp_path / "in" / "task.json").write_text(json.dumps({"process": {"settings": {"series": {"t1ce": "6"}}}}))
    env = {"MERCURE_IN_DIR": str(tmp_path / "in"), "MERCURE_OUT_DIR": str(tmp_path / "out")}
    code, said = run("--from-env", "mercure", "--model", model, env=env)
    assert code == 0, said
    kept = (tmp_path / "out" / "result.json").read_text()
    assert json.loads(kept)["status"] == "done"
    assert "Canary" not in kept
    assert (tmp_path / "out" / "seg.dcm").is_file()


def test_mercure_is_never_told_of_success_without_a_result(model: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "in", registered_series(big_head(), Modality.T1))
    env = {"MERCURE_IN_DIR": str(tmp_path / "in"), "MERCURE_OUT_DIR": str(tmp_path / "out")}
    code, _ = run("--from-env", "mercure", "--model", model, env=env)
    assert code == 3
    assert not list((tmp_path / "out").glob("*"))


def test_an_application_package_runs_from_its_environment(study: Path, model: Path, tmp_path: Path) -> None:
    env = {"HOLOSCAN_INPUT_PATH": str(study), "HOLOSCAN_OUTPUT_PATH": str(tmp_path / "out")}
    code, said = run("--from-env", "map", "--model", model, env=env)
    assert code == 0, said
    assert (tmp_path / "out" / "report.dcm").is_file()


@pytest.mark.parametrize("wanted", ["t1ce", "t9=5", "=5", "t1="])
def test_a_series_that_is_no_pair_is_wrong_usage(study: Path, model: Path, tmp_path: Path, wanted: str) -> None:
    code, said = run(study, tmp_path, "--model", model, "--series", wanted)
    assert code == 2
    assert "as in t1ce=5" in said


def test_help_needs_no_dicom_package() -> None:
    code = (
        "import sys; sys.modules['pydicom'] = None; sys.modules['highdicom'] = None\n"
        "from typer.testing import CliRunner; from eenet_runtime.cli import app\n"
        "sys.exit(CliRunner().invoke(app, ['infer', 'dicom', '--help']).exit_code)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
