"""Training data: cases decoded and prepared once, and kept on disk.

Targets are fractions: on a grid coarser than the file's, each class' 0/1 volume is resampled like an image, so a
voxel that a thin enhancing rim fills to three eighths says so. At inference the probabilities are interpolated back
and only then decided, which undoes such an average as well as it can be undone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.cases.preprocessing import prepare, read_case, read_label
from eenet_runtime.errors import CaseError, TrainingError
from eenet_runtime.files.atomic import make_output_folder, open_for_replace
from eenet_runtime.files.nifti import sha256_of_image
from eenet_runtime.volumes.grid import to_network_axes
from eenet_runtime.volumes.labels import CHANNEL_ORDER, NUM_CLASSES, Label
from eenet_runtime.volumes.normalization import NORMALIZATION
from eenet_runtime.volumes.placement import Placement
from eenet_runtime.volumes.presets import GeometryPreset
from eenet_train.data.patients import patient_of

CACHE_VERSION: Final = 1
"""Raise it when the same files would be prepared differently."""
FULL: Final = 255
"""A stored target holds fractions in 255ths: the four classes of a voxel add up to this."""
SHOWN_REASONS: Final = 2
"""Unusable cases whose reason an error message gives."""


@dataclass(frozen=True)
class PreparedCase:
    """One case as the network sees it, on disk.

    Attributes:
        case_id: its name.
        volume_path: .npy, float16 (H, W, D, 4), z-scored images in `CHANNEL_ORDER`.
        target_path: .npy, uint8 (H, W, D, 4), fractions of each class in 255ths, order of `Label`.
        patient: as far as names tell; empty where nobody asked.
        image_hashes: SHA-256 of each image file, as stored.
    """

    case_id: str
    volume_path: Path
    target_path: Path
    patient: str = ""
    image_hashes: tuple[str, ...] = ()

    def volume(self) -> NDArray[np.float16]:
        """The images, mapped into memory and read where they are used."""
        return np.asanyarray(np.load(self.volume_path, mmap_mode="r"))

    def target(self) -> NDArray[np.uint8]:
        """The fractions, mapped into memory and read where they are used."""
        return np.asanyarray(np.load(self.target_path, mmap_mode="r"))

    def tumour_voxels(self) -> float:
        """Size of the whole tumour, in voxels of the network's grid."""
        return float(self.target()[..., 1:].sum(dtype=np.int64)) / FULL


@dataclass(frozen=True)
class SkippedCase:
    """A case that cannot be trained on.

    Attributes:
        case_id: its name.
        reason: why, with the file, what was found and what was expected.
    """

    case_id: str
    reason: str


@dataclass(frozen=True)
class PreparedDataset:
    """A folder of cases, ready.

    Attributes:
        cases: in order of their names.
        skipped: left out, where the caller asked for that.
    """

    cases: tuple[PreparedCase, ...]
    skipped: tuple[SkippedCase, ...] = ()


def prepare_dataset(
    data: Path,
    cache: Path,
    preset: GeometryPreset,
    report: Callable[[int, int], None] | None = None,
    *,
    validation: int = 0,
    skip_bad: bool = False,
    healthy_cases: bool = False,
) -> PreparedDataset:
    """Prepare every case with a label below a folder, unless the cache already holds it.

    Entries are named after the content of the files, the preset and the version of this code, and written under
    another name first: an interrupted preparation goes on where it stopped. Cases without a label are passed over;
    a case that cannot be used is an error, but only after all have been looked at, so that one message tells of all.

    Args:
        data: a folder in any layout that the runtime knows.
        cache: where prepared cases are kept; made if it does not exist.
        preset: geometry of the network.
        report: called with the cases done and the cases in all.
        validation: cases that will be held out; too few cases are then refused before any is prepared.
        skip_bad: leave out cases that cannot be used, instead of refusing them all.
        healthy_cases: a label without any tumour is a healthy head, not a file gone wrong.

    Raises:
        DatasetError: no such folder, or no case in it.
        TrainingError: no case has a label, fewer have one than are needed, or some cannot be used.
        OutputError: the cache cannot be written.
    """
    found = find_cases(data)
    cases = [case for case in found.cases if case.label is not None]
    if not cases:
        reason = f"; the first one refused: {found.refused[0].reason}" if found.refused else ""
        raise TrainingError(f"{data}: {len(found.cases)} cases found, none with a label; training needs labels{reason}")
    require_cases(len(cases), validation)
    make_output_folder(cache)
    prepared: list[PreparedCase] = []
    skipped = [SkippedCase(refused.case_id, refused.reason) for refused in found.refused]
    # Decompression and array work let go of the interpreter's lock, so two threads are nearly twice as quick.
    with ThreadPoolExecutor(max_workers=2) as pool:
        attempts = pool.map(lambda case: _prepared_or_reason(case, data, cache, preset, healthy_cases), cases)
        for done, attempt in enumerate(attempts, start=1):
            if isinstance(attempt, PreparedCase):
                prepared.append(attempt)
            else:
                skipped.append(attempt)
            if report is not None:
                report(done, len(cases))
    if skipped and not skip_bad:
        raise TrainingError(_unusable_message(data, [case.reason for case in skipped]))
    require_cases(len(prepared), validation)
    return PreparedDataset(tuple(prepared), tuple(sorted(skipped, key=lambda case: case.case_id)))


