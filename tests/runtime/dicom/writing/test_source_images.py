"""Headers of a series are snapped where reading allows it, refused where it does not, and let no name out."""

from __future__ import annotations

import io
import logging
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.multival import MultiValue

from eenet_runtime.dicom.pixels import read_series
from eenet_runtime.dicom.writing.saving import dataset_bytes, save_dataset
from eenet_runtime.dicom.writing.seg import segment_numbers, segmentation_object
from eenet_runtime.dicom.writing.source_images import SourceImages, source_images
from eenet_runtime.errors import CaseError
from tests.dicom_oracles import errors_of, segments_by_highdicom
from tests.dicom_results import MODEL, inputs_of, only_series
from tests.dicom_studies import FakeSeries, datasets, oblique, write_series
from tests.dicom_study import STUDY_TAGS
from tests.real_dicom import unpack_real


def written(folder: Path, files: list[FileDataset]) -> Path:
    folder.mkdir(exist_ok=True)
    for place, file in enumerate(files):
        file.save_as(folder / str(place), enforce_file_format=True)
    return folder


def images_of(folder: Path) -> SourceImages:
    return source_images(only_series(folder))


def without(place: int) -> list[FileDataset]:
    files = datasets(FakeSeries())
    return files[:place] + files[place + 1 :]


def with_one_moved(place: int, onto: int) -> list[FileDataset]:
    files = datasets(FakeSeries())
    files[place].ImagePositionPatient = files[onto].ImagePositionPatient
    return files


def with_one_turned(place: int, by: float) -> list[FileDataset]:
    files = datasets(FakeSeries())
    files[place].ImageOrientationPatient = [1, by, 0, -by, 1, 0]
    return files


