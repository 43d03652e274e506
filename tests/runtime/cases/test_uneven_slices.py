"""A slice that is brighter or darker than its neighbours moves a mask more than any spike, and lies in no tail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.cases.content_checks import Severity, find_problems
from eenet_runtime.cases.content_checks.slices import JUMP, jumps
from eenet_runtime.cases.preprocessing import CaseImages, measure_images, read_case
from eenet_runtime.volumes.boxes import whole
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality
from eenet_runtime.volumes.presets import EENET_144
from tests.brain import make_brain, with_data
from tests.real_heads import stripped_cases

T1CE = Modality.T1CE


@pytest.fixture(scope="module")
def brain() -> CaseImages:
    """A sound case of 3 mm. Shared: do not change it."""
    return make_brain()


def with_slice(images: CaseImages, modality: Modality, axis: int, number: int, deviations: float) -> CaseImages:
    """One slice of a head lifted by so many deviations."""
    data = images.volumes[modality].data.astype(np.float32)
    plane: NDArray[np.float32] = np.moveaxis(data, axis, 0)[number]
    plane[plane != 0] += deviations * data.std(where=data != 0)
    return with_data(images, modality, data)


def said(images: CaseImages) -> list[str]:
    """What the rule says."""
    return [finding.message for finding in find_problems(images, EENET_144) if finding.rule == "uneven-slices"]


@pytest.mark.parametrize("modality", CHANNEL_ORDER)
@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("deviations", [6, 12])
def test_a_bright_slice_is_a_warning(brain: CaseImages, modality: Modality, axis: int, deviations: float) -> None:
    (message,) = said(with_slice(brain, modality, axis, 30, deviations))
    assert message.startswith(f"case_{modality.value}.nii.gz ({modality.value}): slice 3")
    assert f"along the {('first', 'second', 'third')[axis]} stored axis lies" in message


def test_it_is_named_by_its_number_in_the_file(brain: CaseImages) -> None:
    (message,) = said(with_slice(brain, T1CE, 2, 30, 6))
    assert "slice 30 (from 0)" in message or "slice 31 (from 0)" in message


def test_a_dark_slice_is_a_warning_like_a_bright_one(brain: CaseImages) -> None:
    assert len(said(with_slice(brain, T1CE, 2, 30, -6))) == 1


def test_it_suspects_and_does_not_refuse(brain: CaseImages) -> None:
    findings = find_problems(with_slice(brain, T1CE, 2, 30, 6), EENET_144)
    assert {finding.severity for finding in findings} == {Severity.SUSPECTED}


def test_thicker_slices_may_differ_by_more(brain: CaseImages) -> None:
    assert JUMP == 1.2
    assert said(with_slice(brain, T1CE, 2, 30, 2)) == []  # of 3 mm


def test_the_scale_of_the_scanner_makes_no_difference(brain: CaseImages) -> None:
    lifted = with_slice(brain, T1CE, 2, 30, 6)
    for scale in (1e-6, 1e12):
        data = lifted.volumes[T1CE].data.astype(np.float64) * scale
        assert len(said(with_data(lifted, T1CE, data))) == 1


def test_a_jump_is_the_difference_of_what_both_slices_show(brain: CaseImages) -> None:
    volume = brain.volumes[T1CE]
    data = np.full(volume.data.shape, 7.0)
    data[:, :, 20:] = 9.0
    data[:10, :, 20:] = 0  # shown by one side only: does not count
    found = jumps(replace(volume, data=data), 2, whole(data.shape))
    assert found.size == 57
    assert np.flatnonzero(found).tolist() == [19]
    assert found[19] == 2.0


@pytest.mark.real
def test_no_real_brain_has_a_bad_slice() -> None:
    for files in stripped_cases():
        images = read_case(files)
        assert said(images) == [], files.case_id
        for modality, intensities in measure_images(images).items():
            for axis in range(3):
                change = jumps(images.volumes[modality], axis, intensities.box)
                assert np.abs(change).max() < 0.6 * intensities.deviation, (files.case_id, modality)
