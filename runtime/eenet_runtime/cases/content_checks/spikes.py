"""Few voxels that rule an image's normalisation: hot voxels, cubes of clip artefact, values far below the head's.

An image is normalised by its mean and standard deviation, and group norms inside the network take statistics again. A
single voxel that is large enough moves all of them: the mask then looks right and is not (docs/decisions/0030). What
counts is not how large a voxel is but which share of the image's variance it and its like carry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.content_checks.finding import Finding, Severity
from eenet_runtime.cases.content_checks.sample import HeadSample, thinned
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.files.nifti import Volume
from eenet_runtime.volumes.boxes import Box, bounding_box, shape_of, slabs
from eenet_runtime.volumes.grid import GRID_TOLERANCE
from eenet_runtime.volumes.labels import Modality
from eenet_runtime.volumes.normalization import Intensities

TRIMMED: Final = 0.05
"""Share of the head's values at either end without which its core is measured: as many spikes do not move it."""
CORE: Final = 20.0
"""Deviations of the core within which a value belongs to the bulk."""
LEAST_CONTRAST: Final = 0.15
"""A deviation is taken for at least this share of the mean: in a head of less contrast than any MRI has (0.19 is the
least at hand), the brightest tissue would otherwise count as spikes."""
FAR: Final = 15.0
"""Deviations of the bulk beyond which a value is a spike. Vessels reach 16.5 in the real T1ce at hand, with so few
voxels beyond 15 that these carry 0.04 % of the variance."""
VERY_FAR: Final = 30.0
"""Deviations beyond which no tissue and no vessel lies."""
NOTICEABLE_SHARE: Final = 0.05
"""Share of an image's variance that voxels beyond `FAR` carry, from which a mask may move visibly."""
NOTICEABLE_SHARE_VERY_FAR: Final = 0.005
"""The same for voxels beyond `VERY_FAR`."""
RULING_SHARE: Final = 0.15
"""Share that voxels beyond `VERY_FAR` carry, from which they rule the normalisation, and the case is refused."""
BRIGHT_FAR: Final = 11.0
"""Deviations of the bulk that vessels do reach, but so many voxels seldom:"""
BRIGHT_SHARE: Final = 0.09
"""share of the samples' variance beyond `BRIGHT_FAR` from which it is too much. A real T1ce had 0.04 beyond 10."""
ENOUGH_VALUES: Final = 1000
"""Samples of the head that its bulk is measured by; where there are fewer, every voxel is taken, and nothing is said
that rests on the samples alone."""
BLOCK_FAR: Final = 8.0
"""Deviations beyond which a block of one and the same extreme value is no tissue."""
BLOCK_SAMPLES: Final = 4
"""Samples of a block, at least; a cube of 8 mm gives eight."""
BLOCK_FAR_BELOW: Final = 6.0
"""The same below the head, where a magnitude image ends: 0 lies 5 deviations below its bulk."""
LONE_FAR: Final = 4.0
"""Deviations beyond which a voxel is asked whether it stands alone."""
LONE_HEIGHT: Final = 0.5
"""Share of its height that none of the six neighbours of a lone voxel reaches: no scanner draws tissue so sharply."""
LONE_MM: Final = 2.0
"""In voxels longer than this a vessel may stand alone."""
LONE_SHARE: Final = 0.03
"""Share of the variance that lone voxels carry, from which they are told. Three real heads have 0.0008 at most, drawn
vessels one voxel thick 0.02."""
BLOCK_FILL: Final = 0.25
"""Share of its bounding box that a block fills. Vessels that were cut at one brightness lie all over the head."""

_PAIRS: Final = (slice(None, -1), slice(1, None))


@dataclass(frozen=True)
class Bulk:
    """The head's intensities without what lies far from them.

    Attributes:
        centre: their mean.
        deviation: their standard deviation, or what `LEAST_CONTRAST` makes of the mean where that is more.
    """

    centre: float
    deviation: float

    def beyond(self, intensities: Intensities) -> float:
        """How far the outermost value of an image lies from the centre, in deviations."""
        farthest = max(intensities.largest - self.centre, self.centre - intensities.smallest)
        return farthest / self.deviation if self.deviation > 0 else math.inf


@dataclass(frozen=True)
class Spikes:
    """Voxels of one image that lie far from its bulk.

    Attributes:
        voxels: how many lie beyond `FAR` deviations.
        share: of the image's variance that they carry.
        share_very_far: the share of those beyond `VERY_FAR`.
    """

    voxels: int
    share: float
    share_very_far: float

    @property
    def noticeable(self) -> bool:
        """Whether a mask may move visibly."""
        return self.share > NOTICEABLE_SHARE or self.share_very_far > NOTICEABLE_SHARE_VERY_FAR


