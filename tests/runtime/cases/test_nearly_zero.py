"""A background that is nearly 0 counts as tissue to the normalisation, so it must not pass for one of exactly 0."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from eenet_runtime import Segmenter
from eenet_runtime.cases.content_checks import Finding, Severity, find_problems
from eenet_runtime.cases.content_checks.background import CERTAIN_SHARE, NEARLY_ZERO, SUSPICIOUS_SHARE
from eenet_runtime.cases.preprocessing import CaseImages, measure_images
from eenet_runtime.errors import CaseError
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality
from eenet_runtime.volumes.presets import EENET_144
from tests.brain import make_brain, volume, with_data
from tests.synthetic import ORIENTATIONS, TINY, case_files, make_head

T1, T1CE, T2, FLAIR = CHANNEL_ORDER


@pytest.fixture(scope="module")
def brain() -> CaseImages:
    """A sound case of 3 mm. Shared: do not change it."""
    return make_brain()


def filled(images: CaseImages, where: NDArray[np.bool_], share: float, *modalities: Modality) -> CaseImages:
    """Noise of both signs in some voxels of some images: by default all."""
    rng = np.random.default_rng(0)
    for modality in modalities or CHANNEL_ORDER:
        data = images.volumes[modality].data.astype(np.float32)
        sigma = share * np.quantile(data[data != 0], 0.99)
        data[where] = sigma * rng.standard_normal(int(where.sum()))
        images = with_data(images, modality, data)
    return images


def shell(images: CaseImages) -> NDArray[np.bool_]:
    """The voxels that touch the head."""
    head = images.reference.data != 0
    return np.asarray(ndimage.binary_dilation(head) & ~head)


def told(images: CaseImages) -> list[Finding]:
    """What the rule says."""
    return [finding for finding in find_problems(images, EENET_144) if finding.rule == "background"]


def test_the_limits_are_these() -> None:
    assert (NEARLY_ZERO, SUSPICIOUS_SHARE, CERTAIN_SHARE) == (0.02, 0.005, 0.02)


def test_a_shell_of_values_around_a_thousandth_refuses_the_case(brain: CaseImages) -> None:
    images = brain
    for modality in CHANNEL_ORDER:
        data = images.volumes[modality].data.astype(np.float32)
        data[shell(brain)] = 1e-3
        images = with_data(images, modality, data)
    (finding,) = told(images)
    assert finding.severity is Severity.CERTAIN
    assert "is nearly 0 in every image (less than 2% of its brightness), expected a background of exactly 0" in (
        finding.message
    )
    assert all(f"case_{modality.value}.nii.gz ({modality.value})" in finding.message for modality in CHANNEL_ORDER)


@pytest.mark.parametrize("share", [1e-6, 1e-4, 1e-2])
def test_small_values_of_both_signs_are_no_background(brain: CaseImages, share: float) -> None:
    assert [finding.severity for finding in told(filled(brain, shell(brain), share))] == [Severity.CERTAIN]


@pytest.mark.parametrize("share", [0.05, 0.07])
def test_a_rim_of_a_tenth_of_the_brightness_is_a_warning(brain: CaseImages, share: float) -> None:
    images = brain
    for modality in CHANNEL_ORDER:
        data = brain.volumes[modality].data.astype(np.float32)
        data[shell(brain)] = share * np.quantile(data[data != 0], 0.99)
        images = with_data(images, modality, data)
    (finding,) = told(images)
    assert finding.severity is Severity.SUSPECTED
    assert "less than 10% of its brightness" in finding.message
    images = CaseImages("case", {name: images.volumes[name] for name in (Modality.T1, Modality.T1CE, FLAIR)})
    assert told(images) == []  # fluid is dark in all of these


def test_one_image_with_such_a_shell_is_enough_and_is_named(brain: CaseImages) -> None:
    (finding,) = told(filled(brain, shell(brain), 1e-3, FLAIR))
    assert finding.severity is Severity.CERTAIN
    assert finding.message.startswith("case_flair.nii.gz (flair): ")
    assert "t1" not in finding.message


def test_a_whole_background_of_small_values_is_named_as_that_not_as_a_skull(brain: CaseImages) -> None:
    findings = find_problems(filled(brain, brain.reference.data == 0, 3e-3), EENET_144)
    assert "background" in [finding.rule for finding in findings]
    assert "not-stripped" not in [finding.rule for finding in findings]
    assert [finding.rule for finding in find_problems(with_data(brain, T2, brain.volumes[T2].data + 1), EENET_144)] == [
        "background"
    ]


def test_a_few_such_voxels_are_a_warning_and_fewer_are_nothing(brain: CaseImages) -> None:
    places = np.flatnonzero(brain.reference.data == 0)
    head = np.count_nonzero(brain.reference.data)
    for share, severities in ((0.01, [Severity.SUSPECTED]), (0.002, [])):
        where = np.zeros(brain.grid.shape, dtype=np.bool_)
        where.ravel()[np.random.default_rng(1).choice(places, int(share * head), replace=False)] = True
        assert [finding.severity for finding in told(filled(brain, where, 1e-3))] == severities


def test_fluid_that_is_nearly_0_in_three_images_is_tissue(brain: CaseImages) -> None:
    fluid = np.greater(brain.volumes[T2].data, 220)
    assert fluid.sum() > 500
    assert told(filled(brain, fluid, 1e-3, T1, T1CE, FLAIR)) == []


@pytest.mark.parametrize("missing", [T1CE, T2, FLAIR])
def test_a_missing_modality_changes_nothing(brain: CaseImages, missing: Modality) -> None:
    images = filled(brain, shell(brain), 1e-3)
    rest = {name: volume for name, volume in images.volumes.items() if name is not missing}
    assert len(told(CaseImages("case", rest))) == 1


def test_a_segmenter_refuses_it_and_says_why(tmp_path: Path, tiny_bundle: Path) -> None:
    head = make_head()
    images = {}
    for name, image in head.images.items():
        around = ndimage.binary_dilation(image != 0, iterations=2) & (image == 0)
        images[name] = np.where(around, 1e-3, image).astype(np.float32)
    case = case_files(tmp_path, "A", replace(head, images=images))
    with Segmenter(tiny_bundle) as segmenter, pytest.raises(CaseError, match="expected a background of exactly 0"):
        segmenter.segment(case)
    assert TINY.shape == segmenter.bundle.manifest.preset.shape


def test_the_share_of_negative_voxels_is_that_of_all_voxels_in_every_storage_order() -> None:
    """0.97 % of a real image was warned about in two storage orders of five, as only one voxel in 64 was looked at."""
    head = make_head()
    image = head.images[T2].astype(np.float32)
    places = np.argwhere(image != 0)
    image[tuple(places[::25].T)] *= -1
    share = np.mean(image[image != 0] < 0)
    assert 0.03 < share < 0.045
    said = set()
    for permutation, flips in ORIENTATIONS:
        stored = head.with_image(T2, image).stored_as(permutation, flips)
        images = CaseImages("case", {name: volume(name, data, stored.affine) for name, data in stored.images.items()})
        measured = measure_images(images)[T2]
        assert measured.negative / measured.voxels == share
        said.add(tuple(f.rule for f in find_problems(images, EENET_144) if f.rule == "negative"))
    assert said == {("negative",)}


def test_one_percent_of_negative_voxels_is_ringing() -> None:
    images = make_brain()
    data = images.volumes[T2].data.astype(np.float32)
    data[tuple(np.argwhere(data != 0)[::70].T)] *= -0.02
    assert [f for f in find_problems(with_data(images, T2, data), EENET_144) if f.rule == "negative"] == []


def test_two_images_are_too_few_to_tell_fluid_from_background(brain: CaseImages) -> None:
    images = filled(brain, shell(brain), 1e-3)
    assert told(images) != []
    two = CaseImages(images.case_id, {name: images.volumes[name] for name in (T1, T1CE)})
    assert told(two) == []


def test_beside_an_image_that_shows_nothing_nothing_is_said(brain: CaseImages) -> None:
    images = filled(brain, shell(brain), 1e-3)
    assert told(with_data(images, FLAIR, np.zeros(brain.grid.shape, np.float32))) == []
