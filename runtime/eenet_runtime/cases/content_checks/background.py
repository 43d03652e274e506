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
SUSPICIOUS_SHARE: Final = 0.005
"""Share of all that is not 0 from which nearly empty voxels are told. The real heads at hand have less than 0.0001."""
CERTAIN_SHARE: Final = 0.02
"""Share from which they refuse the case; a shell of 1 mm about a brain has twice as much."""


def find_nearly_zero(images: CaseImages, sample: HeadSample) -> list[Finding]:
    """Voxels that are nearly 0 in all images and not exactly 0 in all of them."""
    dark = _dark(sample)
    if len(images.volumes) < ENOUGH_IMAGES or len(dark) < len(images.volumes):
        return []
    if not _explains_the_size(sample, dark):
        return []  # a head with its skull, whose air is noise: named as that
    nearly = np.all(list(dark.values()), axis=0) & sample.head
    share = int(np.count_nonzero(nearly)) / max(1, int(np.count_nonzero(sample.head)))
    if share <= SUSPICIOUS_SHARE:
        return []
    names = [name for name in images.volumes if np.any((sample.values[name] != 0) & nearly)]
    where = ", ".join(f"{images.volumes[name].source} ({name.value})" for name in names)
    message = (
        f"{where}: {share:.1%} of what is not 0 ({np.count_nonzero(nearly) * sample.sample_ml:.0f} ml) is nearly 0 in "
        f"every image (less than {NEARLY_ZERO:.0%} of its brightness), expected a background of exactly 0; set it to 0"
    )
    return [Finding("background", Severity.CERTAIN if share > CERTAIN_SHARE else Severity.SUSPECTED, message)]


def _dark(sample: HeadSample) -> Mapping[Modality, NDArray[np.bool_]]:
    """Where each image is 0 or nearly so; an image that shows nothing, or no numbers, is left out."""
    dark = {}
    for modality, image in sample.values.items():
        shown = np.abs(sample.shown[modality])
        if shown.size and np.isfinite(shown).all():
            rank = int(BRIGHT * (shown.size - 1))
            limit = NEARLY_ZERO * float(np.partition(shown, rank)[rank])
            dark[modality] = np.abs(image) <= limit
    return dark


def _explains_the_size(sample: HeadSample, dark: Mapping[Modality, NDArray[np.bool_]]) -> bool:
    """Whether what is bright in any one image is no larger than a brain."""
    brightest = max(image.size - int(np.count_nonzero(image)) for image in dark.values())
    return brightest * sample.sample_ml <= LARGEST_BRAIN_ML
