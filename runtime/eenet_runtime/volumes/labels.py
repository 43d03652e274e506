"""The vocabulary that training, export and inference share: modalities, labels, regions and label schemes.

Inside the toolkit a label volume always holds the network's class numbers (`Label`). Files hold the numbers of a
*scheme*; `LabelScheme.to_file` and `LabelScheme.from_file` are the only places where one becomes the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError


class Modality(StrEnum):
    """The four MRI contrasts. The order of the members is the network's channel order."""

    T1 = "t1"
    """T1-weighted, native."""
    T1CE = "t1ce"
    """T1-weighted after gadolinium (T1Gd, T1c)."""
    T2 = "t2"
    """T2-weighted."""
    FLAIR = "flair"
    """T2 with the fluid signal suppressed (T2-FLAIR)."""


CHANNEL_ORDER: Final[tuple[Modality, ...]] = tuple(Modality)
"""Channel order of the network's input (docs/network.md, "Axes": T1, T1ce, T2, FLAIR)."""


class Label(IntEnum):
    """The network's four classes, in the order of its output channels."""

    BACKGROUND = 0
    NCR = 1
    """Necrotic and non-enhancing tumour core."""
    ED = 2
    """Peritumoural oedema."""
    ET = 3
    """Enhancing tumour."""


NUM_CLASSES: Final = len(Label)

LABEL_TOLERANCE: Final = 1e-3
"""How far a stored label may lie from its whole number. Programs that resample or scale labels as real numbers leave
0.9999999; a label that was interpolated lies far from any."""


class Region(StrEnum):
    """The three nested regions that BraTS evaluates."""

    ET = "ET"
    TC = "TC"
    WT = "WT"

    @property
    def labels(self) -> tuple[Label, ...]:
        """The classes that make up this region."""
        return _REGION_LABELS[self]

    def mask(self, labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Voxels of this region.

        Args:
            labels: network class numbers, any shape.

        Returns:
            A boolean array of the same shape.
        """
        lookup = np.zeros(256, dtype=np.bool_)
        lookup[list(self.labels)] = True
        return lookup[labels]


_REGION_LABELS: Final = {
    Region.ET: (Label.ET,),
    Region.TC: (Label.NCR, Label.ET),
    Region.WT: (Label.NCR, Label.ED, Label.ET),
}


@dataclass(frozen=True)
class LabelScheme:
    """How a data set writes the four classes into a file.

    Attributes:
        name: the name users meet in options and reports.
        ncr, ed, et: the file values of the three tumour classes; background is always 0.
    """

    name: str
    ncr: int
    ed: int
    et: int

    @property
    def file_values(self) -> tuple[int, int, int, int]:
        """File value of each class, in the order of `Label`."""
        return (0, self.ncr, self.ed, self.et)

    @property
    def values_by_name(self) -> dict[str, int]:
        """File value of each class by the class's name, as reports write it."""
        return {label.name: self.file_values[label] for label in Label}

    def to_file(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate network classes into this scheme's file values (same shape, uint8)."""
        values = labels.copy(order="K")
        for label, value in zip(Label, self.file_values, strict=True):
            if value != label:
                np.copyto(values, np.uint8(value), where=labels == label)
        return values

    def from_file(self, values: NDArray[np.generic], source: str) -> NDArray[np.uint8]:
        """Translate file values into network classes.

        Args:
            values: label values as stored, any numeric dtype; each counts as the whole number that it is within
                `LABEL_TOLERANCE` of.
            source: name of the file, for the message.

        Raises:
            CaseError: a value that this scheme does not know.
        """
        labels = np.zeros_like(values, dtype=np.uint8)
        for label, value in zip(Label, self.file_values, strict=True):
            np.copyto(labels, np.uint8(label), where=values == value)
        if np.count_nonzero(labels) != np.count_nonzero(values):
            whole = whole_labels(values)
            if not np.array_equal(whole, values, equal_nan=True):
                return self.from_file(whole, source)
            unknown = sorted(set(np.unique(values).tolist()) - set(self.file_values))
            shown = ", ".join(f"{value:.10g}" for value in unknown[:5])
            raise CaseError(
                f"{source}: label values {shown} found, expected only "
                f"{', '.join(map(str, sorted(self.file_values)))} (scheme {self.name})",
                code="label-values",
            )
        return labels


def whole_labels(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Stored labels as whole numbers, where they lie within `LABEL_TOLERANCE` of one; the others as they are.

    Returns:
        float64 of the same shape, in the same order in memory.
    """
    found = values.astype(np.float64, order="K")
    whole = np.rint(found)
    with np.errstate(invalid="ignore"):  # infinity less infinity, which is near nothing
        np.copyto(found, whole, where=np.abs(found - whole) <= LABEL_TOLERANCE)
    return found


BRATS2020: Final = LabelScheme("brats2020", ncr=1, ed=2, et=4)
"""BraTS 2012-2021: 1 NCR/NET, 2 oedema, 4 enhancing; 3 is not used."""
BRATS2023: Final = LabelScheme("brats2023", ncr=1, ed=2, et=3)
"""BraTS 2023 and later; in 2024 the value 4 means resection cavity, which this network does not know."""
MSD: Final = LabelScheme("msd", ncr=2, ed=1, et=3)
"""Medical Segmentation Decathlon Task01: 1 oedema, 2 non-enhancing, 3 enhancing."""

LABEL_SCHEMES: Final = {scheme.name: scheme for scheme in (BRATS2020, BRATS2023, MSD)}
