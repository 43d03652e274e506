"""Finding cases by their names, and saying why something is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from eenet_runtime.cases.case_files import CaseFiles, split_name
from eenet_runtime.cases.discovery import Discovery, find_cases
from eenet_runtime.errors import DatasetError
from eenet_runtime.volumes.labels import BRATS2020, BRATS2023, MSD, LabelScheme, Modality
from tests.synthetic import LAYOUT_SCHEMES, LAYOUTS, Head, write_case, write_dataset_json

BRATS2020_NAMES = ("t1", "t1ce", "t2", "flair")


def touch(folder: Path, *names: str) -> None:
    """Make empty files: discovery goes by names and never reads an image."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def touch_case(folder: Path, case_id: str, *more: str, suffix: str = ".nii.gz") -> None:
    """A complete case in the BraTS 2020 manner, with further roles on request."""
    touch(folder, *(f"{case_id}_{word}{suffix}" for word in (*BRATS2020_NAMES, *more)))


def names_of(case: CaseFiles) -> dict[str, str]:
    """File name by modality."""
    return {modality.value: source.path.name for modality, source in case.images.items()}


def the_refusal(found: Discovery) -> str:
    """The reason of the only refused case."""
    (refused,) = found.refused
    assert "\n" not in refused.reason
    return refused.reason


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_every_layout_is_recognised_without_an_option(tmp_path: Path, head: Head, layout: str, suffix: str) -> None:
    for name in ("BRATS_001", "BRATS_002"):
        write_case(tmp_path, name, head, layout, suffix=suffix)
    found = find_cases(tmp_path)
    assert [case.case_id for case in found.cases] == ["BRATS_001", "BRATS_002"]
    assert found.refused == ()
    for case in found.cases:
        assert set(case.images) == set(Modality)
        assert case.label is not None
        assert case.scheme.file_values == LAYOUT_SCHEMES[layout].file_values


def test_brats_2020_folders(tmp_path: Path) -> None:
    touch_case(tmp_path / "BraTS20_Training_001", "BraTS20_Training_001", "seg", suffix=".nii")
    touch_case(tmp_path / "BraTS20_Training_002", "BraTS20_Training_002")
    with_label, without = find_cases(tmp_path).cases
    assert with_label.case_id == "BraTS20_Training_001"
    assert names_of(with_label)["t1ce"] == "BraTS20_Training_001_t1ce.nii"
    assert with_label.label == tmp_path / "BraTS20_Training_001" / "BraTS20_Training_001_seg.nii"
    assert with_label.scheme == without.scheme == BRATS2020
    assert without.label is None


def test_brats_2023_folders(tmp_path: Path) -> None:
    case = "BraTS-GLI-00005-100"
    touch(tmp_path / case, *(f"{case}-{word}.nii.gz" for word in ("t1n", "t1c", "t2w", "t2f", "seg")))
    (found,) = find_cases(tmp_path).cases
    assert found.case_id == case
    assert names_of(found) == {
        "t1": f"{case}-t1n.nii.gz",
        "t1ce": f"{case}-t1c.nii.gz",
        "t2": f"{case}-t2w.nii.gz",
        "flair": f"{case}-t2f.nii.gz",
    }
    assert found.scheme == BRATS2023
    assert found.label == tmp_path / case / f"{case}-seg.nii.gz"


@pytest.mark.parametrize("described", [True, False])
def test_decathlon_with_and_without_its_dataset_json(tmp_path: Path, described: bool) -> None:
    touch(tmp_path, "imagesTr/BRATS_001.nii.gz", "labelsTr/BRATS_001.nii.gz", "imagesTs/BRATS_485.nii.gz")
    if described:
        write_dataset_json(tmp_path, "msd")
    training, test = find_cases(tmp_path).cases
    assert {modality.value: source.channel for modality, source in training.images.items()} == {
        "flair": 0,
        "t1": 1,
        "t1ce": 2,
        "t2": 3,
    }
    assert training.label == tmp_path / "labelsTr" / "BRATS_001.nii.gz"
    assert (training.scheme.ncr, training.scheme.ed, training.scheme.et) == (MSD.ncr, MSD.ed, MSD.et)
    assert test.case_id == "BRATS_485"
    assert test.label is None


