"""A few voxels must not move a mask unnoticed: hot voxels, cubes of clip artefact, values far below the head's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_bench.inputs.intensity_faults import with_bright_vessels
from eenet_runtime import Segmenter
from eenet_runtime.cases.content_checks import Finding, Severity, find_problems
from eenet_runtime.cases.content_checks.spikes import (
    FAR,
    NOTICEABLE_SHARE,
    NOTICEABLE_SHARE_VERY_FAR,
    RULING_SHARE,
    VERY_FAR,
    bulk_of,
    spikes_in,
)
from eenet_runtime.cases.preprocessing import CaseImages, measure_images, read_case
from eenet_runtime.errors import CaseError
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality
from eenet_runtime.volumes.presets import EENET_144
from tests.brain import make_brain, volume, with_data
from tests.real_heads import stripped_cases
from tests.synthetic import case_files, make_head

T1, T1CE, T2, FLAIR = CHANNEL_ORDER
SPOT = (20, 30, 25)


@pytest.fixture(scope="module")
def brain() -> CaseImages:
    """A sound case of 3 mm. Shared: do not change it."""
    return make_brain()


def spiked(images: CaseImages, modality: Modality, where: Any, value: float) -> CaseImages:
    """One value in some voxels of one image."""
    data = images.volumes[modality].data.astype(np.float32)
    data[where] = value
    return with_data(images, modality, data)


def spikes(images: CaseImages) -> Sequence[Finding]:
    """What the rule says."""
    return [finding for finding in find_problems(images, EENET_144) if finding.rule == "spikes"]


def scattered(images: CaseImages, count: int) -> NDArray[np.bool_]:
    """So many voxels of the head, anywhere."""
    shown = np.flatnonzero(images.reference.data)
    places = np.zeros(images.grid.shape, dtype=np.bool_)
    places.ravel()[np.random.default_rng(0).choice(shown, count, replace=False)] = True
    return places


def test_the_limits_are_these() -> None:
    assert (FAR, VERY_FAR) == (15.0, 30.0)
    assert (NOTICEABLE_SHARE, NOTICEABLE_SHARE_VERY_FAR, RULING_SHARE) == (0.05, 0.005, 0.15)


@pytest.mark.parametrize("value", [65535.0, 1e6, 3e7])
def test_a_voxel_of_3e7_refuses_the_case(brain: CaseImages, value: float) -> None:
    (finding,) = spikes(spiked(brain, T1CE, SPOT, value))
    assert finding.severity is Severity.CERTAIN
    assert finding.message.startswith("case_t1ce.nii.gz (t1ce): 1 voxel lies far from all others and makes up 99 % of")
    assert f"found up to {value:.6g}, expected about 81" in finding.message


@pytest.mark.parametrize("value", [65535.0, 1e6, 3e7])
def test_a_segmenter_refuses_it_and_says_why(tmp_path: Path, tiny_bundle: Path, value: float) -> None:
    head = make_head()
    image = head.images[T1CE].astype(np.float32)
    image[20, 20, 10] = value
    case = case_files(tmp_path, "A", head.with_image(T1CE, image))
    with Segmenter(tiny_bundle) as segmenter, pytest.raises(CaseError, match=r"A_t1ce\.nii\.gz \(t1ce\): 1 voxel lies"):
        segmenter.segment(case)


def test_a_voxel_of_3e7_in_each_image_names_them_all(brain: CaseImages) -> None:
    images = brain
    for modality in CHANNEL_ORDER:
        images = spiked(images, modality, SPOT, 3e7)
    assert [finding.severity for finding in spikes(images)] == [Severity.CERTAIN] * 4


@pytest.mark.parametrize("modality", CHANNEL_ORDER)
@pytest.mark.parametrize("value", [-65535.0, -1e6])
def test_spikes_far_below_the_head_are_spikes(brain: CaseImages, modality: Modality, value: float) -> None:
    (finding,) = spikes(spiked(brain, modality, SPOT, value))
    assert finding.severity is Severity.CERTAIN
    assert f"up to {value:.6g}" in finding.message


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_10_to_1000_hot_voxels_refuse_the_case(brain: CaseImages, count: int) -> None:
    """1000 of them are 2 % of this head: they must not pass as a part of its bulk."""
    (finding,) = spikes(spiked(brain, FLAIR, scattered(brain, count), 2e4))
    assert finding.severity is Severity.CERTAIN
    assert f": {count} voxels lie far from all others" in finding.message


def test_hot_voxels_that_move_little_are_a_warning(brain: CaseImages) -> None:
    images = spiked(brain, T2, scattered(brain, 10), 1700)
    (finding,) = spikes(images)
    data = images.volumes[T2].data
    bulk = bulk_of(data[data != 0], images.volumes[T2])
    assert bulk is not None
    found = spikes_in(images.volumes[T2], bulk, measure_images(images)[T2])
    assert found.voxels == 10
    assert NOTICEABLE_SHARE < found.share < RULING_SHARE
    assert finding.severity is Severity.SUSPECTED


@pytest.mark.parametrize(("value", "severity"), [(450, Severity.SUSPECTED), (4095, Severity.CERTAIN)])
def test_a_cube_of_clip_artefact_of_8_mm_is_noticed(brain: CaseImages, value: int, severity: Severity) -> None:
    cube = (slice(20, 23), slice(30, 33), slice(25, 28))
    (finding,) = spikes(spiked(brain, T1CE, cube, value))
    assert finding.severity is severity
    assert "1 voxel" not in finding.message


def test_many_voxels_that_are_too_bright_for_vessels_are_a_warning(brain: CaseImages) -> None:
    images = brain
    data = images.volumes[FLAIR].data
    top = float(data.mean(where=data != 0) + 13.5 * data.std(where=data != 0))
    assert spikes(spiked(images, FLAIR, scattered(brain, 4), top)) == []
    (finding,) = spikes(spiked(images, FLAIR, scattered(brain, 100), top))
    assert finding.severity is Severity.SUSPECTED


def test_a_cube_is_found_although_few_of_its_voxels_are_sampled() -> None:
    """At 1 mm one voxel in 64 is looked at."""
    thin = make_brain(spacing_mm=3.0)
    volumes = {
        name: replace(volume, data=volume.data.repeat(3, 0).repeat(3, 1).repeat(3, 2))
        for name, volume in thin.volumes.items()
    }
    affine = thin.grid.affine @ np.diag([1 / 3, 1 / 3, 1 / 3, 1])
    grid = replace(thin.grid, shape=volumes[T1].data.shape, affine=affine)
    fine = CaseImages("case", {name: replace(volume, grid=grid) for name, volume in volumes.items()})
    assert spikes(fine) == []
    cube = (slice(61, 69), slice(90, 98), slice(75, 83))
    (finding,) = spikes(spiked(fine, T1CE, cube, 400))
    assert "a block of voxels holds one and the same extreme value, 400" in finding.message


@pytest.mark.parametrize("modality", CHANNEL_ORDER)
@pytest.mark.parametrize(("share", "deviations"), [(0.002, 7.0), (0.007, 5.0), (0.0007, 10.0), (0.002, -7.0)])
def test_lone_voxels_are_noticed_where_vessels_are_as_bright(
    modality: Modality, share: float, deviations: float
) -> None:
    """Salt and pepper within what tissue reaches: in no tail, and it moved a real glioma's ET to Dice 0.74."""
    brain = make_brain(spacing_mm=2.0)
    data = brain.volumes[modality].data
    count = round(share * np.count_nonzero(data))
    value = data.mean(where=data != 0) + deviations * data.std(where=data != 0)
    (finding,) = spikes(spiked(brain, modality, scattered(brain, count), value))
    assert finding.severity is Severity.SUSPECTED
    assert "stand alone" in finding.message


