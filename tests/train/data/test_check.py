"""A look through a data set tells everything that would stop a training, in one go."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.errors import DatasetError, TrainingError
from eenet_runtime.volumes.labels import BRATS2020, Label, Modality, Region
from eenet_train.data import check as check_module
from eenet_train.data.check import MOST_LABEL_VALUES, PASSED_OVER, CheckedCase, DatasetCheck, check_dataset
from eenet_train.data.check_table import _SHOWN_FILES, check_json, check_table
from tests.brain import make_brain
from tests.lost_inputs import LOST, lose
from tests.synthetic import (
    LAYOUT_SCHEMES,
    LAYOUTS,
    Head,
    make_head,
    write_case,
    write_volume,
)

BAD = {
    "P02": ("flair missing for case P02", "found only P02_t1.nii.gz, P02_t1ce.nii.gz, P02_t2.nii.gz"),
    "P04": ("P04_t2.nii.gz: t2 lies on another grid (46 x 54 x 22 voxels of 1 x 1 x 1.2 mm", "than t1 (46 x 54 x 22"),
    "P06": ("P06_seg.nii.gz: no tumour voxel found, expected some with the values 1, 2, 4",),
    "P08": ("P08_seg.nii.gz: label values 7 found, expected only 0, 1, 2, 4 (scheme brats2020)",),
    "P10": ("P10_t1ce.nii.gz: damaged or truncated gzip stream",),
}


def only(check: DatasetCheck) -> CheckedCase:
    """The only case of a data set."""
    (case,) = check.cases
    return case


def row_of(table: str, case_id: str) -> list[str]:
    """The words of a case's line in the table, which comes first."""
    return next(line.split() for line in table.splitlines() if line.startswith(case_id))


def path_of(folder: Path, case_id: str, word: str) -> Path:
    """A file of the BraTS 2020 layout."""
    return folder / case_id / f"{case_id}_{word}.nii.gz"


def truncate(path: Path) -> None:
    """Take away the last third of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])


def one_with_label(folder: Path, head: Head, labels: np.ndarray) -> Path:
    """A BraTS 2020 case whose label file holds any array; returns the label file."""
    write_case(folder, "A", head, label=False)
    return write_volume(path_of(folder, "A", "seg"), labels, head.affine)


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve cases, five of them bad, each in its own way."""
    folder = tmp_path_factory.mktemp("twelve")
    head = make_head()
    for index in range(12):
        write_case(folder, f"P{index:02d}", head)
    path_of(folder, "P02", "flair").unlink()
    write_volume(path_of(folder, "P04", "t2"), head.images[Modality.T2], head.affine + np.diag([0, 0, 0.2, 0]))
    write_volume(path_of(folder, "P06", "seg"), np.zeros(head.shape, np.uint8), head.affine)
    sevens = np.where(head.labels == Label.ED, 7, 4 * (head.labels == Label.ET)).astype(np.uint8)
    write_volume(path_of(folder, "P08", "seg"), sevens, head.affine)
    truncate(path_of(folder, "P10", "t1ce"))
    return folder


@pytest.fixture(scope="module")
def checked(twelve: Path) -> DatasetCheck:
    """The look through `twelve`."""
    return check_dataset(twelve)


def test_five_bad_cases_among_twelve_are_all_told_with_file_finding_and_expectation(checked: DatasetCheck) -> None:
    assert [case.case_id for case in checked.bad] == list(BAD)
    for case in checked.bad:
        (problem,) = case.problems
        assert case.problem == problem
        assert "\n" not in problem
        for words in BAD[case.case_id]:
            assert words in problem


def test_the_seven_good_cases_can_be_trained_on(checked: DatasetCheck) -> None:
    good = ["P00", "P01", "P03", "P05", "P07", "P09", "P11"]
    assert [case.case_id for case in checked.good] == good
    assert [files.case_id for files in checked.usable()] == good
    assert all(files.label is not None for files in checked.usable())
    assert checked.passed_over == ()


