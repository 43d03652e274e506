"""When a case must stop: somebody cancelled it, or its time is over. Asked between the stages of a case.

An engine that computes is not interrupted: no engine offers that without leaving its memory in an unknown state. A
case therefore stops at the end of the stage it is in, at worst one inference later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from eenet_runtime.errors import CaseCancelledError, CaseTimeoutError


class Cancellation:
    """A switch that stops cases. Any thread may throw it; one switch may belong to many cases."""

    def __init__(self) -> None:
        """Make a switch that is off."""
        self._event = threading.Event()

    def cancel(self) -> None:
        """Stop every case that has this switch, at the end of the stage it is in."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether somebody threw it."""
        return self._event.is_set()


@dataclass(frozen=True)
class Limits:
    """What one case may take.

    Attributes:
        case_id: the case's name, for messages.
        cancel: the switch that stops it, if there is one.
        time_limit_s: seconds from `started` on, waiting for its turn included; None for as long as it takes.
        clock: seconds that only grow.
        started: when the case came in, by that clock.
    """

    case_id: str
    cancel: Cancellation | None = None
    time_limit_s: float | None = None
    clock: Callable[[], float] = time.monotonic
    started: float = field(default=0.0)

    @staticmethod
    def from_now(case_id: str, cancel: Cancellation | None, time_limit_s: float | None) -> Limits:
        """The limits of a case that comes in now."""
        return Limits(case_id, cancel, time_limit_s, started=time.monotonic())

    def after_waiting(self, seconds: float) -> Limits:
        """The same limits for a case that has just lain still for so long, which shall not count."""
        return replace(self, started=self.started + seconds)

    def check(self, stage: str) -> None:
        """Let a stage begin.

        Args:
            stage: its name, for the message.

        Raises:
            CaseCancelledError: the case was cancelled.
            CaseTimeoutError: its time is over.
        """
        if self.cancel is not None and self.cancel.cancelled:
            raise CaseCancelledError(f"case {self.case_id}: cancelled before the stage {stage}")
        if self.time_limit_s is None:
            return
        taken = self.clock() - self.started
        if taken >= self.time_limit_s:
            raise CaseTimeoutError(
                f"case {self.case_id}: {taken:.1f} s taken before the stage {stage}, the limit is "
                f"{self.time_limit_s:g} s",
                code="time-limit",
            )
