"""The same image given as two modalities."""

from __future__ import annotations

from itertools import combinations
from typing import Final

import numpy as np

from eenet_runtime.cases.content_checks.finding import Finding, Severity
from eenet_runtime.cases.content_checks.sample import HeadSample
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.files.nifti import Volume
from eenet_runtime.volumes.labels import Modality

SAME_UP_TO_SCALE: Final = 0.9995
"""Correlation above which two images are taken for one that was saved twice with other scales. Noise of 2.3 % of the
image's own spread in each keeps two acquisitions below it."""


def find_duplicates(images: CaseImages, sample: HeadSample) -> list[Finding]:
    """Two modalities with the same voxels (certain), or with the same but for scale and offset (suspected)."""
    findings = []
    for (first_name, first), (second_name, second) in combinations(images.volumes.items(), 2):
        thin = sample.values[first_name]
        if thin.any() and np.array_equal(thin, sample.values[second_name]) and _same_voxels(first, second):
            how, severity = "holds the same voxels as", Severity.CERTAIN
        elif sample.is_usable and _correlation(sample, first_name, second_name) > SAME_UP_TO_SCALE:
            how, severity = "looks like a rescaled copy of", Severity.SUSPECTED
        else:
            continue
        message = (
            f"{second.source} ({second_name.value}) {how} {first.source} ({first_name.value}), expected two images"
        )
        findings.append(Finding("duplicate", severity, message))
    return findings


def _same_voxels(first: Volume, second: Volume) -> bool:
    return first.data is second.data or bool(np.array_equal(first.data, second.data))


def _correlation(sample: HeadSample, first: Modality, second: Modality) -> float:
    return float(np.mean(sample.scores[first] * sample.scores[second], dtype=np.float64))
