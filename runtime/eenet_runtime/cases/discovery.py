"""Finding the cases in a folder, whatever its layout, and saying why something is not a case.

Nothing vanishes here: a file that has the name of a case's image but cannot be read as one (a link without a target, a
pipe, a folder, a file on a disk that fails) refuses its case by name, and so does a folder that cannot be looked into.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from eenet_runtime.cases.case_files import CaseFiles, ImageSource, NameParts, scheme_of_words, split_name
from eenet_runtime.cases.dataset_json import DatasetDescription, read_dataset_json
from eenet_runtime.cases.missing_modality import may_lack
from eenet_runtime.codes import Reason
from eenet_runtime.errors import DatasetError
from eenet_runtime.files.listing import FoundFile, in_words, is_link, is_there, list_folder, look_at, require_folder
from eenet_runtime.files.nifti import nifti_stem
from eenet_runtime.volumes.labels import MSD, Modality

MSD_CHANNELS: Final = (Modality.FLAIR, Modality.T1, Modality.T1CE, Modality.T2)
"""Channel order of the Decathlon's Task01, used for its own file names where the dataset.json is missing."""

_MSD_NAME: Final = re.compile(r"BRATS_\d+$", re.IGNORECASE)
_NNUNET_NAME: Final = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})$")
_LABEL_FOLDERS: Final = {"labelstr", "labelsts"}
_TOLD: Final = 4
"""Of cases that share a name, how many a message tells."""


@dataclass(frozen=True)
class RefusedCase:
    """A case that was found but cannot be used.

    Attributes:
        case_id: the case's name.
        reason: why, in one line.
        code: of the first reason, a key of `eenet_runtime.codes.CODES`.
    """

    case_id: str
    reason: str
    code: str

    @staticmethod
    def because_of(case_id: str, problems: Sequence[Reason]) -> RefusedCase:
        """The case, refused for all of these, the first of which gives the code."""
        return RefusedCase(case_id, "; ".join(problem.text for problem in problems), problems[0].code)


@dataclass(frozen=True)
class Discovery:
    """What a folder holds. No two entries of `cases` and `refused` have one name.

    Attributes:
        cases: complete cases, in order of their names.
        refused: cases with a reason against them, in order of their names.
        ignored: NIfTI files that belong to no case.
    """

    cases: tuple[CaseFiles, ...]
    refused: tuple[RefusedCase, ...]
    ignored: tuple[Path, ...]


_Found: TypeAlias = CaseFiles | RefusedCase | FoundFile
"""What a file turns out to be: a case, one that is refused, or nothing of a case."""


@dataclass(frozen=True)
class _Rules:
    """What a caller allows.

    Attributes:
        allow_missing: modalities of which a case may lack one.
        boundary: what links may not lead out of; None where they may lead anywhere.
    """

    allow_missing: Collection[Modality]
    boundary: Path | None


def find_cases(folder: Path, allow_missing: Collection[Modality] = (), *, links_out: bool = True) -> Discovery:
    """Find every case below a folder; the layouts of docs/data.md are recognised by name and may be mixed.

    Hidden files and folders (a leading dot) are passed over, linked folders are searched.

    Args:
        folder: where to look.
        allow_missing: modalities of which a case may lack one (the degraded mode, see `missing_modality`).
        links_out: whether links may lead out of the folder. Without, a case with a file outside is refused: who may
            write into a drop folder must not get a mask of an image that he cannot read himself.

    Raises:
        DatasetError: the folder does not exist or cannot be read, or nothing in it looks like a case.
    """
    found = look_for_cases(folder, allow_missing, links_out=links_out)
    if not found.cases and not found.refused:
        raise DatasetError(
            f"{folder}: no case found among {len(found.ignored)} NIfTI files; expected names ending in _t1, _t1ce, "
            "_t2, _flair (BraTS), -t1n, -t1c, -t2w, -t2f (BraTS 2023), or a dataset.json (Decathlon, nnU-Net)"
        )
    return found


