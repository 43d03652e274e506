"""Pictures of a result as Secondary Capture: the pixels that were drawn, where the patient has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from eenet_runtime.dicom.writing.identifiers import device_uid
from eenet_runtime.dicom.writing.saving import dataset_bytes, save_dataset
from eenet_runtime.dicom.writing.secondary_capture import overlay_objects, preview_object
from eenet_runtime.results.slice_pictures import draw_slices
from eenet_runtime.volumes.labels import Label
from tests.dicom_oracles import errors_of
from tests.dicom_results import MODEL, ResultInputs, result_inputs
from tests.dicom_studies import CORONAL, SAGITTAL, FakeSeries, oblique
from tests.report_oracles import own_equipment

GEOMETRIES = {
    "axial": FakeSeries(),
    "sagittal": FakeSeries(orientation=SAGITTAL),
    "coronal": FakeSeries(orientation=CORONAL),
    "oblique": FakeSeries(orientation=oblique(), spacing=(4.0, 2.0, 3.0), shape=(24, 70, 60)),
}


def values_of(inputs: ResultInputs) -> NDArray[np.int16]:
    return np.random.default_rng(5).integers(100, 900, inputs.source.grid.shape).astype(np.int16)


def overlay(inputs: ResultInputs) -> list[Dataset]:
    return overlay_objects(values_of(inputs), inputs.labels, inputs.source, MODEL, inputs.ids)


def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (40, 60, 3)).astype(np.uint8)


def places_of_colour(dataset: Dataset, rows: int) -> NDArray[np.float64]:
    """World places (LPS) of the coloured pixels above the strip of words, by the header alone: (n, 3)."""
    pixels = dataset.pixel_array
    found = np.argwhere((pixels.max(axis=-1) > pixels.min(axis=-1))[:rows])
    along_row, along_column = np.array(dataset.ImageOrientationPatient).reshape(2, 3)
    between_rows, between_columns = dataset.PixelSpacing
    return np.asarray(
        np.array(dataset.ImagePositionPatient)
        + found[:, :1] * between_rows * along_column
        + found[:, 1:] * between_columns * along_row
    )


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> ResultInputs:
    """A tumour on an axial series."""
    return result_inputs(tmp_path_factory.mktemp("inputs") / "in")


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_slices_validate_and_hold_the_pixels_that_were_drawn(name: str, tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in", GEOMETRIES[name])
    drawn = draw_slices(values_of(inputs), inputs.labels, inputs.source.grid, "research use, not for diagnosis")
    objects = overlay(inputs)
    assert len(objects) == len(drawn.pixels)
    for dataset, pixels in zip(objects, drawn.pixels, strict=True):
        save_dataset(dataset, tmp_path / "slice.dcm")
        np.testing.assert_array_equal(dcmread(tmp_path / "slice.dcm").pixel_array, pixels)
    assert errors_of(tmp_path / "slice.dcm") == []


@pytest.mark.parametrize("name", GEOMETRIES)
def test_colours_lie_beside_the_masks_voxels_by_the_slices_own_headers(name: str, tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in", GEOMETRIES[name])
    grid = inputs.source.grid
    drawn = draw_slices(values_of(inputs), inputs.labels, grid, "")
    seen = 0
    for dataset in overlay(inputs):
        places = places_of_colour(dataset, drawn.image[0].stop) * [-1, -1, 1]
        voxels = (np.linalg.inv(grid.affine) @ np.c_[places, np.ones(len(places))].T)[:3].T
        nearest = np.rint(voxels).astype(int)
        # A line lies outside of its region by one pixel: in a voxel of another class than some voxel beside it.
        for x, y, z in nearest.clip(0, np.array(grid.shape) - 1):
            beside = inputs.labels[max(0, x - 1) : x + 2, max(0, y - 1) : y + 2, max(0, z - 1) : z + 2]
            assert len(np.unique(beside)) > 1
        seen += len(places)
    assert seen > 0


def test_slices_are_numbered_upwards_in_one_series_and_one_frame_of_reference(tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in", GEOMETRIES["oblique"])
    objects = overlay(inputs)
    assert [one.InstanceNumber for one in objects] == list(range(1, len(objects) + 1))
    heights = [one.ImagePositionPatient[2] for one in objects]
    assert heights == sorted(heights)
    assert len({one.SOPInstanceUID for one in objects}) == len(objects)
    for dataset in objects:
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.SeriesInstanceUID == objects[0].SeriesInstanceUID
        assert dataset.FrameOfReferenceUID == inputs.source.datasets[0].FrameOfReferenceUID
        assert "NumberOfFrames" not in dataset
    steps = np.diff([one.ImagePositionPatient for one in objects], axis=0)
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), objects[0].SpacingBetweenSlices, rtol=1e-5)


def test_an_empty_mask_has_slices_without_a_colour(usual: ResultInputs) -> None:
    labels = np.zeros_like(usual.labels)
    rows = draw_slices(values_of(usual), labels, usual.source.grid, "").image[0].stop
    for dataset in overlay_objects(values_of(usual), labels, usual.source, MODEL, usual.ids):
        assert len(places_of_colour(dataset, rows)) == 0


def test_the_preview_holds_the_pictures_pixels_and_validates(usual: ResultInputs, tmp_path: Path) -> None:
    save_dataset(preview_object(picture(), usual.source, MODEL, usual.ids), tmp_path / "preview.dcm")
    found = dcmread(tmp_path / "preview.dcm")
    np.testing.assert_array_equal(found.pixel_array, picture())
    assert errors_of(tmp_path / "preview.dcm") == []
    assert (found.SeriesNumber, found.InstanceNumber) == (902, 1)
    assert found.SeriesDescription == "EENet preview (research, not for diagnosis)"
    assert "ImagePositionPatient" not in found


def test_pictures_say_who_made_them_of_what_and_what_they_are_not_for(usual: ResultInputs) -> None:
    for dataset in (preview_object(picture(), usual.source, MODEL, usual.ids), overlay(usual)[-1]):
        assert dataset.BodyPartExamined == "BRAIN"
        assert dataset.Modality == "OT"
        assert "research use, not for diagnosis" in dataset.DerivationDescription
        assert dataset.BurnedInAnnotation == "NO"
        assert dataset.LossyImageCompression == "00"
        assert list(dataset.PatientOrientation) == ["L", "P"]
        own = own_equipment(dataset)
        assert own is not None
        assert own.DeviceUID == device_uid(MODEL.bundle_id)
        assert dataset.PatientName == usual.source.datasets[0].PatientName
        assert dataset.StudyInstanceUID == usual.source.datasets[0].StudyInstanceUID


def test_pictures_of_images_that_lost_something_say_so(tmp_path: Path) -> None:
    tags = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 10,
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    inputs = result_inputs(tmp_path / "in", FakeSeries(tags=tags))
    assert overlay(inputs)[0].LossyImageCompression == "01"


def test_the_same_input_gives_the_same_bytes_and_the_clock_takes_no_part(usual: ResultInputs, tmp_path: Path) -> None:
    first, again = usual, result_inputs(tmp_path / "again")
    assert list(map(dataset_bytes, overlay(first))) == list(map(dataset_bytes, overlay(again)))
    one, other = (preview_object(picture(), inputs.source, MODEL, inputs.ids) for inputs in (first, again))
    assert dataset_bytes(one) == dataset_bytes(other)
    for dataset in (one, overlay(first)[3]):
        assert (str(dataset.ContentDate), str(dataset.ContentTime)) == ("20260102", "100000")
        assert (str(dataset.DateOfSecondaryCapture), str(dataset.TimeOfSecondaryCapture)) == ("20260102", "100000")
        assert "InstanceCreationDate" not in dataset


@pytest.mark.parametrize(
    ("character_set", "patient"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "Łuczak^Zażółć=山田^太郎"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ],
    ids=["Latin", "UTF-8", "Japanese"],
)
def test_the_patients_name_survives_in_its_own_characters(character_set: Any, patient: str, tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in", FakeSeries(patient=patient, character_set=character_set))
    for name, dataset in {
        "preview": preview_object(picture(), inputs.source, MODEL, inputs.ids),
        "slice": overlay(inputs)[-1],
    }.items():
        save_dataset(dataset, tmp_path / name)
        assert str(dcmread(tmp_path / name).PatientName) == patient
        assert errors_of(tmp_path / name) == []


def test_pictures_of_a_whole_head_are_few_megabytes(tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in", FakeSeries(shape=(4, 512, 448), spacing=(2.0, 0.45, 0.45)))
    labels = np.zeros_like(inputs.labels)
    labels[100:200, 100:200, 1:3] = Label.ED
    objects = overlay_objects(values_of(inputs), labels, inputs.source, MODEL, inputs.ids)
    assert max(len(one.PixelData) for one in objects) < 3 * 256 * 290
