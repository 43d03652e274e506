"""What a destination's answer to a C-STORE means for the delivery (DICOM PS3.4, table B.2-1, and PS3.7, annex C)."""

from __future__ import annotations

import random
from enum import Enum
from typing import Final

from eenet_gateway.config.settings import Delivery

_DUPLICATE: Final = 0x0111
_REFUSED: Final = frozenset({0x0117, 0x0122, 0x0124, 0x0210, 0x0211, 0x0212})
"""Invalid object instance, SOP class not supported, not authorised, duplicate, unrecognised and mistyped request: the
same tomorrow."""


class Verdict(Enum):
    """What follows."""

    SENT = "sent"
    LATER = "later"
    DEAD = "dead"


def judge(status: int | None) -> Verdict:
    """Whether a result is there, is to be sent again, or will never be taken.

    Args:
        status: None where no answer came.
    """
    if status is None:
        return Verdict.LATER
    if status in (0x0000, _DUPLICATE) or status >> 12 == 0xB:
        return Verdict.SENT
    if status >> 12 == 0xC or status >> 8 == 0xA9 or status in _REFUSED:
        return Verdict.DEAD
    return Verdict.LATER


def pause_s(attempts: int, settings: Delivery, chance: random.Random) -> float:
    """Seconds until a delivery is tried again after so many attempts: doubled each time, with chance in it."""
    longest = min(settings.first_retry_s * 2.0 ** min(attempts, 40), settings.longest_retry_s)
    return longest * chance.uniform(0.75, 1.25)
