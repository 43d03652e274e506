"""How large a head is, whatever the network's voxels: the rules of `content_checks/head_size.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eenet_runtime.cases.content_checks import alignment, head_size
from eenet_runtime.cases.content_checks.alignment import find_misalignment
from eenet_runtime.cases.content_checks.finding import Severity
from eenet_runtime.cases.content_checks.head_size import find_odd_size
from eenet_runtime.cases.content_checks.sample import take_sample
from eenet_runtime.cases.preprocessing import CaseImages, measure_images
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality
from eenet_runtime.volumes.presets import EENET_108, EENET_144, EENET_FAST, GeometryPreset
from tests.brain import make_brain, with_affine, with_data
from tests.synthetic import TINY, TINY_2MM

WHOLE_HEADS = pytest.mark.parametrize("preset", [EENET_144, EENET_108, EENET_FAST], ids=lambda preset: preset.name)


def verdicts(images: CaseImages, preset: GeometryPreset) -> list[tuple[str, Severity]]:
    """The rules that spoke, and how sure they are."""
    findings = find_odd_size(images, take_sample(images), preset, measure_images(images))
    return [(finding.rule, finding.severity) for finding in findings]


def test_the_limits() -> None:
    limits = {name: value for name, value in vars(head_size).items() if name.isupper()}
    assert limits == {
        "GRID_TOLERANCE": 1e-3,
        "WHOLE_HEAD_MM": (150.0, 120.0, 90.0),
        "LARGEST_BRAIN_ML": 2400.0,
        "SMALLEST_BRAIN_ML": 700.0,
        "LONGEST_HEAD_MM": 280.0,
        "SHORTEST_BRAIN_MM": 100.0,
        "PLAUSIBLE_MM": ((130.0, 210.0), (100.0, 175.0), (80.0, 190.0)),
        "LEAST_COVERAGE": 0.75,
        "FILLED": 0.9,
        "COARSE_MM": 3.0,
    }
    assert alignment.SHIFTS == (1, 2)
    assert alignment.GAIN == 0.05


@WHOLE_HEADS
def test_a_brain_of_adult_size_is_not_odd(preset: GeometryPreset) -> None:
    assert verdicts(make_brain(), preset) == []


@WHOLE_HEADS
def test_a_skull_is_certain(preset: GeometryPreset) -> None:
    # A fifth larger than the brain along each axis: 2.9 litres.
    assert verdicts(make_brain(spacing_mm=3.6), preset)[:1] == [("coarse-voxels", Severity.SUSPECTED)]
    assert ("not-stripped", Severity.CERTAIN) in verdicts(make_brain(spacing_mm=3.6), preset)


@WHOLE_HEADS
@pytest.mark.parametrize(("spacing_mm", "severity"), [(1.5, Severity.CERTAIN), (2.1, Severity.SUSPECTED)])
def test_a_wrong_voxel_size_is_told(preset: GeometryPreset, spacing_mm: float, severity: Severity) -> None:
    assert verdicts(make_brain(spacing_mm=spacing_mm), preset) == [("head-size", severity)]


@WHOLE_HEADS
def test_an_image_that_shows_half_of_the_others_head_is_suspected(preset: GeometryPreset) -> None:
    images = make_brain()
    half: Any = images.volumes[Modality.FLAIR].data.copy()
    half[..., 29:] = 0
    assert verdicts(with_data(images, Modality.FLAIR, half), preset) == [("coverage", Severity.SUSPECTED)]


@pytest.mark.parametrize("preset", [TINY, TINY_2MM])
def test_a_network_for_parts_of_heads_is_not_told_how_large_a_head_is(preset: GeometryPreset) -> None:
    assert verdicts(make_brain(spacing_mm=3.6), preset) == []


def test_a_head_that_fills_its_volume_to_the_faces_is_aligned_without_leaving_the_array() -> None:
    inner = (slice(15, 41), slice(18, 48), slice(16, 42))
    images = make_brain()
    for modality in CHANNEL_ORDER:
        images = with_data(images, modality, np.ascontiguousarray(images.volumes[modality].data[inner]))
    sample = take_sample(images)
    assert all((image != 0).all() for image in sample.values.values())
    assert find_misalignment(images, sample) == []


@pytest.mark.parametrize("axis", range(3))
def test_voxels_that_are_long_along_one_axis_are_coarse(axis: int) -> None:
    spacing = [2.9, 2.9, 2.9]
    spacing[axis] = 3.1
    images = with_affine(make_brain(), np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]))
    assert verdicts(images, EENET_144) == [("coarse-voxels", Severity.SUSPECTED)]
