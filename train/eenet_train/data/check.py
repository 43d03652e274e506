"""Looking through a data set before a training: everything that would stop it later, all of it at once.

Images and labels are read by the functions that the training uses, so what passes here is read there. What only a
training asks for is added: a label, and tumour in it.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.case_files import CaseFiles, split_name
from eenet_runtime.cases.content_checks import Severity
from eenet_runtime.cases.content_checks.background import find_nearly_zero
from eenet_runtime.cases.content_checks.sample import take_sample
from eenet_runtime.cases.content_checks.slices import find_uneven_slices
from eenet_runtime.cases.content_checks.spikes import find_spikes
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.cases.preprocessing import CaseImages, measure_what_can_be, read_case, read_label
from eenet_runtime.errors import CaseError, TrainingError
from eenet_runtime.files.nifti import is_nifti_name, nifti_stem, read_volume
from eenet_runtime.files.orientation_forms import find_contradiction
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import BRATS2020, CHANNEL_ORDER, Label, Modality, Region
from eenet_runtime.volumes.normalization import Intensities
from eenet_train.data.data import image_hashes, require_tumour
from eenet_train.data.patients import group_cases, identical_images, patient_of

PASSED_OVER: Final = "no label: passed over"
"""The remark on a case without a label in a data set whose other cases have one."""
MOST_LABEL_VALUES: Final = 20
"""A file that is no label at all may hold thousands of values; this many are kept."""

_BRATS_AXES: Final = "LPS"
_BRATS_SPACING_MM: Final = 1.0
_SPACING_TOLERANCE_MM: Final = 1e-3
_OBLIQUE_DEGREES: Final = 1.0
_LARGEST_HEAD: Final = 0.9
"""A head fills less than this share of its volume; in BraTS it is about a sixth."""
_TUMOUR_OUTSIDE: Final = 0.05
"""More than this share of the tumour outside the head is more than a ragged edge."""


@dataclass(frozen=True)
class CheckedCase:
    """What one case holds, and what is wrong with it.

    Attributes:
        case_id: its name.
        files: its files; None where they do not make up a case.
        grid: voxels, voxel size and stored axes of the T1 in words; empty if the images were not read together.
        modalities: those for which there is a file or a channel, in `CHANNEL_ORDER`; for a case that is not complete
            those that are told by a file's name.
        label_values: whole numbers in the label file as stored, in rising order, at most `MOST_LABEL_VALUES`.
        volumes_ml: volumes of ET, TC and WT in millilitres; empty without a readable label.
        quirks: what is unusual and does not stop a training, one phrase each; the same phrase for the same thing.
        problems: what would stop a training, one line each.
        patient: as far as names tell; empty for a case that cannot be trained on.
        image_hashes: SHA-256 of each image file, as stored, sorted.
    """

    case_id: str
    files: CaseFiles | None = None
    grid: str = ""
    modalities: tuple[Modality, ...] = ()
    label_values: tuple[int, ...] = ()
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    quirks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    patient: str = ""
    image_hashes: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """All problems in one line, empty if there is none."""
        return "; ".join(self.problems)

    @property
    def passed_over(self) -> bool:
        """Whether a training would leave the case out, because it has no label."""
        return not self.problems and (self.files is None or self.files.label is None)


@dataclass(frozen=True)
class DatasetCheck:
    """What a data set holds.

    Attributes:
        data: the folder.
        cases: all that was found, in order of the names.
        ignored: NIfTI files that belong to no case.
    """

    data: Path
    cases: tuple[CheckedCase, ...]
    ignored: tuple[Path, ...] = ()

    @property
    def good(self) -> tuple[CheckedCase, ...]:
        """Cases to train on."""
        return tuple(case for case in self.cases if not case.problems and not case.passed_over)

    @property
    def bad(self) -> tuple[CheckedCase, ...]:
        """Cases that would stop a training."""
        return tuple(case for case in self.cases if case.problems)

    @property
    def passed_over(self) -> tuple[CheckedCase, ...]:
        """Cases that a training leaves out, because they have no label."""
        return tuple(case for case in self.cases if case.passed_over)

    @property
    def identical(self) -> tuple[tuple[str, ...], ...]:
        """Good cases that share an image file's content: every split keeps them on one side, as if of one patient."""
        return identical_images({case.case_id: case.image_hashes for case in self.good})

    def patients(self) -> dict[str, str]:
        """What no split parts: for each good case the name of its patient, or of the one whose image it shares."""
        return group_cases(
            {case.case_id: case.patient for case in self.good},
            {case.case_id: case.image_hashes for case in self.good},
        )

    def usable(self) -> tuple[CaseFiles, ...]:
        """The files of the good cases, in order of their names."""
        return tuple(case.files for case in self.good if case.files is not None)