def look_for_cases(folder: Path, allow_missing: Collection[Modality] = (), *, links_out: bool = True) -> Discovery:
    """As `find_cases`, but a folder may be empty.

    Raises:
        DatasetError: the folder does not exist or cannot be read.
    """
    require_folder(folder)
    if folder.name in ("", ".."):
        folder = folder.resolve()  # a case may take its name from its folder, and "." has none
    rules = _Rules(allow_missing, None if links_out else folder)
    try:
        found = list(_search(folder, rules))
    except OSError as error:  # of the folder itself: those below are refused one by one
        raise DatasetError(f"{folder}: the folder cannot be read ({error.strerror or error})") from error
    cases = _one_for_each_name(folder, [entry for entry in found if not isinstance(entry, FoundFile)])
    return Discovery(
        tuple(case for case in cases if isinstance(case, CaseFiles)),
        tuple(case for case in cases if isinstance(case, RefusedCase)),
        tuple(entry.path for entry in found if isinstance(entry, FoundFile)),
    )


def _search(top: Path, rules: _Rules) -> Iterator[_Found]:
    """Everything in a folder and below it, each folder once.

    Raises:
        OSError: the folder itself cannot be listed; one below it is a refused case.
    """
    seen: set[str] = set()
    waiting = [(top, os.path.realpath(top))]
    while waiting:
        folder, real = waiting.pop()
        if real in seen:  # a link in a circle, or a second one to the same place
            continue
        seen.add(real)
        try:
            listing = list_folder(folder, rules.boundary)
        except OSError as error:
            if folder == top:
                raise
            reason = f"{folder}: the folder cannot be read ({error.strerror or error})"
            yield RefusedCase(folder.name, reason, "unreadable-folder")
            continue
        below = list(listing.folders)
        if listing.files and folder.name.lower() not in _LABEL_FOLDERS:
            for entry in _sorted_folder(folder, listing.files, rules):
                if isinstance(entry, FoundFile) and entry.is_folder:
                    below.append(entry.path)  # its name ends like a file's, but it stands for no image
                else:
                    yield entry
        for lost in listing.lost:
            yield RefusedCase.because_of(lost.path.name, in_words([lost]))
        for path in sorted(below, reverse=True):
            waiting.append((path, os.path.realpath(path) if is_link(path) else f"{real}/{path.name}"))


def _sorted_folder(folder: Path, files: Sequence[FoundFile], rules: _Rules) -> Iterator[_Found]:
    """Deal with the files that lie directly in one folder."""
    by_name: dict[str, list[tuple[FoundFile, NameParts]]] = defaultdict(list)
    by_channel: dict[str, list[tuple[int, FoundFile]]] = defaultdict(list)
    single: list[FoundFile] = []
    for file in files:
        parts = split_name(file.path)
        numbered = _NNUNET_NAME.match(nifti_stem(file.path))
        if parts.word:
            by_name[parts.case_id].append((file, parts))
        elif numbered:
            by_channel[numbered["case"]].append((int(numbered["channel"]), file))
        else:
            single.append(file)
    yield from _named_cases(folder, by_name, rules)
    if by_channel or single:
        yield from _described_cases(folder, by_channel, single, rules)


def _named_cases(
    folder: Path, by_name: Mapping[str, list[tuple[FoundFile, NameParts]]], rules: _Rules
) -> Iterator[_Found]:
    """Cases whose file names carry the modality."""
    groups = {case: files for case, files in by_name.items() if any(parts.modality for _, parts in files)}
    stray_labels = [file for case, files in by_name.items() if case not in groups for file, _ in files]
    if len(groups) == 1 and len(stray_labels) == 1:
        # BraTS20_Training_355 has its label under another name; in the case's own folder it can be nobody else's.
        ((case_id, files),) = groups.items()
        if case_id in ("", folder.name) and not any(parts.is_label for _, parts in files):
            files.append((stray_labels.pop(), NameParts("", "seg")))
    yield from stray_labels
    for case_id, files in groups.items():
        yield _named_case(case_id or folder.name, folder, files, rules)


