"""A real PACS takes what is written, keeps it in the patient's study, and gives it back voxel by voxel."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from eenet_runtime.dicom.studies import find_studies
from eenet_runtime.dicom.writing.saving import dataset_bytes, save_dataset
from eenet_runtime.dicom.writing.secondary_capture import overlay_objects, preview_object
from eenet_runtime.dicom.writing.seg import SegKind, segment_numbers, segmentation_object
from eenet_runtime.dicom.writing.source_images import source_images
from eenet_runtime.dicom.writing.structured_report import report_object
from eenet_runtime.volumes.labels import Modality
from eenet_runtime.volumes.measurements import measure
from tests.dicom_oracles import by_dcm2niix, on_grid, segments_by_dcmqi, segments_by_highdicom
from tests.dicom_results import MODEL, ResultInputs, identifiers
from tests.dicom_studies import SIX_SERIES, oblique, write_study
from tests.dicom_study import STUDY_TAGS, tumour_on
from tests.orthanc_server import OrthancServer


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six series, the T1ce oblique and of thick slices."""
    folder = tmp_path_factory.mktemp("study")
    series = [one.changed(tags={**STUDY_TAGS, **one.tags}) for one in SIX_SERIES]
    series[-1] = series[-1].changed(orientation=oblique(0.2, -0.35), spacing=(5.5, 10.0, 9.0))
    return write_study(folder, series)


@pytest.fixture(scope="module")
def inputs(study: Path) -> ResultInputs:
    """A tumour on the series that the rules find to be the T1ce."""
    (found,) = find_studies(study).studies
    (answer,) = (one for one in found.answers if one.role is Modality.T1CE)
    assert answer.chosen is not None
    source = source_images(answer.chosen.series)
    return ResultInputs(tumour_on(source.grid.shape), source, identifiers(source))


@pytest.fixture(scope="module")
def pacs(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    """Orthanc, which holds the study."""
    with OrthancServer(tmp_path_factory.mktemp("orthanc")) as server:
        server.store(study)
        yield server


@pytest.mark.parametrize("kind", list(SegKind))
def test_a_segmentation_comes_back_voxel_by_voxel_in_the_patients_study(
    kind: SegKind, inputs: ResultInputs, pacs: OrthancServer, study: Path, tmp_path: Path
) -> None:
    dataset = segmentation_object(inputs.labels, inputs.source, MODEL, inputs.ids, kind)
    assert dataset is not None
    # Both kinds have one identifier, for they are one result: a PACS of a test's own would keep the first.
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(inputs.ids.uid(f"test-{kind}"))
    answer = pacs.post("/instances", dataset_bytes(dataset))
    assert answer["Status"] == "Success"
    (tmp_path / "back.dcm").write_bytes(pacs.get_bytes(f"/instances/{answer['ID']}/file"))
    back = dcmread(tmp_path / "back.dcm")
    assert back.PixelData == dataset.PixelData
    assert pacs.get("/statistics")["CountStudies"] == 1
    grid = inputs.source.grid
    numbers = segment_numbers(back, inputs.ids)
    assert list(numbers.values()) == [1, 2, 3]  # so numbers are classes
    for segments in (
        segments_by_highdicom(tmp_path / "back.dcm", grid),
        segments_by_dcmqi(tmp_path / "back.dcm", tmp_path / "dcmqi", grid),
    ):
        np.testing.assert_array_equal(segments, inputs.labels)
    (theirs,) = by_dcm2niix(study / "S6", tmp_path / "niftis")
    canonical = on_grid(np.ones(theirs.shape, np.uint8), theirs.affine, grid)
    assert canonical.all()  # dcm2niix has every voxel of the series where the mask's grid has it


def test_a_result_that_is_sent_again_is_the_one_that_is_there(
    inputs: ResultInputs, pacs: OrthancServer, tmp_path: Path
) -> None:
    contents = set()
    for name in ("first.dcm", "again.dcm"):
        dataset = segmentation_object(inputs.labels, inputs.source, MODEL, inputs.ids)
        assert dataset is not None
        save_dataset(dataset, tmp_path / name)
        contents.add((tmp_path / name).read_bytes())
        pacs.store(tmp_path / name)
    assert len(contents) == 1
    held = pacs.files(SOPInstanceUID=inputs.ids.uid("seg"))
    assert [dcmread(io.BytesIO(one)).Modality for one in held] == ["SEG"]


def test_the_report_and_the_pictures_come_back_in_the_patients_study(
    inputs: ResultInputs, pacs: OrthancServer, tmp_path: Path
) -> None:
    seg = segmentation_object(inputs.labels, inputs.source, MODEL, inputs.ids)
    measured = measure(inputs.labels, inputs.source.grid)
    values = np.random.default_rng(0).integers(0, 900, inputs.source.grid.shape)
    slices = overlay_objects(values, inputs.labels, inputs.source, MODEL, inputs.ids)
    preview = np.random.default_rng(1).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    sent = {
        "SR": [report_object(measured, inputs.source, seg, MODEL, inputs.ids, {"peak": 0.05}, ("a warning",))],
        "OT": [preview_object(preview, inputs.source, MODEL, inputs.ids), *slices],
    }
    for modality, objects in sent.items():
        for number, dataset in enumerate(objects):
            save_dataset(dataset, tmp_path / f"{modality}{number}.dcm")
            pacs.store(tmp_path / f"{modality}{number}.dcm")
    assert pacs.get("/statistics")["CountStudies"] == 1
    (report,) = pacs.files(SOPInstanceUID=inputs.ids.uid("report"))
    (tmp_path / "report.dcm").write_bytes(report)
    groups = hd.sr.srread(tmp_path / "report.dcm").content.get_volumetric_roi_measurement_groups()
    volumes = [group.get_measurements(name=codes.SCT.Volume)[0].value for group in groups]
    assert volumes == [round(measured.volumes_ml[name], 3) for name in ("NCR", "ED", "ET")]
    shown = [dcmread(io.BytesIO(file)) for file in pacs.files(SeriesInstanceUID=inputs.ids.uid("overlay-series"))]
    assert {one.InstanceNumber: one.PixelData for one in shown} == {one.InstanceNumber: one.PixelData for one in slices}