def test_a_good_case_is_described(checked: DatasetCheck, head: Head) -> None:
    case = checked.good[0]
    assert case.grid == "46 x 54 x 22, 1 x 1 x 1 mm, LPS"
    assert case.modalities == tuple(Modality)
    assert case.label_values == (0, 1, 2, 4)
    assert case.quirks == ()
    ncr, ed, et = (int((head.labels == label).sum()) for label in (Label.NCR, Label.ED, Label.ET))
    expected = {"ET": et / 1000, "TC": (et + ncr) / 1000, "WT": (et + ncr + ed) / 1000}
    assert case.volumes_ml == pytest.approx(expected)


def test_a_bad_case_is_described_as_far_as_it_can_be_read(checked: DatasetCheck) -> None:
    missing, grids, empty, seven, truncated = checked.bad
    assert missing.modalities == (Modality.T1, Modality.T1CE, Modality.T2)
    assert (grids.grid, grids.label_values) == ("", (0, 1, 2, 4))
    assert empty.label_values == (0,)
    assert empty.volumes_ml == {"ET": 0, "TC": 0, "WT": 0}
    assert seven.label_values == (0, 4, 7)
    assert seven.grid == "46 x 54 x 22, 1 x 1 x 1 mm, LPS"
    assert seven.volumes_ml == {}
    assert truncated.volumes_ml["WT"] > 0


def test_the_table_ends_with_everything_that_would_stop_a_training(checked: DatasetCheck) -> None:
    table = check_table(checked)
    _, stopping = table.split("would stop a training:\n")
    assert [line.split(":")[0].strip() for line in stopping.splitlines()] == list(BAD)
    for case_id, reasons in BAD.items():
        assert row_of(table, case_id)[1] == "bad"
        for words in reasons:
            assert words in stopping
    assert row_of(table, "P00")[1:14] == ["good", *checked.good[0].grid.split()]
    assert "12 cases: 7 good, 5 bad\n" in table
    assert "grid 46 x 54 x 22, 1 x 1 x 1 mm, LPS: 9 cases" in table


def test_the_table_gives_median_and_range_of_the_good_cases_volumes(tmp_path: Path, head: Head) -> None:
    voxels = head.labels.size
    for name, count in (("A", 1000), ("B", 2000), ("C", 9000), ("D", 0)):
        labels = (np.arange(voxels) < count).reshape(head.shape)
        write_case(tmp_path, name, Head(head.images, labels.astype(np.uint8) * np.uint8(Label.ET), head.affine))
    table = check_table(check_dataset(tmp_path))
    for region in ("ET", "TC", "WT"):
        assert row_of(table.split("\n\n")[2], region) == [region, "2.0", "1.0", "9.0"]


def test_a_table_without_bad_cases_and_quirks_does_not_mention_them(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head)
    table = check_table(check_dataset(tmp_path))
    assert "would stop" not in table
    assert "quirk" not in table
    assert "passed over" not in table
    assert "1 case: 1 good, 0 bad" in table


def test_the_json_holds_the_same(checked: DatasetCheck) -> None:
    content = json.loads(check_json(checked))
    assert (content["good"], content["bad"], content["passed_over"]) == (7, 5, 0)
    by_id = {entry["case_id"]: entry for entry in content["cases"]}
    assert list(by_id) == [case.case_id for case in checked.cases]
    assert {case_id for case_id, entry in by_id.items() if entry["status"] == "bad"} == set(BAD)
    assert by_id["P08"]["problems"] == list(checked.bad[3].problems)
    assert by_id["P00"]["label_values"] == [0, 1, 2, 4]
    assert by_id["P00"]["label_scheme"] == "brats2020"
    assert by_id["P02"]["modalities"] == ["t1", "t1ce", "t2"]


def test_several_processes_find_the_same_and_report_every_case(twelve: Path, checked: DatasetCheck) -> None:
    told: list[tuple[int, int]] = []
    assert check_dataset(twelve, workers=2, report=lambda done, total: told.append((done, total))) == checked
    assert told == [(done, 11) for done in range(1, 12)]