def _named_case(
    case_id: str, folder: Path, files: Sequence[tuple[FoundFile, NameParts]], rules: _Rules
) -> CaseFiles | RefusedCase:
    labels = [file for file, parts in files if parts.is_label]
    images: dict[Modality, FoundFile] = {}
    problems: list[Reason] = []
    for file, parts in files:
        if parts.modality is None:
            continue
        first = images.setdefault(parts.modality, file)
        if first is not file:
            second = (
                f"{file.path}: a second file for {parts.modality.value} found beside {first.path.name}, expected one"
            )
            problems.append(Reason("modality-twice", second))
    missing = [modality for modality in Modality if modality not in images]
    if not may_lack(missing, rules.allow_missing):
        found = ", ".join(sorted(file.path.name for file in images.values()))
        names = " and ".join(modality.value for modality in missing)
        lacking = f"{folder}: {names} missing for case {case_id}; found only {found}"
        problems.append(Reason("missing-modality", lacking))
    if len(labels) > 1:
        second = f"{labels[1].path}: a second label file found beside {labels[0].path.name}, expected one"
        problems.append(Reason("label-twice", second))
    sources = {modality: ImageSource(file.path) for modality, file in images.items()}
    case = CaseFiles(
        case_id, sources, scheme_of_words({parts.word for _, parts in files}), labels[0].path if labels else None
    )
    return _case_or_refusal(case, list(images.values()), labels, problems)


def _described_cases(
    folder: Path, by_channel: Mapping[str, list[tuple[int, FoundFile]]], single: Sequence[FoundFile], rules: _Rules
) -> Iterator[_Found]:
    """Cases whose channels are named in a dataset.json beside or above them."""
    description: DatasetDescription | None = None
    description_path = next((path for path in _description_candidates(folder) if is_there(path)), None)
    if description_path is not None:
        try:
            description = _read_description(description_path, rules)
        except DatasetError as error:
            for case_id in dict.fromkeys([*by_channel, *(nifti_stem(file.path) for file in single)]):
                yield RefusedCase(case_id, str(error), "bad-dataset-json")
            return
    for case_id, files in by_channel.items():
        yield _numbered_case(case_id, files, description, folder, rules)
    for file in single:
        if description is not None:
            yield _stacked_case(file, description, rules)
        elif _MSD_NAME.match(nifti_stem(file.path)):
            yield _stacked_case(file, DatasetDescription(MSD_CHANNELS, MSD), rules)
        else:
            yield file


def _numbered_case(
    case_id: str,
    files: Sequence[tuple[int, FoundFile]],
    description: DatasetDescription | None,
    folder: Path,
    rules: _Rules,
) -> CaseFiles | RefusedCase:
    channels: dict[int, FoundFile] = {}
    problems: list[Reason] = []
    for index, file in files:
        first = channels.setdefault(index, file)
        if first is not file:
            second = f"{file.path}: a second file for channel {index} found beside {first.path.name}, expected one"
            problems.append(Reason("modality-twice", second))
    if description is None:
        numbers = ", ".join(f"_{index:04d}" for index in sorted(channels))
        unnamed = (
            f"{folder}: channels {numbers} found without a dataset.json that names them; numbered channels are not "
            "guessed"
        )
        problems.append(Reason("no-dataset-json", unnamed))
        return RefusedCase.because_of(case_id, [*problems, *in_words(channels.values())])
    missing = {index: name for index, name in enumerate(description.channels) if index not in channels}
    if not may_lack(missing.values(), rules.allow_missing):
        names = " and ".join(f"_{index:04d} ({name.value})" for index, name in missing.items())
        problems.append(Reason("missing-modality", f"{folder}: {names} missing for case {case_id}"))
    extra = [file for index, file in channels.items() if index >= len(description.channels)]
    if extra:
        unnamed = f"{folder}: {extra[0].path.name} has no name in dataset.json for case {case_id}"
        problems.append(Reason("unnamed-channel", unnamed))
    images = {name: ImageSource(channels[i].path) for i, name in enumerate(description.channels) if i in channels}
    labels = _described_labels(folder, case_id, rules)
    case = CaseFiles(case_id, images, description.scheme, labels[0].path if labels else None)
    return _case_or_refusal(case, list(channels.values()), labels, problems)


