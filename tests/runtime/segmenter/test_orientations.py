"""The same head stored in any order gives the same mask in the world, on exactly the grid of its T1."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from eenet_runtime.results.result_files import ResultPaths, segment_to_files
from eenet_runtime.segmenter.segmenter import Segmenter
from tests.synthetic import ORIENTATIONS, Head, case_files, make_head


def _mask(segmenter: Segmenter, folder: Path, head: Head, **options: int) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    files = case_files(folder, "A", head, **options)
    paths = ResultPaths.in_folder(folder, "mask")
    segment_to_files(segmenter, files, paths, preview=False)
    return nib.load(paths.mask), nib.load(folder / "A" / "A_t1.nii.gz")


@pytest.fixture(scope="module")
def segmenter(tiny_bundle: Path):  # type: ignore[no-untyped-def]
    with Segmenter(tiny_bundle) as opened:
        yield opened


@pytest.mark.parametrize(("permutation", "flips"), ORIENTATIONS)
def test_every_storage_order_gives_the_same_mask_in_the_world(
    segmenter: Segmenter, tmp_path: Path, permutation: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    head = make_head()
    expected = np.asanyarray(_mask(segmenter, tmp_path / "plain", head)[0].dataobj)
    assert set(np.unique(expected)) == {0, 1, 2, 4}
    mask, t1 = _mask(segmenter, tmp_path / "turned", head.stored_as(permutation, flips))
    assert np.array_equal(mask.affine, t1.affine)
    assert mask.shape == t1.shape
    back = nib.as_closest_canonical(mask)
    plain = nib.as_closest_canonical(nib.Nifti1Image(expected, head.affine))
    assert np.allclose(back.affine, plain.affine)
    assert np.array_equal(np.asanyarray(back.dataobj), np.asanyarray(plain.dataobj))


@pytest.mark.parametrize(("qform", "sform"), [(1, 0), (0, 1), (1, 1), (2, 4)])
def test_the_header_of_the_mask_is_that_of_the_t1(segmenter: Segmenter, tmp_path: Path, qform: int, sform: int) -> None:
    mask, t1 = _mask(segmenter, tmp_path, make_head(), qform=qform, sform=sform)
    assert mask.get_data_dtype() == np.uint8
    for field in ("qform_code", "sform_code", "xyzt_units", "quatern_b", "quatern_c", "quatern_d"):
        assert mask.header[field] == t1.header[field]
    for field in ("pixdim", "srow_x", "srow_y", "srow_z"):
        assert np.array_equal(mask.header[field][:4], t1.header[field][:4])


def test_an_oblique_grid_keeps_its_affine(segmenter: Segmenter, tmp_path: Path) -> None:
    angle = np.radians(12)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    head = make_head()
    mask, t1 = _mask(segmenter, tmp_path, head.with_affine(turn @ head.affine))
    assert np.array_equal(mask.affine, t1.affine)
    assert np.asanyarray(mask.dataobj).any()
