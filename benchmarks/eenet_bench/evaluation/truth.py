"""Where the true labels are: in a folder of cases, or in a folder of label files alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.case_files import CaseFiles, split_name
from eenet_runtime.cases.dataset_json import read_dataset_json
from eenet_runtime.cases.discovery import RefusedCase, look_for_cases
from eenet_runtime.errors import CaseError, DatasetError
from eenet_runtime.files.listing import is_link, is_there, list_folder
from eenet_runtime.files.nifti import nifti_stem, read_volume
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
    found = look_for_cases(folder)
    labels = [TrueLabel(c.case_id, c.label, c.scheme, c) for c in found.cases if c.label is not None]
    if not labels:
        return _label_files(folder, found.refused)
    without = [
        RefusedCase(
            case.case_id,
            f"{next(iter(case.images.values())).path.parent}: case {case.case_id} has no label",
            "no-label",
        )
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
        raise CaseError(
            f"{path}: {volume.data.shape[3]} channels found, expected one 3D label volume", code="channel-count"
        )
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


def _label_files(folder: Path, refused: Sequence[RefusedCase]) -> Truth:
    """Everything below a folder that has the name of a NIfTI file and not that of an image, readable or not.

    Args:
        folder: where to look.
        refused: what looked like cases there; told where there is no label either.
    """
    labels, unreadable = [], []
    waiting = [folder]
    while waiting:
        try:
            listing = list_folder(waiting.pop())
        except OSError as error:
            where = Path(str(error.filename))
            reason = f"{where}: the folder cannot be read ({error.strerror})"
            unreadable.append(RefusedCase(where.name, reason, "unreadable-folder"))
            continue
        waiting += [path for path in listing.folders if not is_link(path)]
        for file in listing.files:
            parts = split_name(file.path)
            if file.is_folder and not parts.word:
                waiting.append(file.path)
            elif parts.modality is None:
                labels.append(_label_file(file.path))
    if not labels:
        first = next((f"; the first case refused: {case.reason}" for case in (*refused, *unreadable)), "")
        raise DatasetError(
            f"{folder}: no label found; expected cases with labels (BraTS, Decathlon, nnU-Net), or label files named "
            f"<case>_seg.nii.gz, <case>-seg.nii.gz or <case>.nii.gz{first}"
        )
    counts = Counter(label.case_id for label in labels)
    doubles = [
        RefusedCase(case_id, f"{folder}: {count} label files for case {case_id} found, expected one", "label-twice")
        for case_id, count in counts.items()
        if count > 1
    ]
    once = [label for label in labels if counts[label.case_id] == 1]
    return Truth(tuple(sorted(once, key=lambda label: label.case_id)), (*doubles, *unreadable))


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
        if is_there(path):
            try:
                return read_dataset_json(path).scheme
            except DatasetError:
                return None
    return None
