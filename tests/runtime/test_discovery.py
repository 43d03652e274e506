"""Cases are found by name in every layout, and what is not a case has a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eenet_runtime.discovery import find_cases
from eenet_runtime.errors import DatasetError
from eenet_runtime.labels import Modality
from tests.synthetic import LAYOUT_SCHEMES, LAYOUTS, make_head, write_case


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_every_layout_is_recognised_without_an_option(tmp_path: Path, layout: str, suffix: str) -> None:
    for name in ("BRATS_001", "BRATS_002"):
        write_case(tmp_path, name, make_head(), layout, suffix=suffix)
    found = find_cases(tmp_path)
    assert [case.case_id for case in found.cases] == ["BRATS_001", "BRATS_002"]
    assert found.refused == ()
    for case in found.cases:
        assert set(case.images) == set(Modality)
        assert case.label is not None
        assert case.scheme.file_values == LAYOUT_SCHEMES[layout].file_values


def test_t1_never_swallows_t1ce_and_case_does_not_matter(tmp_path: Path) -> None:
    _touch(tmp_path, "P1_T1.nii.gz", "P1_T1CE.nii.gz", "P1_T2.nii.gz", "P1_Flair.nii.gz")
    (case,) = find_cases(tmp_path).cases
    assert {modality: source.path.name for modality, source in case.images.items()} == {
        Modality.T1: "P1_T1.nii.gz",
        Modality.T1CE: "P1_T1CE.nii.gz",
        Modality.T2: "P1_T2.nii.gz",
        Modality.FLAIR: "P1_Flair.nii.gz",
    }


def test_the_misnamed_label_of_brats_2020_is_found(tmp_path: Path) -> None:
    stem = "BraTS20_Training_355"
    _touch(tmp_path / stem, *(f"{stem}_{word}.nii" for word in ("t1", "t1ce", "t2", "flair")))
    _touch(tmp_path / stem, "W39_1998.09.19_Segm.nii")
    (case,) = find_cases(tmp_path).cases
    assert case.label is not None
    assert case.label.name == "W39_1998.09.19_Segm.nii"


def test_a_missing_modality_is_named_and_the_other_cases_stay(tmp_path: Path) -> None:
    write_case(tmp_path, "Good", make_head())
    write_case(tmp_path, "Bad", make_head())
    (tmp_path / "Bad" / "Bad_t1ce.nii.gz").unlink()
    found = find_cases(tmp_path)
    assert [case.case_id for case in found.cases] == ["Good"]
    (refused,) = found.refused
    assert "t1ce missing for case Bad; found only Bad_flair.nii.gz, Bad_t1.nii.gz, Bad_t2.nii.gz" in refused.reason


def test_numbered_channels_without_names_are_not_guessed(tmp_path: Path) -> None:
    write_case(tmp_path, "A", make_head(), "nnunet")
    (tmp_path / "dataset.json").unlink()
    (refused,) = find_cases(tmp_path).refused
    assert "numbered channels are not guessed" in refused.reason


def test_a_channel_that_is_no_modality_is_refused(tmp_path: Path) -> None:
    write_case(tmp_path, "A", make_head(), "nnunet")
    content = json.loads((tmp_path / "dataset.json").read_text())
    content["channel_names"]["3"] = "DWI"
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    (refused,) = find_cases(tmp_path).refused
    assert "channel 3 is 'DWI'" in refused.reason


def test_two_files_for_one_modality_and_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    write_case(tmp_path / "first", "A", make_head())
    write_case(tmp_path / "second", "A", make_head())
    write_case(tmp_path, "B", make_head())
    _touch(tmp_path / "B", "B_t1.nii")
    reasons = {refused.case_id: refused.reason for refused in find_cases(tmp_path).refused}
    assert "a second file for t1" in reasons["B"]
    assert "2 cases have the name A" in reasons["A"]


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    write_case(tmp_path, "A", make_head())
    _touch(tmp_path / "A", "._A_t1.nii.gz")
    assert len(find_cases(tmp_path).cases) == 1


def test_a_folder_without_cases_says_what_was_expected(tmp_path: Path) -> None:
    _touch(tmp_path, "scan.nii.gz")
    with pytest.raises(DatasetError, match="no case found among 1 NIfTI files; expected names ending in _t1"):
        find_cases(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        find_cases(tmp_path / "nowhere")
