"""Images under each other's names, by what the four contrasts show.

*Fluid* (ventricles, sulci) is dark in T1, T1ce and FLAIR, and bright in T2: that is what the sequences are made for.
*Kin*: of T1, T1ce and FLAIR, the two T1 weightings are the most alike; FLAIR orders white and grey matter otherwise.
*Enhancement*: T1ce is T1 after a contrast agent. Vessels, sinuses and enhancing tumour become brighter by far, nothing
becomes darker by as much.

The first two follow from the physics of the sequences, the third from the agent; the thresholds were measured on
phantoms, whose contrasts are ours (docs/input-checks.md). So all of them only suspect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Final

import numpy as np

from eenet_runtime.cases.content_checks.finding import Finding, Severity
from eenet_runtime.cases.content_checks.sample import HeadSample
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.volumes.labels import Modality

FLUID_SHARE: Final = 0.03
"""Share of the samples that is taken for fluid: where the other images together are darkest."""
FLUID_MARGIN: Final = 1.0
"""By how many standard deviations fluid must be brighter in another image than in the T2."""
KIN_MARGIN: Final = 0.2
"""By how much another pair than T1 and T1ce must correlate better."""
ENHANCEMENT_SHARE: Final = 0.001
"""Share of the samples at either end of the difference T1ce - T1 that counts as its tail."""
ENHANCEMENT_MARGIN: Final = 0.6
"""By what factor (as a logarithm) the dark tail of T1ce - T1 must be longer than the bright one."""

_T1_LIKE: Final = (Modality.T1, Modality.T1CE, Modality.FLAIR)
"""The three images in which fluid is dark."""


def find_swaps(images: CaseImages, sample: HeadSample) -> list[Finding]:
    """Images that look exchanged: the most basic thing that is wrong, for it makes the finer ones meaningless."""
    if not sample.is_usable:
        return []
    return _bright_fluid(images, sample) or _wrong_kin(images, sample) or _wrong_enhancement(images, sample)


def fluid_brightness(sample: HeadSample) -> Mapping[Modality, float]:
    """For each image: how much brighter it is than the others, in standard deviations, where those are darkest."""
    scores = sample.scores
    total = np.sum(list(scores.values()), axis=0)
    brightness = {}
    for modality, own in scores.items():
        others = (total - own) / (len(scores) - 1)
        fluid = others <= np.quantile(others, FLUID_SHARE)
        brightness[modality] = float(np.median(own[fluid]) - np.median(others[fluid]))
    return brightness


def kinship(sample: HeadSample) -> Mapping[frozenset[Modality], float]:
    """Correlation of each two of T1, T1ce and FLAIR."""
    return {frozenset(pair): sample.correlation(*pair) for pair in combinations(_T1_LIKE, 2)}


def enhancement(sample: HeadSample) -> float:
    """Logarithm of how much longer the bright tail of T1ce - T1 is than the dark one; 0 where they are alike."""
    difference = sample.scores[Modality.T1CE] - sample.scores[Modality.T1]
    low, middle, high = np.quantile(difference, (ENHANCEMENT_SHARE, 0.5, 1 - ENHANCEMENT_SHARE))
    return math.log(max(high - middle, 1e-6) / max(middle - low, 1e-6))


def _bright_fluid(images: CaseImages, sample: HeadSample) -> list[Finding]:
    if Modality.T2 not in images.volumes or len(images.volumes) < 3:
        return []
    brightness = fluid_brightness(sample)
    brightest = max(brightness, key=lambda modality: brightness[modality])
    if brightness[brightest] - brightness[Modality.T2] <= FLUID_MARGIN:
        return []
    return [_exchanged(images, "t2", Modality.T2, brightest, "fluid is bright in the second, expected in the t2 alone")]


def _wrong_kin(images: CaseImages, sample: HeadSample) -> list[Finding]:
    if not set(_T1_LIKE) <= set(images.volumes):
        return []
    related = kinship(sample)
    closest = max(related, key=lambda pair: related[pair])
    if related[closest] - related[frozenset({Modality.T1, Modality.T1CE})] <= KIN_MARGIN:
        return []
    (odd,) = set(_T1_LIKE) - closest
    why = "the first is more like a t1 weighting than the second, expected the other way round"
    return [_exchanged(images, "flair", Modality.FLAIR, odd, why)]


def _wrong_enhancement(images: CaseImages, sample: HeadSample) -> list[Finding]:
    if not {Modality.T1, Modality.T1CE} <= set(images.volumes) or enhancement(sample) >= -ENHANCEMENT_MARGIN:
        return []
    why = "what differs between them is brighter in the first, expected contrast agent in the t1ce"
    return [_exchanged(images, "t1ce", Modality.T1, Modality.T1CE, why)]


def _exchanged(images: CaseImages, rule: str, first: Modality, second: Modality, why: str) -> Finding:
    sources = [images.volumes[modality].source for modality in (first, second)]
    return Finding(
        f"{rule}-exchanged",
        Severity.SUSPECTED,
        f"{sources[0]} ({first.value}) and {sources[1]} ({second.value}) look exchanged: {why}",
    )