def test_a_killed_process_is_an_error_that_a_user_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "check_case", signal.raise_signal)
    with pytest.raises(TrainingError, match="one of 2 processes that read cases was killed"):
        list(check_module._check_all([signal.SIGKILL] * 2, workers=2))  # type: ignore[list-item]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_checked_and_its_own_label_values_are_told(tmp_path: Path, head: Head, layout: str) -> None:
    for name in ("BRATS_001", "BRATS_002"):
        write_case(tmp_path, name, head, layout)
    check = check_dataset(tmp_path)
    assert [case.case_id for case in check.good] == ["BRATS_001", "BRATS_002"]
    scheme = LAYOUT_SCHEMES[layout]
    for case in check.good:
        assert case.label_values == tuple(sorted(scheme.file_values))
        assert case.volumes_ml["ET"] == pytest.approx((head.labels == Label.ET).sum() / 1000)
        translated = f"label values {scheme.ncr} NCR, {scheme.ed} ED, {scheme.et} ET"
        assert [quirk.startswith(translated) for quirk in case.quirks] == ([] if scheme.et == 4 else [True])


@pytest.mark.parametrize("layout", ["msd", "nnunet"])
def test_brats_label_values_in_a_described_data_set_are_a_problem(tmp_path: Path, head: Head, layout: str) -> None:
    write_case(tmp_path, "BRATS_001", head, layout)
    write_volume(tmp_path / "labelsTr/BRATS_001.nii.gz", (head.labels == Label.ET) * np.uint8(4), head.affine)
    assert "label values 4 found, expected only 0, 1, 2, 3" in only(check_dataset(tmp_path)).problem


def test_a_missing_channel_of_an_nnunet_case_is_named(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head, "nnunet")
    write_case(tmp_path, "B", head, "nnunet")
    (tmp_path / "imagesTr/A_0003.nii.gz").unlink()
    check = check_dataset(tmp_path)
    assert [(case.case_id, "_0003 (flair) missing" in case.problem) for case in check.bad] == [("A", True)]
    assert [case.case_id for case in check.good] == ["B"]


def test_the_label_of_case_355_is_found_under_its_other_name_and_that_is_told(tmp_path: Path, head: Head) -> None:
    for number in (354, 355):
        write_case(tmp_path, f"BraTS20_Training_{number}", head, suffix=".nii")
    folder = tmp_path / "BraTS20_Training_355"
    (folder / "BraTS20_Training_355_seg.nii").rename(folder / "W39_1998.09.19_Segm.nii")
    check = check_dataset(tmp_path)
    usual, case355 = check.good
    assert usual.quirks == ()
    (quirk,) = case355.quirks
    assert "label under another name (W39_1998.09.19_Segm.nii)" in quirk
    table = check_table(check)
    assert f"1  {quirk} [BraTS20_Training_355]" in table
    assert row_of(table, "BraTS20_Training_355")[-1] == "1"
    assert row_of(table, "BraTS20_Training_354")[-1] == "-"


def test_files_that_only_name_their_role_are_no_quirk(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head)
    for path in list((tmp_path / "A").iterdir()):
        path.rename(path.with_name(path.name.removeprefix("A_")))
    case = only(check_dataset(tmp_path))
    assert (case.case_id, case.problems, case.quirks) == ("A", (), ())


def test_a_case_without_a_label_is_passed_over_where_others_have_one(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head)
    write_case(tmp_path, "B", head, label=False)
    truncate(path_of(tmp_path, "B", "t1"))  # a training never opens it, so it is nothing that would stop one
    check = check_dataset(tmp_path)
    assert [case.case_id for case in check.good] == ["A"]
    assert check.bad == ()
    (passed,) = check.passed_over
    assert (passed.case_id, passed.quirks) == ("B", (PASSED_OVER,))
    assert [files.case_id for files in check.usable()] == ["A"]
    assert "2 cases: 1 good, 0 bad, 1 without a label passed over" in check_table(check)


def test_without_any_label_every_case_is_bad(tmp_path: Path, head: Head) -> None:
    for name in ("A", "B"):
        write_case(tmp_path, name, head, label=False)
    check = check_dataset(tmp_path)
    assert [case.case_id for case in check.bad] == ["A", "B"]
    assert "A_t1.nii.gz: the case A has no label file, nor has any other" in check.bad[0].problem
    assert check.usable() == ()


