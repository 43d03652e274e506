"""A background that is nearly 0: what interpolation, denoising and noise make of one that was exactly 0.

Only voxels that are exactly 0 are background to the normalisation. A rim of tiny values about the head counts as
tissue, pulls every image's mean down and changes the mask without a trace. Inside a head some image is bright
everywhere (fluid is dark in three of them, and bright in T2), so what is dark in all of them is background.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.content_checks.finding import Finding, Severity
from eenet_runtime.cases.content_checks.head_size import LARGEST_BRAIN_ML
from eenet_runtime.cases.content_checks.sample import HeadSample
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.volumes.labels import Modality

ENOUGH_IMAGES: Final = 3
"""Images that are dark together where there is no head: in one or two, fluid may be as dark."""
BRIGHT: Final = 0.99
"""Quantile of an image's non-zero values that stands for how bright its head is."""
NEARLY_ZERO: Final = 0.02
"""Share of that brightness up to which a value is nearly 0."""
DIM: Final = 0.1
"""Share of that brightness up to which a value is no tissue where all images, the T2 among them, are as dark."""
DIM_SHARE: Final = 0.02
"""Share of all that is not 0 from which such voxels are told. Three real heads have 0.0014 at most, 0.017 after a gamma
of 2; a shell of 2 mm about a brain has 0.1."""
SUSPICIOUS_SHARE: Final = 0.005
"""Share of all that is not 0 from which nearly empty voxels are told. The real heads at hand have less than 0.0001."""
CERTAIN_SHARE: Final = 0.02
"""Share from which they refuse the case; a shell of 1 mm about a brain has twice as much."""


def find_nearly_zero(images: CaseImages, sample: HeadSample) -> list[Finding]:
    """Voxels that are nearly 0 in all images and not exactly 0 in all of them."""
    dark = _dark(sample, NEARLY_ZERO)
    if len(images.volumes) < ENOUGH_IMAGES or len(dark) < len(images.volumes):
        return []
    if not _explains_the_size(sample, dark):
        return []  # a head with its skull, whose air is noise: named as that
    nearly = np.all(list(dark.values()), axis=0) & sample.head
    share = _share(nearly, sample)
    if share > SUSPICIOUS_SHARE:
        severity = Severity.CERTAIN if share > CERTAIN_SHARE else Severity.SUSPECTED
        return [_finding(images, sample, nearly, NEARLY_ZERO, severity)]
    if Modality.T2 not in images.volumes:
        return []  # fluid is dark in all others
    dim = np.all(list(_dark(sample, DIM).values()), axis=0) & sample.head
    return [_finding(images, sample, dim, DIM, Severity.SUSPECTED)] if _share(dim, sample) > DIM_SHARE else []


def _share(part: NDArray[np.bool_], sample: HeadSample) -> float:
    """Share of what is not 0."""
    return int(np.count_nonzero(part)) / max(1, int(np.count_nonzero(sample.head)))


def _finding(
    images: CaseImages, sample: HeadSample, nearly: NDArray[np.bool_], limit: float, severity: Severity
) -> Finding:
    names = [name for name in images.volumes if np.any((sample.values[name] != 0) & nearly)]
    where = ", ".join(f"{images.volumes[name].source} ({name.value})" for name in names)
    found = f"{_share(nearly, sample):.1%} of what is not 0 ({np.count_nonzero(nearly) * sample.sample_ml:.0f} ml)"
    message = (
        f"{where}: {found} is nearly 0 in every image (less than {limit:.0%} of its brightness), expected a background "
        "of exactly 0; set it to 0"
    )
    return Finding("background", severity, message)


def _dark(sample: HeadSample, share: float) -> Mapping[Modality, NDArray[np.bool_]]:
    """Where each image is 0 or at most a share of its brightness; without images that show nothing, or no numbers."""
    dark = {}
    for modality, image in sample.values.items():
        shown = np.abs(sample.shown[modality])
        if shown.size and np.isfinite(shown).all():
            rank = int(BRIGHT * (shown.size - 1))
            limit = share * float(np.partition(shown, rank)[rank])
            dark[modality] = np.abs(image) <= limit
    return dark


def _explains_the_size(sample: HeadSample, dark: Mapping[Modality, NDArray[np.bool_]]) -> bool:
    """Whether what is bright in any one image is no larger than a brain."""
    brightest = max(image.size - int(np.count_nonzero(image)) for image in dark.values())
    return brightest * sample.sample_ml <= LARGEST_BRAIN_ML