def check_dataset(data: Path, *, workers: int = 1, report: Callable[[int, int], None] | None = None) -> DatasetCheck:
    """Read every image and label of a data set once, and tell what it holds and what is wrong.

    Cases without a label are not read: where others have one a training passes them over, and where none has one
    each of them is bad.

    Args:
        data: a folder in any layout that the runtime knows.
        workers: processes; each needs about 0.6 GB of memory for cases of BraTS' size.
        report: called with the cases read and the cases to read.

    Raises:
        DatasetError: no such folder, or no case in it.
        TrainingError: a process that read cases was killed.
        ValueError: `workers` below 1.
    """
    if workers < 1:
        raise ValueError(f"workers {workers} must be at least 1")
    found = find_cases(data)
    labelled = [files for files in found.cases if files.label is not None]
    cases = [_without_label(files, others=bool(labelled)) for files in found.cases if files.label is None]
    modalities = _modalities_by_name(data) if found.refused else {}
    for refused in found.refused:
        named = modalities.get(refused.case_id, set())
        cases.append(CheckedCase(refused.case_id, modalities=_in_order(named), problems=(refused.reason,)))
    for done, case in enumerate(_check_all(labelled, min(workers, len(labelled))), start=1):
        assert case.files is not None
        cases.append(replace(case, patient=patient_of(case.files, data)))
        if report is not None:
            report(done, len(labelled))
    return DatasetCheck(data, tuple(sorted(cases, key=lambda case: (case.case_id, case.problem))), found.ignored)


def check_case(files: CaseFiles) -> CheckedCase:
    """Read the images and the label of one case, and tell all that is wrong with it."""
    problems: list[str] = []
    images: CaseImages | None = None
    try:
        images = read_case(files)
    except CaseError as error:
        problems += dict.fromkeys([str(error), *_unreadable_images(files)])
    measured: dict[Modality, Intensities] = {}
    if images is not None:
        measured, cannot_be = measure_what_can_be(images)
        problems += cannot_be
    hashes: tuple[str, ...] = ()
    with contextlib.suppress(CaseError):  # what cannot be read has been told of
        hashes = tuple(sorted(set(image_hashes(files).values())))
    labels: NDArray[np.uint8] | None = None
    volumes: dict[str, float] = {}
    try:
        labels, voxel_ml = _read_label(files, images)
        counts = {label: int(np.count_nonzero(labels == label)) for label in Label}
        volumes = {region.value: sum(counts[label] for label in region.labels) * voxel_ml for region in Region}
        values = tuple(sorted(files.scheme.file_values[label] for label, count in counts.items() if count))
        require_tumour(files, labels)
    except CaseError as error:
        problems.append(str(error))
        values = _stored_values(files)
    return CheckedCase(
        case_id=files.case_id,
        files=files,
        grid=_in_words(images.grid) if images else "",
        modalities=_in_order(files.images),
        label_values=values,
        volumes_ml=volumes,
        quirks=(*_quirks(files, images, labels), *(_normalisation_quirks(images, measured) if images else ())),
        problems=tuple(problems),
        image_hashes=hashes,
    )


