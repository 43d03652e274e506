"""Where the true labels are: in a folder of cases, or in a folder of label files alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.case_files import CaseFiles, split_name
from eenet_runtime.cases.dataset_json import read_dataset_json
from eenet_runtime.cases.discovery import RefusedCase, find_cases
from eenet_runtime.errors import CaseError, DatasetError
from eenet_runtime.files.nifti import is_nifti_name, nifti_stem, read_volume
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import BRATS2020, BRATS2023, LABEL_SCHEMES, LabelScheme

_LABEL_SEPARATORS: Final = {"_": BRATS2020, "-": BRATS2023}
"""What stands before `seg` in a label file's name, and the label values that go with it (docs/data.md)."""


@dataclass(frozen=True)
class TrueLabel:
    """The truth of one case.

    Attributes:
        case_id: the case's name; its mask has the same.
        path: the label file.
        scheme: its label values, None where nothing tells.
        files: the case, where its images are there too.
    """

    case_id: str
    path: Path
    scheme: LabelScheme | None
    files: CaseFiles | None = None


@dataclass(frozen=True)
class Truth:
    """All cases of a folder, in order of their names.

    Attributes:
        labels: cases with a label.
        refused: cases without one, or not usable as a case, with the reason.
    """

    labels: tuple[TrueLabel, ...]
    refused: tuple[RefusedCase, ...]


def find_truth(folder: Path) -> Truth:
    """Find the labels in a folder of cases (any layout of docs/data.md) or, where no case has one, of label files.

    Label files are named `<case>_seg`, `<case>-seg` or `<case>`; the label values follow from the word, or from a
    dataset.json beside the files or one folder up.

    Raises:
        DatasetError: no such folder, or no label in it.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder")
    try:
        found = find_cases(folder)
    except DatasetError:
        return _label_files(folder)
    labels = [TrueLabel(c.case_id, c.label, c.scheme, c) for c in found.cases if c.label is not None]
    if not labels:
        return _label_files(folder)
    without = [
        RefusedCase(case.case_id, f"{next(iter(case.images.values())).path.parent}: case {case.case_id} has no label")
        for case in found.cases
        if case.label is None
    ]
    return Truth(tuple(labels), tuple(sorted([*found.refused, *without], key=lambda case: case.case_id)))


def read_labels(path: Path, scheme: LabelScheme) -> tuple[NDArray[np.uint8], Grid]:
    """Read a label file as uint8 network classes in stored axis order, and its grid.

    Raises:
        CaseError: unreadable, not 3D, or values that the scheme does not know.
    """
    volume = read_volume(path)
    if volume.data.ndim != 3:
        raise CaseError(f"{path}: {volume.data.shape[3]} channels found, expected one 3D label volume")
    return scheme.from_file(volume.data, str(path)), volume.grid


def scheme_by_name(name: str) -> LabelScheme:
    """Look up label values by the name that users type.

    Raises:
        DatasetError: unknown; the message lists the known ones.
    """
    try:
        return LABEL_SCHEMES[name]
    except KeyError:
        raise DatasetError(f"unknown label values {name!r}; known: {', '.join(LABEL_SCHEMES)}") from None


def _label_files(folder: Path) -> Truth:
    """Every NIfTI file below a folder that is not an image by its name."""
    labels = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if is_nifti_name(path) and path.is_file() and not hidden and split_name(path).modality is None:
            labels.append(_label_file(path))
    if not labels:
        raise DatasetError(
            f"{folder}: no label found; expected cases with labels (BraTS, Decathlon, nnU-Net), or label files named "
            "<case>_seg.nii.gz, <case>-seg.nii.gz or <case>.nii.gz"
        )
    counts = Counter(label.case_id for label in labels)
    doubles = [
        RefusedCase(case_id, f"{folder}: {count} label files for case {case_id} found, expected one")
        for case_id, count in counts.items()
        if count > 1
    ]
    once = [label for label in labels if counts[label.case_id] == 1]
    return Truth(tuple(sorted(once, key=lambda label: label.case_id)), tuple(doubles))


def _label_file(path: Path) -> TrueLabel:
    parts = split_name(path)
    scheme = _described_scheme(path.parent)
    if parts.is_label:
        before = nifti_stem(path)[: -len(parts.word)][-1:]
        scheme = scheme or _LABEL_SEPARATORS.get(before)
    return TrueLabel(parts.case_id or path.parent.name, path, scheme)


def _described_scheme(folder: Path) -> LabelScheme | None:
    """The label values of a dataset.json beside the files or above their folder; a broken one tells nothing."""
    for path in (folder / "dataset.json", folder.parent / "dataset.json"):
        if path.is_file():
            try:
                return read_dataset_json(path).scheme
            except DatasetError:
                return None
    return None