def test_in_thick_voxels_a_vessel_may_stand_alone(brain: CaseImages) -> None:
    data = brain.volumes[T1CE].data
    value = data.mean(where=data != 0) + 7 * data.std(where=data != 0)
    assert spikes(spiked(brain, T1CE, scattered(brain, round(0.002 * np.count_nonzero(data))), value)) == []


def test_a_block_is_noticed_beside_a_brighter_vessel_and_under_noise(brain: CaseImages) -> None:
    data = brain.volumes[T1CE].data.astype(np.float32)
    centre, deviation = data.mean(where=data != 0), data.std(where=data != 0)
    data[SPOT] = centre + 14.5 * deviation
    data[30:33, 20:23, 25:28] = centre + (12 + np.random.default_rng(0).standard_normal((3, 3, 3))) * deviation
    (finding,) = spikes(with_data(brain, T1CE, data))
    assert finding.severity is Severity.SUSPECTED
    assert "a block of voxels lies" in finding.message


def test_a_block_below_the_head_is_noticed(brain: CaseImages) -> None:
    data = brain.volumes[T1CE].data.astype(np.float32)
    value = data.mean(where=data != 0) - 7.5 * data.std(where=data != 0)
    (finding,) = spikes(spiked(brain, T1CE, (slice(28, 33), slice(28, 33), slice(25, 30)), value))
    assert "below the head's bulk" in finding.message