def _without_label(files: CaseFiles, *, others: bool) -> CheckedCase:
    modalities = _in_order(files.images)
    if others:
        return CheckedCase(files.case_id, files, modalities=modalities, quirks=(PASSED_OVER,))
    t1 = files.images[Modality.T1].path
    problem = f"{t1}: the case {files.case_id} has no label file, nor has any other; training needs labels"
    return CheckedCase(files.case_id, files, modalities=modalities, problems=(problem,))


def _check_all(cases: Sequence[CaseFiles], workers: int) -> Iterator[CheckedCase]:
    """Check cases in any order; each is yielded when it is done."""
    if workers <= 1:
        yield from map(check_case, cases)
        return
    # Spawned, not forked: the caller may hold threads (TensorFlow does), which a fork would not survive.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures: list[Future[CheckedCase]] = [pool.submit(check_case, files) for files in cases]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise TrainingError(
                f"one of {workers} processes that read cases was killed, perhaps for want of memory; try fewer workers"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _unreadable_images(files: CaseFiles) -> Iterator[str]:
    """Why image files cannot be read, each by itself: the first bad one hides the others."""
    for path in dict.fromkeys(files.images[modality].path for modality in CHANNEL_ORDER):
        try:
            read_volume(path)
        except CaseError as error:
            yield str(error)


def _read_label(files: CaseFiles, images: CaseImages | None) -> tuple[NDArray[np.uint8], float]:
    """Network classes and the volume of a voxel in ml; a label whose images cannot be read stands for itself."""
    if images is not None:
        return read_label(files, images), images.grid.voxel_ml
    assert files.label is not None
    volume = read_volume(files.label)
    return files.scheme.from_file(volume.data, str(files.label)), volume.grid.voxel_ml


def _stored_values(files: CaseFiles) -> tuple[int, ...]:
    """Whole numbers in a label file that was refused; none if it cannot be read."""
    assert files.label is not None
    try:
        values = np.unique(read_volume(files.label).data).tolist()
    except CaseError:
        return ()
    return tuple(int(value) for value in values if float(value).is_integer())[:MOST_LABEL_VALUES]


def _in_words(grid: Grid) -> str:
    shape = " x ".join(map(str, grid.shape))
    return f"{shape}, {_spacing(grid)} mm, {grid.axes}"


def _spacing(grid: Grid) -> str:
    return " x ".join(f"{size:.4g}" for size in grid.spacing_mm)


def _in_order(modalities: Mapping[Modality, object] | set[Modality]) -> tuple[Modality, ...]:
    return tuple(modality for modality in CHANNEL_ORDER if modality in modalities)


def _modalities_by_name(data: Path) -> dict[str, set[Modality]]:
    """The modalities that file names give to each case, complete or not; numbered channels tell none."""
    found: dict[str, set[Modality]] = defaultdict(set)
    for parent, _, names in os.walk(data):
        for path in (Path(parent, name) for name in names):
            parts = split_name(path)
            if is_nifti_name(path) and parts.modality is not None:
                found[parts.case_id or path.parent.name].add(parts.modality)
    return found


def _quirks(files: CaseFiles, images: CaseImages | None, labels: NDArray[np.uint8] | None) -> Iterator[str]:
    """What is unusual about a case. No figures that differ from case to case: equal quirks are counted together."""
    assert files.label is not None
    stem, parts = nifti_stem(files.label), split_name(files.label)
    if files.case_id not in (stem, parts.case_id) and parts.case_id:
        yield f"label under another name ({files.label.name}): taken, as the only one in the case's folder"
    scheme = files.scheme
    if scheme.file_values != BRATS2020.file_values:
        yield f"label values {scheme.ncr} NCR, {scheme.ed} ED, {scheme.et} ET ({scheme.name}): translated"
    if images is None:
        return
    yield from _grid_quirks(images)
    yield from _voxel_quirks(images)
    if labels is not None and _tumour_outside(images, labels) > _TUMOUR_OUTSIDE:
        yield f"over {_TUMOUR_OUTSIDE:.0%} of the tumour lies where all images are 0: is the label another patient's?"