def _prepared_or_reason(
    files: CaseFiles, data: Path, cache: Path, preset: GeometryPreset, healthy_cases: bool
) -> PreparedCase | SkippedCase:
    """The prepared case, or why it cannot be used."""
    try:
        prepared = prepare_training_case(files, cache, preset, healthy_cases=healthy_cases)
        return replace(prepared, patient=patient_of(files, data))
    except CaseError as error:
        return SkippedCase(files.case_id, str(error))


def _unusable_message(data: Path, reasons: Sequence[str]) -> str:
    """How many cases are unusable, and the first two reasons: more would make no line that can be read."""
    count = len(reasons)
    more = f"; and {count - SHOWN_REASONS} more" if count > SHOWN_REASONS else ""
    return (
        f"{data}: {count} case{'s' * (count != 1)} cannot be used: {'; '.join(reasons[:SHOWN_REASONS])}{more}; "
        f"'eenet-train check {data}' lists them all; mend them, or train without them with --skip-bad"
    )


def prepare_training_case(
    files: CaseFiles, cache: Path, preset: GeometryPreset, *, healthy_cases: bool = False
) -> PreparedCase:
    """Prepare one case by the same road as inference, or find it in the cache.

    Args:
        files, cache, preset, healthy_cases: as in `prepare_dataset`.

    Raises:
        CaseError: the case cannot be read, or its label is empty and must not be.
        OutputError: the cache cannot be written.
    """
    hashes = image_hashes(files)
    key = _cache_key(files, preset, hashes)
    entry = PreparedCase(
        files.case_id,
        cache / f"{key}.volume.npy",
        cache / f"{key}.target.npy",
        image_hashes=tuple(sorted(set(hashes.values()))),
    )
    if not (entry.volume_path.is_file() and entry.target_path.is_file()):
        images = read_case(files)
        network_input = prepare(images, preset)
        stored = read_label(files, images)
        if not healthy_cases:
            require_tumour(files, stored)
        labels = to_network_axes(stored, images.grid)
        # Training reads whole voxels: the channels, which engines want first, come last on disk.
        _save(entry.volume_path, network_input.volume.astype(np.float16, order="C"))
        _save(entry.target_path, label_fractions(labels, network_input.placement))
    elif not healthy_cases:
        # Another training may have put a healthy head there.
        require_tumour(files, entry.target()[..., 1:])
    return entry


def require_tumour(files: CaseFiles, labels: NDArray[np.uint8]) -> None:
    """Refuse a label without any tumour: in a data set of patients with tumours it is a file gone wrong.

    Raises:
        CaseError: all voxels are background.
    """
    if not labels.any():
        expected = ", ".join(map(str, sorted(files.scheme.file_values[1:])))
        raise CaseError(
            f"{files.label}: no tumour voxel found, expected some with the values {expected}", code="empty-label"
        )


def label_fractions(labels: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
    """Share of each class in each voxel of the network's grid.

    Args:
        labels: uint8 classes on the source grid, network axes.
        placement: where the network's grid lies in it.

    Returns:
        uint8 (H, W, D, 4) in 255ths that add up to 255; outside the source everything is background.
    """
    shape = tuple(axis.network_size for axis in placement.axes)
    fractions = np.zeros((*shape, NUM_CLASSES), dtype=np.uint8)
    for label in (Label.NCR, Label.ED, Label.ET):
        share = placement.to_network((labels == label).astype(np.float32))
        # Down, not to the nearest: three classes rounded up could add up to more than the whole.
        fractions[..., label] = (share * FULL + 1e-3).astype(np.uint8)
    fractions[..., Label.BACKGROUND] = FULL - fractions[..., 1:].sum(axis=-1, dtype=np.uint8)
    return fractions


def require_cases(count: int, validation: int) -> None:
    """Check that something is left to train on.

    Raises:
        TrainingError: as many cases are to be held out as there are, or more.
    """
    if not 0 <= validation < count:
        raise TrainingError(
            f"{validation} validation cases asked for among {count} cases with labels; expected 0 or more, and at "
            "least one must be left to train on"
        )


def image_hashes(files: CaseFiles) -> dict[Path, str]:
    """SHA-256 of each image file of a case, as stored.

    Raises:
        CaseError: one cannot be read.
    """
    return {path: sha256_of_image(path) for path in {source.path for source in files.images.values()}}


def _cache_key(files: CaseFiles, preset: GeometryPreset, hashes: Mapping[Path, str]) -> str:
    """Name of a cache entry: all that its content depends on."""
    assert files.label is not None
    label = (files.scheme.file_values, sha256_of_image(files.label))
    images = [(m.value, hashes[files.images[m].path], files.images[m].channel) for m in CHANNEL_ORDER]
    content = json.dumps([CACHE_VERSION, NORMALIZATION, asdict(preset), images, label], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _save(path: Path, array: NDArray[np.generic]) -> None:
    with open_for_replace(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)
