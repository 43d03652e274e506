"""The self-test of a strip bundle: a head that was never anybody's, and what the original networks make of it.

It runs at sizes far below the real ones, a tenth of a second for both networks: what it proves is that this engine, on
this processor, computes these weights, and that the steps around the networks are those of the original.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.bundle.golden_file import array_of, read_golden_file, unpack_arrays
from eenet_runtime.bundle.strip_manifest import StripBundle
from eenet_runtime.errors import BundleError, CaseError, SelfTestError
from eenet_runtime.heads.stripping.two_stages import TwoStages
from eenet_runtime.volumes.dice import dice

GOLDEN_HEAD_FORMAT: Final = 1
STEPS: Final = 255
"""Steps of the stored uint8 in the head's full range, and in a probability of 1."""
EDGE: Final = 96
"""Voxels along an axis that both networks see in the self-test."""
LEAST_DICE: Final = 0.999
"""Of the two masks. Weights stored in half precision reach 0.9999 in either engine."""
LARGEST_MEAN_DIFFERENCE: Final = 2e-3
"""Of a probability, averaged over the voxels that either finds likely; storing it in 255 steps alone takes 1e-3."""


@dataclass(frozen=True)
class GoldenHead:
    """A head and what the original networks make of it.

    Attributes:
        head: uint8 (X, Y, Z), axes RAS.
        probability: uint8 (X, Y, Z), of brain, in `STEPS` steps.
    """

    head: NDArray[np.uint8]
    probability: NDArray[np.uint8]

    @property
    def image(self) -> NDArray[np.float32]:
        """What goes into the networks' preprocessing; the same bits on every machine."""
        return self.head.astype(np.float32)


def at_golden_size(stages: TwoStages) -> TwoStages:
    """The same networks at the sizes of the self-test."""
    return replace(stages, find_edge=EDGE, cut_edge=EDGE)


def read_golden_head(bundle: StripBundle) -> GoldenHead:
    """Read a strip bundle's golden case.

    Raises:
        BundleError: it is damaged, or holds no brain.
    """
    path = bundle.folder / bundle.manifest.golden
    source = str(path)
    arrays = unpack_arrays(read_golden_file(path), source)
    if (found := int(array_of(arrays, "format", np.int64, (), source))) != GOLDEN_HEAD_FORMAT:
        raise BundleError(f"{source}: format {found} found, this runtime reads {GOLDEN_HEAD_FORMAT}")
    head = array_of(arrays, "head", np.uint8, (None, None, None), source)
    probability = array_of(arrays, "probability", np.uint8, head.shape, source)
    if not (probability > STEPS // 2).any():
        raise BundleError(f"{source}: a golden case without a brain found, which proves nothing")
    return GoldenHead(head, probability)


def require_golden(bundle: StripBundle, stages: TwoStages, engine: str) -> None:
    """Let networks through that compute on this machine what was exported.

    Raises:
        BundleError: the golden case is damaged.
        SelfTestError: they do not; names the bundle, the engine, what was found and what was expected.
    """
    case = read_golden_head(bundle)
    try:
        found = at_golden_size(stages).brain_probability(case.image, "the golden case")
    except CaseError as error:
        raise SelfTestError(f"{bundle.folder}: self-test failed with {engine}: {error}") from error
    if (reason := difference(case, found)) is not None:
        raise SelfTestError(
            f"{bundle.folder}: self-test failed with {engine}: {reason}; it must not be used on this machine"
        )


def difference(case: GoldenHead, found: NDArray[np.float32]) -> str | None:
    """What parts a computed probability from the expected one, found and expected; None where nothing does."""
    expected = case.probability.astype(np.float32) / STEPS
    overlap = dice(found > 0.5, case.probability > STEPS // 2)
    # Written so that NaN is beyond every limit.
    if not overlap >= LEAST_DICE:
        return f"Dice {overlap:.5f} found, expected at least {LEAST_DICE}"
    likely = (expected > 0.01) | (found > 0.01)
    mean = float(np.abs(found - expected)[likely].mean())
    if not mean <= LARGEST_MEAN_DIFFERENCE:
        return f"a mean difference of {mean:.1e} found, expected at most {LARGEST_MEAN_DIFFERENCE:g}"
    return None