def find_spikes(images: CaseImages, sample: HeadSample, measured: Mapping[Modality, Intensities]) -> list[Finding]:
    """Images whose normalisation a few voxels move, and blocks of one extreme value.

    Args:
        images: the case.
        sample: of it.
        measured: what all voxels of an image say; one without an entry is passed over.
    """
    findings = []
    for modality, volume in images.volumes.items():
        if modality in measured:
            finding = _finding(modality, volume, sample, measured[modality])
            findings += [finding] if finding else []
    return findings


def bulk_of(shown: NDArray[Any], volume: Volume) -> Bulk | None:
    """The bulk of an image; None where nothing can be said.

    Args:
        shown: the sampled voxels of the image that are not 0.
        volume: the image, all of whose voxels are taken where the sample is too small.
    """
    if shown.size < ENOUGH_VALUES:
        shown = volume.data[volume.data != 0]
    cut = int(TRIMMED * shown.size)
    if shown.size == 0:
        return None
    core = np.partition(shown, (cut, shown.size - 1 - cut))[cut : shown.size - cut].astype(np.float64)
    if not np.isfinite(core).all():
        return None
    found = _bulk(core)
    within = CORE * found.deviation
    return _bulk(shown[(shown >= found.centre - within) & (shown <= found.centre + within)].astype(np.float64))


def _bulk(values: NDArray[np.float64]) -> Bulk:
    centre = float(values.mean())
    return Bulk(centre, max(float(values.std()), LEAST_CONTRAST * abs(centre)))


def spikes_in(volume: Volume, bulk: Bulk, intensities: Intensities) -> Spikes:
    """Count the voxels beyond `FAR` deviations of the bulk, all of them, and what they do to the variance."""
    low, high = bulk.centre - FAR * bulk.deviation, bulk.centre + FAR * bulk.deviation
    count, squares, squares_very_far = 0, 0.0, 0.0
    data: NDArray[Any] = volume.data
    for slab in slabs(data):
        far = slab > high
        if intensities.smallest < low:
            far |= (slab < low) & (slab != 0)
        values = slab[far].astype(np.float64)
        count += values.size
        scores = np.square((values - intensities.mean) / intensities.deviation)
        squares += float(scores.sum())
        squares_very_far += float(scores[np.abs(values - bulk.centre) > VERY_FAR * bulk.deviation].sum())
    return Spikes(count, squares / intensities.voxels, squares_very_far / intensities.voxels)


def _finding(modality: Modality, volume: Volume, sample: HeadSample, intensities: Intensities) -> Finding | None:
    values, shown = sample.values[modality], sample.shown[modality]
    bulk = bulk_of(shown, volume)
    if bulk is None:
        return None
    beyond = bulk.beyond(intensities)
    name = f"{volume.source} ({modality.value})"
    if beyond > FAR:
        spikes = spikes_in(volume, bulk, intensities)
        if spikes.noticeable:
            severity = Severity.CERTAIN if spikes.share_very_far > RULING_SHARE else Severity.SUSPECTED
            return Finding("spikes", severity, f"{name}: {_in_words(spikes, intensities, bulk)}")
    if beyond > BLOCK_FAR and shown.size >= ENOUGH_VALUES:
        for extreme in (intensities.largest, intensities.smallest):
            if abs(extreme - bulk.centre) > BLOCK_FAR * bulk.deviation and _is_block(_same(values, extreme)):
                message = (
                    f"{name}: a block of voxels holds one and the same extreme value, {extreme:g} (the head's bulk has "
                    f"{bulk.centre:.4g} +- {bulk.deviation:.3g}), expected tissue; is it a clip artefact?"
                )
                return Finding("spikes", Severity.SUSPECTED, message)
        share = _share_beyond(shown.astype(np.float64), bulk)
        if share > BRIGHT_SHARE:
            message = (
                f"{name}: voxels more than {BRIGHT_FAR:g} deviations from the head's bulk ({bulk.centre:.4g} +- "
                f"{bulk.deviation:.3g}) make up {share:.0%} of the image's variance, by which it is normalised; are "
                "there hot voxels?"
            )
            return Finding("spikes", Severity.SUSPECTED, message)
    if beyond > LONE_FAR and shown.size >= ENOUGH_VALUES:
        said = (beyond > BLOCK_FAR_BELOW and _dense_block(values, bulk)) or _lone_voxels(
            shown, volume, bulk, intensities
        )
        return Finding("spikes", Severity.SUSPECTED, f"{name}: {said}") if said else None
    return None


def _dense_block(values: NDArray[np.float32], bulk: Bulk) -> str | None:
    """Two samples in each direction that are all far above or below: 8 mm, more than any vessel is thick."""
    above = values > bulk.centre + BLOCK_FAR * bulk.deviation
    below = (values < bulk.centre - BLOCK_FAR_BELOW * bulk.deviation) & (values != 0)
    for far, side, deviations in ((above, "above", BLOCK_FAR), (below, "below", BLOCK_FAR_BELOW)):
        if _holds_a_cube(far):
            return (
                f"a block of voxels lies more than {deviations:g} deviations {side} the head's bulk "
                f"({bulk.centre:.4g} +- {bulk.deviation:.3g}), expected tissue; is it an artefact?"
            )
    return None


