"""A split that the user gives: a table of cases or patients, and the side or fold of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eenet_runtime.errors import TrainingError
from eenet_train.data.csv_table import read_csv_table

TRAINING: Final = "training"
VALIDATION: Final = "validation"
_SIDES: Final = (TRAINING, VALIDATION)


@dataclass(frozen=True)
class SplitFile:
    """What a split file says.

    Attributes:
        path: the file.
        by: whether its rows name cases or patients: "case" or "patient".
        sides: "training" or "validation", or the number of a fold, by that name.
        folds: how many folds there are, 0 where it tells sides.
    """

    path: Path
    by: str
    sides: Mapping[str, str]
    folds: int


def read_split(path: Path) -> SplitFile:
    """Read a split file: CSV with one column of `case` and `patient`, and one of `side` and `fold`.

    Sides are training and validation; folds are numbers from 0, none left out.

    Raises:
        TrainingError: it cannot be read, or says something else.
    """
    header = {name for row in read_csv_table(path, ()) for name in row.cells}
    names, values = header & {"case", "patient"}, header & {"side", "fold"}
    if len(names) != 1 or len(values) != 1:
        raise TrainingError(
            f"{path}: columns {', '.join(sorted(header))} found, expected one of case and patient, and one of side and "
            "fold"
        )
    by, value = names.pop(), values.pop()
    sides: dict[str, str] = {}
    for row in read_csv_table(path, (by, value)):
        side = row[value].lower()
        if value == "side" and side not in _SIDES:
            raise TrainingError(f"{path}, line {row.line}: side {row[value]!r} found, expected {' or '.join(_SIDES)}")
        if value == "fold" and not (side.isascii() and side.isdecimal()):
            raise TrainingError(f"{path}, line {row.line}: fold {row[value]!r} found, expected a number from 0")
        side = str(int(side)) if value == "fold" else side
        if sides.setdefault(row[by], side) != side:
            raise TrainingError(
                f"{path}, line {row.line}: {by} {row[by]} has the {value} {side}, but {sides[row[by]]} above"
            )
    return SplitFile(path, by, sides, _count_folds(path, sides) if value == "fold" else 0)


def _count_folds(path: Path, sides: Mapping[str, str]) -> int:
    numbers = sorted({int(side) for side in sides.values()})
    if numbers != list(range(len(numbers))) or len(numbers) < 2:
        raise TrainingError(
            f"{path}: folds {', '.join(map(str, numbers))} found, expected two or more, numbered from 0 without a gap"
        )
    return len(numbers)


def sides_of_cases(
    split: SplitFile, patients: Mapping[str, str], groups: Mapping[str, str], skipped: Collection[str] = ()
) -> dict[str, str]:
    """The side or fold of each case.

    Args:
        split: what the file says.
        patients: patient by case, of all cases that can be trained on.
        groups: what must stay together, by case (`eenet_train.data.patients.group_cases`).
        skipped: cases that cannot be trained on; the file may name them.

    Raises:
        TrainingError: the file names something that is not there, leaves a case out, or parts what must stay together.
    """
    named = {case_id: case_id if split.by == "case" else patient for case_id, patient in patients.items()}
    if unknown := sorted(set(split.sides) - set(named.values()) - set(skipped)):
        raise TrainingError(
            f"{split.path}: {split.by} {unknown[0]}{_and_more(unknown)} is not among the {len(patients)} cases with "
            "labels; expected names of cases that are there"
        )
    if missing := [case_id for case_id in sorted(named) if named[case_id] not in split.sides]:
        raise TrainingError(
            f"{split.path}: nothing said of case {missing[0]}{_and_more(missing)}; expected a row for every {split.by}"
        )
    sides = {case_id: split.sides[named[case_id]] for case_id in sorted(named)}
    members: dict[str, list[str]] = defaultdict(list)
    for case_id in sides:
        members[groups[case_id]].append(case_id)
    for group in members.values():
        for other in group[1:]:
            if sides[other] != sides[group[0]]:
                raise TrainingError(
                    f"{split.path}: {_why_together(group[0], other, patients)}, but are on two sides: {group[0]} "
                    f"{_in_words(sides[group[0]])}, {other} {_in_words(sides[other])}; expected one"
                )
    return sides


def _why_together(one: str, other: str, patients: Mapping[str, str]) -> str:
    if patients[one] == patients[other]:
        return f"cases {one} and {other} are visits of the patient {patients[one]}"
    return f"cases {one} and {other} hold, maybe through other cases, identical images"


def _in_words(side: str) -> str:
    return side if side in _SIDES else f"fold {side}"


def _and_more(names: Collection[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
