"""Finding the cases in a folder, whatever its layout, and saying why something is not a case."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eenet_runtime.cases.case_files import CaseFiles, ImageSource, NameParts, scheme_of_words, split_name
from eenet_runtime.cases.dataset_json import DatasetDescription, read_dataset_json
from eenet_runtime.cases.missing_modality import may_lack
from eenet_runtime.errors import DatasetError
from eenet_runtime.files.nifti import is_nifti_name, nifti_stem
from eenet_runtime.volumes.labels import MSD, Modality

MSD_CHANNELS: Final = (Modality.FLAIR, Modality.T1, Modality.T1CE, Modality.T2)
"""Channel order of the Decathlon's Task01, used for its own file names where the dataset.json is missing."""

_MSD_NAME: Final = re.compile(r"BRATS_\d+$", re.IGNORECASE)
_NNUNET_NAME: Final = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})$")
_LABEL_FOLDERS: Final = {"labelstr", "labelsts"}


@dataclass(frozen=True)
class RefusedCase:
    """A case that was found but cannot be used, with the reason in one line."""

    case_id: str
    reason: str


@dataclass(frozen=True)
class Discovery:
    """What a folder holds.

    Attributes:
        cases: complete cases, in order of their names.
        refused: cases with a reason against them.
        ignored: NIfTI files that belong to no case.
    """

    cases: tuple[CaseFiles, ...]
    refused: tuple[RefusedCase, ...]
    ignored: tuple[Path, ...]


class _Findings:
    """Collects while folders are walked."""

    def __init__(self, allow_missing: Collection[Modality]) -> None:
        self.allow_missing = allow_missing
        self.cases: list[CaseFiles] = []
        self.refused: list[RefusedCase] = []
        self.ignored: list[Path] = []

    def refuse(self, case_id: str, reason: str) -> None:
        self.refused.append(RefusedCase(case_id, reason))

    def add(self, case: CaseFiles) -> None:
        """Take in a case, unless two of its modalities are one file under two names."""
        twins = _same_file(case)
        if twins is None:
            self.cases.append(case)
            return
        first, second = twins
        self.refuse(
            case.case_id,
            f"{case.images[second].path}: the same file as {case.images[first].path.name}, given as {second.value} and "
            f"as {first.value}; expected two images",
        )