def test_all_problems_of_one_case_are_told_together(tmp_path: Path, head: Head) -> None:
    image = head.images[Modality.T2].astype(np.float32)
    image[20, 20, 10] = np.nan
    flat = np.where(head.images[Modality.FLAIR] != 0, 5, 0).astype(np.int16)
    dark = np.zeros(head.shape, np.int16)
    head = head.with_image(Modality.T2, image).with_image(Modality.FLAIR, flat).with_image(Modality.T1CE, dark)
    one_with_label(tmp_path, head, np.full(head.shape, 9, np.uint8))
    t1ce, t2, flair, label = only(check_dataset(tmp_path)).problems
    assert "A_t1ce.nii.gz: all voxels are 0" in t1ce
    assert "A_t2.nii.gz: 1 voxels are NaN" in t2
    assert "A_flair.nii.gz: every non-zero voxel is 5" in flair
    assert "A_seg.nii.gz: label values 9 found" in label


def test_every_damaged_file_of_a_case_is_told_once(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head)
    for word in ("t1ce", "flair", "seg"):
        truncate(path_of(tmp_path, "A", word))
    problems = only(check_dataset(tmp_path)).problems
    assert [Path(problem.split(":")[0]).name for problem in problems] == [
        "A_t1ce.nii.gz",
        "A_flair.nii.gz",
        "A_seg.nii.gz",
    ]


def test_a_label_on_another_grid_is_a_problem(tmp_path: Path, head: Head) -> None:
    one_with_label(tmp_path, head, head.labels[:-1])
    case = only(check_dataset(tmp_path))
    assert "A_seg.nii.gz: the label lies on another grid (45 x 54 x 22" in case.problem
    assert "than t1 (46 x 54 x 22" in case.problem


def test_an_image_in_the_place_of_a_label_does_not_flood_the_table(tmp_path: Path, head: Head) -> None:
    one_with_label(tmp_path, head, head.images[Modality.T1])
    check = check_dataset(tmp_path)
    assert len(only(check).label_values) == MOST_LABEL_VALUES
    assert ".." in row_of(check_table(check), "A")


def test_fractions_in_a_label_are_a_problem_and_no_label_values(tmp_path: Path, head: Head) -> None:
    one_with_label(tmp_path, head, np.where(head.labels == Label.ET, 1.5, head.labels == Label.NCR).astype(np.float32))
    case = only(check_dataset(tmp_path))
    assert case.label_values == (0, 1)
    assert "label values 1.5 found" in case.problem


def turned(head: Head) -> Head:
    """The same head stored RAS."""
    return head.stored_as((0, 1, 2), (True, True, False))


def thick(head: Head) -> Head:
    """Slices of 3 mm."""
    return head.with_affine(head.affine @ np.diag([1, 1, 3, 1]))


def oblique(head: Head) -> Head:
    """Turned by 0.2 rad about the long axis of the body."""
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    return head.with_affine(turn @ head.affine)


def one_float(head: Head) -> Head:
    """One image of another voxel type."""
    return head.with_image(Modality.T2, head.images[Modality.T2].astype(np.float32))


def grey_background(head: Head) -> Head:
    """One image without a background of 0."""
    return head.with_image(Modality.FLAIR, head.images[Modality.FLAIR] + np.int16(30))


def label_of_another(head: Head) -> Head:
    """A label that lies elsewhere."""
    return Head(head.images, np.roll(head.labels, 16, axis=0), head.affine)


@pytest.mark.parametrize(
    ("change", "quirk"),
    [
        (turned, "stored along RAS, in BraTS LPS: turned"),
        (thick, "voxels of 1 x 1 x 3 mm, in BraTS 1 mm: resampled"),
        (oblique, "axes oblique by 11 degrees: the nearest straight ones are taken"),
        (one_float, "voxel types differ (float32: t2; int16: t1, t1ce, flair): each read as it is"),
        (grey_background, "flair is not 0 in over 90% of its voxels"),
        (label_of_another, "over 5% of the tumour lies where all images are 0"),
    ],
)
def test_what_is_unusual_is_told_and_stops_nothing(
    tmp_path: Path, head: Head, change: Callable[[Head], Head], quirk: str
) -> None:
    write_case(tmp_path, "A", change(head))
    case = only(check_dataset(tmp_path))
    assert case.problems == ()
    (told,) = case.quirks
    assert told.startswith(quirk)