def test_nnunet_takes_its_channels_from_the_dataset_json(tmp_path: Path) -> None:
    touch(tmp_path, *(f"imagesTr/Case_7_{channel:04d}.nii.gz" for channel in range(4)), "labelsTr/Case_7.nii.gz")
    path = write_dataset_json(tmp_path, "nnunet")
    path.write_text(path.read_text().replace('"0": "T1"', '"0": "T2"').replace('"2": "T2"', '"2": "T1"'))
    (case,) = find_cases(tmp_path).cases
    assert case.case_id == "Case_7"
    assert names_of(case) == {
        "t2": "Case_7_0000.nii.gz",
        "t1ce": "Case_7_0001.nii.gz",
        "t1": "Case_7_0002.nii.gz",
        "flair": "Case_7_0003.nii.gz",
    }
    assert case.label == tmp_path / "labelsTr" / "Case_7.nii.gz"


def test_numbered_channels_without_a_dataset_json_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, *(f"Case_7_{channel:04d}.nii.gz" for channel in range(4)))
    reason = the_refusal(find_cases(tmp_path))
    assert "_0000, _0001, _0002, _0003 found without a dataset.json" in reason
    assert "not guessed" in reason


def test_a_missing_numbered_channel_is_named_with_its_modality(tmp_path: Path) -> None:
    touch(tmp_path, *(f"imagesTr/A_{channel:04d}.nii.gz" for channel in (0, 1, 3)))
    write_dataset_json(tmp_path, "nnunet")
    assert "_0002 (t2) missing for case A" in the_refusal(find_cases(tmp_path))


def test_a_channel_that_the_dataset_json_does_not_name_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, *(f"imagesTr/A_{channel:04d}.nii.gz" for channel in range(5)))
    write_dataset_json(tmp_path, "nnunet")
    assert "A_0004.nii.gz has no name in dataset.json" in the_refusal(find_cases(tmp_path))


def test_two_files_for_one_numbered_channel_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, *(f"imagesTr/A_{channel:04d}.nii.gz" for channel in range(4)), "imagesTr/A_0002.nii")
    write_dataset_json(tmp_path, "nnunet")
    reason = the_refusal(find_cases(tmp_path))
    assert "A_0002.nii" in reason
    assert "expected one" in reason


def test_a_dataset_json_that_cannot_be_used_refuses_its_cases_only(tmp_path: Path) -> None:
    touch(tmp_path / "bad", "imagesTr/A.nii.gz")
    (tmp_path / "bad" / "dataset.json").write_text('{"modality": {"0": "CT"}}')
    touch_case(tmp_path / "good", "B")
    found = find_cases(tmp_path)
    assert [case.case_id for case in found.cases] == ["B"]
    assert "'CT'" in the_refusal(found)


def test_a_flat_folder_of_many_cases(tmp_path: Path) -> None:
    for case in ("A", "B", "C"):
        touch_case(tmp_path, case, "seg")
    cases = find_cases(tmp_path).cases
    assert [case.case_id for case in cases] == ["A", "B", "C"]
    assert [case.label and case.label.name for case in cases] == ["A_seg.nii.gz", "B_seg.nii.gz", "C_seg.nii.gz"]


def test_files_named_by_their_modality_alone_take_the_name_of_their_folder(tmp_path: Path) -> None:
    touch(tmp_path / "Patient 7", "T1.nii.gz", "T1ce.nii.gz", "T2.nii.gz", "FLAIR.nii.gz", "Seg.nii.gz")
    (case,) = find_cases(tmp_path).cases
    assert case.case_id == "Patient 7"
    assert case.label == tmp_path / "Patient 7" / "Seg.nii.gz"


