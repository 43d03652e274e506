"""A CT without its skull and air: nothing in it is near -1000, but its values are still Hounsfield units.

Fluid has 0 to 15 of them, white matter 20 to 30, grey matter 35 to 45. An MRI's scale is arbitrary and may happen to
lie there, so values alone accuse nothing: they explain why an image's contrast does not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from eenet_runtime.cases.content_checks.finding import Finding, Severity
from eenet_runtime.cases.content_checks.sample import HeadSample
from eenet_runtime.cases.content_checks.swaps import kinship
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.volumes.labels import Modality

BRAIN_HU: Final = (20.0, 45.0)
"""Where the median of a brain lies."""
DARK_HU: Final = (-50.0, 30.0)
"""Where its second percentile lies: fluid, noise included, or white matter."""
BRIGHT_HU: Final = 110.0
"""Its 98th percentile is below: grey matter, noise, blood and contrast agent."""


def find_stripped_ct(images: CaseImages, sample: HeadSample, told: Sequence[Finding]) -> list[Finding]:
    """The one image in Hounsfield units, where its contrast is no MRI's either.

    Args:
        images: the case.
        sample: of it.
        told: what the rules about contrast say. Without a word of theirs a T1 or T1ce is accused where it is like the
            T2 outside fluid: a CT shows grey matter brighter than white, as they never do.
    """
    if not sample.is_usable:
        return []
    like_ct = [modality for modality in images.volumes if _looks_like_ct(sample, modality)]
    if len(like_ct) != 1:
        return []
    (modality,) = like_ct
    if not told and not _grey_brighter_than_white(sample, modality):
        return []
    values = sample.values[modality][sample.inside]
    low, middle, high = np.quantile(values, (0.02, 0.5, 0.98))
    message = (
        f"{images.volumes[modality].source} ({modality.value}) holds values as of a CT without skull and air (most "
        f"from {low:.0f} to {high:.0f}, median {middle:.0f}, in Hounsfield units a brain), and not the contrast of a "
        f"{modality.value}; expected an MRI"
    )
    return [Finding("stripped-ct", Severity.SUSPECTED, message)]


def _looks_like_ct(sample: HeadSample, modality: Modality) -> bool:
    shown = sample.values[modality]
    mean = float(shown.sum(dtype=np.float64)) / max(1, int(np.count_nonzero(shown)))
    if not DARK_HU[0] <= mean <= BRIGHT_HU:
        return False  # nearly every MRI: its mean alone tells, in a tenth of the time
    low, middle, high = np.quantile(shown[sample.inside], (0.02, 0.5, 0.98))
    return bool(
        BRAIN_HU[0] <= middle <= BRAIN_HU[1] and DARK_HU[0] <= low <= DARK_HU[1] and high <= BRIGHT_HU and low < high
    )


def _grey_brighter_than_white(sample: HeadSample, modality: Modality) -> bool:
    if modality not in (Modality.T1, Modality.T1CE) or Modality.T2 not in sample.values:
        return False
    return kinship(sample)[modality] > 0
