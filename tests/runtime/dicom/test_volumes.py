"""The volume of a series equals dcm2niix's, and a stack that is none is refused with the slice named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from eenet_runtime.dicom.pixels import read_series
from eenet_runtime.dicom.scanning import scan
from eenet_runtime.dicom.series import Series, series_of
from eenet_runtime.errors import CaseError, DatasetError
from eenet_runtime.files.nifti import Volume
from tests.dicom_oracles import by_dcm2niix
from tests.dicom_studies import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    T1_PHYSICS,
    T2_PHYSICS,
    FakeSeries,
    datasets,
    enhanced,
    oblique,
    write_series,
)


def series_in(folder: Path) -> tuple[Series, ...]:
    return series_of(scan(folder).instances)


def canonical(data: Any, affine: Any) -> tuple[Any, Any]:
    image = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    return np.asarray(image.dataobj), image.affine


def assert_equals_dcm2niix(volume: Volume, folder: Path, output: Path) -> None:
    (theirs,) = by_dcm2niix(folder, output)
    expected, affine = canonical(theirs.get_fdata(), theirs.affine)
    found, own_affine = canonical(volume.data, volume.grid.affine)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(own_affine, affine, atol=1e-3)


@pytest.mark.parametrize(
    "series",
    [
        FakeSeries(orientation=AXIAL),
        FakeSeries(orientation=SAGITTAL, tags=dict(T1_PHYSICS)),
        FakeSeries(orientation=CORONAL),
        FakeSeries(orientation=oblique()),
        FakeSeries(orientation=oblique(-0.4, 0.6), spacing=(3.3, 0.9, 1.1), tags=dict(T2_PHYSICS)),
        FakeSeries(dtype="int16"),
        FakeSeries(slopes=[(2.0, 5.0)]),
        FakeSeries(slopes=[(0.5 + 0.25 * (place % 3), place % 2) for place in range(20)]),
    ],
    ids=["axial", "sagittal", "coronal", "oblique", "anisotropic", "signed", "scaled", "scaled by slice"],
)
def test_a_volume_equals_dcm2niix_voxel_by_voxel_and_affine_by_affine(series: FakeSeries, tmp_path: Path) -> None:
    write_series(tmp_path / "in", series)
    (found,) = series_in(tmp_path / "in")
    assert_equals_dcm2niix(read_series(found), tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("orientation", [AXIAL, oblique()], ids=["axial", "oblique"])
def test_enhanced_mr_gives_the_volume_of_the_same_slices_as_files(
    orientation: tuple[float, ...], tmp_path: Path
) -> None:
    slopes = [(1.0 + place % 2, 3.0) for place in range(20)]
    series = FakeSeries(orientation=orientation, tags=dict(T1_PHYSICS), slopes=slopes)
    write_series(tmp_path / "files", series)
    (tmp_path / "enhanced").mkdir()
    enhanced(series).save_as(tmp_path / "enhanced" / "one", enforce_file_format=True)
    by_files = read_series(series_in(tmp_path / "files")[0])
    (found,) = series_in(tmp_path / "enhanced")
    volume = read_series(found)
    np.testing.assert_array_equal(volume.data, by_files.data)
    np.testing.assert_array_equal(volume.grid.affine, by_files.grid.affine)
    assert (found.first.echo_time, found.first.inversion_time) == (2.3, 900)


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=["RLE", "JPEG-LS", "JPEG 2000"])
def test_compressed_pixels_are_the_ones_that_were_compressed(syntax: UID, dtype: str, tmp_path: Path) -> None:
    series = FakeSeries(dtype=dtype, shape=(4, 64, 64))
    write_series(tmp_path / "plain", series)
    (tmp_path / "packed").mkdir()
    for place, dataset in enumerate(datasets(series)):
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(tmp_path / "packed" / str(place), enforce_file_format=True)
    plain, packed = (read_series(series_in(tmp_path / name)[0]) for name in ("plain", "packed"))
    np.testing.assert_array_equal(packed.data, plain.data)


def test_deflated_files_are_left_out_with_the_reason(tmp_path: Path) -> None:
    dataset = datasets(FakeSeries())[0]
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1.99")
    dataset.save_as(tmp_path / "deflated", enforce_file_format=True)
    assert scan(tmp_path).unreadable == {"deflated transfer syntax, expected any other": 1}


def moved(place: int, shift: tuple[float, float, float]) -> list[Any]:
    files = datasets(FakeSeries())
    files[place].ImagePositionPatient = [a + b for a, b in zip(files[place].ImagePositionPatient, shift, strict=True)]
    return files


def turned(place: int, by: float) -> list[Any]:
    files = datasets(FakeSeries())
    files[place].ImageOrientationPatient = [1, by, 0, -by, 1, 0]
    return files


def without_position(place: int) -> list[Any]:
    files = datasets(FakeSeries())
    del files[place].ImagePositionPatient
    return files


def tilted() -> list[Any]:
    files = datasets(FakeSeries())
    for place, file in enumerate(files):
        file.ImagePositionPatient = [-60, -70 + 0.2 * place, -40 + 5 * place]
    return files


REFUSED = {
    "a gap": (datasets(FakeSeries())[:7] + datasets(FakeSeries())[8:], "between slice 7 and slice 9.*1 missing"),
    "uneven steps": (moved(7, (0, 0, 0.1)), r"between slice (7 and slice 8|8 and slice 9), expected 5 mm.*irregular"),
    "a slice twice": (moved(8, (0, 0, -5.0)), "slice 9 lies where slice 8 does|slice 8 lies where slice 9 does"),
    "another orientation": (turned(4, 2e-4), "slice 5 is turned against slice 1"),
    "two stacks": (turned(4, 0.3), "slice 5 is turned against slice 1"),
    "no position": (without_position(3), "slice 4 has no position"),
    "a tilted gantry": (tilted(), "a tilted gantry"),
    "a shifted slice": (moved(7, (1.0, 0, 0)), "slice 8 lies 1 mm from its place"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_regular_stack_is_refused_with_the_slice_named(name: str, tmp_path: Path) -> None:
    files, message = REFUSED[name]
    for place, file in enumerate(files):
        file.save_as(tmp_path / str(place), enforce_file_format=True)
    (found,) = series_in(tmp_path)
    with pytest.raises(CaseError, match=f"series 1: .*({message})"):
        read_series(found)


def test_steps_within_one_percent_and_cosines_within_a_ten_thousandth_are_snapped(tmp_path: Path) -> None:
    files = turned(4, 9e-5)
    files[9].ImagePositionPatient = [-60, -70, -40 + 9 * 5 + 0.049]
    for place, file in enumerate(files):
        file.save_as(tmp_path / str(place), enforce_file_format=True)
    affine = series_in(tmp_path)[0].geometry.grid.affine
    np.testing.assert_allclose(affine[:3, :3], np.diag([-9.0, 10.0, 5.0]), atol=1e-9)


@pytest.mark.parametrize(
    ("tag", "first", "second"),
    [
        ("EchoTime", 10, 20),
        ("EchoNumbers", 1, 2),
        ("AcquisitionNumber", 1, 2),
        ("TemporalPositionIdentifier", 1, 2),
        ("AcquisitionTime", "100000", "100500"),
    ],
)
def test_a_series_of_two_images_is_parted(tag: str, first: Any, second: Any, tmp_path: Path) -> None:
    for part, value in enumerate((first, second)):
        for place, dataset in enumerate(datasets(FakeSeries())):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{part}.{place + 1}")
            setattr(dataset, tag, value)
            dataset.save_as(tmp_path / f"{part}-{place}", enforce_file_format=True)
    assert [(one.label, len(one.slices)) for one in series_in(tmp_path)] == [("1/1", 20), ("1/2", 20)]


def test_packages_counted_as_acquisitions_stay_one_image(tmp_path: Path) -> None:
    for place, dataset in enumerate(datasets(FakeSeries())):
        dataset.AcquisitionNumber = place % 2
        dataset.save_as(tmp_path / str(place), enforce_file_format=True)
    assert [len(one.slices) for one in series_in(tmp_path)] == [20]


def test_pixels_that_are_cut_off_refuse_the_series_with_the_slice(tmp_path: Path) -> None:
    paths = write_series(tmp_path, FakeSeries())
    paths[4].write_bytes(paths[4].read_bytes()[:-50])
    with pytest.raises(CaseError, match=r"^series 1: slice 5 has pixels that are damaged, truncated"):
        read_series(series_in(tmp_path)[0])


def test_a_file_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    write_series(tmp_path / "a", FakeSeries())
    write_series(tmp_path / "b", FakeSeries())
    assert [len(one.slices) for one in series_in(tmp_path)] == [20]


def test_what_is_not_there_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: no such folder or file"):
        scan(tmp_path / "nowhere")