@pytest.mark.parametrize("name", [".", "..", "sub/.."])
def test_the_current_folder_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = tmp_path / "Patient 7"
    touch(folder, "t1.nii", "t1ce.nii", "t2.nii", "flair.nii", "BRATS_001.nii.gz")
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder / "sub" if name == ".." else folder)
    assert [case.case_id for case in find_cases(Path(name)).cases] == ["BRATS_001", "Patient 7"]


@pytest.mark.parametrize(
    ("name", "case_id", "modality", "is_label"),
    [
        ("A_t1.nii.gz", "A", Modality.T1, False),
        ("A_T1CE.nii", "A", Modality.T1CE, False),
        ("A-t1c.NII.GZ", "A", Modality.T1CE, False),
        ("A_t1gd.nii", "A", Modality.T1CE, False),
        ("A.T2w.nii", "A", Modality.T2, False),
        ("A-t2f.nii", "A", Modality.FLAIR, False),
        ("A_Flair.nii", "A", Modality.FLAIR, False),
        ("t1_study_004_t2.nii", "t1_study_004", Modality.T2, False),
        ("sub-01_T1w_brain.nii", "sub_01_brain", Modality.T1, False),
        ("A_t1ce_seg.nii.gz", "A_t1ce", None, True),
        ("W39_1998.09.19_Segm.nii", "W39_1998.09.19", None, True),
        ("A_t1x.nii", "A_t1x", None, False),
        ("At1.nii", "At1", None, False),
        ("A_t1cex.nii", "A_t1cex", None, False),
    ],
)
def test_a_modality_is_a_whole_word_of_the_name(
    name: str, case_id: str, modality: Modality | None, is_label: bool
) -> None:
    parts = split_name(Path(name))
    assert (parts.case_id, parts.modality, parts.is_label) == (case_id, modality, is_label)


def test_t1_never_takes_the_place_of_t1ce(tmp_path: Path) -> None:
    touch(tmp_path, "A_t1.nii.gz", "A_t1_2.nii.gz", "A_t2.nii.gz", "A_flair.nii.gz")
    (refused,) = [entry for entry in find_cases(tmp_path).refused if entry.case_id == "A"]
    assert "t1ce missing for case A" in refused.reason


def test_the_odd_label_name_of_brats_2020_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "BraTS20_Training_355"
    touch_case(folder, "BraTS20_Training_355", suffix=".nii")
    touch(folder, "W39_1998.09.19_Segm.nii")
    (case,) = find_cases(tmp_path).cases
    assert case.label == folder / "W39_1998.09.19_Segm.nii"


def test_a_case_with_its_own_label_ignores_a_stray_one_in_its_folder(tmp_path: Path) -> None:
    touch_case(tmp_path / "A", "A", "seg")
    touch(tmp_path / "A", "W39_1998.09.19_Segm.nii")
    found = find_cases(tmp_path)
    (case,) = found.cases
    assert case.label == tmp_path / "A" / "A_seg.nii.gz"
    assert found.ignored == (tmp_path / "A" / "W39_1998.09.19_Segm.nii",)


def test_another_cases_label_in_a_flat_folder_is_not_taken(tmp_path: Path) -> None:
    touch_case(tmp_path, "A")
    touch(tmp_path, "B_seg.nii.gz")
    found = find_cases(tmp_path)
    (case,) = found.cases
    assert case.label is None
    assert found.ignored == (tmp_path / "B_seg.nii.gz",)


def test_missing_modalities_are_named_with_what_was_found(tmp_path: Path) -> None:
    touch(tmp_path / "A", "A_t1.nii.gz", "A_flair.nii.gz", "A_seg.nii.gz")
    reason = the_refusal(find_cases(tmp_path))
    assert reason == (f"{tmp_path / 'A'}: t1ce and t2 missing for case A; found only A_flair.nii.gz, A_t1.nii.gz")


