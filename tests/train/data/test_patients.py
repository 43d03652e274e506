"""Patients: told by names, by a table or by identical images, and never parted by a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eenet_runtime.errors import TrainingError
from eenet_train.data.data import PreparedCase, prepare_dataset
from eenet_train.data.folds import assign_folds
from eenet_train.data.patients import group_cases, identical_images, patient_by_name, read_patients
from eenet_train.data.split import split_cases, split_dataset
from eenet_train.data.split_file import read_split
from tests.synthetic import TINY_2MM, make_head, write_case
from tests.train.stand_in import short_settings

VISITS = tuple(f"BraTS-GLI-0000{patient}-{visit}" for patient in (5, 6, 7) for visit in (100, 101))


def prepared(*names: str, images: Mapping[str, Sequence[str]] | None = None) -> tuple[PreparedCase, ...]:
    """Cases whose patients are told by their names; nothing is on disk."""
    nowhere = Path("nowhere.npy")
    return tuple(
        PreparedCase(name, nowhere, nowhere, patient_by_name(name), tuple((images or {}).get(name, (name,))))
        for name in names
    )


def names_of(cases: Sequence[PreparedCase]) -> set[str]:
    """Their names."""
    return {case.case_id for case in cases}


def table(path: Path, text: str) -> str:
    """A table of the user's."""
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("case_id", "folders", "patient"),
    [
        ("BraTS-GLI-00005-100", (), "BraTS-GLI-00005"),
        ("BraTS-GLI-00005-101", (), "BraTS-GLI-00005"),
        ("BraTS-SSA-00041-000", (), "BraTS-SSA-00041"),
        ("BraTS-MEN-RT-0012-1", (), "BraTS-MEN-RT-0012"),
        ("BraTS20_Training_001", (), "BraTS20_Training_001"),
        ("BraTS2021_00005", (), "BraTS2021_00005"),
        ("BRATS_001", (), "BRATS_001"),
        ("Phantom_0003_0004", (), "Phantom_0003_0004"),
        ("sub-01_ses-02", (), "sub-01"),
        ("sub-01_ses-02_run-1", ("other",), "sub-01"),
        ("sub-01", (), "sub-01"),
        ("ses-02", ("sub-01", "ses-02", "anat"), "sub-01"),
        ("ses-02", ("sub-01_ses-02", "anat"), "sub-01"),
        ("A", ("data", "A"), "A"),
    ],
)
def test_names_of_brats_2023_and_bids_tell_the_patient_and_others_do_not(
    case_id: str, folders: tuple[str, ...], patient: str
) -> None:
    assert patient_by_name(case_id, folders) == patient


def test_cases_that_share_an_image_are_one_group_whatever_their_patients() -> None:
    images = {"A": ["1", "2"], "B": ["2", "3"], "C": ["3"], "D": ["4"]}
    assert identical_images(images) == (("A", "B", "C"),)
    assert group_cases({name: name for name in images}, images) == {"A": "A", "B": "A", "C": "A", "D": "D"}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("validation", [1, 2, 3, 4])
def test_visits_of_one_patient_are_never_parted_and_enough_cases_are_held_out(seed: int, validation: int) -> None:
    cases = prepared(*VISITS)
    training, held_out = split_dataset(cases, short_settings(validation_cases=validation, seed=seed))
    assert names_of(training) | names_of(held_out) == set(VISITS)
    assert not {case.patient for case in training} & {case.patient for case in held_out}
    assert len(held_out) == validation + validation % 2


def test_identical_images_under_two_names_stay_on_one_side() -> None:
    cases = prepared("A", "B", "C", "D", images={"A": ["1", "2"], "D": ["2", "3"]})
    for seed in range(20):
        for side in split_dataset(cases, short_settings(validation_cases=1, seed=seed)):
            assert ("A" in names_of(side)) == ("D" in names_of(side))