def find_cases(folder: Path, allow_missing: Collection[Modality] = (), *, links_out: bool = True) -> Discovery:
    """Find every case below a folder; the layouts of docs/data.md are recognised by name and may be mixed.

    Hidden files and folders (a leading dot) are passed over, linked folders are searched.

    Args:
        folder: where to look.
        allow_missing: modalities of which a case may lack one (the degraded mode, see `missing_modality`).
        links_out: whether links may lead out of the folder. Without, a case with a file outside is refused: who may
            write into a drop folder must not get a mask of an image that he cannot read himself.

    Raises:
        DatasetError: the folder does not exist, or nothing in it looks like a case.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    if folder.name in ("", ".."):
        folder = folder.resolve()  # a case may take its name from its folder, and "." has none
    findings = _Findings(allow_missing)
    for parent, paths in _nifti_files(folder, findings):
        if parent.name.lower() not in _LABEL_FOLDERS:
            _sort_folder(parent, paths, findings)
    if not links_out:
        _refuse_links_out(folder, findings)
    _refuse_doubles(findings)
    if not findings.cases and not findings.refused:
        raise DatasetError(
            f"{folder}: no case found among {len(findings.ignored)} NIfTI files; expected names ending in _t1, _t1ce, "
            "_t2, _flair (BraTS), -t1n, -t1c, -t2w, -t2f (BraTS 2023), or a dataset.json (Decathlon, nnU-Net)"
        )
    return Discovery(
        tuple(sorted(findings.cases, key=lambda case: case.case_id)),
        tuple(sorted(findings.refused, key=lambda case: case.case_id)),
        tuple(findings.ignored),
    )


def _nifti_files(folder: Path, findings: _Findings) -> Iterator[tuple[Path, list[Path]]]:
    """Each folder that holds NIfTI files, once, with those files in order of their names."""

    def refuse(error: OSError) -> None:
        where = Path(str(error.filename))
        findings.refuse(where.name, f"{where}: the folder cannot be read ({error.strerror})")

    seen: set[Path] = set()
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        here = Path(parent)
        if here.resolve() in seen:  # a link in a circle, or a second one to the same place
            folders.clear()
            continue
        seen.add(here.resolve())
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = [here / name for name in sorted(names) if not name.startswith(".")]
        paths = [path for path in visible if is_nifti_name(path) and path.is_file()]
        if paths:
            yield here, paths


def _sort_folder(parent: Path, paths: list[Path], findings: _Findings) -> None:
    """Deal with the NIfTI files that lie directly in one folder."""
    by_name: dict[str, list[tuple[Path, NameParts]]] = defaultdict(list)
    by_channel: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    single: list[Path] = []
    for path in paths:
        parts = split_name(path)
        numbered = _NNUNET_NAME.match(nifti_stem(path))
        if parts.word:
            by_name[parts.case_id].append((path, parts))
        elif numbered:
            by_channel[numbered["case"]].append((int(numbered["channel"]), path))
        else:
            single.append(path)
    _add_named(parent, by_name, findings)
    if by_channel or single:
        _add_described(parent, by_channel, single, findings)


def _add_named(parent: Path, by_name: dict[str, list[tuple[Path, NameParts]]], findings: _Findings) -> None:
    """Cases whose file names carry the modality."""
    groups = {case: files for case, files in by_name.items() if any(parts.modality for _, parts in files)}
    stray_labels = [path for case, files in by_name.items() if case not in groups for path, _ in files]
    if len(groups) == 1 and len(stray_labels) == 1:
        # BraTS20_Training_355 has its label under another name; in the case's own folder it can be nobody else's.
        ((case_id, files),) = groups.items()
        if case_id in ("", parent.name) and not any(parts.is_label for _, parts in files):
            files.append((stray_labels.pop(), NameParts("", "seg")))
    findings.ignored.extend(stray_labels)
    for case_id, files in groups.items():
        _add_named_case(case_id or parent.name, files, findings)


def _add_named_case(case_id: str, files: list[tuple[Path, NameParts]], findings: _Findings) -> None:
    images: dict[Modality, ImageSource] = {}
    labels = [path for path, parts in files if parts.is_label]
    for path, parts in files:
        if parts.modality is None:
            continue
        if parts.modality in images:
            first = images[parts.modality].path.name
            findings.refuse(
                case_id, f"{path}: a second file for {parts.modality.value} found beside {first}, expected one"
            )
            return
        images[parts.modality] = ImageSource(path)
    missing = [modality for modality in Modality if modality not in images]
    if not may_lack(missing, findings.allow_missing):
        found = ", ".join(sorted(source.path.name for source in images.values()))
        folder, names = files[0][0].parent, " and ".join(modality.value for modality in missing)
        findings.refuse(case_id, f"{folder}: {names} missing for case {case_id}; found only {found}")
    elif len(labels) > 1:
        findings.refuse(case_id, f"{labels[1]}: a second label file found beside {labels[0].name}, expected one")
    else:
        scheme = scheme_of_words({parts.word for _, parts in files})
        findings.add(CaseFiles(case_id, images, scheme, labels[0] if labels else None))


def _add_described(
    parent: Path, by_channel: dict[str, list[tuple[int, Path]]], single: list[Path], findings: _Findings
) -> None:
    """Cases whose channels are named in a dataset.json beside or above them."""
    description_path = next((path for path in _description_candidates(parent) if path.is_file()), None)
    description: DatasetDescription | None = None
    if description_path is not None:
        try:
            description = read_dataset_json(description_path)
        except DatasetError as error:
            for case_id in [*by_channel, *(nifti_stem(path) for path in single)]:
                findings.refuse(case_id, str(error))
            return
    for case_id, files in by_channel.items():
        _add_numbered_case(case_id, files, description, parent, findings)
    for path in single:
        if description is not None:
            _add_stacked_case(path, description, findings)
        elif _MSD_NAME.match(nifti_stem(path)):
            _add_stacked_case(path, DatasetDescription(MSD_CHANNELS, MSD), findings)
        else:
            findings.ignored.append(path)


def _add_numbered_case(
    case_id: str,
    files: list[tuple[int, Path]],
    description: DatasetDescription | None,
    parent: Path,
    findings: _Findings,
) -> None:
    channels: dict[int, Path] = {}
    for index, path in files:
        if index in channels:
            beside = channels[index].name
            findings.refuse(case_id, f"{path}: a second file for channel {index} found beside {beside}, expected one")
            return
        channels[index] = path
    if description is None:
        findings.refuse(
            case_id,
            f"{parent}: channels {', '.join(f'_{index:04d}' for index in sorted(channels))} found without a "
            "dataset.json that names them; numbered channels are not guessed",
        )
        return
    missing = {index: name for index, name in enumerate(description.channels) if index not in channels}
    if not may_lack(missing.values(), findings.allow_missing):
        names = " and ".join(f"_{index:04d} ({name.value})" for index, name in missing.items())
        findings.refuse(case_id, f"{parent}: {names} missing for case {case_id}")
        return
    extra = [path for index, path in channels.items() if index >= len(description.channels)]
    if extra:
        findings.refuse(case_id, f"{parent}: {extra[0].name} has no name in dataset.json for case {case_id}")
        return
    images = {
        modality: ImageSource(channels[index])
        for index, modality in enumerate(description.channels)
        if index in channels
    }
    findings.add(CaseFiles(case_id, images, description.scheme, _described_label(parent, case_id)))


def _add_stacked_case(path: Path, description: DatasetDescription, findings: _Findings) -> None:
    case_id = nifti_stem(path)
    images = {modality: ImageSource(path, index) for index, modality in enumerate(description.channels)}
    findings.cases.append(CaseFiles(case_id, images, description.scheme, _described_label(path.parent, case_id)))


def _description_candidates(parent: Path) -> Iterable[Path]:
    yield parent / "dataset.json"
    if parent.name.lower().startswith("images"):
        yield parent.parent / "dataset.json"


def _described_label(images: Path, case_id: str) -> Path | None:
    """The label of a Decathlon or nnU-Net case: same name, in the labels folder beside the images folder."""
    folder = images.with_name("labels" + images.name[len("images") :])
    candidates = [folder / f"{case_id}.nii.gz", folder / f"{case_id}.nii"]
    return next((path for path in candidates if images.name.lower().startswith("images") and path.is_file()), None)


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


def _refuse_links_out(folder: Path, findings: _Findings) -> None:
    inside = folder.resolve()
    for case in list(findings.cases):
        paths = [source.path for source in case.images.values()]
        outside = [path for path in paths if not path.resolve().is_relative_to(inside)]
        if outside:
            findings.cases.remove(case)
            findings.refuse(
                case.case_id, f"{outside[0]}: a link that leads out of {folder}, expected the image itself or a copy"
            )


def _refuse_doubles(findings: _Findings) -> None:
    """Two cases of one name, complete or not, would be told apart neither by their results nor in the summary."""
    counts = Counter([case.case_id for case in findings.cases] + [refused.case_id for refused in findings.refused])
    for case in [case for case in findings.cases if counts[case.case_id] > 1]:
        findings.cases.remove(case)
        folder = next(iter(case.images.values())).path.parent
        findings.refuse(
            case.case_id, f"{folder}: {counts[case.case_id]} cases have the name {case.case_id}; rename all but one"
        )