def _stacked_case(file: FoundFile, description: DatasetDescription, rules: _Rules) -> CaseFiles | RefusedCase:
    """A case whose images are the channels of one file."""
    case_id = nifti_stem(file.path)
    images = {modality: ImageSource(file.path, index) for index, modality in enumerate(description.channels)}
    labels = _described_labels(file.path.parent, case_id, rules)
    return _case_or_refusal(
        CaseFiles(case_id, images, description.scheme, labels[0].path if labels else None), [file], labels, []
    )


def _case_or_refusal(
    case: CaseFiles, images: Sequence[FoundFile], labels: Sequence[FoundFile], problems: Sequence[Reason]
) -> CaseFiles | RefusedCase:
    """The case, or everything that speaks against it.

    A label that cannot be read stays with its case: a mask does not depend on it, and whoever needs it will be told.
    But a label out of bounds would be read, hashed and compared with a mask.
    """
    problems = [*in_words([*images, *(label for label in labels if label.leads_out)]), *problems]
    twins = _same_file(case)
    if not problems and twins is not None:
        first, second = twins
        same = (
            f"{case.images[second].path}: the same file as {case.images[first].path.name}, given as {second.value} and "
            f"as {first.value}; expected two images"
        )
        problems = [Reason("duplicate", same)]
    return RefusedCase.because_of(case.case_id, problems) if problems else case


def _description_candidates(folder: Path) -> Iterator[Path]:
    yield folder / "dataset.json"
    if folder.name.lower().startswith("images"):
        yield folder.parent / "dataset.json"


def _read_description(path: Path, rules: _Rules) -> DatasetDescription:
    file = look_at(path, rules.boundary)
    if file.obstacle is not None:
        raise DatasetError(f"{path}: {file.obstacle}")
    return read_dataset_json(path)


def _described_labels(images: Path, case_id: str, rules: _Rules) -> list[FoundFile]:
    """The label of a Decathlon or nnU-Net case: same name, in the labels folder beside the images folder."""
    if not images.name.lower().startswith("images"):
        return []
    folder = images.with_name("labels" + images.name[len("images") :])
    paths = (folder / f"{case_id}.nii.gz", folder / f"{case_id}.nii")
    return [look_at(path, rules.boundary) for path in paths if is_there(path)]


def _same_file(case: CaseFiles) -> tuple[Modality, Modality] | None:
    """Two modalities of a case that are one file on disk, through a link; None where there are none."""
    seen: dict[tuple[int, int], Modality] = {}
    for modality in (name for name in Modality if name in case.images):
        source = case.images[modality]
        if source.channel is not None:
            continue
        try:
            status = source.path.stat()
        except OSError:  # gone since it was listed: reading it will say so
            continue
        key = (status.st_dev, status.st_ino)
        if key in seen and status.st_ino:  # some file systems have no such numbers
            return seen[key], modality
        seen[key] = modality
    return None


def _one_for_each_name(folder: Path, found: Sequence[CaseFiles | RefusedCase]) -> list[CaseFiles | RefusedCase]:
    """The cases in order of their names. Those that share one are refused together.

    Complete or not, they would be told apart neither by their results nor in the summary.
    """
    by_name: dict[str, list[CaseFiles | RefusedCase]] = defaultdict(list)
    for case in found:
        by_name[case.case_id].append(case)
    return [
        cases[0] if len(cases) == 1 else _refused_together(folder, name, cases)
        for name, cases in sorted(by_name.items())
    ]


def _refused_together(folder: Path, name: str, cases: Sequence[CaseFiles | RefusedCase]) -> RefusedCase:
    told = [
        case.reason if isinstance(case, RefusedCase) else str(next(iter(case.images.values())).path.parent)
        for case in cases[:_TOLD]
    ]
    if len(cases) > _TOLD:
        told.append(f"and {len(cases) - _TOLD} more")
    reason = f"{folder}: {len(cases)} cases have the name {name}, rename all but one: {'; '.join(told)}"
    return RefusedCase(name, reason, "same-name")