def _grid_quirks(images: CaseImages) -> Iterator[str]:
    grid = images.grid
    if grid.axes != _BRATS_AXES:
        yield f"stored along {grid.axes}, in BraTS {_BRATS_AXES}: turned"
    for modality, volume in images.volumes.items():
        axes = Grid(grid.shape, volume.header.get_best_affine()).axes
        if axes != grid.axes:
            yield f"{modality.value} stored along {axes}, t1 along {grid.axes}: turned alike"
    angle = _degrees_from_axes(grid)
    if angle > _OBLIQUE_DEGREES:
        yield f"axes oblique by {angle:.0f} degrees: the nearest straight ones are taken"
    if max(abs(size - _BRATS_SPACING_MM) for size in grid.spacing_mm) > _SPACING_TOLERANCE_MM:
        yield f"voxels of {_spacing(grid)} mm, in BraTS {_BRATS_SPACING_MM:g} mm: resampled"
    if any(find_contradiction(volume.header) for volume in images.volumes.values()):
        yield "qform and sform contradict each other: the sform is taken"
    header = images.reference.header
    if int(header["qform_code"]) == 0 and int(header["sform_code"]) == 0:
        yield "no orientation in the t1's header (qform and sform code 0): NIfTI's default is taken"


def _degrees_from_axes(grid: Grid) -> float:
    """Largest angle between a stored axis and the axis of the patient that is nearest to it, in degrees."""
    columns = np.abs(grid.affine[:3, :3]) / np.array(grid.spacing_mm)
    return math.degrees(math.acos(min(1.0, float(columns.max(axis=0).min()))))


def _voxel_quirks(images: CaseImages) -> Iterator[str]:
    types: dict[str, list[str]] = defaultdict(list)
    for modality, volume in images.volumes.items():
        stored = volume.header.get_data_dtype()
        types[stored.name].append(modality.value)
        if np.issubdtype(stored, np.integer) and np.issubdtype(volume.data.dtype, np.floating):
            yield f"{modality.value} scaled by the slope and intercept in its header: applied"
        if np.count_nonzero(volume.data) > _LARGEST_HEAD * volume.data.size:
            yield (
                f"{modality.value} is not 0 in over {_LARGEST_HEAD:.0%} of its voxels, expected a head in a background "
                "of 0: normalised with its background"
            )
    if len(types) > 1:
        shown = "; ".join(f"{name}: {', '.join(names)}" for name, names in sorted(types.items()))
        yield f"voxel types differ ({shown}): each read as it is"


def _normalisation_quirks(images: CaseImages, measured: Mapping[Modality, Intensities]) -> Iterator[str]:
    """Images that a training takes and normalises by the wrong voxels; inference looks for the same."""
    sample = take_sample(images)
    for modality, intensities in measured.items():
        for finding in find_spikes(images, sample, {modality: intensities}):
            refused = finding.severity is Severity.CERTAIN
            answer = "refuses such a case" if refused else "warns of it"
            yield f"{modality.value} holds spikes, by which it is normalised: mend them, inference {answer}"
    for modality, intensities in measured.items():
        if find_uneven_slices(images, {modality: intensities}):
            yield f"{modality.value} has a slice unlike its neighbours, as of a failed acquisition: look at it"
    if find_nearly_zero(images, sample):
        yield "a background of small values about the head, which is normalised as tissue: set it to 0"


def _tumour_outside(images: CaseImages, labels: NDArray[np.uint8]) -> float:
    """Share of the tumour where no image shows anything."""
    tumour = labels != Label.BACKGROUND
    outside = tumour.copy()
    for volume in images.volumes.values():
        outside &= volume.data == 0
    return int(outside.sum()) / max(1, int(tumour.sum()))
