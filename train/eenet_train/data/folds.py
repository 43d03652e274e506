"""Cross-validation: which case is held out in which fold, and the tumours' grades that this goes by.

Folds that hold like cases differ less by chance. Grade decides most about a glioma's look, so it comes first; where
it is not known for every case, the size of the whole tumour stands in for it. Visits of one patient stay together.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import DatasetError, TrainingError
from eenet_train.data.csv_table import read_rows

MAPPING_NAME: Final = "name_mapping.csv"
"""The table of grades that came with the training data of BraTS 2018, 2019 and 2020."""
GRADE_FOLDERS: Final = frozenset({"HGG", "LGG"})
"""Folders into which BraTS 2018 and 2019 sort their cases: high- and low-grade glioma."""

_GRADE_COLUMN: Final = "Grade"
_ID_COLUMN: Final = re.compile(r"BraTS_\d{4}_subject_ID", re.IGNORECASE)
_NOT_KNOWN: Final = frozenset({"", "NA", "N/A", "NAN"})


def grades(data: Path) -> dict[str, str]:
    """The grade of each case, as far as the data set tells it.

    Told by any `name_mapping.csv` below the folder (columns `Grade` and `BraTS_<year>_subject_ID`), and by parent
    folders named HGG and LGG.

    Args:
        data: a folder in any layout that the runtime knows.

    Returns:
        Grade in capitals by case name. It may name cases that are not there, and is empty where nothing tells.

    Raises:
        DatasetError: no such folder or no case in it; a table that cannot be understood; two grades for one case.
    """
    found: dict[str, tuple[str, str]] = {}

    def tell(case_id: str, grade: str, source: str) -> None:
        known, before = found.setdefault(case_id, (grade, source))
        if known != grade:
            raise DatasetError(f"{source}: case {case_id} is {grade}, but {known} in {before}; expected one grade")

    cases = find_cases(data).cases
    for path in sorted(data.rglob(MAPPING_NAME)):
        for line, case_id, grade in _read_mapping(path):
            tell(case_id, grade, f"{path}, line {line}")
    for case in cases:
        folder = next(iter(case.images.values())).path.parent
        for name in folder.relative_to(data).parts if folder.is_relative_to(data) else ():
            if name.upper() in GRADE_FOLDERS:
                tell(case.case_id, name.upper(), str(folder))
    return {case_id: grade for case_id, (grade, _) in found.items()}


def _read_mapping(path: Path) -> list[tuple[int, str, str]]:
    """Line, case and grade of each entry. A row has a name for each year; NA where the case was not in that year's."""
    try:
        header, rows = read_rows(path)
    except TrainingError as error:
        raise DatasetError(str(error)) from error
    id_columns = [name for name in header if _ID_COLUMN.fullmatch(name)]
    if header.count(_GRADE_COLUMN) != 1 or not id_columns:
        raise DatasetError(
            f"{path}: columns {', '.join(header) or '(none)'} found, expected {_GRADE_COLUMN} and "
            "BraTS_<year>_subject_ID, for example BraTS_2020_subject_ID"
        )
    entries = []
    for row in rows:
        grade = row[_GRADE_COLUMN.lower()].upper()
        ids = {row[name.lower()] for name in id_columns}
        if grade not in _NOT_KNOWN:
            entries += [(row.line, case_id, grade) for case_id in sorted(ids) if case_id.upper() not in _NOT_KNOWN]
    return entries


def stratified_by_grade(case_ids: Iterable[str], grades: Mapping[str, str]) -> bool:
    """Whether `assign_folds` goes by grade (every case has one) or by tumour size."""
    return all(case_id in grades for case_id in case_ids)


