"""All rules, in the order in which their findings are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eenet_runtime.cases.content_checks.alignment import find_misalignment
from eenet_runtime.cases.content_checks.background import find_nearly_zero
from eenet_runtime.cases.content_checks.duplicates import find_duplicates
from eenet_runtime.cases.content_checks.finding import Finding, Severity
from eenet_runtime.cases.content_checks.head_size import find_odd_size
from eenet_runtime.cases.content_checks.intensities import find_foreign_voxels
from eenet_runtime.cases.content_checks.orientation import find_two_orientations
from eenet_runtime.cases.content_checks.sample import take_sample
from eenet_runtime.cases.content_checks.slices import find_uneven_slices
from eenet_runtime.cases.content_checks.spikes import find_spikes
from eenet_runtime.cases.content_checks.stripped_ct import find_stripped_ct
from eenet_runtime.cases.content_checks.swaps import find_swaps
from eenet_runtime.cases.preprocessing import CaseImages, measure_what_can_be
from eenet_runtime.volumes.labels import Modality
from eenet_runtime.volumes.normalization import Intensities
from eenet_runtime.volumes.presets import GeometryPreset

RULES: Final = (
    "duplicate",
    "label-volume",
    "negative",
    "spikes",
    "uneven-slices",
    "background",
    "not-stripped",
    "head-size",
    "coverage",
    "coarse-voxels",
    "two-orientations",
    "stripped-ct",
    "misaligned",
    "t2-exchanged",
    "flair-exchanged",
    "t1ce-exchanged",
)
"""Names of the rules (docs/input-checks.md)."""


def find_problems(
    images: CaseImages, preset: GeometryPreset, measured: Mapping[Modality, Intensities] | None = None
) -> tuple[Finding, ...]:
    """Look for contents that do not fit the files' names.

    Contrasts are compared only where nothing certain was found before: of a skull, or of an image given twice, they
    say nothing. What normalisation refuses by name (NaN, no voxel, no contrast) is left to it.

    Args:
        images: the images of a case, read and on one grid; not changed. One may be missing.
        preset: the network's geometry.
        measured: of `preprocessing.measure_images`; where nobody has it yet the images are measured here.

    Returns:
        The findings, the certain ones first; empty for a case that looks as it should.
    """
    sample = take_sample(images)
    measured = measure_what_can_be(images)[0] if measured is None else measured
    background = find_nearly_zero(images, sample)
    findings = [
        *find_duplicates(images, sample),
        *find_foreign_voxels(images, sample, measured),
        *find_spikes(images, sample, measured),
        *find_uneven_slices(images, measured),
        # Of a head in a background that is not 0, the size says nothing.
        *(background or find_odd_size(images, sample, preset, measured)),
        *find_two_orientations(images),
    ]
    if not any(finding.severity is Severity.CERTAIN for finding in findings):
        contrast = find_misalignment(images, sample) or find_swaps(images, sample)
        findings += find_stripped_ct(images, sample, contrast) or contrast
    return tuple(sorted(findings, key=lambda finding: finding.severity is not Severity.CERTAIN))
