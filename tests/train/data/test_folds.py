"""Folds: every case once, sizes alike, grades or volumes spread evenly, whatever the order of the cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eenet_runtime.errors import DatasetError, TrainingError
from eenet_train.data.folds import assign_folds, grades, stratified_by_grade

MODALITY_WORDS = ("t1", "t1ce", "t2", "flair")
HEADER_2020 = (
    "Grade,BraTS_2017_subject_ID,BraTS_2018_subject_ID,TCGA_TCIA_subject_ID,BraTS_2019_subject_ID,"
    "BraTS_2020_subject_ID\n"
)


def case_folder(parent: Path, case_id: str) -> None:
    """A complete case; grades go by names and never read an image."""
    folder = parent / case_id
    folder.mkdir(parents=True)
    for word in MODALITY_WORDS:
        (folder / f"{case_id}_{word}.nii.gz").touch()


def names(count: int) -> list[str]:
    """Names of cases."""
    return [f"P{index:03d}" for index in range(count)]


def sizes(assigned: Mapping[str, int], folds: int) -> list[int]:
    """Cases in each fold."""
    count = Counter(assigned.values())
    assert set(count) <= set(range(folds))
    return [count[fold] for fold in range(folds)]


@st.composite
def requests(draw: st.DrawFn) -> tuple[list[str], int, int]:
    """Cases, folds and a seed that fit together."""
    folds = draw(st.integers(2, 8))
    return names(draw(st.integers(folds, 60))), folds, draw(st.integers(0, 2**32))


@given(request=requests(), data=st.data())
def test_graded_folds_hold_every_case_once_and_every_grade_evenly(
    request: tuple[list[str], int, int], data: st.DataObject
) -> None:
    cases, folds, seed = request
    graded = {case_id: data.draw(st.sampled_from(["HGG", "LGG", "II"])) for case_id in cases}
    assigned = assign_folds(cases, folds, seed, grades=graded, tumour_size={})
    assert list(assigned) == cases
    assert max(sizes(assigned, folds)) - min(sizes(assigned, folds)) <= 1
    for grade in set(graded.values()):
        of_grade = sizes({case_id: fold for case_id, fold in assigned.items() if graded[case_id] == grade}, folds)
        assert max(of_grade) - min(of_grade) <= 1


@given(request=requests(), data=st.data())
def test_folds_by_volume_hold_every_case_once_and_every_range_of_volumes_evenly(
    request: tuple[list[str], int, int], data: st.DataObject
) -> None:
    cases, folds, seed = request
    volumes = {case_id: data.draw(st.floats(0, 500)) for case_id in cases}
    assigned = assign_folds(cases, folds, seed, grades={cases[0]: "HGG"}, tumour_size=volumes)
    assert list(assigned) == cases
    assert max(sizes(assigned, folds)) - min(sizes(assigned, folds)) <= 1
    ranked = sorted(cases, key=lambda case_id: (volumes[case_id], case_id))
    for start in range(0, len(ranked) - folds + 1, folds):
        assert sorted(assigned[case_id] for case_id in ranked[start : start + folds]) == list(range(folds))


@given(request=requests(), graded=st.booleans(), data=st.data())
def test_the_order_of_the_cases_does_not_matter_and_the_same_seed_gives_the_same_folds(
    request: tuple[list[str], int, int], graded: bool, data: st.DataObject
) -> None:
    cases, folds, seed = request
    known = {case_id: "HGG" if index % 3 else "LGG" for index, case_id in enumerate(cases) if graded or index}
    volumes = {case_id: float(index * 37 % 11) for index, case_id in enumerate(cases)}
    shuffled = data.draw(st.permutations(cases))
    expected = assign_folds(cases, folds, seed, grades=known, tumour_size=volumes)
    backwards = dict(reversed(volumes.items()))
    again = assign_folds(iter(shuffled), folds, seed, grades=dict(reversed(known.items())), tumour_size=backwards)
    assert list(again.items()) == list(expected.items())


@pytest.mark.parametrize("known", [dict.fromkeys(names(40), "HGG"), {}])
def test_another_seed_gives_other_folds(known: dict[str, str]) -> None:
    volumes = {case_id: float(index) for index, case_id in enumerate(names(40))}
    one, two = (assign_folds(names(40), 5, seed, grades=known, tumour_size=volumes) for seed in (0, 1))
    assert one != two


def test_folds_go_by_grade_only_where_every_case_has_one() -> None:
    assert stratified_by_grade(["A", "B"], {"A": "HGG", "B": "LGG", "C": "HGG"})
    assert not stratified_by_grade(["A", "B"], {"A": "HGG"})


def test_mean_volumes_of_the_folds_are_nearer_than_those_of_a_plain_shuffle() -> None:
    volumes = {case_id: 1.1**index for index, case_id in enumerate(names(60))}  # from 1 to 277 ml
    assigned = assign_folds(names(60), 5, 0, grades={}, tumour_size=volumes)
    means = [sum(volumes[case_id] for case_id, at in assigned.items() if at == fold) / 12 for fold in range(5)]
    overall = sum(volumes.values()) / 60
    # Neighbours differ by a factor of 1.1, a run of five by 1.5: no fold can be further off than that.
    assert all(1 / 1.5 < mean / overall < 1.5 for mean in means)


@pytest.mark.parametrize(
    ("folds", "reason"),
    [
        (1, "1 folds asked for, expected 2 or more"),
        (-3, "-3 folds asked for, expected 2 or more"),
        (5, "5 folds asked for with 4 cases"),
    ],
)
def test_folds_that_cannot_be_are_refused(folds: int, reason: str) -> None:
    with pytest.raises(TrainingError, match=reason):
        assign_folds(names(4), folds, 0, grades=dict.fromkeys(names(4), "HGG"), tumour_size={})


def test_a_case_with_neither_grade_nor_volume_is_named() -> None:
    with pytest.raises(TrainingError, match="case P003: a tumour size of None found"):
        assign_folds(names(4), 2, 0, grades={"P000": "HGG"}, tumour_size=dict.fromkeys(names(3), 1.0))
    with pytest.raises(TrainingError, match="case P001: a tumour size of nan found"):
        assign_folds(names(2), 2, 0, grades={}, tumour_size={"P000": 1.0, "P001": float("nan")})


def test_a_case_named_twice_is_refused() -> None:
    with pytest.raises(TrainingError, match="case P001 is named twice"):
        assign_folds([*names(4), "P001"], 2, 0, grades=dict.fromkeys(names(4), "HGG"), tumour_size={})


def test_grades_of_brats_2020_are_read_beside_the_cases_or_a_folder_above(tmp_path: Path) -> None:
    training = tmp_path / "MICCAI_BraTS2020_TrainingData"
    for number in (1, 2, 3):
        case_folder(training, f"BraTS20_Training_00{number}")
    (training / "name_mapping.csv").write_text(
        HEADER_2020
        + "HGG,Brats17_A,Brats18_A,TCGA-1,BraTS19_A,BraTS20_Training_001\n"
        + "LGG,NA,NA,NA,NA,BraTS20_Training_002\n"
        + "NA,NA,NA,NA,NA,BraTS20_Training_003\n"
    )
    found = grades(training)
    assert found == grades(tmp_path)
    assert found == {
        "Brats17_A": "HGG",
        "Brats18_A": "HGG",
        "BraTS19_A": "HGG",
        "BraTS20_Training_001": "HGG",
        "BraTS20_Training_002": "LGG",
    }


@pytest.mark.parametrize("year", [2018, 2019, 2020])
def test_the_table_of_each_year_is_read(tmp_path: Path, year: int) -> None:
    case_folder(tmp_path, "A")
    text = f"BraTS_{year}_subject_ID, Grade\r\nA,hgg\r\n\r\nB,LGG\r\n"
    (tmp_path / "name_mapping.csv").write_text(text, encoding="utf-8-sig", newline="")
    assert grades(tmp_path) == {"A": "HGG", "B": "LGG"}


def test_grades_are_told_by_the_folders_of_brats_2018_and_2019(tmp_path: Path) -> None:
    case_folder(tmp_path / "HGG", "BraTS19_2013_10_1")
    case_folder(tmp_path / "LGG", "BraTS19_2013_0_1")
    case_folder(tmp_path, "Other")
    assert grades(tmp_path) == {"BraTS19_2013_10_1": "HGG", "BraTS19_2013_0_1": "LGG"}


def test_a_folder_of_one_grade_tells_nothing_about_its_own_cases(tmp_path: Path) -> None:
    case_folder(tmp_path / "HGG", "A")
    assert grades(tmp_path / "HGG") == {}


def test_where_nothing_tells_there_are_no_grades(tmp_path: Path) -> None:
    case_folder(tmp_path, "A")
    (tmp_path / "survival_info.csv").write_text("Brats20ID,Age,Survival_days\nA,60,300\n")
    assert grades(tmp_path) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"name_mapping.csv: columns \(none\) found, expected Grade and BraTS_<year>_subject_ID"),
        (b"Grade,ID\nHGG,A\n", r"columns Grade, ID found, expected Grade and BraTS_<year>_subject_ID"),
        (b"BraTS_2020_subject_ID\nA\n", r"columns BraTS_2020_subject_ID found, expected Grade"),
        (b"Grade,BraTS_2020_subject_ID\nHGG\n", r"line 2: 1 fields found, expected 2"),
        (b"Grade,BraTS_2020_subject_ID\nHGG,\xff\xfe\n", r"cannot be read as CSV"),
        (b'Grade,BraTS_2020_subject_ID\nHGG,"A\n', r"cannot be read as CSV"),
        (b"Grade,BraTS_2020_subject_ID\nHGG,A\nLGG,A\n", r"line 3: case A is LGG, but HGG in .*line 2"),
    ],
)
def test_a_table_that_cannot_be_understood_is_an_error(tmp_path: Path, content: bytes, reason: str) -> None:
    case_folder(tmp_path, "A")
    (tmp_path / "name_mapping.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=reason):
        grades(tmp_path)


def test_a_table_and_a_folder_that_disagree_are_an_error(tmp_path: Path) -> None:
    case_folder(tmp_path / "LGG", "A")
    (tmp_path / "name_mapping.csv").write_text("Grade,BraTS_2019_subject_ID\nHGG,A\n")
    with pytest.raises(DatasetError, match=r"case A is LGG, but HGG in .*name_mapping.csv, line 2"):
        grades(tmp_path)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        grades(tmp_path / "nowhere")
