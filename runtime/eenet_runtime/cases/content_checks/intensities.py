"""Voxels that no MRI has: a label volume, a CT, an image without a positive voxel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.content_checks.finding import Finding, Severity
from eenet_runtime.cases.content_checks.sample import HeadSample
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.files.nifti import Volume
from eenet_runtime.volumes.labels import Modality, whole_labels
from eenet_runtime.volumes.normalization import Intensities

MOST_LABELS: Final = 8
"""Different values besides 0 up to which an image is taken for a label volume: BraTS has 4 at most, and an MRI that was
squeezed into this few shows nothing."""
AIR_HU: Final = (-1100.0, -900.0)
"""Hounsfield units of air in a CT, noise included; tissue and bone lie above -200."""
AIR_SHARE: Final = 0.05
"""Share of samples of air from which an image is a CT."""
NEGATIVE_SHARE: Final = 0.03
"""Share of the non-zero voxels below 0 that interpolation does not explain; it left 1.04 % in a real FLAIR."""


def find_foreign_voxels(
    images: CaseImages, sample: HeadSample, measured: Mapping[Modality, Intensities]
) -> list[Finding]:
    """What each image by itself shows to be no magnitude MRI.

    Args:
        images: the case.
        sample: of it.
        measured: what all voxels of an image say; of one without an entry, negative voxels are not judged.
    """
    findings = []
    for modality, volume in images.volumes.items():
        shown = sample.shown[modality]
        if shown.size and np.isfinite(shown).all():
            finding = _labels(modality, volume, shown) or _negative(modality, volume, shown, measured.get(modality))
            findings += [finding] if finding else []
    return findings


def _labels(modality: Modality, volume: Volume, shown: NDArray[np.float32]) -> Finding | None:
    """Two to `MOST_LABELS` whole numbers. (One value is no contrast at all, which normalisation refuses by name.)"""
    if np.unique(shown).size > MOST_LABELS:
        return None
    values = np.unique(whole_labels(np.unique(volume.data)))
    values = values[values != 0]
    if not 2 <= values.size <= MOST_LABELS or (values != np.rint(values)).any():
        return None
    listed = ", ".join(f"{value:g}" for value in values)
    message = f"{volume.source} ({modality.value}) holds only the values {listed}: a label volume, expected an image"
    return Finding("label-volume", Severity.CERTAIN, message)


def _negative(
    modality: Modality, volume: Volume, shown: NDArray[np.float32], measured: Intensities | None
) -> Finding | None:
    name = f"{volume.source} ({modality.value})"
    if shown.max() <= 0 and not np.any(np.greater(volume.data, 0)):
        return Finding("negative", Severity.CERTAIN, f"{name} holds no positive voxel, expected an MRI")
    air = float(np.mean((shown > AIR_HU[0]) & (shown < AIR_HU[1])))
    if air > AIR_SHARE:
        message = f"{name} holds {air:.0%} of voxels near -1000, the Hounsfield number of air: a CT, expected an MRI"
        return Finding("negative", Severity.CERTAIN, message)
    if measured is None:
        return None
    # Of all voxels: a sample would say something else in another storage order.
    negative = measured.negative / measured.voxels
    if negative > NEGATIVE_SHARE:
        message = f"{name} holds {negative:.0%} of negative voxels, expected an MRI as the scanner gives it, from 0 up"
        return Finding("negative", Severity.SUSPECTED, message)
    return None