def test_two_files_for_one_modality_are_refused(tmp_path: Path) -> None:
    touch_case(tmp_path, "A")
    touch(tmp_path, "A_t1.nii")
    reason = the_refusal(find_cases(tmp_path))
    assert "a second file for t1" in reason
    assert "A_t1.nii" in reason


def test_two_spellings_of_one_modality_are_refused(tmp_path: Path) -> None:
    touch_case(tmp_path, "A", "t1gd")
    assert "a second file for t1ce" in the_refusal(find_cases(tmp_path))


def test_two_labels_are_refused(tmp_path: Path) -> None:
    touch_case(tmp_path, "A", "seg", "segmentation")
    assert "a second label file" in the_refusal(find_cases(tmp_path))


def test_good_and_bad_cases_are_kept_apart(tmp_path: Path) -> None:
    touch_case(tmp_path / "good", "Good")
    touch(tmp_path / "bad", "Bad_t1.nii.gz")
    touch(tmp_path, "notes.txt", "other.nii.gz")
    found = find_cases(tmp_path)
    assert [case.case_id for case in found.cases] == ["Good"]
    assert [refused.case_id for refused in found.refused] == ["Bad"]
    assert found.ignored == (tmp_path / "other.nii.gz",)


def test_cases_of_one_name_are_all_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        touch_case(tmp_path / folder, "A")
    touch_case(tmp_path / "three", "B")
    found = find_cases(tmp_path)
    assert [case.case_id for case in found.cases] == ["B"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert the_refusal(found) == f"{tmp_path}: 2 cases have the name A, rename all but one: {one}; {two}"


def test_a_complete_and_an_incomplete_case_of_one_name_are_both_refused(tmp_path: Path) -> None:
    # One name would mean both a mask and a refusal, and nobody could tell of which.
    touch_case(tmp_path / "one", "A")
    touch(tmp_path / "two", "A_t1.nii.gz")
    found = find_cases(tmp_path)
    assert found.cases == ()
    assert "2 cases have the name A" in the_refusal(found)
    assert "t1ce and t2 and flair missing" in the_refusal(found)


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    touch_case(tmp_path / "A", "A")
    touch(tmp_path / "A", "._A_t1.nii.gz", ".A_t2.nii.gz")
    touch_case(tmp_path / ".trash" / "B", "B")
    found = find_cases(tmp_path)
    assert [case.case_id for case in found.cases] == ["A"]
    assert not found.refused
    assert not found.ignored


def test_a_hidden_folder_that_is_asked_for_is_searched(tmp_path: Path) -> None:
    touch_case(tmp_path / ".cache" / "A", "A")
    assert [case.case_id for case in find_cases(tmp_path / ".cache").cases] == ["A"]


def test_linked_case_folders_are_searched(tmp_path: Path) -> None:
    touch_case(tmp_path / "archive" / "A", "A")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "A").symlink_to(tmp_path / "archive" / "A")
    (tmp_path / "study" / "loop").symlink_to(tmp_path / "study")
    assert [case.case_id for case in find_cases(tmp_path / "study").cases] == ["A"]


def test_a_folder_that_cannot_be_read_is_a_refused_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch_case(tmp_path / "A", "A")
    touch_case(tmp_path / "B", "B")
    scandir = os.scandir

    def deny(path: str) -> Any:
        if Path(path).name == "B":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)  # tests may run as root, whom no permission stops
    found = find_cases(tmp_path)
    assert [case.case_id for case in found.cases] == ["A"]
    assert the_refusal(found) == f"{tmp_path / 'B'}: the folder cannot be read (Permission denied)"


def test_a_folder_without_a_case_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no case found among 0 NIfTI files; expected names ending in _t1"):
        find_cases(tmp_path)
    touch(tmp_path, "a.nii.gz", "b.nii.gz")
    with pytest.raises(DatasetError, match="no case found among 2 NIfTI files"):
        find_cases(tmp_path)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        find_cases(tmp_path / "nowhere")
    touch(tmp_path, "file")
    with pytest.raises(DatasetError, match="not a folder"):
        find_cases(tmp_path / "file")


