"""A study of four series that come registered and stripped, so that a tiny model segments it in no time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from eenet_runtime.volumes.labels import Modality
from tests.dicom_studies import FakeSeries, write_study
from tests.dicom_study import CONTRASTS, series_of_volume
from tests.synthetic import Head, make_head

HEAD_SHAPE: Final = (48, 56, 46)


def big_head() -> Head:
    """At 2 mm, as large as what is taken for a head."""
    return make_head(HEAD_SHAPE, 2.0)


def registered_series(head: Head, modality: Modality, **changes: Any) -> FakeSeries:
    """One series of a head; `changes` are fields of `FakeSeries`."""
    number, description, time, physics = CONTRASTS[modality]
    fields = {"number": number, "description": description, "time": time, "tags": dict(physics), **changes}
    return series_of_volume((head.images[modality], head.affine), "S", **fields)


def write_registered_study(folder: Path, head: Head | None = None, **changes: Any) -> Path:
    """Write the study; `changes` are those of every series."""
    head = head or big_head()
    return write_study(folder, [registered_series(head, modality, **changes) for modality in CONTRASTS])
