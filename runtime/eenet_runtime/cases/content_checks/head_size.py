"""How much of a head there is, and how large: a skull that was left on, a background that is not 0, a wrong voxel size.

The limits come from anatomy. A brain with its fluid fills 1 to 2 litres and is 150 to 190 mm long, 115 to 155 mm wide
and at most 160 mm high; a head with its skull fills 3 litres and more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from eenet_runtime.cases.content_checks.finding import Finding, Severity
from eenet_runtime.cases.content_checks.sample import HeadSample
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.volumes.boxes import bounding_box
from eenet_runtime.volumes.grid import GRID_TOLERANCE, millimetres
from eenet_runtime.volumes.labels import Modality
from eenet_runtime.volumes.normalization import Intensities
from eenet_runtime.volumes.presets import GeometryPreset

WHOLE_HEAD_MM: Final = (150.0, 120.0, 90.0)
"""A network whose box is smaller than this (H, W, D) works on parts of a head, and nothing is said about their size."""
LARGEST_BRAIN_ML: Final = 2400.0
"""Between the largest brains (2 litres) and heads with their skull (3 litres and more)."""
SMALLEST_BRAIN_ML: Final = 700.0
"""Below this a brain is cut off, a small child's, or of other voxels than its header says."""
LONGEST_HEAD_MM: Final = 280.0
"""No head is longer, with its skull and its neck in the picture."""
SHORTEST_BRAIN_MM: Final = 100.0
"""The longest side of a newborn's brain; no brain for this network is smaller."""
PLAUSIBLE_MM: Final = ((130.0, 210.0), (100.0, 175.0), (80.0, 190.0))
"""Length, width and height of an adult brain with room to spare."""
LEAST_COVERAGE: Final = 0.75
"""Share of the head that each image shows at least; fluid that a scanner rounds to 0 is less than a quarter of it."""
FILLED: Final = 0.9
"""Share of all voxels that are not 0 from which it is the background that is not 0."""
COARSE_MM: Final = 3.0
"""Voxels longer than this do not show an enhancing rim, which is 2 to 6 mm wide."""


def find_odd_size(
    images: CaseImages, sample: HeadSample, preset: GeometryPreset, measured: Mapping[Modality, Intensities]
) -> list[Finding]:
    """Volume, extent and voxels of the head, where they are no brain's.

    Args:
        images: the case.
        sample: of it.
        preset: the network's geometry.
        measured: what all voxels of an image say; if one has no entry, volume and extent are not judged.
    """
    box_mm = tuple(size * preset.spacing_mm for size in preset.shape)
    if any(size < least for size, least in zip(box_mm, WHOLE_HEAD_MM, strict=True)):
        return []
    if not sample.head.any():
        return []
    # Beside an image with its skull, a stripped one would seem to show too little.
    found = _extent(images, sample) or _coverage(images, sample)
    # What is no number is not 0: as a background it looks like a head, and normalisation refuses it by its name.
    if any(modality not in measured for modality in images.volumes):
        found = []
    return [*_voxels(images), *found]


def volume_ml(sample: HeadSample, modality: Modality) -> float:
    """Volume of what is not 0 in one image."""
    return float(np.count_nonzero(sample.values[modality])) * sample.sample_ml


def extent_mm(sample: HeadSample) -> tuple[float, float, float]:
    """Length, width and height of what is not 0 in any image; right to one sample at either end."""
    box = bounding_box(sample.head)
    length, width, height = (
        (part.stop - part.start) * spacing for part, spacing in zip(box, sample.spacing_mm, strict=True)
    )
    return length, width, height


def _voxels(images: CaseImages) -> list[Finding]:
    spacing = images.grid.spacing_mm
    if max(spacing) <= COARSE_MM + GRID_TOLERANCE:  # 3.0000001 is what a header makes of 3
        return []
    size = " x ".join(map(millimetres, spacing))
    message = (
        f"{images.reference.source}: voxels of {size} mm found; the network was trained on 1 mm, and an enhancing rim "
        f"is thinner than {millimetres(max(spacing))} mm"
    )
    return [Finding("coarse-voxels", Severity.SUSPECTED, message)]


def _extent(images: CaseImages, sample: HeadSample) -> list[Finding]:
    source = images.reference.source
    sides = extent_mm(sample)
    described = "a head of {:.0f} x {:.0f} x {:.0f} mm (length, width, height)".format(*sides)
    if max(sides) > LONGEST_HEAD_MM or max(sides) < SHORTEST_BRAIN_MM:
        message = f"{source}: {described} found, expected a brain of about 170 x 140 x 140; check the voxel size"
        return [Finding("head-size", Severity.CERTAIN, message)]
    unstripped = [_skull(images, sample, modality) for modality in images.volumes]
    if any(unstripped):
        return [finding for finding in unstripped if finding]
    volume = max(volume_ml(sample, modality) for modality in images.volumes)
    odd = any(low > side or side > high for side, (low, high) in zip(sides, PLAUSIBLE_MM, strict=True))
    # A brain is longer than it is wide or high: otherwise the header names the axes wrongly.
    if odd or sides[0] < max(sides) or volume < SMALLEST_BRAIN_ML:
        message = (
            f"{source}: {described} of {volume / 1000:.2f} litres found, expected a brain of about 170 x 140 x 140 mm "
            "and 1.0 to 2.0 litres; check voxel size, orientation and that the whole brain is there"
        )
        return [Finding("head-size", Severity.SUSPECTED, message)]
    return []


def _coverage(images: CaseImages, sample: HeadSample) -> list[Finding]:
    """Images that show only a part of what the others show: fewer slices, another mask."""
    whole = np.count_nonzero(sample.head) * sample.sample_ml
    shares = {modality: volume_ml(sample, modality) / whole for modality in images.volumes}
    return [
        Finding(
            "coverage",
            Severity.SUSPECTED,
            f"{images.volumes[modality].source} ({modality.value}) shows only {share:.0%} of the head that the others "
            "show, expected the same",
        )
        for modality, share in shares.items()
        if share < LEAST_COVERAGE
    ]


def _skull(images: CaseImages, sample: HeadSample, modality: Modality) -> Finding | None:
    volume = volume_ml(sample, modality)
    if volume <= LARGEST_BRAIN_ML:
        return None
    name = f"{images.volumes[modality].source} ({modality.value})"
    filled = np.count_nonzero(sample.values[modality]) / sample.values[modality].size
    found = f"{name}: {volume / 1000:.2f} litres are not exactly 0, expected a brain of at most 2"
    sizes = " x ".join(map(millimetres, images.grid.spacing_mm))
    if filled > FILLED:
        message = f"{found}; set the background to 0 (and strip the skull, if it is still on)"
    else:
        message = f"{found}; strip the skull, or, if it is off, mend the voxel size in the header ({sizes} mm)"
    return Finding("not-stripped", Severity.CERTAIN, message)
