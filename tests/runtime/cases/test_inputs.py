"""A case may be files, nibabel images or arrays: the mask is the same, and so are the refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from eenet_runtime.cases.inputs import ImageArray, ImageInput
from eenet_runtime.errors import CaseError, OutputError
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import BRATS2020, BRATS2023, MSD, Modality
from tests.synthetic import Head, case_files, make_head, write_volume

OBLIQUE = np.array([[-0.9, 0.1, 0, 20], [-0.1, -0.9, 0.05, 31], [0, 0.05, 1, -7], [0, 0, 0, 1]])


def arrays(head: Head, **names: str) -> dict[str, ImageInput]:
    return {names.get(name.value, name.value): ImageArray(image, head.affine) for name, image in head.images.items()}


def images(head: Head) -> dict[str, ImageInput]:
    return {name.value: nib.Nifti1Image(image, head.affine) for name, image in head.images.items()}


def paths(head: Head, folder: Path) -> dict[str, ImageInput]:
    return {
        name.value: write_volume(folder / f"{name.value}.nii.gz", image, head.affine)
        for name, image in head.images.items()
    }


def test_files_nibabel_images_and_arrays_give_the_same_mask(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    expected = segmenter.segment(case_files(tmp_path / "case", "A", head)).labels
    assert expected.any()
    in_files = paths(head, tmp_path)
    lazy: dict[str, ImageInput] = {name: nib.load(str(path)) for name, path in in_files.items()}
    mixed = {**arrays(head), "flair": str(in_files["flair"]), "t2": images(head)["t2"]}
    for case in (arrays(head), images(head), in_files, lazy, mixed):
        np.testing.assert_array_equal(segmenter.segment(case).labels, expected)


def test_every_usual_name_of_a_modality_is_known(segmenter: Segmenter, head: Head) -> None:
    expected = segmenter.segment(arrays(head)).labels
    found = segmenter.segment(arrays(head, t1="T1n", t1ce="t1c", t2="T2W", flair="t2f")).labels
    np.testing.assert_array_equal(found, expected)
    by_member: dict[str, ImageInput] = {name: ImageArray(head.images[name], head.affine) for name in Modality}
    np.testing.assert_array_equal(segmenter.segment(by_member).labels, expected)


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "i4", "f2", ">f4", "f8", "g"])
def test_arrays_of_any_type_give_the_same_mask(segmenter: Segmenter, head: Head, dtype: str) -> None:
    expected = segmenter.segment(arrays(head)).labels
    np.testing.assert_array_equal(segmenter.segment(arrays(head.astype(np.dtype(dtype)))).labels, expected)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_where_they_are_and_not_changed(segmenter: Segmenter, head: Head, order: Any) -> None:
    stored = {name: np.array(image, order=order) for name, image in head.images.items()}
    for image in stored.values():
        image.flags.writeable = False
    case: dict[str, ImageInput] = {name.value: ImageArray(image, head.affine) for name, image in stored.items()}
    result = segmenter.segment(case)
    assert np.shares_memory(result.images.volumes[Modality.T2].data, stored[Modality.T2])
    for name, image in stored.items():
        np.testing.assert_array_equal(image, head.images[name])


def test_an_image_stored_along_other_axes_is_turned(segmenter: Segmenter, head: Head) -> None:
    turned = head.stored_as((2, 0, 1), (True, False, True))
    case = {**arrays(head), "t2": ImageArray(turned.images[Modality.T2], turned.affine)}
    np.testing.assert_array_equal(segmenter.segment(case).labels, segmenter.segment(arrays(head)).labels)


@pytest.mark.parametrize("affine", [make_head().affine, OBLIQUE], ids=["straight", "oblique"])
def test_the_mask_comes_back_as_a_nibabel_image_and_as_a_file_on_the_same_grid(
    segmenter: Segmenter, head: Head, tmp_path: Path, affine: Any
) -> None:
    result = segmenter.segment(arrays(head.with_affine(affine)))
    image = result.to_nifti()
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), result.file_values())
    assert image.get_data_dtype() == np.uint8
    result.save(tmp_path / "mask.nii.gz")
    loaded = nib.load(str(tmp_path / "mask.nii.gz"))
    np.testing.assert_array_equal(np.asanyarray(loaded.dataobj), result.file_values())
    assert loaded.header == image.header


def test_a_mask_is_saved_under_a_name_for_compressed_files_or_not_at_all(
    segmenter: Segmenter, head: Head, tmp_path: Path
) -> None:
    result = segmenter.segment(arrays(head))
    for name, reason in (("mask.nii", "ending in .nii.gz"), ("missing/mask.nii.gz", "cannot be written")):
        with pytest.raises(OutputError, match=reason):
            result.save(str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []


def test_a_result_shown_in_a_log_names_no_file(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    shown = repr(segmenter.segment(case_files(tmp_path, "A", head)))
    assert ".nii" not in shown
    assert len(shown) < 3000


def test_the_header_of_a_nibabel_image_is_that_of_its_mask(segmenter: Segmenter, head: Head) -> None:
    case: Any = images(head)
    case["t1"].header.set_xyzt_units("mm", "sec")
    case["t1"].set_qform(head.affine, code=4)
    found = segmenter.segment(case).to_nifti().header
    assert int(found["qform_code"]) == 4
    assert found.get_xyzt_units() == ("mm", "sec")


def test_label_values_follow_the_files_or_the_caller(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    from_files = segmenter.segment(case_files(tmp_path, "A", head))
    from_arrays = segmenter.segment(arrays(head))
    assert (from_files.scheme, from_arrays.scheme) == (BRATS2020, BRATS2023)
    assert from_files.file_values().max() == 4
    assert from_arrays.file_values().max() == 3
    np.testing.assert_array_equal(from_arrays.file_values(MSD), MSD.to_file(from_arrays.labels))


def test_a_case_in_memory_has_the_name_it_is_given(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    assert segmenter.segment(arrays(head)).case_id == "case"
    assert segmenter.segment(arrays(head), case_id="B").case_id == "B"
    assert segmenter.segment(case_files(tmp_path, "A", head), case_id="B").case_id == "B"


def _of(**changes: Any) -> Callable[[Head], dict[str, ImageInput]]:
    """A case of arrays with something else for some names; None leaves one out."""

    def case(head: Head) -> dict[str, ImageInput]:
        merged: dict[str, Any] = {**arrays(head), **{name: change(head) for name, change in changes.items()}}
        return {name: image for name, image in merged.items() if image is not None}

    return case


def _array(change: Callable[[Any], Any]) -> Callable[[Head], ImageArray]:
    return lambda head: ImageArray(change(head.images[Modality.T2]), head.affine)


def _affine(change: Callable[[Any], Any]) -> Callable[[Head], ImageArray]:
    return lambda head: ImageArray(head.images[Modality.T2], change(head.affine))


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (_of(t2=lambda head: None), "case case: no t2 found, expected all four modalities"),
        (_of(pd=_array(lambda image: image)), "unknown modality 'pd'; known names: t1, t1n"),
        (_of(t2w=_array(lambda image: image)), "t2 is given twice, the second time as 't2w'"),
        (_of(t2=lambda head: 7), "t2: a int found, expected a path, an ImageArray or a nibabel image"),
        (_of(t2=_array(lambda image: image[..., 0])), r"t2 \(array\): an array of 46 x 54 voxels found"),
        (_of(t2=_array(lambda image: np.stack([image, image], -1))), "46 x 54 x 22 x 2 voxels found"),
        (_of(t2=_array(lambda image: image[:0])), "0 x 54 x 22 voxels found"),
        (_of(t2=_array(lambda image: image + 1j)), "voxels of type complex128 found"),
        (_of(t2=_array(lambda image: image != 0)), "voxels of type bool found"),
        (_of(t2=_array(lambda image: np.where(image > 200, np.nan, image))), r"t2 \(array\): .*NaN"),
        (_of(t2=_affine(lambda affine: affine[:3])), r"an affine of shape \(3, 4\) found"),
        (_of(t2=_affine(lambda affine: affine * np.nan)), "affine holds NaN"),
        (_of(t2=_affine(lambda affine: affine * 0)), "affine is singular"),
        (_of(t2=_affine(lambda affine: None)), "no affine found"),
        (_of(t2=_affine(lambda affine: np.eye(4))), r"t2 \(array\): t2 lies on another grid"),
        (_of(t2=lambda head: Path("/no/such/file.nii.gz")), r"^/no/such/file.nii.gz: file not found"),
    ],
)
def test_what_is_refused_in_files_is_refused_in_memory(
    segmenter: Segmenter, head: Head, case: Callable[[Head], dict[str, ImageInput]], reason: str
) -> None:
    with pytest.raises(CaseError, match=reason):
        segmenter.segment(case(head))


def test_a_channel_of_a_file_that_has_no_channels_is_refused(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    files = case_files(tmp_path, "A", head)
    one = {**files.images, Modality.T2: replace(files.images[Modality.T2], channel=0)}
    with pytest.raises(CaseError, match=r"t2\.nii\.gz: 1 channel found, expected a 4D file of 1"):
        segmenter.segment(replace(files, images=one))


def test_a_nibabel_image_whose_file_went_bad_is_refused(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    in_files = paths(head, tmp_path)
    case: dict[str, ImageInput] = {name: nib.load(str(path)) for name, path in in_files.items()}
    path = Path(str(in_files["t2"]))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CaseError, match=r"t2 \(nibabel image\): its voxels cannot be read"):
        segmenter.segment(case)


def test_a_trailing_axis_of_one_is_ignored(segmenter: Segmenter, head: Head) -> None:
    case = _of(t2=_array(lambda image: image[..., np.newaxis]))(head)
    np.testing.assert_array_equal(segmenter.segment(case).labels, segmenter.segment(arrays(head)).labels)


@pytest.mark.parametrize("case", [[1, 2], (), "A_t1.nii.gz", Path("A"), None, 7, np.zeros((4, 4, 4))], ids=repr)
def test_what_is_no_case_is_refused_in_words(segmenter: Segmenter, case: Any) -> None:
    with pytest.raises(
        CaseError, match=rf"^case case: a {type(case).__name__} found, expected CaseFiles, a Study or a mapping"
    ):
        segmenter.segment(case)


@pytest.mark.parametrize(
    ("affine", "reason"),
    [
        ("identity", "an affine of type <U8 found, expected 4 x 4 real numbers"),
        (np.eye(4).astype(str), "expected 4 x 4 real numbers"),
        ([[1, 2], [3]], "its affine cannot be read as an array"),
        ({"a": 1}, "an affine of type object found"),
        (np.eye(4) * 1j, "an affine of type complex128 found"),
        (np.eye(3), r"an affine of shape \(3, 3\) found"),
        (None, "no affine found"),
    ],
    ids=repr,
)
def test_what_is_no_affine_is_refused_in_words(segmenter: Segmenter, head: Head, affine: Any, reason: str) -> None:
    images = {name.value: ImageArray(head.images[name], affine) for name in Modality}
    with pytest.raises(CaseError, match=reason):
        segmenter.segment(images)


@pytest.mark.parametrize("data", ["text", None, [[1, 2], [3]], {"a": 1}], ids=repr)
def test_what_is_no_image_is_refused_in_words(segmenter: Segmenter, head: Head, data: Any) -> None:
    images = {name.value: ImageArray(data, head.affine) for name in Modality}
    with pytest.raises(CaseError, match=r"t1 \(array\): "):
        segmenter.segment(images)