REFUSED: Final[dict[str, tuple[Callable[[], list[FileDataset]], str]]] = {
    "a missing slice": (lambda: without(7), "between slice 7 and slice 9.*1 missing"),
    "a slice twice": (lambda: with_one_moved(8, 7), "slice (8|9) lies where slice (8|9) does"),
    "another orientation": (lambda: with_one_turned(4, 2e-4), "slice 5 is turned against slice 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_reading_refuses_is_not_hidden_by_snapping(name: str, tmp_path: Path) -> None:
    files, message = REFUSED[name]
    series = only_series(written(tmp_path / "in", files()))
    for act in (read_series, source_images):
        with pytest.raises(CaseError, match=f"series 1: .*{message}"):
            act(series)


def test_all_planes_have_the_grids_orientation_and_their_own_position(tmp_path: Path) -> None:
    files = datasets(FakeSeries(orientation=oblique()))
    for place, file in enumerate(files):
        file.ImageOrientationPatient = [value + 1e-6 * (place % 5) for value in file.ImageOrientationPatient]
    images = images_of(written(tmp_path / "in", files[::-1]))
    assert len({tuple(plane.ImageOrientationPatient) for plane in images.planes}) == 1
    assert images.datasets is images.planes
    for plane, file in zip(images.planes, files, strict=True):
        assert plane.SOPInstanceUID == file.SOPInstanceUID
        assert plane.ImagePositionPatient == file.ImagePositionPatient
        assert "PixelData" not in plane
    first = images.planes[0]
    corner = images.grid.affine @ [0, first.Rows - 1, 0, 1]
    np.testing.assert_allclose(corner[:3] * [-1, -1, 1], first.ImagePositionPatient, atol=1e-6)


def test_a_file_that_changed_since_it_was_scanned_refuses_the_series(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", FakeSeries())
    series = only_series(tmp_path / "in")
    first = next(path for path in paths if dcmread(path).InstanceNumber == 1)
    shutil.copy(paths[3], first)
    with pytest.raises(CaseError, match="series 1: slice 1 is another file than when the study was scanned"):
        source_images(series)
    first.unlink()
    with pytest.raises(CaseError, match=r"series 1: slice 1 cannot be read \(No such file or directory\)"):
        source_images(series)
    first.write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    with pytest.raises(CaseError, match="series 1: slice 1 "):
        source_images(series)


def test_a_series_in_a_zip_has_source_images(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", FakeSeries())
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.name)
    assert images_of(tmp_path / "in.zip").datasets == images_of(tmp_path / "in").datasets


def test_slices_of_two_frames_of_reference_are_refused(tmp_path: Path) -> None:
    files = datasets(FakeSeries())
    files[6].FrameOfReferenceUID = "1.2.3"
    series = only_series(written(tmp_path / "in", files))
    with pytest.raises(CaseError, match="series 1: slice 7 has another frame of reference"):
        source_images(series)


def test_a_series_without_a_frame_of_reference_gets_the_same_one_each_time(tmp_path: Path) -> None:
    files = datasets(FakeSeries(tags={**STUDY_TAGS, "FrameOfReferenceUID": None}))
    inputs = inputs_of(written(tmp_path / "in", files))
    found = inputs.source.planes[0].FrameOfReferenceUID
    assert found.startswith("2.25.")
    assert found == images_of(tmp_path / "in").planes[0].FrameOfReferenceUID
    dataset = segmentation_object(inputs.labels, inputs.source, MODEL, inputs.ids)
    assert dataset is not None
    assert dataset.FrameOfReferenceUID == found


SENSELESS: Final[dict[str, Any]] = {
    "PatientBirthDate": "19xx",
    "PatientSex": "female",
    "StudyDate": "20261399",
    "StudyTime": "soon",
    "AcquisitionDate": "yesterday",
    "PatientAge": "***",
    "StudyID": None,
    "AccessionNumber": None,
    "Manufacturer": None,
}


SILENTLY = pytest.mark.filterwarnings("ignore:(Invalid value|The value length)")


@SILENTLY
def test_values_that_dicom_does_not_allow_are_left_empty(tmp_path: Path) -> None:
    inputs = inputs_of(written(tmp_path / "in", datasets(FakeSeries(tags={**STUDY_TAGS, **SENSELESS}))))
    dataset = segmentation_object(inputs.labels, inputs.source, MODEL, inputs.ids)
    assert dataset is not None
    dataset.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    found = dcmread(tmp_path / "seg.dcm")
    assert [found[keyword].value for keyword in SENSELESS if keyword in found][:4] == ["", "", "", ""]
    assert errors_of(tmp_path / "seg.dcm") == []


@SILENTLY
def test_what_a_pacs_finds_the_patient_by_is_kept_however_long(tmp_path: Path) -> None:
    tags = {**STUDY_TAGS, "PatientID": "P" * 70, "AccessionNumber": "A" * 20}
    first = images_of(written(tmp_path / "in", datasets(FakeSeries(tags=tags)))).datasets[0]
    assert (first.PatientID, first.AccessionNumber) == ("P" * 70, "A" * 20)


@pytest.mark.parametrize(("keyword", "value"), [("PatientID", b"ONE\\TWO"), ("PatientName", b"A^B\\C^D")])
def test_a_series_of_which_nobody_can_say_whose_it_is_is_refused(keyword: str, value: bytes, tmp_path: Path) -> None:
    held = {"PatientID": b"CANARY-ID-1", "PatientName": b"Canary^Patience"}[keyword]
    for path in write_series(tmp_path / "in", FakeSeries()):
        path.write_bytes(path.read_bytes().replace(held, value.ljust(len(held))))
    with pytest.raises(CaseError, match=f"series 1: slice 1 has a {keyword} that is not one readable value") as caught:
        images_of(tmp_path / "in")
    assert "TWO" not in str(caught.value)


CHARACTER_SETS: Final = (
    "ISO_IR 100", "ISO_IR 192", "ISO 2022 IR 87", "\\ISO 2022 IR 87", "\\ISO 2022 IR 149", "GB18030", "nonsense", "",
    "ISO_IR 13\\ISO 2022 IR 87",
)  # fmt: skip
HELD: Final = {
    "PatientName": b"P" * 40,
    "PatientID": b"I" * 40,
    "StudyDescription": b"D" * 40,
    "Manufacturer": b"M" * 40,
}


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A folder, and files whose texts can be put in place of `HELD` and of 26 times C."""
    tags = {**STUDY_TAGS, **{keyword: value.decode() for keyword, value in HELD.items()}}
    series = FakeSeries(shape=(6, 8, 8), character_set="C" * 26, tags=tags)
    folder = tmp_path_factory.mktemp("texts")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return folder, [path.read_bytes() for path in write_series(folder, series)]


@settings(max_examples=20, deadline=None)
@given(
    character_set=st.sampled_from(CHARACTER_SETS),
    texts=st.lists(
        st.one_of(st.binary(min_size=40, max_size=40), st.sampled_from([b"M\xfcller^J", "Łuczak^山田".encode()])),
        min_size=len(HELD),
        max_size=len(HELD),
    ),
)
def test_whatever_bytes_texts_are_an_object_keeps_them_or_the_series_is_refused(
    header: tuple[Path, list[bytes]], character_set: str, texts: list[bytes]
) -> None:
    folder, files = header
    for place, content in enumerate(files):
        content = content.replace(b"C" * 26, character_set.encode().ljust(26))
        for held, text in zip(HELD.values(), texts, strict=True):
            content = content.replace(held, text.ljust(40))
        (folder / str(place)).write_bytes(content)
    for path in folder.glob("IM*"):
        path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = dcmread(folder / "0")
        try:
            inputs = inputs_of(folder)
        except CaseError:
            assert any(isinstance(source[keyword].value, MultiValue) for keyword in ("PatientName", "PatientID"))
            return
        dataset = segmentation_object(inputs.labels, inputs.source, MODEL, inputs.ids)
        assert dataset is not None
        found = dcmread(io.BytesIO(dataset_bytes(dataset)))
        for keyword in ("PatientName", "PatientID"):
            assert str(found[keyword].value or "") == str(source[keyword].value or "")


@pytest.mark.parametrize(
    ("tags", "moment"),
    [
        ({"AcquisitionDateTime": "20260304050607.5+0100"}, ("20260304", "050607.5")),
        ({"AcquisitionDate": "20260304", "AcquisitionTime": "0506"}, ("20260304", "0506")),
        ({"AcquisitionTime": None, "ContentDate": "20260305", "ContentTime": "101112"}, ("20260305", "101112")),
        ({"AcquisitionTime": None, "SeriesDate": "20260306", "SeriesTime": "101112"}, ("20260306", "101112")),
        ({"AcquisitionTime": None}, ("20260102", "095500")),
        ({"AcquisitionTime": None, "StudyTime": None}, ("20260102", "000000")),
        ({"AcquisitionTime": None, "StudyTime": None, "StudyDate": None}, ("19000101", "000000")),
    ],
)
def test_the_moment_of_the_images_is_the_first_that_is_told(
    tags: dict[str, Any], moment: tuple[str, str], tmp_path: Path
) -> None:
    series = FakeSeries(tags={**STUDY_TAGS, **tags})
    assert images_of(written(tmp_path / "in", datasets(series))).content_moment == moment


def test_no_name_of_a_patient_gets_into_a_log_or_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    # A name of one component is what highdicom warns of, and quotes.
    folder = written(tmp_path / "in", datasets(FakeSeries(patient="Canary", tags=dict(STUDY_TAGS))))
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inputs = inputs_of(folder)
        assert segmentation_object(inputs.labels, inputs.source, MODEL, inputs.ids) is not None
    said = caplog.text + "".join(str(one.message) for one in caught) + "".join(capfd.readouterr())
    assert "Canary" not in said


@pytest.fixture(scope="module")
def real_t1(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four real series, among them GE's with orientations that jitter and Siemens' Enhanced MR."""
    return unpack_real("t1-real", tmp_path_factory.mktemp("real"))


@pytest.mark.real
@pytest.mark.parametrize("place", range(4))
def test_real_t1_series_carry_a_mask_that_comes_back(place: int, real_t1: list[Path], tmp_path: Path) -> None:
    inputs = inputs_of(real_t1[place])
    dataset = segmentation_object(inputs.labels, inputs.source, MODEL, inputs.ids)
    assert dataset is not None
    save_dataset(dataset, tmp_path / "seg.dcm")
    segments = segments_by_highdicom(tmp_path / "seg.dcm", inputs.source.grid)
    assert list(segment_numbers(dataset, inputs.ids).values()) == [1, 2, 3]  # so numbers are classes
    np.testing.assert_array_equal(segments, inputs.labels)
    assert errors_of(tmp_path / "seg.dcm") == []
