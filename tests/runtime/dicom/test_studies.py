"""Whole studies: found in folders and archives, answered contrast by contrast, and nobody's name in a message."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from eenet_runtime.dicom.pixels import read_series
from eenet_runtime.dicom.scanning import ScanLimits, scan
from eenet_runtime.dicom.series import series_of
from eenet_runtime.dicom.studies import Study, find_studies, settle
from eenet_runtime.errors import DatasetError
from eenet_runtime.volumes.labels import Modality
from tests.dicom_oracles import by_dcm2niix
from tests.dicom_studies import SIX_SERIES, FakeSeries, write_series, write_study
from tests.real_dicom import unpack_real

EXPECTED = {"t1": "2", "t1ce": "6", "t2": "4", "flair": "3"}


def chosen(study: Study) -> dict[str, str | None]:
    return {
        answer.role.value: None if answer.chosen is None else answer.chosen.series.label for answer in study.answers
    }


def classify(*arguments: object) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-c", "from eenet_runtime.cli import main; main()", "classify"]
    return subprocess.run([*start, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


def test_the_four_contrasts_of_six_series_are_found(study: Path) -> None:
    (found,) = find_studies(study).studies
    assert chosen(found) == EXPECTED
    assert found.complete


def test_a_zip_of_a_study_gives_the_same_and_its_names_lead_nowhere(study: Path, tmp_path: Path) -> None:
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for place, path in enumerate(sorted(study.rglob("IM*"))):
            packed.write(path, f"../../outside{place}")
    before = sorted(tmp_path.parent.rglob("outside*"))
    (found,) = find_studies(archive).studies
    assert chosen(found) == EXPECTED
    (direct,) = find_studies(study).studies
    zipped, unzipped = (read_series(settled.answers[0].chosen.series) for settled in (found, direct))  # type: ignore[union-attr]
    np.testing.assert_array_equal(zipped.data, unzipped.data)
    assert sorted(tmp_path.parent.rglob("outside*")) == before == []


def test_a_medium_is_its_folder_and_its_directory_names_nothing(study: Path, tmp_path: Path) -> None:
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"../../etc/passwd")
    write_series(tmp_path / "IMAGES", SIX_SERIES[1])
    assert len(scan(tmp_path / "DICOMDIR").instances) == len(scan(tmp_path).instances) == 20


def test_other_files_are_counted_and_nothing_else_is_said_of_them(tmp_path: Path) -> None:
    write_series(tmp_path, SIX_SERIES[1])
    (tmp_path / "Canary^Patience.txt").write_text("x")
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "deep").symlink_to(tmp_path, target_is_directory=True)
    found = scan(tmp_path)
    assert (len(found.instances), found.other_files, found.unreadable) == (20, 2, {})


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (ScanLimits(files=10), "more than 10 files"),
        (ScanLimits(depth=0), "nested deeper than 0"),
    ],
)
def test_a_tree_beyond_its_limits_is_refused(limits: ScanLimits, message: str, study: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        scan(study, limits)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (ScanLimits(files=1), "2 entries, expected at most 1"),
        (ScanLimits(small_bytes=10), "unpacks to 1000000, expected at most 200 for one"),
        (ScanLimits(archive_bytes=10), "unpacks to more than 10 bytes"),
        (ScanLimits(directory_bytes=10), "a list of contents of more than 10 bytes"),
    ],
)
def test_an_archive_beyond_its_limits_is_refused(limits: ScanLimits, message: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("bomb", b"\0" * 1_000_000)
        packed.writestr("other", b"x")
    with pytest.raises(DatasetError, match=message):
        scan(tmp_path / "x.zip", limits)


def test_a_study_with_files_of_two_patients_is_refused(tmp_path: Path) -> None:
    write_study(tmp_path)
    write_series(tmp_path / "other", SIX_SERIES[1].changed(number=7, patient_id="CANARY-ID-2"))
    (found,) = find_studies(tmp_path).studies
    assert found.problem == "files of two patients or more, expected one"
    finished = classify(tmp_path)
    assert finished.returncode == 3
    assert "refused: files of two patients" in finished.stdout


def test_two_studies_in_one_tree_are_two_answers(tmp_path: Path) -> None:
    write_study(tmp_path / "a")
    write_study(tmp_path / "b", [one.changed(study=2, patient_id="CANARY-ID-2") for one in SIX_SERIES])
    assert [chosen(one) for one in find_studies(tmp_path).studies] == [EXPECTED, EXPECTED]


@pytest.mark.parametrize(
    ("character_set", "patient", "description"),
    [
        ("ISO_IR 100", "M\u00fcller^J\u00fcrgen", "T1 tra nach KM \u00e4"),
        ("ISO_IR 192", "\u0418\u0432\u0430\u043d\u043e\u0432^\u0418\u0432\u0430\u043d",
         "T1 \u0441 \u043a\u043e\u043d\u0442\u0440\u0430\u0441\u0442\u043e\u043c"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", "T1 \u9020\u5f71"),
    ],
)  # fmt: skip
def test_texts_are_read_in_their_own_character_set(
    character_set: str | list[str], patient: str, description: str, tmp_path: Path
) -> None:
    series = SIX_SERIES[1].changed(description=description, patient=patient, character_set=character_set)
    write_series(tmp_path, series)
    (found,) = find_studies(tmp_path).studies
    assert found.decisions[0].series.first.series_description == description
    assert chosen(found)["t1ce"] == "2"


def test_a_choice_by_hand_goes_before_the_rules(study: Path) -> None:
    (found,) = find_studies(study).studies
    by_number = settle(found, {Modality.T2: "3"})
    assert by_number[2].chosen is not None
    assert by_number[2].chosen.series.label == "3"
    with pytest.raises(DatasetError, match="study 1: 0 series called 77 for t2, expected one"):
        settle(found, {Modality.T2: "77"})


def test_the_command_prints_the_answers_and_exits_with_0_only_when_all_are_found(study: Path, tmp_path: Path) -> None:
    finished = classify(study)
    assert finished.returncode == 0, finished.stderr
    assert "t1ce  series 6 (T1 MPRAGE tra +KM), confidence high (the only one)" in finished.stdout
    write_study(tmp_path, SIX_SERIES[:4])
    missing = classify(tmp_path, "--explain")
    assert missing.returncode == 3
    assert "t1ce  missing: no series looks like it" in missing.stdout
    assert "+ image type LOCALIZER: a localizer" in missing.stdout


def test_the_command_prints_json(study: Path) -> None:
    (found,) = json.loads(classify(study, "--json").stdout)["studies"]
    assert {role: answer["series"] for role, answer in found["roles"].items()} == EXPECTED
    assert all(one["reasons"] for one in found["series"])


def test_a_folder_without_dicom_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    finished = classify(tmp_path)
    assert finished.returncode == 2
    assert finished.stderr.count("\n") == 1
    assert "no usable DICOM file" in finished.stderr


def test_no_patient_is_named_in_what_is_printed_logged_or_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    broken = FakeSeries(9, "t1", tags={"InstanceNumber": 3, "EchoTime": None})
    write_study(tmp_path, [*SIX_SERIES, broken])
    victim = write_series(tmp_path / "S9", broken)[0]
    victim.write_bytes(victim.read_bytes().replace(b"2026", b"20X6").replace(b"CS", b"UI"))
    (found,) = find_studies(tmp_path).studies
    finished = classify(tmp_path, "--explain", "--json")
    said = [finished.stdout, finished.stderr, caplog.text, *(one.usable for one in found.decisions), str(found)]
    assert not any("canary" in text.lower() for text in said)


@pytest.mark.real
def test_the_four_real_t1_series_are_t1_and_equal_dcm2niix(tmp_path: Path) -> None:
    for folder in unpack_real("t1-real", tmp_path):
        (found,) = find_studies(folder).studies
        (decision,) = found.decisions
        assert (decision.verdict.value, decision.role, str(decision.confidence)) == ("is", "t1", "high"), folder.name
        volume = read_series(decision.series)
        (theirs,) = by_dcm2niix(folder, tmp_path / f"out-{folder.name}")
        import nibabel as nib

        own = nib.as_closest_canonical(nib.Nifti1Image(volume.data, volume.grid.affine))
        expected = nib.as_closest_canonical(theirs)
        np.testing.assert_array_equal(np.asarray(own.dataobj), np.asarray(expected.dataobj))
        np.testing.assert_allclose(own.affine, expected.affine, atol=1e-3)


@pytest.mark.real
@pytest.mark.slow
def test_no_real_series_of_another_kind_is_taken_for_one_of_the_four(tmp_path: Path) -> None:
    folders = unpack_real("negatives", tmp_path)
    assert len(folders) == 110
    for folder in folders:
        for series in series_of(scan(folder).instances):
            from eenet_runtime.dicom.role_rules import load_rules
            from eenet_runtime.dicom.roles import decide

            decision = decide(series, load_rules())
            assert decision.verdict.value != "is", (folder.name, [str(reason) for reason in decision.reasons])
            assert decision.reasons
