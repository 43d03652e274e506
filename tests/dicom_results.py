"""What tests of written DICOM objects start from: a series on disk, a model that nobody made, identifiers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.dicom.scanning import scan
from eenet_runtime.dicom.series import Series, series_of
from eenet_runtime.dicom.writing.identifiers import ResultIdentifiers, result_identifiers
from eenet_runtime.dicom.writing.model_identity import ModelIdentity
from eenet_runtime.dicom.writing.source_images import SourceImages, source_images
from tests.dicom_studies import FakeSeries, enhanced, write_series
from tests.dicom_study import STUDY_TAGS, tumour_on

MODEL: Final = ModelIdentity("eenet-demo", "0123456789abcdef", "0.1.0", "openvino 2026.1", "int8")

_AXIAL: Final = FakeSeries()


@dataclass(frozen=True)
class ResultInputs:
    """What every function that writes an object takes."""

    labels: NDArray[np.uint8]
    source: SourceImages
    ids: ResultIdentifiers


def only_series(folder: Path) -> Series:
    """The one series of a folder."""
    (found,) = series_of(scan(folder).instances)
    return found


def identifiers(source: SourceImages, bundle_id: str = MODEL.bundle_id) -> ResultIdentifiers:
    """Of a result that was made from one series."""
    files = [str(file.SOPInstanceUID) for file in source.datasets]
    return result_identifiers(source.series.first.study_uid, files, bundle_id, MODEL.settings)


def inputs_of(folder: Path, labels: tuple[int, ...] = (2, 3, 1)) -> ResultInputs:
    """A tumour of three shells on the one series of a folder."""
    source = source_images(only_series(folder))
    return ResultInputs(tumour_on(source.grid.shape, labels), source, identifiers(source))


def result_inputs(folder: Path, series: FakeSeries = _AXIAL, *, as_enhanced: bool = False) -> ResultInputs:
    """The same on a series that is written first, into a folder that is made for it; with what `STUDY_TAGS` says."""
    series = series.changed(tags={**STUDY_TAGS, **series.tags})
    folder.mkdir()
    if as_enhanced:
        enhanced(series).save_as(folder / "one", enforce_file_format=True)
    else:
        write_series(folder, series)
    return inputs_of(folder)
