"""What a builder reports while it works, and how it is stopped: its log and its progress.

Both classes must derive from the library's own, and there are two libraries: so they are made when one is chosen.
Nothing may be raised into the library: what goes wrong in here is kept and raised when the build has ended.
"""

from __future__ import annotations

import threading
from typing import Any, Final, Protocol

from eenet_export.engines.settings import Progress

_REPORT_STARTS: Final = ("Layers:\n", "Total Activation Memory: ", "Total Weights Memory: ")
_MOST_ERRORS: Final = 5


class BuildLog(Protocol):
    """A logger of the library that keeps what somebody will ask for.

    Attributes:
        errors: what the library called an error, in order, whether or not it mattered.
        report: the messages that hold the layer report.
    """

    errors: list[str]
    report: list[str]


def make_log(trt: Any) -> Any:
    """A `BuildLog` for the module `tensorrt` or `tensorrt_rtx`."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.report: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)
            elif message.startswith(_REPORT_STARTS):
                self.report.append(message)

    return Log()


def last_errors(log: BuildLog) -> str:
    """The last errors on one line."""
    return "; ".join(" ".join(message.split()) for message in log.errors[-_MOST_ERRORS:]) or "no reason given"


class Fractions:
    """How far nested phases of known lengths are as a whole, from 0 to 1; it never goes back. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._furthest = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins; without a parent it is the whole."""
        with self._lock:
            self._phases[name] = _Phase(parent, max(steps, 1))

    def step(self, name: str, index: int) -> float:
        """Step `index`, from 0, of a phase is done; returns how far the whole is."""
        with self._lock:
            if name in self._phases:
                self._phases[name].done = index + 1
                self._furthest = max(self._furthest, min(self._so_far(name), 1.0))
            return self._furthest

    def finish(self, name: str) -> None:
        """A phase is over; its parent will say so in its next step."""
        with self._lock:
            self._phases.pop(name, None)

    def _so_far(self, name: str) -> float:
        fraction = 0.0
        current: str | None = name
        # At most one turn for each phase: a library that named a phase as its own ancestor would otherwise hang here.
        for _ in range(len(self._phases)):
            phase = self._phases.get(current) if current is not None else None
            if phase is None:
                break
            fraction = (phase.done + min(fraction, 1.0)) / phase.steps
            current = phase.parent
        return fraction


class _Phase:
    def __init__(self, parent: str | None, steps: int) -> None:
        self.parent, self.steps, self.done = parent, steps, 0


class BuildMonitor(Protocol):
    """A progress monitor of the library.

    Attributes:
        stop: set it to end the build at its next step.
        failure: what the listener raised; the build was stopped for it.
    """

    stop: threading.Event
    failure: BaseException | None


def make_monitor(trt: Any, on_progress: Progress) -> Any:
    """A `BuildMonitor` for the module `tensorrt` or `tensorrt_rtx` that tells `on_progress`."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stop = threading.Event()
            self.failure: BaseException | None = None
            self._fractions = Fractions()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._fractions.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if not self.stop.is_set():
                try:
                    on_progress(self._fractions.step(phase_name, step), phase_name)
                except BaseException as error:  # whatever it is, it must not pass through the library
                    self.failure = error
                    self.stop.set()
            return not self.stop.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self._fractions.finish(phase_name)

    return Monitor()
