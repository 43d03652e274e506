"""Masks, reports and previews on disk: all of them or none, on exactly the grid of the T1."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from eenet_runtime.cases.case_files import CaseFiles, ImageSource
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import CaseError, EENetError, OutputError
from eenet_runtime.files.nifti import labels_to_bytes, read_volume, write_labels
from eenet_runtime.results.result_files import ResultPaths, segment_to_files
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import BRATS2020, BRATS2023, MSD, Label, Modality
from tests.synthetic import LAYOUT_SCHEMES, LAYOUTS, Head, case_files, make_head, write_case, write_volume


@pytest.fixture
def paths(tmp_path: Path) -> ResultPaths:
    (tmp_path / "out").mkdir()
    return ResultPaths.in_folder(tmp_path / "out", "A")


def content_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_mask_holds_the_labels_of_its_layout_and_finds_the_truth(
    segmenter: Segmenter, head: Head, tmp_path: Path, paths: ResultPaths, layout: str
) -> None:
    write_case(tmp_path / "in", "BRATS_001", head, layout)
    (files,) = find_cases(tmp_path / "in").cases
    report = segment_to_files(segmenter, files, paths, preview=False)
    values = np.asanyarray(nib.load(paths.mask).dataobj)
    np.testing.assert_array_equal(values, LAYOUT_SCHEMES[layout].to_file(head.labels))
    assert report.dice == {"ET": 1.0, "TC": 1.0, "WT": 1.0}


@pytest.mark.parametrize("scheme", [BRATS2020, BRATS2023, MSD])
def test_another_scheme_can_be_asked_for(
    segmenter: Segmenter, head: Head, tmp_path: Path, paths: ResultPaths, scheme: Any
) -> None:
    report = segment_to_files(segmenter, case_files(tmp_path, "A", head), paths, scheme=scheme, preview=False)
    values = np.asanyarray(nib.load(paths.mask).dataobj)
    np.testing.assert_array_equal(values == scheme.et, head.labels == Label.ET)
    np.testing.assert_array_equal(values == scheme.ed, head.labels == Label.ED)
    assert report.mask["values"] == {"BACKGROUND": 0, "NCR": scheme.ncr, "ED": scheme.ed, "ET": scheme.et}
    assert report.dice == {"ET": 1.0, "TC": 1.0, "WT": 1.0}


def test_the_report_says_what_was_read_and_what_ran(
    segmenter: Segmenter, head: Head, tmp_path: Path, paths: ResultPaths
) -> None:
    files = case_files(tmp_path, "A", head)
    segment_to_files(segmenter, files, paths)
    report = json.loads(paths.report.read_text())
    assert report["status"] == "done"
    assert report["case_id"] == "A"
    assert list(report["inputs"]) == ["t1", "t1ce", "t2", "flair"]
    for modality, entry in report["inputs"].items():
        path = files.images[Modality(modality)].path
        assert entry == {
            "file": str(path),
            "channel": None,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
    assert report["mask"]["sha256"] == hashlib.sha256(paths.mask.read_bytes()).hexdigest()
    assert report["bundle"]["id"] == segmenter.bundle.bundle_id
    assert report["engine"]["backend"] == segmenter.backend.name
    assert "auto takes" in report["engine"]["why"]
    assert report["engine"]["precision"] == "fp32"
    assert report["volumes_ml"] == {
        "ET": np.count_nonzero(head.labels == Label.ET) / 1000,
        "TC": np.count_nonzero((head.labels == Label.ET) | (head.labels == Label.NCR)) / 1000,
        "WT": np.count_nonzero(head.labels) / 1000,
    }
    assert report["components"] == 1
    assert list(report["seconds"]) == ["read", "prepare", "check", "network", "restore", "clean", "write", "preview"]
    assert report["warnings"] == []


def test_every_channel_of_a_4d_file_has_the_hash_of_that_file(
    segmenter: Segmenter, head: Head, tmp_path: Path, paths: ResultPaths
) -> None:
    write_case(tmp_path / "in", "BRATS_001", head, "msd", label=False)
    (files,) = find_cases(tmp_path / "in").cases
    report = segment_to_files(segmenter, files, paths, preview=False)
    content = (tmp_path / "in" / "imagesTr" / "BRATS_001.nii.gz").read_bytes()
    assert {entry["sha256"] for entry in report.inputs.values()} == {hashlib.sha256(content).hexdigest()}
    assert [report.inputs[name]["channel"] for name in ("t1", "t1ce", "t2", "flair")] == [1, 2, 3, 0]


def test_the_same_case_gives_the_same_bytes(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    files = case_files(tmp_path, "A", head)
    masks, previews = set(), set()
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        paths = ResultPaths.in_folder(tmp_path / run, "A")
        segment_to_files(segmenter, files, paths)
        masks.add(paths.mask.read_bytes())
        previews.add(paths.preview.read_bytes())
    assert len(masks) == len(previews) == 1


def test_inputs_are_unchanged(segmenter: Segmenter, head: Head, tmp_path: Path, paths: ResultPaths) -> None:
    files = case_files(tmp_path, "A", head)
    before = {path: path.read_bytes() for path in (tmp_path / "A").iterdir()}
    segment_to_files(segmenter, files, paths)
    assert {path: path.read_bytes() for path in (tmp_path / "A").iterdir()} == before


def test_without_a_preview_none_is_written_and_an_old_one_goes(
    segmenter: Segmenter, head: Head, tmp_path: Path, paths: ResultPaths
) -> None:
    paths.preview.write_bytes(b"of an earlier run")
    segment_to_files(segmenter, case_files(tmp_path, "A", head), paths, preview=False)
    assert content_of(tmp_path / "out") == {"A.nii.gz", "A.json"}


def test_a_refused_case_leaves_nothing_and_takes_old_results_along(
    segmenter: Segmenter, head: Head, tmp_path: Path, paths: ResultPaths
) -> None:
    files = case_files(tmp_path, "A", head.with_image(Modality.T2, head.images[Modality.T2] * 0))
    for path in (paths.mask, paths.preview, paths.report):
        path.write_bytes(b"of an earlier run")
    with pytest.raises(CaseError, match="all voxels are 0"):
        segment_to_files(segmenter, files, paths)
    assert content_of(tmp_path / "out") == set()


@pytest.mark.parametrize("step", ["render_preview", "make_report"])
def test_a_failure_after_the_mask_takes_the_mask_along(
    segmenter: Segmenter,
    head: Head,
    tmp_path: Path,
    paths: ResultPaths,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    def fail(*_args: object, **_options: object) -> bytes:
        assert paths.mask.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(f"eenet_runtime.results.result_files.{step}", fail)
    with pytest.raises(KeyboardInterrupt):
        segment_to_files(segmenter, case_files(tmp_path, "A", head), paths)
    assert content_of(tmp_path / "out") == set()


def test_a_missing_output_folder_is_an_output_error(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    files = case_files(tmp_path, "A", head)
    with pytest.raises(OutputError, match=r"nowhere/A\.nii\.gz: cannot be written \(No such file or directory\)"):
        segment_to_files(segmenter, files, ResultPaths.in_folder(tmp_path / "nowhere", "A"))


@pytest.mark.parametrize("role", [*Modality, "label"])
@pytest.mark.parametrize("which", ["mask", "preview", "report", "probabilities"])
@pytest.mark.parametrize("link", [False, True])
def test_a_result_never_replaces_an_input(
    segmenter: Segmenter, head: Head, tmp_path: Path, which: str, link: bool, role: Modality | str
) -> None:
    files = case_files(tmp_path, "A", head)
    source = files.images[role].path if isinstance(role, Modality) else files.label
    assert source is not None
    before = source.read_bytes()
    target = tmp_path / "link.nii.gz" if link else source
    if link:
        os.link(source, target)
    paths = replace(ResultPaths.in_folder(tmp_path, "B"), **{which: target})  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="would replace an input of case A"):
        segment_to_files(segmenter, files, paths)
    assert source.read_bytes() == before
    assert target.exists()


def test_a_label_that_cannot_be_used_is_a_warning_and_the_mask_is_written(
    segmenter: Segmenter, head: Head, tmp_path: Path, paths: ResultPaths
) -> None:
    files = case_files(tmp_path, "A", head)
    assert files.label is not None
    files.label.write_bytes(b"no NIfTI")
    report = segment_to_files(segmenter, files, paths, preview=False)
    assert report.dice is None
    (warning,) = report.warnings
    assert warning.startswith(f"no Dice: {files.label}: not a NIfTI file")
    assert paths.mask.exists()


@pytest.mark.parametrize("name", ["Müller 患者", b"M\xfcller".decode("utf-8", "surrogateescape"), "a\nb"])
def test_any_name_that_the_file_system_allows_goes_through(
    segmenter: Segmenter, head: Head, tmp_path: Path, name: str
) -> None:
    files = case_files(tmp_path / "in", name, head)
    (tmp_path / "out").mkdir()
    paths = ResultPaths.in_folder(tmp_path / "out", name)
    segment_to_files(segmenter, files, paths)
    assert json.loads(paths.report.read_text())["case_id"] == name
    assert paths.mask.exists()


# The grid of the mask


@pytest.mark.parametrize("codes", [(1, 1), (0, 1), (1, 0), (2, 4), (0, 0)])
def test_every_field_of_the_header_that_places_the_voxels_is_the_t1s(head: Head, tmp_path: Path, codes: Any) -> None:
    angle = np.radians(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    qform, sform = codes
    t1 = write_volume(tmp_path / "t1.nii", head.images[Modality.T1], turn @ head.affine, qform=qform, sform=sform)
    volume = read_volume(t1)
    before = volume.header.binaryblock
    write_labels(tmp_path / "mask.nii.gz", head.labels, volume)
    assert volume.header.binaryblock == before
    mask, reference = nib.load(tmp_path / "mask.nii.gz"), nib.load(t1)
    np.testing.assert_array_equal(mask.affine, reference.affine)
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), head.labels)
    for field in ("dim", "pixdim", "qform_code", "sform_code", "xyzt_units", "srow_x", "srow_y", "srow_z"):
        np.testing.assert_array_equal(mask.header[field], reference.header[field], err_msg=field)
    for field in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):
        np.testing.assert_array_equal(mask.header[field], reference.header[field], err_msg=field)
    assert mask.header.get_data_dtype() == np.uint8
    assert mask.header.get_intent()[0] == "label"
    # nibabel hides slope and intercept once it has read them.
    assert struct.unpack_from("<ff", gzip.decompress((tmp_path / "mask.nii.gz").read_bytes()), 112) == (1, 0)


def test_of_a_qform_and_an_sform_that_disagree_the_mask_says_what_the_sform_says(head: Head, tmp_path: Path) -> None:
    # After a registration: qform tells the scanner's frame, sform the atlas'. The images were read by the sform.
    image = nib.Nifti1Image(head.images[Modality.T1], head.affine)
    image.set_sform(head.affine, code=4)
    image.set_qform(head.affine, code=1)
    image.header["qoffset_x"] = 17.0
    image.to_filename(tmp_path / "t1.nii")
    write_labels(tmp_path / "mask.nii.gz", head.labels, read_volume(tmp_path / "t1.nii"))
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert (int(mask.header["qform_code"]), int(mask.header["sform_code"])) == (4, 4)
    np.testing.assert_array_equal(mask.get_sform(), head.affine)
    np.testing.assert_allclose(mask.get_qform(), head.affine, atol=1e-4)


@pytest.mark.parametrize("kind", ["nifti2", "big-endian", "4D"])
def test_a_mask_beside_an_unusual_file_is_right_too(head: Head, tmp_path: Path, kind: str) -> None:
    image = nib.Nifti1Image(head.images[Modality.T1], head.affine)
    if kind == "nifti2":
        image = nib.Nifti2Image(head.images[Modality.T1], head.affine)
    elif kind == "big-endian":
        header = nib.Nifti1Header(endianness=">")
        header.set_data_dtype(np.int16)
        image = nib.Nifti1Image(head.images[Modality.T1], head.affine, header)
    else:
        image = nib.Nifti1Image(np.stack([head.images[Modality.T1]] * 4, axis=-1), head.affine)
    image.to_filename(tmp_path / "t1.nii")
    write_labels(tmp_path / "mask.nii.gz", head.labels, read_volume(tmp_path / "t1.nii"))
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert mask.shape == head.shape
    np.testing.assert_array_equal(mask.affine, head.affine)
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), head.labels)
    assert isinstance(mask, nib.Nifti2Image) == (kind == "nifti2")
    assert mask.header.endianness == (">" if kind == "big-endian" else "<")


def test_no_text_of_the_input_header_reaches_the_mask(head: Head, tmp_path: Path) -> None:
    image = nib.Nifti1Image(head.images[Modality.T1], head.affine)
    for field, size in (("descrip", 80), ("aux_file", 24), ("db_name", 18), ("data_type", 10), ("intent_name", 16)):
        image.header[field] = b"Jane Roe"[:size]
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Roe, born 1970"))
    image.to_filename(tmp_path / "t1.nii")
    assert b"Jane" in (tmp_path / "t1.nii").read_bytes()
    volume = read_volume(tmp_path / "t1.nii")
    content = gzip.decompress(labels_to_bytes(head.labels, volume))
    assert b"Jane" not in content
    assert len(content) == 352 + head.labels.size


def test_labels_of_another_shape_or_type_are_a_bug(head: Head, tmp_path: Path) -> None:
    volume = read_volume(write_volume(tmp_path / "t1.nii", head.images[Modality.T1], head.affine))
    for labels in (head.labels[1:], head.labels.astype(np.int16)):
        with pytest.raises(ValueError, match="the grid is uint8"):
            write_labels(tmp_path / "mask.nii.gz", labels, volume)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_the_type_of_the_images_makes_no_difference_to_the_mask(
    segmenter: Segmenter, head: Head, tmp_path: Path, dtype: Any
) -> None:
    result = segmenter.segment(case_files(tmp_path, "A", head.astype(dtype)))
    np.testing.assert_array_equal(result.labels, head.labels)


def test_thick_slices_give_a_mask_at_the_same_place_in_the_world(segmenter_2mm: Segmenter, tmp_path: Path) -> None:
    thick = make_head((60, 70, 12))
    thick = thick.with_affine(thick.affine @ np.diag([1, 1, 4, 1]))
    result = segmenter_2mm.segment(case_files(tmp_path, "A", thick))
    assert result.labels.shape == (60, 70, 12)
    found = np.argwhere(result.labels > 0).mean(axis=0) * [1, 1, 4]
    true = np.argwhere(thick.labels > 0).mean(axis=0) * [1, 1, 4]
    assert np.linalg.norm(found - true) < 1.0  # mm; half a voxel of the network


def test_every_error_of_a_case_names_its_file(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    files = case_files(tmp_path, "A", head)
    for modality in Modality:
        gone: CaseFiles = replace(files, images={**files.images, modality: ImageSource(tmp_path / "gone.nii")})
        with pytest.raises(EENetError, match=r"gone\.nii: file not found"):
            segmenter.segment(gone)
