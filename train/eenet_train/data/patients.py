"""Whose images a case holds: visits of one patient, and copies of one image, must not be parted by a split.

A network that has seen one visit of a patient knows the next one better than a stranger's, so a case held out beside a
visit trained on flatters the network.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.errors import TrainingError
from eenet_train.data.csv_table import read_csv_table

_BRATS_2023: Final = re.compile(r"(?P<patient>BraTS(?:-[A-Z]+)+-\d+)-\d{1,3}", re.IGNORECASE)
"""BraTS-GLI-00005-100: the challenge, the patient, the visit; names of BraTS 2023 and later."""
_BIDS: Final = re.compile(r"(?P<patient>sub-[A-Z0-9]+)(?:_.*)?", re.IGNORECASE)
"""sub-01_ses-02: the subject and the session of the Brain Imaging Data Structure, bids.neuroimaging.io."""


def patient_by_name(case_id: str, folders: Iterable[str] = ()) -> str:
    """The patient of a case, as far as names tell.

    Args:
        case_id: its name; BraTS 2023 and later and BIDS name the patient in it.
        folders: names of the folders in which it lies; the innermost one called sub-<label> is a patient (BIDS).

    Returns:
        The patient's name; the case's own where no name tells.
    """
    for rule in (_BRATS_2023, _BIDS):
        if match := rule.fullmatch(case_id):
            return match["patient"]
    subjects = [name for name in folders if _BIDS.fullmatch(name)]
    return subjects[-1].split("_")[0] if subjects else case_id


def patient_of(files: CaseFiles, data: Path) -> str:
    """The patient of a case that was found below the folder `data`, by `patient_by_name`."""
    folder = next(iter(files.images.values())).path.parent
    return patient_by_name(files.case_id, folder.relative_to(data).parts if folder.is_relative_to(data) else ())


def read_patients(path: Path) -> dict[str, str]:
    """Patient by case, from a CSV file with the columns `case` and `patient`; further columns do no harm.

    Raises:
        TrainingError: it cannot be read, lacks a column or a name, or tells two patients of one case.
    """
    found: dict[str, str] = {}
    for row in read_csv_table(path, ("case", "patient")):
        if found.setdefault(row["case"], row["patient"]) != row["patient"]:
            raise TrainingError(
                f"{path}, line {row.line}: case {row['case']} is of patient {row['patient']}, but of "
                f"{found[row['case']]} above; expected one patient"
            )
    return found


def identical_images(images: Mapping[str, Collection[str]]) -> tuple[tuple[str, ...], ...]:
    """Cases that share an image file's content, each group in order of the names.

    Args:
        images: SHA-256 of each image file, by case.
    """
    holders: dict[str, list[str]] = defaultdict(list)
    for case_id in sorted(images):
        for digest in set(images[case_id]):
            holders[digest].append(case_id)
    return tuple(sorted(group for group in _joined(images, holders.values()) if len(group) > 1))


def group_cases(patients: Mapping[str, str], images: Mapping[str, Collection[str]]) -> dict[str, str]:
    """What must stay together: cases of one patient, and cases that share an image.

    Args:
        patients: patient by case.
        images: SHA-256 of each image file, by case.

    Returns:
        The name of a group for each case: its patient's, and where patients share an image that of the first case.
    """
    visits: dict[str, list[str]] = defaultdict(list)
    for case_id in sorted(patients):
        visits[patients[case_id]].append(case_id)
    groups = _joined(patients, [*visits.values(), *identical_images(images)])
    return {case_id: patients[group[0]] for group in groups for case_id in group}


def _joined(cases: Iterable[str], links: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """The cases, joined where one of the links holds them both; groups and their members in order of the names."""
    group_of = {case_id: [case_id] for case_id in sorted(cases)}
    for first, *others in links:
        for other in others:
            one, two = group_of[first], group_of[other]
            if one is not two:
                one.extend(two)
                group_of.update(dict.fromkeys(two, one))
    return sorted({tuple(sorted(group)) for group in group_of.values()})
