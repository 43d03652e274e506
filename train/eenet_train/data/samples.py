"""Which part of which case a gradient step reads, and in which order; the same numbers give the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.labels import Label
from eenet_train.data.data import FULL, PreparedCase
from eenet_train.recipe.augmentation import augment
from eenet_train.recipe.recipe import Augmentation

TUMOUR_SHARE: Final = 0.85
"""Share of the crops that are centred near the tumour; the others lie anywhere."""


@dataclass(frozen=True)
class Sample:
    """What one gradient step reads.

    Attributes:
        volume: float32 (h, w, D, 4).
        target: float32 (h, w, D, 4), fractions that add up to 1.
    """

    volume: NDArray[np.float32]
    target: NDArray[np.float32]


def training_sample(
    cases: Sequence[PreparedCase], crop: tuple[int, int], augmentation: Augmentation, seed: int, index: int
) -> Sample:
    """A sample by its number; the same arguments give the same sample.

    Every case comes once before any comes again. Crops have the full depth, because the depth strides need it.

    Args:
        cases: the training cases.
        crop: size along H and W.
        augmentation: random changes.
        seed: of the whole training.
        index: number of the sample, from 0.
    """
    lap, position = divmod(index, len(cases))
    case = cases[np.random.default_rng((seed, 0, lap)).permutation(len(cases))[position]]
    rng = np.random.default_rng((seed, 1, index))
    volume, target = _cut(case, crop, _random_corner(case.target(), crop, rng))
    return Sample(*augment(volume, target, augmentation, rng))


def centred_sample(case: PreparedCase, crop: tuple[int, int]) -> Sample:
    """A case's crop around the middle of its tumour (of the volume, where there is none), unchanged."""
    target = case.target()
    columns = np.argwhere((target[..., 1:] > FULL // 2).any(axis=(2, 3)))
    middle = columns.mean(axis=0) if len(columns) else np.array(target.shape[:2]) / 2
    corner = np.clip(np.round(middle - np.array(crop) / 2), 0, np.subtract(target.shape[:2], crop)).astype(int)
    return Sample(*_cut(case, crop, (int(corner[0]), int(corner[1]))))


def _cut(
    case: PreparedCase, crop: tuple[int, int], corner: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    window = np.s_[corner[0] : corner[0] + crop[0], corner[1] : corner[1] + crop[1]]
    return case.volume()[window].astype(np.float32), case.target()[window].astype(np.float32) / np.float32(FULL)


def _random_corner(target: NDArray[np.uint8], crop: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
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
