"""A case on its way through a `Segmenter`: prepared, then computed, then a `Segmentation`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.content_checks import Finding
from eenet_runtime.cases.preprocessing import CaseImages, NetworkInput
from eenet_runtime.codes import Reason
from eenet_runtime.segmenter.admission import Ticket
from eenet_runtime.segmenter.limits import Limits
from eenet_runtime.volumes.labels import LabelScheme
from eenet_runtime.volumes.placement import Placement

if TYPE_CHECKING:
    from eenet_runtime.heads.raw_case import AlignedHead


@dataclass(frozen=True)
class OnNetworkGrid:
    """The images of a case on one grid, and how they got there.

    Attributes:
        images: what the network reads.
        scheme: the label scheme that goes with its files.
        head: where a raw case was brought from; None for one whose images were on their grid already.
        facts: how that was done, for the report; None where cases are not raw.
        findings: what the steps found and let pass.
        warnings: what else a reader should know.
    """

    images: CaseImages
    scheme: LabelScheme
    head: AlignedHead | None = None
    facts: dict[str, Any] | None = None
    findings: tuple[Finding, ...] = ()
    warnings: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class CaseInHand:
    """What goes along with a case through all stages. It holds one of the segmenter's places for cases in flight.

    Attributes:
        case_id: the case's name.
        images: its images.
        scheme: the label scheme that goes with its files.
        warnings: what the checks and the preparation found.
        findings: what the checks found and let pass.
        seconds: time by stage so far.
        limits: when it must stop.
        number: its running number in the log.
        ticket: its place.
        head: where a raw case was brought from; None for one whose images were on their grid already.
        raw: how that was done, for the report; None where cases are not raw.
    """

    case_id: str
    images: CaseImages
    scheme: LabelScheme
    warnings: tuple[Reason, ...]
    findings: tuple[Finding, ...]
    seconds: dict[str, float]
    limits: Limits
    number: int
    ticket: Ticket = field(repr=False)
    head: AlignedHead | None = field(default=None, repr=False)
    raw: dict[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class PreparedCase:
    """A case that is read, checked and normalised: ready for the network, once.

    It keeps the case's place until it has been inferred, discarded or forgotten.

    Attributes:
        case: the case.
        network_input: what the network reads.
    """

    case: CaseInHand
    network_input: NetworkInput

    @property
    def case_id(self) -> str:
        """The case's name."""
        return self.case.case_id

    def discard(self) -> None:
        """Give its place back without computing it. Calling it twice, or after the inference, is allowed."""
        self.case.ticket.release()

    def after_waiting(self, seconds: float) -> PreparedCase:
        """The same case with so much time more: it waited, and nobody worked on it."""
        return replace(self, case=replace(self.case, limits=self.case.limits.after_waiting(seconds)))


@dataclass(frozen=True)
class ComputedCase:
    """A case that went through the network, and must be brought back to the patient's grid. It needs no engine.

    It does not hold the `PreparedCase`, whose input of the network is free by now.

    Attributes:
        case: the case.
        labels: uint8 (H, W, D) classes where nobody needs probabilities, else None.
        probabilities: what the network gave, else None.
        placement: where the network's box lies in the head.
        head_voxels_outside: head voxels outside of it.
        keep_probabilities: whether the result shall hold the probabilities.
    """

    case: CaseInHand
    labels: NDArray[np.uint8] | None
    probabilities: NDArray[np.float32] | None
    placement: Placement
    head_voxels_outside: int
    keep_probabilities: bool

    @property
    def case_id(self) -> str:
        """The case's name."""
        return self.case.case_id
