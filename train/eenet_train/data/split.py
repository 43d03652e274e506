"""Which cases are trained on and which are held out: whole patients, drawn, dealt onto folds, or as a file says."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from eenet_runtime.errors import TrainingError
from eenet_train.data.data import PreparedCase, require_cases
from eenet_train.data.folds import assign_folds, grades
from eenet_train.data.patients import group_cases, read_patients
from eenet_train.data.split_file import TRAINING, VALIDATION, read_split, sides_of_cases
from eenet_train.recipe.settings import FitSettings

Split = tuple[tuple[PreparedCase, ...], tuple[PreparedCase, ...]]
"""Training and held-out cases, each in order of names."""


def patients_of_cases(cases: Sequence[PreparedCase], settings: FitSettings) -> dict[str, str]:
    """Patient by case: the user's table first, then names.

    Raises:
        TrainingError: a table that cannot be understood, or that names none of the cases.
    """
    table = read_patients(Path(settings.patients)) if settings.patients else {}
    if table and not any(case.case_id in table for case in cases):
        raise TrainingError(
            f"{settings.patients}: none of its {len(table)} cases is among the {len(cases)} cases with labels; "
            "expected their names"
        )
    return {case.case_id: table.get(case.case_id, case.patient or case.case_id) for case in cases}


def groups_of_cases(cases: Sequence[PreparedCase], settings: FitSettings) -> dict[str, str]:
    """What no split parts, by case: cases of one patient, and cases that share an image.

    Raises:
        TrainingError: as in `patients_of_cases`.
    """
    return group_cases(patients_of_cases(cases, settings), {case.case_id: case.image_hashes for case in cases})


def split_dataset(cases: Sequence[PreparedCase], settings: FitSettings, skipped: Collection[str] = ()) -> Split:
    """Training and held-out cases: as a file says, a stratified fold, or drawn by the seed.

    Args:
        cases: all that can be trained on, in order of their names.
        settings: what is asked for.
        skipped: names of cases that cannot be trained on.

    Raises:
        TrainingError: too few cases, grades that cannot be read, or tables that do not fit the cases.
    """
    groups = groups_of_cases(cases, settings)
    if settings.split:
        return _split_by_file(cases, settings, groups, skipped)
    if not settings.folds:
        return split_cases(cases, settings.validation_cases, settings.seed, groups)
    known = grades(Path(settings.data)) if settings.data else {}
    fold_of = assign_folds(
        groups,
        settings.folds,
        settings.seed,
        grades=known,
        tumour_size={case.case_id: case.tumour_voxels() for case in cases},
        groups=groups,
    )
    return _parted(cases, {case_id for case_id, fold in fold_of.items() if fold == settings.fold})


def split_cases(
    cases: Sequence[PreparedCase], validation: int, seed: int, groups: Mapping[str, str] | None = None
) -> Split:
    """Hold out patients, drawn by the seed, until at least `validation` cases are held out.

    Args:
        cases: in order of their names.
        validation: how many cases to hold out; more are, where the last patient drawn has several.
        seed: the same arguments give the same split. Where every patient has one case, so do other names of patients.
        groups: what must stay together, by case; each case for itself by default.

    Raises:
        TrainingError: nothing would be left to train on.
    """
    require_cases(len(cases), validation)
    group_of = groups or {case.case_id: case.case_id for case in cases}
    names = list(dict.fromkeys(group_of[case.case_id] for case in cases))
    held_out: set[str] = set()
    # From the end: the last of the order were held out before there were patients, and still are.
    for index in reversed(np.random.default_rng(seed).permutation(len(names)).tolist()):
        if len(held_out) >= validation:
            break
        held_out |= {case.case_id for case in cases if group_of[case.case_id] == names[index]}
    if len(held_out) == len(cases):
        raise TrainingError(
            f"{validation} validation cases asked for among {len(cases)} cases with labels of {len(names)} patients, "
            "whose visits and identical images stay together: nothing is left to train on; hold out fewer, or see "
            "what 'eenet-train check' says of patients"
        )
    return _parted(cases, held_out)


def _split_by_file(
    cases: Sequence[PreparedCase], settings: FitSettings, groups: Mapping[str, str], skipped: Collection[str]
) -> Split:
    split = read_split(Path(settings.split))
    if split.folds != settings.folds:
        asked = f"fold {settings.fold} of {settings.folds}" if settings.folds else "no fold"
        told = f"{split.folds} folds" if split.folds else f"the sides {TRAINING} and {VALIDATION}"
        raise TrainingError(
            f"{split.path}: tells {told}, but {asked} was asked for; expected --folds and --fold with folds, and "
            "neither with sides"
        )
    sides = sides_of_cases(split, patients_of_cases(cases, settings), groups, skipped)
    wanted = str(settings.fold) if split.folds else VALIDATION
    held_out = {case_id for case_id, side in sides.items() if side == wanted}
    if len(held_out) == len(cases):
        raise TrainingError(f"{split.path}: all {len(cases)} cases are held out, expected at least one to train on")
    return _parted(cases, held_out)


def _parted(cases: Sequence[PreparedCase], held_out: Collection[str]) -> Split:
    training = tuple(case for case in cases if case.case_id not in held_out)
    return training, tuple(case for case in cases if case.case_id in held_out)
