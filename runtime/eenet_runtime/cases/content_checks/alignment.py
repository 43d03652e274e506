"""Images of one grid that do not lie on each other: one was not registered, or was moved.

What a voxel is in one image is largely told by what it is in the others: fluid, grey and white matter have their value
in each. The rule asks whether that holds better once an image is moved by a sample or two (about 4 and 8 mm).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.content_checks.finding import Finding, Severity
from eenet_runtime.cases.content_checks.sample import ENOUGH_SAMPLES, HeadSample, clipped_scores
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.volumes.labels import Modality

SHIFTS: Final = (1, 2)
"""Samples by which an image is moved, both ways along each axis."""
GAIN: Final = 0.05
"""By how much the explained share of an image's variance must grow."""
FIRST_LOOK: Final = 4000
"""Places, at least, at which every image is moved first: a fifth of those inside a head. What an image gains there and
at all places together differs by 0.01."""
FIRST_GAIN: Final = 0.0
"""Gain at these places from which an image is moved at all places. Images that lie well lose by every move."""

_WHERE: Final = (("to the front", "to the back"), ("to the right", "to the left"), ("down", "up"))
"""Where to move an image that lies too far along H, W, D, or not far enough (`grid.NETWORK_AXES`)."""


@dataclass(frozen=True)
class Move:
    """The best move of one image.

    Attributes:
        gain: growth of the share of its variance that the other images explain; negative where it lies well.
        millimetres: how far.
        where: in words, for example "to the front".
    """

    gain: float
    millimetres: float
    where: str


def find_misalignment(images: CaseImages, sample: HeadSample) -> list[Finding]:
    """The image that gains most by being moved, if it gains enough; the others seem moved against it."""
    if not sample.is_usable or len(images.volumes) < 3:
        return []
    places = _places(sample)
    if places.size < ENOUGH_SAMPLES:  # a few slices, which leave no room
        return []
    first = _Places(sample, places[:: max(1, places.size // FIRST_LOOK)])
    movable = [modality for modality in images.volumes if _best_move(first, modality).gain > FIRST_GAIN]
    if not movable:
        return []
    whole = _Places(sample, places)
    moves = {modality: _best_move(whole, modality) for modality in movable}
    modality = max(moves, key=lambda name: moves[name].gain)
    move = moves[modality]
    if move.gain <= GAIN:
        return []
    message = (
        f"{images.volumes[modality].source} ({modality.value}) fits the other images better when it is moved about "
        f"{move.millimetres:.0f} mm {move.where}; expected four registered images"
    )
    return [Finding("misaligned", Severity.SUSPECTED, message)]


def best_move(sample: HeadSample, modality: Modality) -> Move:
    """Try all moves of one image; `sample` must be usable and at least five samples thick."""
    return _best_move(_Places(sample, _places(sample)), modality)


def _places(sample: HeadSample) -> NDArray[np.intp]:
    """Flat indices of the samples inside the head from which every move stays in the array."""
    margin = max(SHIFTS)
    movable = np.zeros_like(sample.inside)
    movable[(slice(margin, -margin),) * 3] = True
    return np.flatnonzero(sample.inside & movable)


@dataclass(frozen=True)
class _Places:
    """A sample and some of its places, as flat indices."""

    sample: HeadSample
    places: NDArray[np.intp]

    @cached_property
    def scores(self) -> Mapping[Modality, NDArray[np.float32]]:
        """Clipped scores of each image at the places."""
        return {name: clipped_scores(image.ravel()[self.places]) for name, image in self.sample.values.items()}

    @cached_property
    def squares(self) -> Mapping[Modality, NDArray[np.float32]]:
        """The same of their squares."""
        return {name: clipped_scores(values * values) for name, values in self.scores.items()}


def _best_move(at: _Places, modality: Modality) -> Move:
    """Try all moves of one image.

    The share explained is R squared of a least-squares fit on the other images and their squares: tissues are not in
    the same order in each, and a parabola bends enough for three of them.
    """
    image = at.sample.values[modality]
    others = [name for name in at.scores if name is not modality]
    design = np.stack([scores[name] for scores in (at.scores, at.squares) for name in others])
    inverse = np.linalg.pinv((design @ design.T).astype(np.float64))

    def explained(values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of each row."""
        projections = (values @ design.T).astype(np.float64)
        shares: NDArray[np.float64] = np.einsum("mi,ij,mj->m", projections, inverse, projections) / values.shape[1]
        return shares

    strides = (image.shape[1] * image.shape[2], image.shape[2], 1)
    moves = [(axis, shift, sign) for axis in range(3) for shift in SHIFTS for sign in (1, -1)]
    offsets = np.array([sign * shift * strides[axis] for axis, shift, sign in moves])
    moved = explained(clipped_scores(image.ravel()[at.places + offsets[:, np.newaxis]]))
    tried = [
        (float(share), shift * at.sample.spacing_mm[axis], _WHERE[axis][sign < 0])
        for share, (axis, shift, sign) in zip(moved, moves, strict=True)
    ]
    best, millimetres, where = max(tried)
    return Move(best - float(explained(at.scores[modality][np.newaxis])[0]), millimetres, where)