def test_an_image_stored_along_other_axes_than_the_t1_is_told(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head)
    other = turned(head)
    write_volume(path_of(tmp_path, "A", "t2"), other.images[Modality.T2], other.affine)
    case = only(check_dataset(tmp_path))
    assert (case.problems, case.quirks) == ((), ("t2 stored along RAS, t1 along LPS: turned alike",))


def test_a_header_without_orientation_is_told(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head, qform=0, sform=0)
    assert any("qform and sform code 0" in quirk for quirk in only(check_dataset(tmp_path)).quirks)


def test_a_slope_in_the_header_is_told(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head)
    image = nib.Nifti1Image(head.images[Modality.T1], head.affine)
    image.header.set_slope_inter(0.5, 0)
    image.to_filename(path_of(tmp_path, "A", "t1"))
    assert only(check_dataset(tmp_path)).quirks == ("t1 scaled by the slope and intercept in its header: applied",)


def test_equal_quirks_are_told_once_with_the_number_of_cases(tmp_path: Path, head: Head) -> None:
    for name, case in (("A", turned(head)), ("B", turned(head)), ("C", head)):
        write_case(tmp_path, name, case)
    table = check_table(check_dataset(tmp_path))
    assert table.count("stored along RAS") == 1
    assert "1  stored along RAS, in BraTS LPS: turned [2 cases]" in table
    assert [row_of(table, name)[-1] for name in "ABC"] == ["1", "1", "-"]


def test_cases_without_enhancing_tumour_are_counted_not_refused(tmp_path: Path, head: Head) -> None:
    low_grade = Head(
        head.images, np.where(head.labels == Label.ET, Label.NCR, head.labels).astype(np.uint8), head.affine
    )
    write_case(tmp_path, "A", low_grade)
    write_case(tmp_path, "B", head)
    check = check_dataset(tmp_path)
    assert [case.case_id for case in check.good] == ["A", "B"]
    assert "no enhancing tumour: A\n" in check_table(check)


def test_only_the_most_frequent_grids_are_listed(tmp_path: Path) -> None:
    for index in range(10):
        write_case(tmp_path, f"P{index}", make_head((16, 16, 12 + max(index, 1))))
    table = check_table(check_dataset(tmp_path))
    assert table.count("\ngrid ") == 8
    assert "\ngrid 16 x 16 x 13, 1 x 1 x 1 mm, LPS: 2 cases\n" in table
    assert "\nand 1 more grid: 1 case\n" in table


def test_files_that_belong_to_no_case_are_named(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head)
    stray = write_volume(tmp_path / "atlas.nii.gz", head.images[Modality.T1], head.affine)
    check = check_dataset(tmp_path)
    assert check.ignored == (stray,)
    assert f"1 NIfTI file in no case: {stray}" in check_table(check)


def test_a_folder_without_cases_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        check_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no case found"):
        check_dataset(tmp_path)


def test_zero_workers_are_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="workers 0"):
        check_dataset(tmp_path, workers=0)


@pytest.mark.parametrize("word", ["flair", "seg"])
@pytest.mark.parametrize("what", LOST)
def test_a_file_that_is_no_file_is_told_as_what_it_is(tmp_path: Path, what: str, word: str) -> None:
    for name in ("A", "B"):
        write_case(tmp_path, name, make_head())
    path = path_of(tmp_path, "B", word)
    said = lose(path, what)
    checked = check_dataset(tmp_path)
    assert [case.case_id for case in checked.good] == ["A"]
    (bad,) = checked.bad
    assert (bad.case_id, bad.problem) == ("B", f"{path}: {said}")


@pytest.mark.parametrize(("value", "answer"), [(3e7, "inference refuses such a case"), (900, "inference warns of it")])
def test_spikes_in_training_data_are_told(tmp_path: Path, head: Head, value: float, answer: str) -> None:
    image = head.images[Modality.T1CE].astype(np.float32)
    image[20:22, 20, 10] = value
    write_case(tmp_path, "A", head.with_image(Modality.T1CE, image))
    quirk = f"t1ce holds spikes, by which it is normalised: mend them, {answer}"
    case = only(check_dataset(tmp_path))
    assert [text for text in case.quirks if "spikes" in text] == [quirk]
    assert not case.problems
    assert quirk in check_table(check_dataset(tmp_path))


