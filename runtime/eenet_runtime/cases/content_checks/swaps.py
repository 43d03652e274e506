"""Images under each other's names, by what the four contrasts show.

*Fluid* (ventricles, sulci) is dark in T1, T1ce and FLAIR, and bright in T2: that is what the sequences are made for.
*Kin*: outside fluid FLAIR is a T2 weighting. It orders white matter, grey matter and oedema as the T2 does, the two T1
weightings order them the other way round.
*Enhancement*: T1ce is T1 after a contrast agent. Vessels, sinuses and enhancing tumour become brighter by far, nothing
becomes darker by as much.

The first two follow from the physics of the sequences, the third from the agent; the thresholds were measured on
phantoms and a few patients (docs/input-checks.md). So all of them only suspect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.content_checks.finding import Finding, Severity
from eenet_runtime.cases.content_checks.sample import HeadSample, clipped_scores
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.volumes.labels import Modality

FLUID_SHARE: Final = 0.03
"""Share of the samples that is taken for fluid: where the other images together are darkest."""
FLUID_QUANTILE: Final = 0.25
"""Part of the fluid that may be darker than the brightness that counts. A large tumour, dark in T1 and bright in T2 and
FLAIR alike, takes the place of fluid; what fluid is left among it still tells the T2 from the FLAIR."""
FLUID_MARGIN: Final = 0.5
"""By how many standard deviations fluid must be brighter in another image than in the T2."""
OUTSIDE_FLUID: Final = 0.85
"""Share of the samples, the darkest in T2, taken for tissue: without ventricles, sulci and what is as bright."""
KIN_MARGIN: Final = 0.0
"""By how much T1 or T1ce must be more like the T2 than the FLAIR is, outside fluid."""
PAIR_MARGIN: Final = 0.2
"""Where there is no T2: by how much another pair than T1 and T1ce must correlate better."""
ENHANCEMENT_SHARE: Final = 0.001
"""Share of the samples at either end of the difference T1ce - T1 that counts as its tail."""
ENHANCEMENT_MARGIN: Final = 0.4
"""By what factor (as a logarithm) the dark tail of T1ce - T1 must be longer than the bright one."""

_DARK_FLUID: Final = (Modality.T1, Modality.T1CE, Modality.FLAIR)
"""The three images in which fluid is dark."""


def find_swaps(images: CaseImages, sample: HeadSample) -> list[Finding]:
    """Images that look exchanged: the most basic thing that is wrong, for it makes the finer ones meaningless."""
    if not sample.is_usable:
        return []
    return _bright_fluid(images, sample) or _wrong_kin(images, sample) or _wrong_enhancement(images, sample)


def fluid_brightness(sample: HeadSample) -> Mapping[Modality, float]:
    """For each image: how much brighter it is than the others, in standard deviations, where those are darkest.

    Its own brightness there is the `FLUID_QUANTILE`, that of the others together their median.
    """
    scores = sample.scores
    total = np.sum(list(scores.values()), axis=0)
    brightness = {}
    for modality, own in scores.items():
        others = (total - own) / (len(scores) - 1)
        fluid = others <= np.quantile(others, FLUID_SHARE)
        brightness[modality] = float(np.quantile(own[fluid], FLUID_QUANTILE) - np.median(others[fluid]))
    return brightness


def kinship(sample: HeadSample) -> Mapping[Modality, float]:
    """Correlation of FLAIR, T1 and T1ce, as far as they are there, with the T2, outside fluid."""
    t2 = sample.scores[Modality.T2]
    tissue = t2 < np.quantile(t2, OUTSIDE_FLUID)
    there = [modality for modality in _DARK_FLUID if modality in sample.scores]
    in_tissue = clipped_scores(t2[tissue])
    return {modality: _alike(clipped_scores(sample.scores[modality][tissue]), in_tissue) for modality in there}


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
    if Modality.T2 not in images.volumes:
        return _wrong_pair(images, sample)
    if Modality.FLAIR not in images.volumes:
        return []
    related = kinship(sample)
    closest = max(related, key=lambda modality: related[modality])
    if related[closest] - related[Modality.FLAIR] <= KIN_MARGIN:
        return []
    why = "outside fluid the second is more like the t2 than the first, expected the other way round"
    return [_exchanged(images, "flair", Modality.FLAIR, closest, why)]


def _wrong_pair(images: CaseImages, sample: HeadSample) -> list[Finding]:
    """Without a T2 to hold them against: of T1, T1ce and FLAIR the two T1 weightings should be the most alike."""
    if not set(_DARK_FLUID) <= set(images.volumes):
        return []
    clipped = {modality: clipped_scores(sample.scores[modality]) for modality in _DARK_FLUID}
    related = {frozenset(pair): _alike(clipped[pair[0]], clipped[pair[1]]) for pair in combinations(_DARK_FLUID, 2)}
    closest = max(related, key=lambda pair: related[pair])
    if related[closest] - related[frozenset({Modality.T1, Modality.T1CE})] <= PAIR_MARGIN:
        return []
    (odd,) = set(_DARK_FLUID) - closest
    why = "the first is more like a t1 weighting than the second, expected the other way round"
    return [_exchanged(images, "flair", Modality.FLAIR, odd, why)]


def _wrong_enhancement(images: CaseImages, sample: HeadSample) -> list[Finding]:
    if not {Modality.T1, Modality.T1CE} <= set(images.volumes) or enhancement(sample) >= -ENHANCEMENT_MARGIN:
        return []
    why = "what differs between them is brighter in the first, expected contrast agent in the t1ce"
    return [_exchanged(images, "t1ce", Modality.T1, Modality.T1CE, why)]


def _alike(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Pearson's correlation of two images' clipped scores."""
    return float(np.mean(first * second))


def _exchanged(images: CaseImages, rule: str, first: Modality, second: Modality, why: str) -> Finding:
    sources = [images.volumes[modality].source for modality in (first, second)]
    return Finding(
        f"{rule}-exchanged",
        Severity.SUSPECTED,
        f"{sources[0]} ({first.value}) and {sources[1]} ({second.value}) look exchanged: {why}",
    )
