"""Which cases may be in a `Segmenter`: so many at a time, and none once it closes."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from eenet_runtime.errors import BackendError
from eenet_runtime.machine.home_process import HomeProcess
from eenet_runtime.segmenter.limits import Limits
from eenet_runtime.segmenter.segmentation import Stopwatch

_POLL_S = 0.05
"""How often a case that waits for its turn looks whether it should go on waiting."""
_WAIT, _READ, _NETWORK = "wait", "read", "network"
"""Names of stages."""


class Ticket:
    """The right of one case to hold its images in memory. Given back once: by `release`, or when nobody holds it."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        """Make a ticket; `give_back` is called once."""
        self._finalizer = weakref.finalize(self, give_back)
        self._finalizer.atexit = False

    @property
    def valid(self) -> bool:
        """Whether it has not been given back."""
        return self._finalizer.alive

    def release(self) -> None:
        """Give it back; calling it twice is allowed."""
        self._finalizer()


class Admission:
    """Bounds the cases in flight and knows which calls are still running. Thread-safe; who waits gets no number."""

    def __init__(self, limit: int) -> None:
        """Make `limit` tickets."""
        # Not a semaphore: a ticket may be given back by the garbage collector, in a thread that is just taking one,
        # and this queue is the one that allows that.
        self._tickets: SimpleQueue[None] = SimpleQueue()
        for _ in range(limit):
            self._tickets.put(None)
        self._engine = threading.Lock()
        self._idle = threading.Condition()
        self._running = 0
        self._closed = False
        self._home = HomeProcess()

    def ticket(self, limits: Limits, watch: Stopwatch) -> Ticket:
        """Take a ticket, waiting for one if need be; a wait is a stage of its own.

        Raises:
            CaseCancelledError, CaseTimeoutError: the case may wait no longer.
            BackendError: the segmenter was closed meanwhile.
        """
        _wait_for(self._acquire_ticket, lambda: self._may_wait(limits), watch)
        return Ticket(lambda: self._tickets.put(None))

    @contextmanager
    def engine(self, limits: Limits, watch: Stopwatch) -> Iterator[None]:
        """Have the engine alone, waiting for it if need be; a wait is a stage of its own, not the network's time.

        Raises:
            CaseCancelledError, CaseTimeoutError: the case may wait no longer.
        """
        _wait_for(lambda seconds: self._engine.acquire(timeout=seconds), lambda: limits.check(_NETWORK), watch)
        try:
            yield
        finally:
            self._engine.release()

    @contextmanager
    def call(self) -> Iterator[None]:
        """One call that `close` waits for.

        Raises:
            BackendError: the segmenter is closed, or was made in the process that this one was forked from.
        """
        # Before any lock: a thread of the other process may have held it, and calls that ran there never end here.
        self._home.require("the model of this segmenter")
        with self._idle:
            if self._closed:
                raise BackendError("the segmenter is closed; make a new one")
            self._running += 1
        try:
            yield
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def close(self) -> None:
        """Let nobody in any more, and wait for the calls that are running; in a fork there are none."""
        if not self._home.is_here:
            return
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: self._running == 0)

    def _acquire_ticket(self, seconds: float) -> bool:
        try:
            self._tickets.get(timeout=seconds)
        except Empty:
            return False
        return True

    def _may_wait(self, limits: Limits) -> None:
        if self._closed:
            raise BackendError("the segmenter was closed while the case waited for its turn")
        limits.check(_READ)


def _wait_for(acquire: Callable[[float], bool], may_wait: Callable[[], None], watch: Stopwatch) -> None:
    """Acquire something that others have: at once, or as soon as it is there, or never."""
    may_wait()
    if acquire(0):
        return
    with watch.stage(_WAIT):
        while not acquire(_POLL_S):
            may_wait()
