"""Ending a run early, in good order: the first signal asks for it, the second one leaves at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from eenet_runtime.segmenter.limits import Cancellation

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""What a terminal (Ctrl-C) and a service manager or batch system send."""


class StopRequest:
    """A switch that ends a folder run. Any thread may throw it, a signal handler too.

    Attributes:
        cancel: the switch of the cases in hand, thrown together with this one.
        signal_number: the signal that threw it, None if it was no signal or if it was not thrown.
    """

    def __init__(self) -> None:
        """Make a switch that is off."""
        self.cancel = Cancellation()
        self.signal_number: int | None = None
        self._event = threading.Event()

    def request(self, signal_number: int | None = None) -> None:
        """Ask the run to end: what is being written is finished, everything else is dropped."""
        if not self.requested:
            self.signal_number = signal_number
        self._event.set()
        self.cancel.cancel()

    @property
    def requested(self) -> bool:
        """Whether somebody asked."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep until somebody asks, but no longer than this; whether somebody asked.

        Not for the main thread: a signal handler that runs in it would wait for the lock that it holds itself.
        """
        return self._event.wait(seconds)


@contextmanager
def stop_on_signals(stop: StopRequest, tell: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Inside the block SIGINT and SIGTERM throw the switch; a second signal ends the process at once.

    Ending at once is safe: results take their final names in one step, so at worst a temporary file is left, which
    the next run removes. For the main thread only, as Python has it.

    Args:
        stop: the switch.
        tell: called in the handler of the first signal, when the switch has been thrown.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.requested:
            os._exit(128 + number)
        stop.request(number)
        tell()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
