"""Training data: cases decoded and prepared once, kept on disk, and the samples that a step reads.

Targets are fractions: on a grid coarser than the file's, each class' 0/1 volume is resampled like an image, so a
voxel that a thin enhancing rim fills to three eighths says so. At inference the probabilities are interpolated back
and only then decided, which undoes such an average as well as it can be undone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.case_files import CaseFiles
from eenet_runtime.discovery import find_cases
from eenet_runtime.errors import TrainingError
from eenet_runtime.files import make_output_folder, open_for_replace, sha256_of_file
from eenet_runtime.grid import to_network_axes
from eenet_runtime.labels import CHANNEL_ORDER, NUM_CLASSES, Label
from eenet_runtime.normalization import NORMALIZATION
from eenet_runtime.placement import Placement
from eenet_runtime.preprocessing import prepare, read_case, read_label
from eenet_runtime.presets import GeometryPreset

CACHE_VERSION: Final = 1
"""Raise it when the same files would be prepared differently."""
FULL: Final = 255
"""A stored target holds fractions in 255ths: the four classes of a voxel add up to this."""

TUMOUR_SHARE: Final = 0.85
"""Share of the crops that are centred near the tumour; the others lie anywhere."""
LARGEST_SCALE: Final = 0.1
LARGEST_SHIFT: Final = 0.1
"""Intensities of each modality are multiplied by 1 +- scale and moved by +- shift (standard deviations)."""


@dataclass(frozen=True)
class PreparedCase:
    """One case as the network sees it, on disk.

    Attributes:
        case_id: its name.
        volume_path: .npy, float16 (H, W, D, 4), z-scored images in `CHANNEL_ORDER`.
        target_path: .npy, uint8 (H, W, D, 4), fractions of each class in 255ths, order of `Label`.
    """

    case_id: str
    volume_path: Path
    target_path: Path

    def volume(self) -> NDArray[np.float16]:
        """The images, mapped into memory and read where they are used."""
        return np.asanyarray(np.load(self.volume_path, mmap_mode="r"))

    def target(self) -> NDArray[np.uint8]:
        """The fractions, mapped into memory and read where they are used."""
        return np.asanyarray(np.load(self.target_path, mmap_mode="r"))


@dataclass(frozen=True)
class Sample:
    """What one gradient step reads.

    Attributes:
        volume: float32 (h, w, D, 4).
        target: float32 (h, w, D, 4), fractions that add up to 1.
    """

    volume: NDArray[np.float32]
    target: NDArray[np.float32]


def prepare_dataset(
    data: Path, cache: Path, preset: GeometryPreset, report: Callable[[int, int], None] | None = None
) -> tuple[PreparedCase, ...]:
    """Prepare every case with a label below a folder, unless the cache already holds it.

    Entries are named after the content of the files, the preset and the version of this code, and written under
    another name first: an interrupted preparation goes on where it stopped.

    Args:
        data: a folder in any layout that the runtime knows.
        cache: where prepared cases are kept; made if it does not exist.
        preset: geometry of the network.
        report: called with the cases done and the cases in all.

    Returns:
        The cases, in order of their names.

    Raises:
        DatasetError: no such folder, or no case in it.
        TrainingError: no case has a label.
        CaseError: a case that cannot be read.
        OutputError: the cache cannot be written.
    """
    found = find_cases(data)
    cases = [case for case in found.cases if case.label is not None]
    if not cases:
        reason = f"; the first one refused: {found.refused[0].reason}" if found.refused else ""
        raise TrainingError(f"{data}: {len(found.cases)} cases found, none with a label; training needs labels{reason}")
    make_output_folder(cache)
    prepared = []
    # Decompression and array work let go of the interpreter's lock, so two threads are nearly twice as quick.
    with ThreadPoolExecutor(max_workers=2) as pool:
        for entry in pool.map(lambda case: prepare_training_case(case, cache, preset), cases):
            prepared.append(entry)
            if report is not None:
                report(len(prepared), len(cases))
    return tuple(prepared)


def prepare_training_case(files: CaseFiles, cache: Path, preset: GeometryPreset) -> PreparedCase:
    """Prepare one case by the same road as inference, or find it in the cache.

    Raises:
        CaseError: the case cannot be read.
        OutputError: the cache cannot be written.
    """
    key = _cache_key(files, preset)
    entry = PreparedCase(files.case_id, cache / f"{key}.volume.npy", cache / f"{key}.target.npy")
    if not (entry.volume_path.is_file() and entry.target_path.is_file()):
        images = read_case(files)
        network_input = prepare(images, preset)
        labels = to_network_axes(read_label(files, images), images.grid)
        _save(entry.volume_path, network_input.volume.astype(np.float16))
        _save(entry.target_path, label_fractions(labels, network_input.placement))
    return entry


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


def split_cases(
    cases: Sequence[PreparedCase], validation: int, seed: int
) -> tuple[tuple[PreparedCase, ...], tuple[PreparedCase, ...]]:
    """Hold out `validation` cases, chosen by the seed: (training cases, validation cases), each in order of names.

    Raises:
        TrainingError: nothing would be left to train on.
    """
    if validation < 0 or validation >= len(cases):
        raise TrainingError(
            f"{validation} validation cases asked for among {len(cases)} cases with labels; at least one must be left "
            "to train on"
        )
    order = np.random.default_rng(seed).permutation(len(cases))
    held_out = set(order[len(cases) - validation :].tolist())
    training = tuple(case for index, case in enumerate(cases) if index not in held_out)
    return training, tuple(case for index, case in enumerate(cases) if index in held_out)


def training_sample(cases: Sequence[PreparedCase], crop: tuple[int, int], seed: int, step: int) -> Sample:
    """The sample of one gradient step; the same arguments give the same sample.

    Every case comes once before any comes again. Crops have the full depth, because the depth strides need it.

    Args:
        cases: the training cases.
        crop: size along H and W.
        seed: of the whole training.
        step: number of the gradient step, from 0.
    """
    lap, position = divmod(step, len(cases))
    case = cases[np.random.default_rng((seed, 0, lap)).permutation(len(cases))[position]]
    rng = np.random.default_rng((seed, 1, step))
    target = case.target()
    top, left = _crop_corner(target, crop, rng)
    window = np.s_[top : top + crop[0], left : left + crop[1]]
    volume = case.volume()[window].astype(np.float32)
    fractions = target[window].astype(np.float32) / FULL
    if rng.random() < 0.5:
        volume, fractions = volume[:, ::-1], fractions[:, ::-1]
    return Sample(_vary_intensities(volume, rng), np.ascontiguousarray(fractions))


def _crop_corner(target: NDArray[np.uint8], crop: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Lowest H and W of a crop that lies inside the volume."""
    room = np.subtract(target.shape[:2], crop, dtype=np.int64)
    corner = rng.integers(0, room + 1)
    # Columns of the volume by how much tumour they hold: small parts count as much as large ones would in any
    # single slice, and enhancing tumour is asked for half of the time because it is the smallest class.
    wanted = [Label.ET] if rng.random() < 0.5 else [Label.NCR, Label.ED, Label.ET]
    if room.any() and rng.random() < TUMOUR_SHARE:
        columns = np.argwhere((target[..., wanted] > FULL // 2).any(axis=(2, 3)))
        if len(columns):
            jitter = rng.integers(-(np.array(crop) // 4), np.array(crop) // 4 + 1)
            centre = columns[rng.integers(len(columns))] + jitter
            corner = np.clip(centre - np.array(crop) // 2, 0, room)
    return int(corner[0]), int(corner[1])


def _vary_intensities(volume: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Scale and shift each modality a little; the background stays exactly 0, as it is at inference."""
    scale = rng.uniform(1 - LARGEST_SCALE, 1 + LARGEST_SCALE, len(CHANNEL_ORDER)).astype(np.float32)
    shift = rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, len(CHANNEL_ORDER)).astype(np.float32)
    return np.where(volume == 0, np.float32(0), volume * scale + shift)


def _cache_key(files: CaseFiles, preset: GeometryPreset) -> str:
    """Name of a cache entry: all that its content depends on."""
    assert files.label is not None
    hashes = {path: sha256_of_file(path) for path in {source.path for source in files.images.values()}}
    images = [(m.value, hashes[files.images[m].path], files.images[m].channel) for m in CHANNEL_ORDER]
    label = (files.scheme.file_values, sha256_of_file(files.label))
    content = json.dumps([CACHE_VERSION, NORMALIZATION, asdict(preset), images, label], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _save(path: Path, array: NDArray[np.generic]) -> None:
    with open_for_replace(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)