def test_a_background_of_small_values_in_training_data_is_told(tmp_path: Path, head: Head) -> None:
    images = {}
    for name, image in head.images.items():
        shown = image != 0
        shell = np.zeros_like(shown)
        for axis in range(3):
            for step in (-1, 1):
                shell |= np.roll(shown, step, axis)
        images[name] = np.where(shell & ~shown, 1e-3, image).astype(np.float32)
    write_case(tmp_path, "A", Head(images, head.labels, head.affine))
    assert "a background of small values about the head, which is normalised as tissue: set it to 0" in (
        only(check_dataset(tmp_path)).quirks
    )


def test_a_bad_slice_in_training_data_is_told(tmp_path: Path) -> None:
    brain = make_brain()
    images = {name: volume.data.astype(np.float32) for name, volume in brain.volumes.items()}
    plane = images[Modality.FLAIR][:, :, 30]
    plane[plane != 0] += 200
    labels = np.zeros(brain.grid.shape, dtype=np.uint8)
    labels[20:24, 30:34, 20:24] = 2
    write_case(tmp_path, "A", Head(images, labels, brain.grid.affine))
    quirk = "flair has a slice unlike its neighbours, as of a failed acquisition: look at it"
    assert quirk in only(check_dataset(tmp_path)).quirks


def test_sound_training_data_has_neither(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head)
    assert not [text for text in only(check_dataset(tmp_path)).quirks if "spikes" in text or "small values" in text]


def test_identical_images_under_two_names_are_told_and_counted_as_one_patient(tmp_path: Path, head: Head) -> None:
    for factor, name in enumerate("ABC", start=1):
        images = {modality: image * np.int16(factor) for modality, image in head.images.items()}
        write_case(tmp_path, name, Head(images, head.labels, head.affine))
    path_of(tmp_path, "C", "t2").write_bytes(path_of(tmp_path, "A", "t2").read_bytes())
    check = check_dataset(tmp_path)
    assert check.identical == (("A", "C"),)
    assert check.patients() == {"A": "A", "B": "B", "C": "A"}
    assert "identical image files: A, C: counted as one patient" in check_table(check)
    assert "patients: 3 good cases of 2 patients" in check_table(check)
    assert json.loads(check_json(check))["identical_images"] == [["A", "C"]]


def test_visits_of_one_patient_are_counted_by_their_names(tmp_path: Path) -> None:
    for index, name in enumerate(("BraTS-GLI-00005-100", "BraTS-GLI-00005-101", "BraTS-GLI-00006-100")):
        write_case(tmp_path, name, make_head((46, 54, 22 + 2 * index)), "brats2023")
    check = check_dataset(tmp_path)
    assert check.identical == ()
    assert "patients: 3 good cases of 2 patients; a split never parts cases of one patient" in check_table(check)
    visits = ["BraTS-GLI-00005-100", "BraTS-GLI-00005-101"]
    assert json.loads(check_json(check))["patients"] == {"BraTS-GLI-00005": visits}


def test_of_many_cases_with_identical_images_a_few_are_named_and_the_others_counted() -> None:
    def told(count: int) -> str:
        files = CaseFiles("any", {}, BRATS2020, label=Path("label.nii.gz"))
        known: dict[str, Any] = {"files": files, "volumes_ml": dict.fromkeys(Region, 1.0), "image_hashes": ("same",)}
        cases = tuple(CheckedCase(f"C{index:02}", **known) for index in range(count))
        (line,) = (line for line in check_table(DatasetCheck(Path("data"), cases)).splitlines() if "identical" in line)
        return line

    shown = _SHOWN_FILES
    names = ", ".join(f"C{index:02}" for index in range(shown))
    assert f"identical image files: {names}: counted" in told(shown)
    assert f"identical image files: {names} and 1 more: counted" in told(shown + 1)
