"""A header whose qform and sform contradict each other: what is said, and what the mask says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.cases.content_checks import Severity, find_problems
from eenet_runtime.cases.preprocessing import CaseImages, read_case
from eenet_runtime.errors import CaseError
from eenet_runtime.results.result_files import ResultPaths, segment_to_files
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality
from eenet_runtime.volumes.presets import EENET_144
from tests.brain import make_brain
from tests.synthetic import Head, case_files

T1, T1CE, T2, FLAIR = CHANNEL_ORDER


def mirrored(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.diag([-1.0, 1, 1, 1]) @ affine)


def shifted(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    moved = affine.copy()
    moved[2, 3] += 10
    return moved


def with_qform(images: CaseImages, qform: NDArray[np.float64], *modalities: Modality) -> CaseImages:
    """The same case with another qform in some headers."""
    volumes = dict(images.volumes)
    for modality in modalities:
        header = nib.Nifti1Header()
        header.set_data_shape(images.grid.shape)
        header.set_sform(images.grid.affine, 1)
        header.set_qform(qform, 1)
        volumes[modality] = replace(volumes[modality], header=header)
    return CaseImages(images.case_id, volumes)


@pytest.fixture(scope="module")
def brain() -> CaseImages:
    """A sound case. Shared: do not change it."""
    return make_brain()


def test_all_images_with_one_contradiction_give_one_warning_that_says_what_differs(brain: CaseImages) -> None:
    (finding,) = find_problems(with_qform(brain, mirrored(brain.grid.affine), *CHANNEL_ORDER), EENET_144)
    assert (finding.rule, finding.severity) == ("two-orientations", Severity.SUSPECTED)
    assert finding.message.startswith("case_t1.nii.gz and its other images: qform and sform differ (mirrored, shifted")
    assert finding.message.endswith("the sform was used, and the mask says the same in both")
    (finding,) = find_problems(with_qform(brain, shifted(brain.grid.affine), *CHANNEL_ORDER), EENET_144)
    assert "(shifted by 10 mm, corners up to 10 mm apart)" in finding.message


@pytest.mark.parametrize("odd", CHANNEL_ORDER)
def test_one_image_that_contradicts_itself_is_named_and_does_not_lie_on_the_others_by_its_qform(
    brain: CaseImages, odd: Modality
) -> None:
    (finding,) = find_problems(with_qform(brain, shifted(brain.grid.affine), odd), EENET_144)
    assert finding.rule == "two-orientations"
    assert finding.message.startswith(f"case_{odd.value}.nii.gz ({odd.value}): qform and sform differ")
    assert "by their qforms the images do not lie on each other" in finding.message


def test_images_with_different_contradictions_are_each_named(brain: CaseImages) -> None:
    images = with_qform(brain, shifted(brain.grid.affine), T1, T2, FLAIR)
    images = with_qform(images, mirrored(brain.grid.affine), T1CE)
    findings = find_problems(images, EENET_144)
    assert [finding.rule for finding in findings] == ["two-orientations"] * 4


def test_forms_that_agree_are_no_finding(brain: CaseImages) -> None:
    assert find_problems(with_qform(brain, brain.grid.affine, *CHANNEL_ORDER), EENET_144) == ()


def _rewrite(path: Path, sform: NDArray[np.float64], qform: NDArray[np.float64]) -> None:
    image = nib.load(path)
    made = nib.Nifti1Image(np.asanyarray(image.dataobj), None)
    made.set_sform(sform, 1)
    made.set_qform(qform, 1)
    made.to_filename(path)


@pytest.mark.parametrize("change", [mirrored, shifted])
def test_the_mask_of_a_t1_with_two_orientations_has_one(
    segmenter: Segmenter,
    head: Head,
    tmp_path: Path,
    change: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> None:
    files = case_files(tmp_path, "A", head)
    for source in files.images.values():
        _rewrite(source.path, head.affine, change(head.affine))
    report = segment_to_files(segmenter, files, ResultPaths.in_folder(tmp_path, "mask"), preview=False)
    mask = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(mask.get_qform(), mask.get_sform(), atol=1e-5)
    np.testing.assert_array_equal(mask.get_sform(), head.affine)
    assert sum("qform and sform differ" in warning for warning in report.warnings) == 1


def test_a_qform_that_says_what_the_t1s_sform_says_does_not_make_one_grid_but_is_told(
    head: Head, tmp_path: Path
) -> None:
    files = case_files(tmp_path, "A", head)
    _rewrite(files.images[T2].path, shifted(head.affine), head.affine)
    with pytest.raises(
        CaseError, match=r"they differ in origin by 10 mm; .* \(its qform says the other grid, its sform"
    ):
        read_case(files)
    _rewrite(files.images[T2].path, head.affine, head.affine)
    _rewrite(files.images[T1].path, shifted(head.affine), head.affine)
    with pytest.raises(CaseError, match=r"\(t1's qform says the other grid, its sform was used\); register"):
        read_case(files)


def test_an_image_with_its_qform_alone_lies_on_a_t1_with_its_sform_alone(head: Head, tmp_path: Path) -> None:
    files = case_files(tmp_path, "A", head, qform=0)
    other = case_files(tmp_path / "q", "A", head, sform=0)
    mixed = replace(files, images={**files.images, T2: other.images[T2]})
    assert read_case(mixed).grid.matches(read_case(files).grid)
