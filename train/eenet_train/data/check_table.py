"""What a look through a data set found, as text for a terminal and as JSON for programs."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any, Final

from eenet_runtime.folders.tables import format_table
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality, Region
from eenet_train.data.check import CheckedCase, DatasetCheck

CHECK_SCHEMA_VERSION: Final = 1
_SHOWN_VALUES: Final = 6
_SHOWN_FILES: Final = 5
_SHOWN_GRIDS: Final = 8
_SHOWN_GROUPS: Final = 20


def check_table(check: DatasetCheck) -> str:
    """A table of the cases, a summary, the quirks, and last, where nobody overlooks it, what would stop a training."""
    parts = [_case_table(check.cases), _summary(check)]
    if check.good:
        parts.append(_volume_table(check.good))
    quirks = _numbered_quirks(check.cases)
    if quirks:
        parts.append("\n".join(["quirks, none of which stops a training:", *_quirk_lines(check.cases, quirks)]))
    if check.bad:
        parts.append("\n".join(["would stop a training:", *_problem_lines(check.bad)]))
    return "\n\n".join(parts)


def check_json(check: DatasetCheck) -> str:
    """The same as an object: counts, and each case with its `status` good, bad or passed over."""
    content = {
        "schema_version": CHECK_SCHEMA_VERSION,
        "data": str(check.data),
        "good": len(check.good),
        "bad": len(check.bad),
        "passed_over": len(check.passed_over),
        "patients": _patients_entry(check),
        "identical_images": [list(group) for group in check.identical],
        "ignored_files": [str(path) for path in check.ignored],
        "cases": [_case_entry(case) for case in check.cases],
    }
    return json.dumps(content, indent=2) + "\n"


def _patients_entry(check: DatasetCheck) -> dict[str, list[str]]:
    """The cases of each patient that has several."""
    cases: dict[str, list[str]] = defaultdict(list)
    for case_id, patient in check.patients().items():
        cases[patient].append(case_id)
    return {patient: names for patient, names in cases.items() if len(names) > 1}


def _status(case: CheckedCase) -> str:
    if case.problems:
        return "bad"
    return "passed over" if case.passed_over else "good"


def _case_entry(case: CheckedCase) -> dict[str, Any]:
    files = case.files
    return {
        "case_id": case.case_id,
        "status": _status(case),
        "grid": case.grid,
        "modalities": [modality.value for modality in case.modalities],
        "label": str(files.label) if files and files.label else None,
        "label_scheme": files.scheme.name if files else None,
        "label_values": list(case.label_values),
        "volumes_ml": {region: round(volume, 3) for region, volume in case.volumes_ml.items()},
        "quirks": list(case.quirks),
        "problems": list(case.problems),
    }


def _case_table(cases: Sequence[CheckedCase]) -> str:
    numbers = _numbered_quirks(cases)
    header = ["case", "status", "grid", "modalities", "label values", *(f"{region.value} ml" for region in Region)]
    header += ["quirks"] if numbers else []
    rows = []
    for case in cases:
        volumes = [f"{case.volumes_ml[region]:.1f}" if case.volumes_ml else "-" for region in Region]
        row = [
            case.case_id,
            _status(case),
            case.grid or "-",
            _modalities(case),
            _label_values(case.label_values),
            *volumes,
        ]
        if numbers:
            row.append(" ".join(str(numbers[quirk]) for quirk in case.quirks) or "-")
        rows.append(row)
    return format_table(header, rows)


def _modalities(case: CheckedCase) -> str:
    if set(case.modalities) == set(Modality):
        return f"all {len(CHANNEL_ORDER)}"
    return " ".join(modality.value for modality in case.modalities) or "-"


def _label_values(values: Sequence[int]) -> str:
    more = [".."] if len(values) > _SHOWN_VALUES else []
    return " ".join([*map(str, values[:_SHOWN_VALUES]), *more]) or "-"


def _summary(check: DatasetCheck) -> str:
    counts = [f"{len(check.good)} good", f"{len(check.bad)} bad"]
    if check.passed_over:
        counts.append(f"{len(check.passed_over)} without a label passed over")
    lines = [f"{check.data}: {_plural(len(check.cases), 'case')}: {', '.join(counts)}"]
    grids = Counter(case.grid for case in check.cases if case.grid)
    rest = grids.total() - sum(number for _, number in grids.most_common(_SHOWN_GRIDS))
    lines += [f"grid {grid}: {_plural(number, 'case')}" for grid, number in grids.most_common(_SHOWN_GRIDS)]
    if len(grids) > _SHOWN_GRIDS:
        lines.append(f"and {_plural(len(grids) - _SHOWN_GRIDS, 'more grid')}: {_plural(rest, 'case')}")
    without = [case for case in check.good if not case.volumes_ml[Region.ET]]
    if without:
        lines.append(f"no enhancing tumour: {_names_or_plural(without, len(check.cases))}")
    lines += _patient_lines(check)
    if check.ignored:
        names = ", ".join(map(str, check.ignored[:_SHOWN_FILES]))
        more = f" and {len(check.ignored) - _SHOWN_FILES} more" if len(check.ignored) > _SHOWN_FILES else ""
        lines.append(f"{_plural(len(check.ignored), 'NIfTI file')} in no case: {names}{more}")
    return "\n".join(lines)


def _patient_lines(check: DatasetCheck) -> Iterator[str]:
    """What a split keeps together, beyond single cases."""
    patients = check.patients()
    count = len(set(patients.values()))
    if count < len(patients):
        yield (
            f"patients: {_plural(len(patients), 'good case')} of {_plural(count, 'patient')}; a split never parts "
            "cases of one patient"
        )
    for group in check.identical[:_SHOWN_GROUPS]:
        names = ", ".join(group[:_SHOWN_FILES])
        more = f" and {len(group) - _SHOWN_FILES} more" if len(group) > _SHOWN_FILES else ""
        yield f"identical image files: {names}{more}: counted as one patient; leave out the copies, if they are ones"
    if len(check.identical) > _SHOWN_GROUPS:
        yield f"and {_plural(len(check.identical) - _SHOWN_GROUPS, 'more group')} of cases with identical image files"


def _volume_table(cases: Sequence[CheckedCase]) -> str:
    rows = []
    for region in Region:
        volumes = [case.volumes_ml[region] for case in cases]
        rows.append([region.value, *(f"{value:.1f}" for value in (median(volumes), min(volumes), max(volumes)))])
    return format_table(["good cases", "median ml", "smallest", "largest"], rows)


def _numbered_quirks(cases: Iterable[CheckedCase]) -> dict[str, int]:
    """A number from 1 for each quirk, in the order in which they are met."""
    quirks = dict.fromkeys(quirk for case in cases for quirk in case.quirks)
    return {quirk: number for number, quirk in enumerate(quirks, start=1)}


def _quirk_lines(cases: Sequence[CheckedCase], numbers: dict[str, int]) -> Iterator[str]:
    holders: dict[str, list[CheckedCase]] = defaultdict(list)
    for case in cases:
        for quirk in case.quirks:
            holders[quirk].append(case)
    width = len(str(len(numbers)))
    for quirk, number in numbers.items():
        yield f"  {number:>{width}}  {quirk} [{_names_or_plural(holders[quirk], len(cases))}]"


def _problem_lines(cases: Iterable[CheckedCase]) -> Iterator[str]:
    for case in cases:
        for problem in case.problems:
            yield f"  {case.case_id}: {problem}"


def _names_or_plural(cases: Sequence[CheckedCase], total: int) -> str:
    if len(cases) == total:
        return "all cases"
    return cases[0].case_id if len(cases) == 1 else _plural(len(cases), "case")


def _plural(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
