"""Headers that DICOM does not allow stop neither the report nor a picture, and nothing of them is said aloud."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from pydicom.dataset import Dataset

from eenet_runtime.dicom.writing.saving import save_dataset
from eenet_runtime.dicom.writing.secondary_capture import overlay_objects, preview_object
from eenet_runtime.dicom.writing.seg import segmentation_object
from eenet_runtime.dicom.writing.structured_report import report_object
from eenet_runtime.volumes.measurements import measure
from tests.dicom_oracles import errors_of
from tests.dicom_results import MODEL, ResultInputs, result_inputs
from tests.dicom_studies import FakeSeries

HEADERS: Final[dict[str, dict[str, Any]]] = {
    "senseless values": {
        "PatientBirthDate": "19xx", "PatientSex": "female", "StudyDate": "20261399", "StudyTime": "soon",
        "AcquisitionDate": "yesterday", "PatientAge": "***",
    },
    "nothing said": {
        "PatientName": None, "PatientID": None, "PatientBirthDate": None, "PatientSex": None, "StudyDate": None,
        "StudyTime": None, "StudyID": None, "AccessionNumber": None, "ReferringPhysicianName": None,
        "AcquisitionDate": None, "AcquisitionTime": None, "Manufacturer": None, "FrameOfReferenceUID": None,
        "SpecificCharacterSet": None,
    },
    # What highdicom warns of, and quotes.
    "a name of one component": {"PatientName": "Canary", "ReferringPhysicianName": "Canary"},
}  # fmt: skip


def objects(inputs: ResultInputs) -> dict[str, Dataset]:
    measured = measure(inputs.labels, inputs.source.grid)
    seg = segmentation_object(inputs.labels, inputs.source, MODEL, inputs.ids)
    values = np.ones(inputs.source.grid.shape, np.int16)
    return {
        "report": report_object(measured, inputs.source, seg, MODEL, inputs.ids, {}, ("", "thick slices")),
        "preview": preview_object(np.zeros((30, 40, 3), np.uint8), inputs.source, MODEL, inputs.ids),
        "slice": overlay_objects(values, inputs.labels, inputs.source, MODEL, inputs.ids)[-1],
    }


@pytest.mark.filterwarnings("ignore:(Invalid value|The value length)")
@pytest.mark.parametrize("name", HEADERS)
def test_report_and_pictures_are_made_and_validate(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inputs = result_inputs(tmp_path / "in", FakeSeries(tags=HEADERS[name]))
        made = objects(inputs)
    said = caplog.text + "".join(str(one.message) for one in caught) + "".join(capfd.readouterr())
    assert "Canary" not in said
    for kind, dataset in made.items():
        save_dataset(dataset, tmp_path / kind)
        assert errors_of(tmp_path / kind) == [], kind