@given(count=st.integers(2, 40), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_where_every_patient_has_one_case_the_split_is_the_one_from_before_there_were_patients(
    count: int, seed: int, data: st.DataObject
) -> None:
    validation = data.draw(st.integers(0, count - 1))
    cases = prepared(*(f"BraTS-GLI-{index:05d}-100" for index in range(count)))
    order = np.random.default_rng(seed).permutation(count)
    expected = {cases[index].case_id for index in order[count - validation :].tolist()}
    _, held_out = split_cases(cases, validation, seed, {case.case_id: case.patient for case in cases})
    assert names_of(held_out) == expected


def test_a_split_that_would_leave_no_patient_to_train_on_is_refused_in_words() -> None:
    cases = prepared(*VISITS[:2])
    with pytest.raises(TrainingError, match="1 validation cases asked for among 2 cases with labels of 1 patients"):
        split_dataset(cases, short_settings(validation_cases=1))


@given(folds=st.integers(2, 4), seed=st.integers(0, 2**32 - 1), graded=st.booleans(), data=st.data())
def test_folds_hold_whole_patients_evenly(folds: int, seed: int, graded: bool, data: st.DataObject) -> None:
    visits = data.draw(st.lists(st.integers(1, 4), min_size=folds, max_size=20))
    groups = {f"P{patient:02d}-{visit}": f"P{patient:02d}" for patient, n in enumerate(visits) for visit in range(n)}
    sizes = {case_id: float(index * 37 % 11) for index, case_id in enumerate(groups)}
    grades = dict.fromkeys(groups, "HGG") if graded else {}
    fold_of = assign_folds(groups, folds, seed, grades=grades, tumour_size=sizes, groups=groups)
    assert list(fold_of) == sorted(groups)
    of_patient = {groups[case_id]: fold for case_id, fold in fold_of.items()}
    assert all(of_patient[groups[case_id]] == fold for case_id, fold in fold_of.items())
    counts = [list(of_patient.values()).count(fold) for fold in range(folds)]
    assert max(counts) - min(counts) <= 1


@given(count=st.integers(5, 40), seed=st.integers(0, 2**32 - 1))
def test_where_every_patient_has_one_case_their_names_do_not_change_the_folds(count: int, seed: int) -> None:
    names = [f"C{index:03d}" for index in range(count)]
    strangers = {name: f"patient {-index}" for index, name in enumerate(names)}
    sizes = {name: float(index * 37 % 11) for index, name in enumerate(names)}
    for grades in ({}, {name: "HGG" if index % 3 else "LGG" for index, name in enumerate(names)}):
        alone = assign_folds(names, 5, seed, grades=grades, tumour_size=sizes)
        assert assign_folds(names, 5, seed, grades=grades, tumour_size=sizes, groups=strangers) == alone


def test_more_folds_than_patients_are_refused() -> None:
    groups = dict.fromkeys("AB", "P") | {"C": "Q"}
    with pytest.raises(TrainingError, match="3 folds asked for with 3 cases of 2 patients"):
        assign_folds(groups, 3, 0, grades={}, tumour_size=dict.fromkeys(groups, 1.0), groups=groups)


def test_a_table_of_patients_goes_before_names(tmp_path: Path) -> None:
    cases = prepared("A", "B", "C")
    patients = table(tmp_path / "patients.csv", "case,patient,age\nA,one,60\nC,one,61\nelsewhere,two,1\n")
    for seed in range(10):
        for side in split_dataset(cases, short_settings(validation_cases=1, seed=seed, patients=patients)):
            assert ("A" in names_of(side)) == ("C" in names_of(side))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("case,person\nA,x\n", "columns case, person found, expected case and patient"),
        ("case,patient\nA\n", "line 2: 1 fields found, expected 2"),
        ("case,patient\nA,\n", "line 2: no patient found"),
        ("case,patient\n", "no row found"),
        ("case,patient\nA,x\nA,y\n", "line 3: case A is of patient y, but of x above"),
        ('case,patient\n"A,x\n', "cannot be read as CSV"),
    ],
)
def test_a_table_of_patients_that_cannot_be_understood_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "patients.csv"
    path.write_text(text)
    with pytest.raises(TrainingError, match=reason) as refusal:
        read_patients(path)
    assert str(refusal.value).startswith(str(path))


def test_a_table_of_other_patients_is_refused(tmp_path: Path) -> None:
    patients = table(tmp_path / "patients.csv", "case,patient\nX,one\n")
    with pytest.raises(TrainingError, match="none of its 1 cases is among the 2 cases with labels"):
        split_dataset(prepared("A", "B"), short_settings(validation_cases=1, patients=patients))


def with_split(path: Path, text: str, **changes: Any) -> Any:
    """Settings with a split file."""
    return short_settings(split=table(path / "split.csv", text), **changes)


def test_a_split_file_of_cases_and_sides_is_followed(tmp_path: Path) -> None:
    settings = with_split(tmp_path, "case,side\nC,validation\nA,training\nB,Training\n")
    training, held_out = split_dataset(prepared("A", "B", "C"), settings)
    assert (names_of(training), names_of(held_out)) == ({"A", "B"}, {"C"})


