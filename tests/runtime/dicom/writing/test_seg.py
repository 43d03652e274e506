"""The Segmentation is the mask, voxel by voxel and by affine, for whoever reads it, and says what it has to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import highdicom as hd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from eenet_runtime.dicom.writing.identifiers import device_uid, tracking
from eenet_runtime.dicom.writing.model_identity import ModelIdentity
from eenet_runtime.dicom.writing.saving import dataset_bytes, save_dataset
from eenet_runtime.dicom.writing.seg import SegKind, fractional_object, segment_numbers, segmentation_object
from eenet_runtime.dicom.writing.source_images import source_images
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import NUM_CLASSES, Label
from tests.dicom_oracles import by_dcm2niix, errors_of, on_grid, segments_by_dcmqi, segments_by_highdicom
from tests.dicom_results import MODEL, ResultInputs, identifiers, inputs_of, only_series, result_inputs
from tests.dicom_studies import (
    CORONAL,
    SAGITTAL,
    T1_PHYSICS,
    FakeSeries,
    datasets,
    enhanced,
    oblique,
    write_series,
)
from tests.dicom_study import STUDY_TAGS, tumour_on

GEOMETRIES: Final = {
    "axial": FakeSeries(),
    "sagittal": FakeSeries(orientation=SAGITTAL),
    "coronal": FakeSeries(orientation=CORONAL),
    "oblique": FakeSeries(orientation=oblique()),
    "anisotropic": FakeSeries(orientation=oblique(-0.4, 0.6), spacing=(6.6, 0.9, 1.1), shape=(16, 13, 11)),
}
BOTH: Final = pytest.mark.parametrize("kind", list(SegKind))


def made(inputs: ResultInputs, kind: SegKind = SegKind.BINARY, model: ModelIdentity = MODEL) -> Dataset:
    found = segmentation_object(inputs.labels, inputs.source, model, inputs.ids, kind)
    assert found is not None
    return found


def labels_of(segments: NDArray[np.uint8], dataset: Dataset, inputs: ResultInputs) -> NDArray[np.uint8]:
    """Segment numbers as the classes that the object says they are."""
    labels = np.zeros_like(segments)
    for label, number in segment_numbers(dataset, inputs.ids).items():
        labels[segments == number] = label
    return labels


def assert_all_readers_find_the_mask(inputs: ResultInputs, kind: SegKind, folder: Path) -> None:
    dataset = made(inputs, kind)
    save_dataset(dataset, folder / "seg.dcm")
    grid = inputs.source.grid
    by_highdicom = segments_by_highdicom(folder / "seg.dcm", grid)
    by_dcmqi = segments_by_dcmqi(folder / "seg.dcm", folder / "dcmqi", grid)
    for segments in (by_highdicom, by_dcmqi):
        np.testing.assert_array_equal(labels_of(segments, dataset, inputs), inputs.labels)


@BOTH
@pytest.mark.parametrize("name", GEOMETRIES)
def test_highdicom_and_dcmqi_read_the_mask_voxel_by_voxel_by_affine(name: str, kind: SegKind, tmp_path: Path) -> None:
    assert_all_readers_find_the_mask(result_inputs(tmp_path / "in", GEOMETRIES[name]), kind, tmp_path)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_mask_lies_where_dcm2niix_has_the_series(name: str, tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in", GEOMETRIES[name])
    (theirs,) = by_dcm2niix(tmp_path / "in", tmp_path / "out")
    save_dataset(made(inputs), tmp_path / "seg.dcm")
    volume = hd.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    on_theirs = on_grid(volume.array, affine, Grid(theirs.shape, theirs.affine))
    on_ours = on_grid(volume.array, affine, inputs.source.grid)
    # Another order of the axes, and the same voxels at the same places.
    assert np.count_nonzero(on_theirs) == np.count_nonzero(on_ours) == np.count_nonzero(inputs.labels)


@BOTH
def test_the_mask_on_enhanced_mr_names_the_file_and_the_frame(kind: SegKind, tmp_path: Path) -> None:
    series = FakeSeries(orientation=oblique(), tags=dict(T1_PHYSICS))
    inputs = result_inputs(tmp_path / "in", series, as_enhanced=True)
    assert_all_readers_find_the_mask(inputs, kind, tmp_path)
    file = dcmread(next((tmp_path / "in").iterdir()))
    found = dcmread(tmp_path / "seg.dcm")
    assert errors_of(tmp_path / "seg.dcm") == []
    (named,) = found.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert (named.ReferencedSOPClassUID, named.ReferencedSOPInstanceUID) == (file.SOPClassUID, file.SOPInstanceUID)
    for group in found.PerFrameFunctionalGroupsSequence:
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        assert image.ReferencedSOPInstanceUID == file.SOPInstanceUID
        frame = file.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1]
        assert frame.PlanePositionSequence == group.PlanePositionSequence


def test_enhanced_mr_in_several_files_is_one_series_to_the_mask(tmp_path: Path) -> None:
    series = FakeSeries(tags={**T1_PHYSICS, **STUDY_TAGS})
    whole = enhanced(series)
    (tmp_path / "in").mkdir()
    for number, frames in enumerate((range(8), range(8, 20)), 1):
        part = enhanced(series)
        part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number}")
        part.NumberOfFrames, part.InstanceNumber = len(frames), number
        part.PerFrameFunctionalGroupsSequence = [whole.PerFrameFunctionalGroupsSequence[place] for place in frames]
        size = len(whole.PixelData) // 20
        part.PixelData = whole.PixelData[frames.start * size : frames.stop * size]
        part.save_as(tmp_path / "in" / str(number), enforce_file_format=True)
    inputs = inputs_of(tmp_path / "in")
    assert_all_readers_find_the_mask(inputs, SegKind.BINARY, tmp_path)
    named = dcmread(tmp_path / "seg.dcm").ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert sorted(one.ReferencedSOPInstanceUID for one in named) == ["1.2.3.1", "1.2.3.2"]


@BOTH
def test_orientations_that_jitter_as_ges_do_are_one_in_the_mask(kind: SegKind, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for place, file in enumerate(datasets(FakeSeries(orientation=oblique(), tags=dict(STUDY_TAGS)))):
        file.ImageOrientationPatient = [value + 3e-8 * (place % 7) for value in file.ImageOrientationPatient]
        file.save_as(tmp_path / "in" / str(place), enforce_file_format=True)
    assert_all_readers_find_the_mask(inputs_of(tmp_path / "in"), kind, tmp_path)


def test_slices_that_lie_a_little_uneven_keep_their_own_positions(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for place, file in enumerate(datasets(FakeSeries(tags=dict(STUDY_TAGS)))):
        file.ImagePositionPatient = [-60, -70, -40 + 5 * place + (0.02 if place % 2 else 0)]
        file.save_as(tmp_path / "in" / str(place), enforce_file_format=True)
    inputs = inputs_of(tmp_path / "in")
    assert_all_readers_find_the_mask(inputs, SegKind.BINARY, tmp_path)
    source = {str(plane.SOPInstanceUID): plane.ImagePositionPatient for plane in inputs.source.planes}
    for group in dcmread(tmp_path / "seg.dcm").PerFrameFunctionalGroupsSequence:
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        assert group.PlanePositionSequence[0].ImagePositionPatient == source[image.ReferencedSOPInstanceUID]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=["RLE", "JPEG-LS", "JPEG 2000"])
def test_the_mask_of_a_compressed_series_is_uncompressed_and_the_same(syntax: Any, tmp_path: Path) -> None:
    series = FakeSeries(shape=(4, 64, 64), tags=dict(STUDY_TAGS))
    plain = result_inputs(tmp_path / "plain", series)
    (tmp_path / "packed").mkdir()
    for place, file in enumerate(datasets(series)):
        file.compress(syntax, generate_instance_uid=False)
        file.save_as(tmp_path / "packed" / str(place), enforce_file_format=True)
    packed = inputs_of(tmp_path / "packed")
    assert dataset_bytes(made(packed)) == dataset_bytes(made(plain))


@BOTH
@pytest.mark.parametrize("classes", [(2, 3), (3, 1), (1,)], ids=str)
def test_classes_that_are_absent_are_no_segment(kind: SegKind, classes: tuple[int, ...], tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in")
    inputs = ResultInputs(tumour_on(inputs.source.grid.shape, classes), inputs.source, inputs.ids)
    dataset = made(inputs, kind)
    present = sorted(classes)
    numbers = dict(zip(present, present if kind is SegKind.LABELMAP else range(1, 4), strict=False))
    assert segment_numbers(dataset, inputs.ids) == {Label(label): number for label, number in numbers.items()}
    assert_all_readers_find_the_mask(inputs, kind, tmp_path)
    assert errors_of(tmp_path / "seg.dcm") == []


def test_a_slice_without_a_voxel_of_a_segment_is_no_frame(tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in")
    filled = sum(int((inputs.labels == label).any(axis=(0, 1)).sum()) for label in (1, 2, 3))
    assert made(inputs).NumberOfFrames == filled < 3 * inputs.labels.shape[2]
    assert made(inputs, SegKind.LABELMAP).NumberOfFrames == int(inputs.labels.any(axis=(0, 1)).sum())


def test_one_voxel_in_the_first_and_one_in_the_last_slice_are_two_frames(tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in")
    labels = np.zeros_like(inputs.labels)
    labels[0, 0, 0] = labels[-1, -1, -1] = Label.ET
    inputs = ResultInputs(labels, inputs.source, inputs.ids)
    assert made(inputs).NumberOfFrames == 2
    assert_all_readers_find_the_mask(inputs, SegKind.BINARY, tmp_path)


@BOTH
def test_an_empty_mask_is_no_object(kind: SegKind, tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in")
    assert segmentation_object(np.zeros_like(inputs.labels), inputs.source, MODEL, inputs.ids, kind) is None


def test_a_mask_of_another_grid_or_of_unknown_classes_is_a_bug_of_the_caller(tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in")
    with pytest.raises(ValueError, match=r"a mask of \(20, 10, 12\) voxels, expected \(12, 10, 20\)"):
        segmentation_object(inputs.labels.T, inputs.source, MODEL, inputs.ids)
    with pytest.raises(ValueError, match="label 4 found, expected at most 3"):
        segmentation_object(np.full_like(inputs.labels, 4), inputs.source, MODEL, inputs.ids)


@BOTH
def test_the_validator_finds_no_error(kind: SegKind, tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in", GEOMETRIES["oblique"])
    save_dataset(made(inputs, kind), tmp_path / "seg.dcm")
    assert errors_of(tmp_path / "seg.dcm") == []


def test_segments_say_in_words_and_codes_what_they_are_and_who_found_them(tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in")
    segments = made(inputs).SegmentSequence
    said = {segment.SegmentLabel: segment.SegmentedPropertyTypeCodeSequence[0].CodeValue for segment in segments}
    assert said == {
        "Necrotic and non-enhancing tumour core (NCR/NET)": "6574001",
        "Peritumoural oedema (ED)": "79654002",
        "Enhancing tumour (ET)": "C113842",
    }
    for label, segment in zip((Label.NCR, Label.ED, Label.ET), segments, strict=True):
        assert (segment.TrackingID, segment.TrackingUID) == tracking(inputs.ids, label)
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        assert segment.AnatomicRegionSequence[0].CodeValue == "12738006"
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert algorithm.AlgorithmName == "EENet eenet-demo"
        assert algorithm.AlgorithmVersion == "0123456789abcdef (eenet 0.1.0)"
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
        assert algorithm.AlgorithmParameters == "engine=openvino 2026.1,precision=int8"


def test_the_object_says_what_it_is_not_for_who_made_it_and_of_what(tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in")
    dataset = made(inputs)
    assert dataset.SeriesDescription == "EENet segmentation (research, not for diagnosis)"
    assert (dataset.SeriesNumber, dataset.Modality) == (900, "SEG")
    assert dataset.ContentCreatorName == "EENet^^"
    scanner, own, library = dataset.ContributingEquipmentSequence
    assert scanner.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Acquisition Equipment"
    assert scanner.Manufacturer == "Maker"
    assert (own.Manufacturer, own.ManufacturerModelName) == ("EENet toolkit", "EENet eenet-demo")
    assert own.DeviceUID == device_uid(MODEL.bundle_id)
    assert list(own.SoftwareVersions) == ["eenet 0.1.0", "bundle 0123456789abcdef", "openvino 2026.1 int8"]
    assert own.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Equipment"
    assert library.ManufacturerModelName == "highdicom"
    named = dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    expected = [file.SOPInstanceUID for file in inputs.source.datasets]
    assert [one.ReferencedSOPInstanceUID for one in named] == expected


def test_dates_are_the_images_own_and_the_clock_takes_no_part(tmp_path: Path) -> None:
    dataset = made(result_inputs(tmp_path / "in"))
    for kind in ("Content", "Series"):
        assert (str(dataset[f"{kind}Date"].value), str(dataset[f"{kind}Time"].value)) == ("20260102", "100000")
    assert "InstanceCreationDate" not in dataset
    assert all("ContributionDateTime" not in one for one in dataset.ContributingEquipmentSequence[1:])


@BOTH
def test_the_same_input_gives_the_same_bytes(kind: SegKind, tmp_path: Path) -> None:
    first = made(result_inputs(tmp_path / "first"), kind)
    again = made(result_inputs(tmp_path / "again"), kind)
    assert dataset_bytes(first) == dataset_bytes(again)


def test_another_model_is_another_object_of_another_device(tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in")
    other = ModelIdentity("eenet-demo", "fedcba9876543210", "0.1.0", "openvino 2026.1", "int8")
    others = ResultInputs(inputs.labels, inputs.source, identifiers(inputs.source, other.bundle_id))
    first, second = made(inputs), made(others, model=other)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert first[keyword].value != second[keyword].value
    uids = {one.ContributingEquipmentSequence[1].DeviceUID for one in (first, second)}
    assert len(uids) == 2


CHARACTER_SETS: Final = {
    "Latin": ("ISO_IR 100", "Müller^Jürgen"),
    "UTF-8": ("ISO_IR 192", "Łuczak^Zażółć=山田^太郎"),
    "Japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "none": (None, "Smith^John"),
}


@pytest.mark.parametrize("name", CHARACTER_SETS)
def test_the_patients_name_survives_in_its_own_characters(name: str, tmp_path: Path) -> None:
    character_set, patient = CHARACTER_SETS[name]
    tags = {"SpecificCharacterSet": character_set, "PatientComments": patient.split("=")[-1].replace("^", " ")}
    inputs = result_inputs(tmp_path / "in", FakeSeries(patient=patient, tags=tags))
    save_dataset(made(inputs), tmp_path / "seg.dcm")
    found = dcmread(tmp_path / "seg.dcm")
    assert str(found.PatientName) == patient
    assert found.PatientComments == tags["PatientComments"]
    assert errors_of(tmp_path / "seg.dcm") == []


def test_texts_in_a_character_set_that_is_misspelt_are_written_in_utf_8(tmp_path: Path) -> None:
    result_inputs(tmp_path / "in", FakeSeries(patient="Smith^John", character_set="ISO_IR 100"))
    for path in (tmp_path / "in").iterdir():
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"ISO_IR-100"))
    save_dataset(made(inputs_of(tmp_path / "in")), tmp_path / "seg.dcm")
    found = dcmread(tmp_path / "seg.dcm")
    assert (found.SpecificCharacterSet, str(found.PatientName)) == ("ISO_IR 192", "Smith^John")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian], ids=str)
def test_what_identifies_the_patient_and_the_study_is_carried_over(syntax: UID, tmp_path: Path) -> None:
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID = "OTHER-1", "Elsewhere", "TEXT"
    (tmp_path / "in").mkdir()
    for place, file in enumerate(datasets(FakeSeries(tags={**STUDY_TAGS, "OtherPatientIDsSequence": [other]}))):
        turned = Dataset(file)
        turned.file_meta = file.file_meta
        turned.file_meta.TransferSyntaxUID = syntax
        turned.save_as(tmp_path / "in" / str(place), enforce_file_format=True)
    inputs = inputs_of(tmp_path / "in")
    save_dataset(made(inputs), tmp_path / "seg.dcm")
    assert errors_of(tmp_path / "seg.dcm") == []
    source, found = dcmread(next((tmp_path / "in").iterdir())), dcmread(tmp_path / "seg.dcm")
    for keyword in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID", "StudyDate",
        "StudyTime", "StudyID", "AccessionNumber", "StudyDescription", "ReferringPhysicianName", "FrameOfReferenceUID",
        "OtherPatientIDsSequence",
    ):  # fmt: skip
        assert found[keyword].value == source[keyword].value, keyword


def test_probabilities_are_read_back_to_a_255th_and_validate(tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in", GEOMETRIES["oblique"])
    rng = np.random.default_rng(3)
    maps = np.zeros((*inputs.labels.shape, NUM_CLASSES), np.float32)
    for label in (Label.NCR, Label.ET):
        maps[..., label] = (inputs.labels == label) * rng.uniform(0.2, 1, inputs.labels.shape)
    maps[..., Label.ED] = 0.001
    dataset = fractional_object(maps, inputs.source, MODEL, inputs.ids)
    assert dataset is not None
    save_dataset(dataset, tmp_path / "maps.dcm")
    assert errors_of(tmp_path / "maps.dcm") == []
    numbers = segment_numbers(dataset, inputs.ids)
    assert set(numbers) == {Label.NCR, Label.ET}  # all of the oedema rounds to 0
    volume = hd.seg.segread(tmp_path / "maps.dcm").get_volume(rescale_fractional=False)
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    for label, number in numbers.items():
        found = on_grid(volume.array[..., number - 1], affine, inputs.source.grid)
        np.testing.assert_array_equal(found, np.rint(maps[..., label] * 255))


def test_probabilities_that_all_round_to_0_are_no_object(tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in")
    maps = np.full((*inputs.labels.shape, NUM_CLASSES), 0.0019, np.float32)
    assert fractional_object(maps, inputs.source, MODEL, inputs.ids) is None


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7)),
    spacing=st.tuples(st.floats(0.5, 6), st.floats(0.4, 2), st.floats(0.4, 2)),
    shape=st.tuples(st.integers(2, 6), st.integers(3, 9), st.integers(3, 9)),
    seed=st.integers(0, 2**16),
    kind=st.sampled_from(SegKind),
)
def test_any_mask_on_any_grid_comes_back(
    angles: tuple[float, float],
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int],
    seed: int,
    kind: SegKind,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("property")
    sizes = (round(spacing[0], 4), round(spacing[1], 4), round(spacing[2], 4))
    write_series(folder, FakeSeries(orientation=oblique(*angles), spacing=sizes, shape=shape))
    source = source_images(only_series(folder))
    rng = np.random.default_rng(seed)
    # Few voxels, so that empty slices, absent classes and, at times, empty masks come up.
    labels = (rng.integers(0, 4, source.grid.shape) * (rng.random(source.grid.shape) < 0.05)).astype(np.uint8)
    inputs = ResultInputs(labels, source, identifiers(source))
    dataset = segmentation_object(labels, source, MODEL, inputs.ids, kind)
    assert (dataset is None) == (not labels.any())
    if dataset is not None:
        save_dataset(dataset, folder / "seg.dcm")
        segments = segments_by_highdicom(folder / "seg.dcm", source.grid)
        np.testing.assert_array_equal(labels_of(segments, dataset, inputs), labels)
