"""A study of four series that come registered and stripped, so that a tiny model segments it in no time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.labels import Modality
from tests.dicom_studies import AGENT, FLAIR_PHYSICS, T1_PHYSICS, T2_PHYSICS, FakeSeries, write_study
from tests.synthetic import Head, make_head

HEAD_SHAPE: Final = (48, 56, 46)
_SERIES: Final[dict[Modality, dict[str, Any]]] = {
    Modality.T1: {"number": 2, "description": "t1_mprage", "time": "100100", "tags": dict(T1_PHYSICS)},
    Modality.FLAIR: {"number": 3, "description": "t2_tirm_dark-fluid", "time": "100200", "tags": dict(FLAIR_PHYSICS)},
    Modality.T2: {"number": 4, "description": "t2_tse_tra", "time": "100300", "tags": dict(T2_PHYSICS)},
    Modality.T1CE: {"number": 6, "description": "t1_mprage +KM", "time": "100900", "tags": {**T1_PHYSICS, **AGENT}},
}


@dataclass(frozen=True)
class ImageSeries(FakeSeries):
    """A series of an image (X, Y, Z), stored LPS."""

    image: NDArray[Any] = field(default_factory=lambda: np.zeros((1, 1, 1), np.int16))

    def pixels(self) -> NDArray[Any]:
        """(slices, rows, columns)."""
        return np.ascontiguousarray(self.image.transpose(2, 1, 0)).astype(self.dtype)


def registered_series(head: Head, modality: Modality, **changes: Any) -> ImageSeries:
    """One series of a head that is stored LPS."""
    columns, rows, slices = head.shape
    spacing = float(head.affine[2, 2])
    values: dict[str, Any] = {
        "shape": (slices, rows, columns), "spacing": (spacing,) * 3, "origin": (0.0, -float(head.affine[1, 3]), 0.0),
        "image": head.images[modality], **_SERIES[modality], **changes,
    }  # fmt: skip
    return ImageSeries(**values)


def big_head() -> Head:
    """At 2 mm, as large as what is taken for a head."""
    return make_head(HEAD_SHAPE, 2.0)


def write_registered_study(folder: Path, head: Head | None = None, **changes: Any) -> Path:
    """Write the study; `changes` are those of every series."""
    head = head or big_head()
    return write_study(folder, [registered_series(head, modality, **changes) for modality in _SERIES])
