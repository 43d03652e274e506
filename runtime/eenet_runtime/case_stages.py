"""A case on its way through a `Segmenter`: prepared, then computed, then a `Segmentation`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.admission import Ticket
from eenet_runtime.labels import LabelScheme
from eenet_runtime.limits import Limits
from eenet_runtime.placement import Placement
from eenet_runtime.preprocessing import CaseImages, NetworkInput


@dataclass(frozen=True)
class PreparedCase:
    """A case that is read, checked and normalised: ready for the network, once.

    It holds one of the segmenter's places for cases in flight until it has been inferred, discarded or forgotten.

    Attributes:
        case_id: the case's name.
        images: its images.
        scheme: the label scheme that goes with its files.
        network_input: what the network reads.
        warnings: what the checks and the preparation found.
        seconds: time by stage so far.
        limits: when it must stop.
        number: its running number in the log.
        ticket: its place.
    """

    case_id: str
    images: CaseImages
    scheme: LabelScheme
    network_input: NetworkInput
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    limits: Limits
    number: int
    ticket: Ticket = field(repr=False)

    def discard(self) -> None:
        """Give its place back without computing it. Calling it twice, or after the inference, is allowed."""
        self.ticket.release()


@dataclass(frozen=True)
class ComputedCase:
    """A case that went through the network, and must be brought back to the patient's grid. It needs no engine.

    Attributes:
        case_id, images, scheme, warnings, seconds, limits, number, ticket: as in `PreparedCase`.
        labels: uint8 (H, W, D) classes where nobody needs probabilities, else None.
        probabilities: what the network gave, else None.
        placement: where the network's box lies in the head.
        head_voxels_outside: head voxels outside of it.
        keep_probabilities: whether the result shall hold the probabilities.
    """

    case_id: str
    images: CaseImages
    scheme: LabelScheme
    labels: NDArray[np.uint8] | None
    probabilities: NDArray[np.float32] | None
    placement: Placement
    head_voxels_outside: int
    keep_probabilities: bool
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    limits: Limits
    number: int
    ticket: Ticket = field(repr=False)