def test_one_file_under_the_names_of_two_modalities_is_refused(tmp_path: Path) -> None:
    touch_case(tmp_path, "A")
    (tmp_path / "A_t1ce.nii.gz").unlink()
    (tmp_path / "A_t1ce.nii.gz").symlink_to(tmp_path / "A_t1.nii.gz")
    touch_case(tmp_path, "B")
    (tmp_path / "B_flair.nii.gz").unlink()
    (tmp_path / "B_flair.nii.gz").hardlink_to(tmp_path / "B_t2.nii.gz")
    touch_case(tmp_path, "C")
    found = find_cases(tmp_path)
    assert [case.case_id for case in found.cases] == ["C"]
    first, second = (refused.reason for refused in found.refused)
    assert first.endswith("A_t1ce.nii.gz: the same file as A_t1.nii.gz, given as t1ce and as t1; expected two images")
    assert second.endswith(
        "B_flair.nii.gz: the same file as B_t2.nii.gz, given as flair and as t2; expected two images"
    )


def test_files_without_numbers_of_their_own_are_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some network drives number no files: all have the inode 0.
    touch_case(tmp_path, "A")
    stat = os.stat

    def without_inode(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        mode, _, *rest = stat(path, *arguments, **options)
        return os.stat_result((mode, 0, *rest))

    monkeypatch.setattr(os, "stat", without_inode)
    assert [case.case_id for case in find_cases(tmp_path).cases] == ["A"]


@pytest.mark.parametrize(
    ("words", "scheme"),
    [
        (("t1", "t1c", "t2", "flair"), BRATS2020),
        (("t1w", "t1c", "t2w", "flair"), BRATS2020),
        (("t1n", "t1c", "t2w", "t2f"), BRATS2023),
        (("t1n", "t1ce", "t2", "flair"), BRATS2023),
    ],
)
def test_only_words_that_came_with_brats_2023_choose_its_label_values(
    tmp_path: Path, words: tuple[str, ...], scheme: LabelScheme
) -> None:
    touch(tmp_path, *(f"A_{word}.nii.gz" for word in words))
    (case,) = find_cases(tmp_path).cases
    assert case.scheme == scheme


@pytest.mark.parametrize("second", ["A-t1n.nii.gz", "A_t1w.nii.gz", "A.T1.nii", "A_t1.NII.GZ"])
def test_two_candidates_for_one_modality_are_refused_naming_both(tmp_path: Path, second: str) -> None:
    touch_case(tmp_path, "A")
    touch(tmp_path, second)
    reason = the_refusal(find_cases(tmp_path))
    assert "a second file for t1" in reason
    assert "A_t1.nii.gz" in reason
    assert second in reason


def test_the_names_of_two_years_side_by_side_make_no_case_twice(tmp_path: Path) -> None:
    # A case that was copied under the names of 2023 beside those of 2020: nobody could say which is meant.
    touch_case(tmp_path, "A", "seg")
    touch(tmp_path, *(f"A-{word}.nii.gz" for word in ("t1n", "t1c", "t2w", "t2f", "seg")))
    found = find_cases(tmp_path)
    assert found.cases == ()
    assert "a second file for" in the_refusal(found)


def test_names_of_two_years_that_complete_each_other_make_one_case(tmp_path: Path) -> None:
    touch(tmp_path, "A_t1.nii.gz", "A-t1c.nii.gz", "A_t2.nii.gz", "A-t2f.nii.gz")
    (case,) = find_cases(tmp_path).cases
    assert names_of(case) == {
        "t1": "A_t1.nii.gz",
        "t1ce": "A-t1c.nii.gz",
        "t2": "A_t2.nii.gz",
        "flair": "A-t2f.nii.gz",
    }
    assert case.scheme == BRATS2023  # a label of the other scheme is refused by its values