def test_a_voxel_among_the_brightest_is_no_spike(brain: CaseImages) -> None:
    assert spikes(spiked(brain, T1CE, SPOT, 450)) == []
    assert spikes(spiked(brain, T2, SPOT, 0.5)) == []


def test_an_image_that_was_cut_at_its_brightest_thousandth_is_sound(brain: CaseImages) -> None:
    images = with_bright_vessels(brain)
    data = images.volumes[T1CE].data
    top = np.quantile(data[data != 0], 0.999)
    assert spikes(with_data(images, T1CE, np.minimum(data, top))) == []


@pytest.mark.parametrize("seed", range(4))
def test_bright_vessels_are_sound(seed: int) -> None:
    images = with_bright_vessels(make_brain(seed))
    data = images.volumes[T1CE].data
    assert data.max() > 3 * np.median(data[data != 0])
    assert find_problems(images, EENET_144) == ()


def test_the_lesions_of_a_head_without_other_contrast_are_no_spikes() -> None:
    head = make_head()
    images = CaseImages("case", {name: volume(name, data, head.affine) for name, data in head.images.items()})
    assert spikes(images) == []


def test_the_scale_of_the_scanner_makes_no_difference(brain: CaseImages) -> None:
    for scale in (1e-6, 1e12):
        data = brain.volumes[T1].data.astype(np.float64) * scale
        assert spikes(with_data(brain, T1, data)) == []
        data[SPOT] = 3e5 * scale
        assert len(spikes(with_data(brain, T1, data))) == 1


def test_a_spike_beyond_float32_is_a_spike(brain: CaseImages) -> None:
    data = brain.volumes[T1].data.astype(np.float64)
    data[SPOT] = 1e60
    assert [finding.severity for finding in spikes(with_data(brain, T1, data))] == [Severity.CERTAIN]


@pytest.mark.real
def test_no_real_brain_has_spikes_or_a_background_that_is_nearly_0() -> None:
    for files in stripped_cases():
        said = {finding.rule for finding in find_problems(read_case(files), EENET_144)}
        assert not said & {"spikes", "background", "negative"}, files.case_id


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("side", [1, -1])
def test_a_twentieth_of_the_values_at_either_end_never_moves_the_bulk(seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.concatenate([np.full(5, side * 1e6), rng.normal(100, 20, 95)])
    bulk = bulk_of(values, volume("case_t1.nii.gz", rng.permutation(values).reshape(4, 5, 5), np.eye(4)))
    assert bulk is not None
    assert bulk.centre == pytest.approx(100, abs=10)


def test_the_background_of_an_image_of_little_contrast_is_no_block_below_it(brain: CaseImages) -> None:
    """Its bulk is taken for 100 +- 15, so that 0 lies more than 6 deviations below."""
    data = brain.volumes[T1].data.astype(np.float32)
    data[data != 0] = 100 + np.random.default_rng(0).normal(0, 3, np.count_nonzero(data))
    data[SPOT] = 100 + 7 * 15
    assert spikes(with_data(brain, T1, data)) == []
