"""What can be chosen about phantoms, and what one phantom is."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.labels import Modality
from eenet_train.phantom.transfer.looks import LOOK_A, LOOK_B

BRATS_AFFINE: Final = np.array(
    [[-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 239.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
"""The BraTS header: 1 mm, x to the left, y to the back, z up."""


@dataclass(frozen=True)
class TumourSettings:
    """Sizes and kinds of tumours.

    The medians are those of the 484 training cases of the Medical Segmentation Decathlon, Task01 (docs/data.md,
    "Sizes of tumours"); with these spreads (standard deviation of the natural logarithm) nearly all cases lie within
    tenfold either way.

    Attributes:
        oedema_ml, enhancing_ml, necrotic_ml: median volumes of a case.
        spread: standard deviation of the logarithm of the whole tumour's size.
        part_spread: the same for each part, beside the common size.
        low_grade: share of cases without enhancement.
        counts: share of cases with one, two, three tumours.
        rim_mm: thinnest and thickest mean enhancing rim.
    """

    oedema_ml: float = 54.0
    enhancing_ml: float = 15.0
    necrotic_ml: float = 12.0
    spread: float = 0.65
    part_spread: float = 0.45
    low_grade: float = 0.15
    counts: tuple[float, float, float] = (0.7, 0.2, 0.1)
    rim_mm: tuple[float, float] = (2.0, 6.0)


@dataclass(frozen=True)
class ScannerSettings:
    """How the images are taken.

    Attributes:
        noise: smallest and largest standard deviation of the Rician noise, relative to white matter.
        bias: largest standard deviation of the logarithm of the bias field.
        thick_slice: chance that a modality is taken in thick slices.
        slice_mm: thinnest and thickest such slice, in whole millimetres.
        brightness: smallest and largest int16 value of white matter.
        contrast_spread: standard deviation of the logarithm of each tissue's signal, from modality to modality.
        conspicuity: how far tumour tissue stands out from normal white matter, smallest and largest; 1 is the full
            contrast of the table, 0 would be invisible. One value for all images of a case.
    """

    noise: tuple[float, float] = (0.012, 0.035)
    bias: float = 0.06
    thick_slice: float = 0.3
    slice_mm: tuple[int, int] = (2, 5)
    brightness: tuple[float, float] = (150.0, 900.0)
    contrast_spread: float = 0.05
    conspicuity: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class PhantomSettings:
    """Everything that can be chosen; the defaults are what the command line makes.

    Attributes:
        tumour, scanner: of the simple kinds.
        look: name of a look of the wide kind (`eenet_train.phantom.transfer.looks.LOOKS`), which then decides
            everything; empty for the simple kinds.
    """

    tumour: TumourSettings = field(default_factory=TumourSettings)
    scanner: ScannerSettings = field(default_factory=ScannerSettings)
    look: str = ""


STANDARD: Final = PhantomSettings()
"""Clear images of mostly single tumours."""
HARD: Final = PhantomSettings(
    TumourSettings(low_grade=0.25, counts=(0.45, 0.3, 0.25)),
    ScannerSettings(
        noise=(0.02, 0.05),
        bias=0.12,
        thick_slice=0.45,
        contrast_spread=0.08,
        conspicuity=(0.7, 1.0),
    ),
)
"""Fainter tumours in noisier, more shaded and more often thick-sliced images; more of them multifocal or low-grade."""
WIDE: Final = PhantomSettings(look=LOOK_A.name)
"""Anatomy, disease, scanners and stripping that vary more than between patients: to train on what is to carry over."""
WIDE_B: Final = PhantomSettings(look=LOOK_B.name)
"""Another synthesis of the same things, to measure what was trained on `WIDE`; never to be trained on."""


class Difficulty(enum.StrEnum):
    """Kinds of phantoms by name."""

    STANDARD = "standard"
    HARD = "hard"
    WIDE = "wide"
    WIDE_B = "wide-b"

    @property
    def settings(self) -> PhantomSettings:
        """What the name stands for."""
        return {
            Difficulty.STANDARD: STANDARD,
            Difficulty.HARD: HARD,
            Difficulty.WIDE: WIDE,
            Difficulty.WIDE_B: WIDE_B,
        }[self]


@dataclass(frozen=True)
class Phantom:
    """One synthetic case.

    Attributes:
        case_id: a name that tells seed and index.
        images: int16, shape (240, 240, 155), 0 outside the brain and above 0 inside, for each modality.
        labels: network classes (`eenet_runtime.volumes.labels.Label`), uint8, same shape.
        affine: voxel to world in mm (RAS+), float64, shape (4, 4).
    """

    case_id: str
    images: dict[Modality, NDArray[np.int16]]
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]