def test_a_split_file_of_patients_and_folds_is_followed(tmp_path: Path) -> None:
    text = "patient,fold\nBraTS-GLI-00005,0\nBraTS-GLI-00006,1\nBraTS-GLI-00007,0\n"
    for fold, held in ((0, {*VISITS[:2], *VISITS[4:]}), (1, set(VISITS[2:4]))):
        settings = with_split(tmp_path, text, folds=2, fold=fold)
        training, held_out = split_dataset(prepared(*VISITS), settings)
        assert (names_of(held_out), names_of(training)) == (held, set(VISITS) - held)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("case,side\nX,training\nA,training\nB,validation\nC,training\n", r"case X is not among the 3 cases"),
        ("case,side\nA,training\nB,validation\n", "nothing said of case C; expected a row for every case"),
        ("case,side\nA,training\n", r"nothing said of case B \(and 1 more\)"),
        ("case,side\nA,test\n", "line 2: side 'test' found, expected training or validation"),
        ("case,fold\nA,one\n", "line 2: fold 'one' found, expected a number from 0"),
        ("case,fold\nA,0\nB,2\nC,0\n", "folds 0, 2 found, expected two or more, numbered from 0 without a gap"),
        ("case,fold\nA,0\nB,1\nC,0\n", "tells 2 folds, but no fold was asked for"),
        ("case,side\nA,training\nA,validation\n", "line 3: case A has the side validation, but training above"),
        ("case,patient,side\nA,A,training\n", "expected one of case and patient, and one of side and fold"),
        ("name,side\nA,training\n", "columns name, side found"),
        ("case,side\nA,validation\nB,validation\nC,validation\n", "all 3 cases are held out"),
    ],
)
def test_a_split_file_that_does_not_fit_is_refused_in_words(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(TrainingError, match=reason) as refusal:
        split_dataset(prepared("A", "B", "C"), with_split(tmp_path, text))
    assert str(refusal.value).startswith(str(tmp_path / "split.csv"))


def test_a_split_file_of_sides_with_a_fold_is_refused(tmp_path: Path) -> None:
    settings = with_split(tmp_path, "case,side\nA,training\nB,validation\n", folds=2, fold=1)
    with pytest.raises(TrainingError, match="tells the sides training and validation, but fold 1 of 2 was asked for"):
        split_dataset(prepared("A", "B"), settings)


def test_a_split_file_that_parts_a_patient_is_refused_with_both_cases(tmp_path: Path) -> None:
    rows = [f"{name},{'validation' if name == VISITS[3] else 'training'}\n" for name in VISITS]
    reason = (
        "cases BraTS-GLI-00006-100 and BraTS-GLI-00006-101 are visits of the patient BraTS-GLI-00006, but are on two "
        "sides: BraTS-GLI-00006-100 training, BraTS-GLI-00006-101 validation"
    )
    with pytest.raises(TrainingError, match=reason):
        split_dataset(prepared(*VISITS), with_split(tmp_path, "case,side\n" + "".join(rows)))


def test_a_split_file_that_parts_identical_images_is_refused(tmp_path: Path) -> None:
    cases = prepared("A", "B", images={"A": ["1"], "B": ["1"]})
    with pytest.raises(TrainingError, match="cases A and B hold, maybe through other cases, identical images"):
        split_dataset(cases, with_split(tmp_path, "case,fold\nA,0\nB,1\n", folds=2))


def test_a_split_file_may_name_cases_that_were_left_out(tmp_path: Path) -> None:
    settings = with_split(tmp_path, "case,side\nA,training\nBad,training\nB,validation\n")
    training, _ = split_dataset(prepared("A", "B"), settings, skipped=["Bad"])
    assert names_of(training) == {"A"}


def test_a_split_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read as CSV"):
        read_split(tmp_path / "missing.csv")


def test_preparing_tells_patients_and_hashes_without_changing_the_cache(tmp_path: Path) -> None:
    for name in VISITS[:3]:
        write_case(tmp_path / "cases", name, make_head(), "brats2023")
    cases = prepare_dataset(tmp_path / "cases", tmp_path / "cache", TINY_2MM).cases
    assert [case.patient for case in cases] == ["BraTS-GLI-00005", "BraTS-GLI-00005", "BraTS-GLI-00006"]
    assert all(len(case.image_hashes) == 4 for case in cases)
    assert replace(cases[0], case_id="", patient="") == replace(cases[2], case_id="", patient="")