def _holds_a_cube(far: NDArray[np.bool_]) -> bool:
    """Whether there are two by two by two that are all true."""
    if np.count_nonzero(far) < 8:
        return False
    for axis in range(3):
        first, second = (tuple(part if other == axis else slice(None) for other in range(3)) for part in _PAIRS)
        far = far[first] & far[second]
    return bool(far.any())


def _lone_voxels(shown: NDArray[np.float32], volume: Volume, bulk: Bulk, intensities: Intensities) -> str | None:
    """Voxels that stand alone, however far from all others: salt and pepper, which no tail shows."""
    if max(volume.grid.spacing_mm) > LONE_MM + GRID_TOLERANCE:
        return None
    # Vessels are bright in most images and alone in none: so first the samples are asked, then those beside them.
    squares = np.square((shown - bulk.centre) / bulk.deviation)
    total, few = float(squares.sum(dtype=np.float64)), LONE_SHARE / 3
    if squares.sum(dtype=np.float64, where=squares > LONE_FAR * LONE_FAR) <= few * total:
        return None
    thin = thinned(volume.grid)
    if np.square(_lone_heights(volume.data, thin, bulk)).sum() <= few * total:
        return None
    heights = _lone_heights(volume.data, intensities.box, bulk)
    share = float(np.square(heights).sum()) / (intensities.voxels * total / shown.size)
    if share <= LONE_SHARE:
        return None
    return (
        f"{heights.size} voxels more than {LONE_FAR:g} deviations from the head's bulk ({bulk.centre:.4g} +- "
        f"{bulk.deviation:.3g}) stand alone and make up {min(share, 0.99):.0%} of the image's variance, by which it is "
        "normalised; are there hot voxels?"
    )


def _lone_heights(data: NDArray[Any], where: Box, bulk: Bulk) -> NDArray[np.float64]:
    """Deviations from the bulk of those of some voxels that lie far from it and have no such neighbour."""
    part = np.ascontiguousarray(data[where])  # fetched once: thinned out, every voxel lies in a cache line of its own
    far = part > bulk.centre + LONE_FAR * bulk.deviation
    far |= (part < bulk.centre - LONE_FAR * bulk.deviation) & (part != 0)
    places = [piece.start + index * (piece.step or 1) for piece, index in zip(where, np.nonzero(far), strict=True)]
    heights = _scores(data[tuple(places)], bulk)
    alone = np.ones(heights.size, dtype=np.bool_)
    for axis, size in enumerate(data.shape):
        for step in (-1, 1):
            beside = list(places)
            beside[axis] = np.clip(places[axis] + step, 0, size - 1)
            reached = _scores(data[tuple(beside)], bulk) * np.sign(heights) >= LONE_HEIGHT * np.abs(heights)
            alone &= ~reached | (beside[axis] == places[axis])
    return heights[alone]


def _scores(values: NDArray[Any], bulk: Bulk) -> NDArray[np.float64]:
    """Values in deviations from the bulk; the background lies at 0."""
    return np.where(values != 0, (values.astype(np.float64) - bulk.centre) / bulk.deviation, 0.0)


def _share_beyond(values: NDArray[np.float64], bulk: Bulk) -> float:
    """Share of the variance that values beyond `BRIGHT_FAR` carry."""
    squares = np.square((values - bulk.centre) / bulk.deviation)
    return float(squares[squares > BRIGHT_FAR * BRIGHT_FAR].sum() / squares.sum())


def _in_words(spikes: Spikes, intensities: Intensities, bulk: Bulk) -> str:
    farthest = max(intensities.smallest, intensities.largest, key=lambda value: abs(value - bulk.centre))
    voxels = (
        "1 voxel lies far from all others and makes"
        if spikes.voxels == 1
        else (f"{spikes.voxels} voxels lie far from all others and make")
    )
    share = min(math.floor(100 * spikes.share), 99)
    return (
        f"{voxels} up {share} % of the image's variance, by which it is normalised (found up to {farthest:.6g}, "
        f"expected about {bulk.centre:.4g} +- {bulk.deviation:.3g}); set such voxels to their neighbours' value"
    )


def _same(values: NDArray[np.float32], extreme: float) -> NDArray[np.bool_]:
    """Where samples hold a value of the image; what is too large for their type is nowhere."""
    if abs(extreme) > float(np.finfo(values.dtype).max):
        return np.zeros(values.shape, dtype=np.bool_)
    return np.asarray(values == values.dtype.type(extreme))


def _is_block(same: NDArray[np.bool_]) -> bool:
    """Whether samples lie together, and not in a line or a plane."""
    count = int(np.count_nonzero(same))
    if count < BLOCK_SAMPLES:
        return False
    sides = shape_of(bounding_box(same))
    return min(sides) >= 2 and count >= BLOCK_FILL * math.prod(sides)
