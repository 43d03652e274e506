"""Small pairs of masks, and what the challenges' package says of them.

The figures were computed on 29 November 2026 by `brats-evaluation` 0.0.10 with panoptica 2.1.7 (`brats-evaluate
--config gli`), from NIfTI files of these arrays with voxels of 1 mm. Figures are facts; no code of the package is here.
"""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.labels import Label, Region

Labels = NDArray[np.uint8]


class Said(NamedTuple):
    """What the package says of one region; None for NaN."""

    dice: float | None
    hd95: float | None
    matched_dice: float | None
    matched_hd95: float | None
    found: int
    false: int
    missed: int


def _labels(*cubes: tuple[int, int, int, int], value: Label = Label.ET) -> Labels:
    """Cubes: where each begins along the three axes, and its edge."""
    volume = np.zeros((40, 24, 20), np.uint8)
    for x, y, z, edge in cubes:
        volume[x : x + edge, y : y + edge, z : z + edge] = value
    return volume


def _split() -> Labels:
    halves = _labels((5, 5, 5, 10))
    halves[9:11] = 0
    return halves


def _bridge() -> Labels:
    joined = _labels((5, 5, 5, 5), (22, 5, 5, 4))
    joined[10:22, 6, 6] = Label.ET
    return joined


def _tail() -> Labels:
    tailed = _labels((5, 5, 5, 6))
    tailed[11:31, 6, 6] = Label.ET
    return tailed


def _nested(at: int, core: int, enhancing: int) -> Labels:
    """Oedema around necrosis around enhancing tumour."""
    labels = _labels((at, 5, 5, 8), value=Label.ED)
    labels[core : core + 4, 7:11, 7:11] = Label.NCR
    labels[8 : 8 + enhancing, 8:10, 8:10] = Label.ET
    return labels


def _stray() -> tuple[Labels, Labels]:
    truth = _labels((4, 4, 4, 7), (20, 12, 8, 5))
    mask = np.roll(truth, (1, -1, 1), (0, 1, 2))
    for x, y, z in np.random.default_rng(3).integers(0, 18, (5, 3)):
        mask[x + 18 : x + 20, y : y + 2, z : z + 2] = Label.ET
    return mask, truth


def mask_and_truth(name: str) -> tuple[Labels, Labels]:
    """The mask and the truth of a name of `PACKAGE_SAYS`, as network classes, (40, 24, 20)."""
    cube = _labels((5, 5, 5, 6))
    pairs = {
        "both empty": (_labels(), _labels()),
        "empty truth": (_labels((5, 5, 5, 4)), _labels()),
        "empty mask": (_labels(), _labels((5, 5, 5, 4))),
        "the same voxel": (_labels((5, 5, 5, 1)), _labels((5, 5, 5, 1))),
        "one voxel of a cube": (_labels((7, 6, 6, 1)), cube),
        "apart": (_labels((25, 5, 5, 4)), _labels((5, 5, 5, 4))),
        "moved by one voxel": (_labels((6, 5, 5, 6)), cube),
        "cubes that touch at a corner": (_labels((5, 5, 5, 4)), _labels((5, 5, 5, 4), (9, 9, 9, 4))),
        "lesions three voxels apart, one missed": (_labels((5, 5, 5, 5)), _labels((5, 5, 5, 6), (14, 5, 5, 5))),
        "two false lesions": (_labels((6, 5, 5, 6), (25, 5, 5, 3), (32, 5, 5, 1)), cube),
        "a lesion found in two pieces": (_split(), _labels((5, 5, 5, 10))),
        "two lesions found as one": (_bridge(), _labels((5, 5, 5, 5), (22, 5, 5, 4))),
        "nested classes": (_nested(6, 8, 3), _nested(5, 7, 2)),
        "a tail": (_tail(), cube),
        "stray pieces": _stray(),
    }
    return pairs[name]


PACKAGE_SAYS: Final[dict[str, dict[Region, Said]]] = {
    "both empty": {Region.ET: Said(None, None, None, None, 0, 0, 0)},
    "empty truth": {Region.ET: Said(0.0, inf, 0.0, inf, 0, 1, 0)},
    "empty mask": {Region.ET: Said(0.0, inf, 0.0, inf, 0, 0, 1)},
    "the same voxel": {Region.ET: Said(1.0, 0.0, 1.0, 0.0, 1, 0, 0)},
    "one voxel of a cube": {
        Region.ET: Said(0.009216589861751152, 5.493840584077656, 0.009216589861751152, 5.493840584077656, 1, 0, 0)
    },
    "apart": {Region.ET: Said(0.0, inf, 0.0, inf, 0, 1, 1)},
    "moved by one voxel": {Region.ET: Said(0.8333333333333334, 1.0, 0.8333333333333334, 1.0, 1, 0, 0)},
    "cubes that touch at a corner": {
        Region.ET: Said(0.6666666666666666, 5.830951894845301, 0.6666666666666666, 5.830951894845301, 1, 0, 0)
    },
    "lesions three voxels apart, one missed": {
        Region.ET: Said(0.5364806866952789, 9.0, 0.7331378299120235, 1.4142135623730951, 1, 0, 1)
    },
    "two false lesions": {Region.ET: Said(0.782608695652174, 16.0, 0.8333333333333334, 1.0, 1, 2, 0)},
    "a lesion found in two pieces": {Region.ET: Said(0.8888888888888888, 2.0, 0.5714285714285714, 6.0, 1, 1, 0)},
    "two lesions found as one": {Region.ET: Said(0.9692307692307692, 0.0, 0.7668711656441718, 16.0, 1, 0, 1)},
    "nested classes": {
        Region.ET: Said(0.8, 1.0, 0.8, 1.0, 1, 0, 0),
        Region.TC: Said(0.75, 1.0, 0.75, 1.0, 1, 0, 0),
        Region.WT: Said(0.875, 1.0, 0.875, 1.0, 1, 0, 0),
    },
    "a tail": {
        Region.ET: Said(0.9557522123893806, 3.8999999999999773, 0.9557522123893806, 3.8999999999999773, 1, 0, 0)
    },
    "stray pieces": {
        Region.ET: Said(0.5737704918032787, 7.031980515339459, 0.570868804664723, 1.4142135623730951, 2, 5, 0)
    },
}

ANISOTROPIC_MM: Final = (0.5, 1.2, 3.0)
MATCHED_HD95_AT_ANISOTROPIC: Final = {
    "one voxel of a cube": 12.568213915667105,
    "moved by one voxel": 0.5,
    "cubes that touch at a corner": 12.375231761982542,
    "lesions three voxels apart, one missed": 3.0,
    "two false lesions": 0.5,
    "a lesion found in two pieces": 3.0,
    "two lesions found as one": 8.0,
    "nested classes": 0.5,
    "a tail": 1.9499999999999886,
    "stray pieces": 3.0650959697542195,
}
"""HD95 of matched lesions, ET, in millimetres. The package read files whose sizes along X and Z were exchanged, because
it exchanges them itself; it takes them in single precision."""