def assign_folds(
    case_ids: Iterable[str],
    folds: int,
    seed: int,
    *,
    grades: Mapping[str, str],
    tumour_size: Mapping[str, float],
    groups: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Deal cases onto folds of like composition, whole patients at a time.

    By grade, if every case has one: each grade's patients are shuffled, and dealt onto the folds in turn, one grade
    after the other. Otherwise by size: patients are sorted by it, and each run of as many neighbours as there are
    folds is dealt in an order of its own. Either way the numbers of patients in the folds differ by at most one, and
    so do the numbers of patients of one grade, or of one range of sizes, in them. A patient has the grade of the first
    case and the size of the largest tumour.

    Args:
        case_ids: the cases; their order does not matter.
        folds: how many, from 2 to the number of patients.
        seed: the same arguments give the same folds. Where every patient has one case, so do other names of patients.
        grades: grade by case; further cases do no harm.
        tumour_size: size of the whole tumour by case, in whatever unit is the same for all; read only where a grade is
            missing.
        groups: patient by case, or whatever must stay together; each case for itself by default.

    Returns:
        The fold of each case, from 0, in order of the names.

    Raises:
        TrainingError: too few or too many folds, a case named twice, or one with neither a grade nor a size.
    """
    cases = sorted(case_ids)
    members: dict[str, list[str]] = defaultdict(list)
    for case_id in cases:
        members[groups[case_id] if groups else case_id].append(case_id)
    # A patient goes by the name of the first case: alone in it, a case is dealt as if there were no patients.
    visits = {group[0]: group for group in members.values()}
    _check_request(cases, len(visits), folds)
    rng = np.random.default_rng(seed)
    if stratified_by_grade(cases, grades):
        dealt = _deal_by_grade(visits, folds, grades, rng)
    else:
        sizes = {first: max(_known_size(case_id, tumour_size) for case_id in group) for first, group in visits.items()}
        dealt = _deal_by_size(sizes, folds, rng)
    fold_of = {case_id: dealt[first] for first, group in visits.items() for case_id in group}
    return {case_id: fold_of[case_id] for case_id in cases}


def _check_request(cases: Sequence[str], patients: int, folds: int) -> None:
    twice = [case_id for case_id, count in Counter(cases).items() if count > 1]
    if twice:
        raise TrainingError(f"case {twice[0]} is named twice; expected each case once")
    if folds < 2:
        raise TrainingError(f"{folds} folds asked for, expected 2 or more")
    if folds > patients:
        of_patients = f" of {patients} patients" if patients != len(cases) else ""
        raise TrainingError(
            f"{folds} folds asked for with {len(cases)} cases{of_patients}, expected at least one patient in each fold"
        )


def _known_size(case_id: str, tumour_size: Mapping[str, float]) -> float:
    size = tumour_size.get(case_id)
    if size is None or not math.isfinite(size):
        raise TrainingError(
            f"case {case_id}: a tumour size of {size} found, and grades not for every case; expected a grade for every "
            "case or a size for every case"
        )
    return size


def _deal_by_grade(
    patients: Iterable[str], folds: int, grades: Mapping[str, str], rng: np.random.Generator
) -> dict[str, int]:
    strata: dict[str, list[str]] = defaultdict(list)
    for patient in patients:
        strata[grades[patient]].append(patient)
    # One round through the folds for all grades: to start each grade at the first fold would make it the largest.
    order = rng.permutation(folds).tolist()
    queue = [patient for grade in sorted(strata) for patient in _shuffled(strata[grade], rng)]
    return {patient: order[position % folds] for position, patient in enumerate(queue)}


def _deal_by_size(sizes: Mapping[str, float], folds: int, rng: np.random.Generator) -> dict[str, int]:
    queue = sorted(sizes, key=lambda patient: (sizes[patient], patient))
    dealt: dict[str, int] = {}
    for start in range(0, len(queue), folds):
        # strict=False: the last run may be shorter.
        dealt.update(zip(queue[start : start + folds], rng.permutation(folds).tolist(), strict=False))
    return dealt


def _shuffled(names: Sequence[str], rng: np.random.Generator) -> list[str]:
    return [names[index] for index in rng.permutation(len(names))]
