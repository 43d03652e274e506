"""Was the machine quiet while it was measured? What else it did, and how evenly it does a fixed piece of work."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

QUIET_SPREAD: Final = 0.08
"""Interquartile range of the calibration's rounds, as a share of their median, above which a machine is called noisy.
An idle one is at 0.01 to 0.03."""
QUIET_SHARE: Final = 0.10
"""Share of the processors that others may use."""
_CALIBRATION_VALUES: Final = 1_000_000
_CALIBRATION_PASSES: Final = 12
_CALIBRATION_REPEATS: Final = 5
"""How often the work is done for one figure: a yardstick of a few milliseconds would be less steady than what it is
held against."""


def calibrate() -> float:
    """Seconds of `calibrate_both` alone."""
    return calibrate_both()[0]


def calibrate_both() -> tuple[float, float]:
    """Seconds, and processor seconds, for a fixed piece of work.

    It is like the stages outside the network, passes over arrays, and has nothing to do with any code that is measured:
    only the machine can change it. Medians of a few repeats, of about 5 ms each. One thread does it: of two the kernel
    puts both on one processor now and then, and what takes 2.6 ms takes 4.7 on a quiet machine.
    """
    values = np.linspace(0.0, 1.0, _CALIBRATION_VALUES, dtype=np.float32)
    times = [_timed_passes(values) for _ in range(_CALIBRATION_REPEATS)]
    return median(seconds for seconds, _ in times), median(busy for _, busy in times)


def _timed_passes(values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> tuple[float, float]:
    start, busy = time.perf_counter(), time.thread_time()
    target = values.copy()
    for _ in range(_CALIBRATION_PASSES):
        np.multiply(target, np.float32(0.999), out=target)
        np.add(target, np.float32(0.001), out=target)
        np.sqrt(target, out=target)
    return time.perf_counter() - start, time.thread_time() - busy


@dataclass(frozen=True)
class Noise:
    """How quiet the machine was.

    Attributes:
        calibration_s: median of the calibration in each round, over the engines.
        spread: interquartile range of these by their median.
        others_share: share of the machine's processors that other programs used meanwhile, None if unknown.
        load_before, load_after: processes that wanted to run during the last minute, None if unknown.
        mhz: lowest and highest clock of a processor seen between rounds, None if unknown.
        throttled: how often the control group's quota stopped us.
        findings: what was not quiet, in words; empty on a quiet machine.
    """

    calibration_s: tuple[float, ...]
    spread: float
    others_share: float | None
    load_before: float | None
    load_after: float | None
    mhz: tuple[float, float] | None
    throttled: int
    findings: tuple[str, ...]

    @property
    def quiet(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def describe(self) -> str:
        """In one line."""
        if self.quiet:
            return f"the machine was quiet: a fixed piece of work varied by {self.spread:.0%} between rounds"
        return f"this machine was noisy: {'; '.join(self.findings)}. Judge by the ratios and their intervals"


class NoiseWatch:
    """Looks at the machine from its making to `finish`."""

    def __init__(self) -> None:
        """Begin."""
        self._load = _load()
        self._start = _busy_and_total()
        self._own = _own_seconds()
        self._throttled = _throttled()
        self._mhz: list[float] = []

    def between_rounds(self) -> None:
        """Note what changes by the second."""
        self._mhz += _clocks()

    def finish(self, calibration_s: Sequence[float]) -> Noise:
        """What was seen. Child processes must have ended, or their work counts as that of others.

        Args:
            calibration_s: one figure for each round.
        """
        spread = _relative_spread(calibration_s)
        others = _others_share(self._start, _busy_and_total(), _own_seconds() - self._own)
        throttled = _throttled() - self._throttled
        findings = []
        if spread > QUIET_SPREAD:
            findings.append(f"a fixed piece of work varied by {spread:.0%} between rounds (quiet: {QUIET_SPREAD:.0%})")
        if others is not None and others > QUIET_SHARE:
            findings.append(f"other programs used {others:.0%} of its processors")
        if throttled:
            findings.append(f"the control group's quota stopped us {throttled} times")
        mhz = (min(self._mhz), max(self._mhz)) if self._mhz else None
        return Noise(tuple(calibration_s), spread, others, self._load, _load(), mhz, throttled, tuple(findings))


def _relative_spread(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    lower, median, upper = np.percentile(values, (25, 50, 75))
    return float((upper - lower) / median)


def _others_share(
    start: tuple[float, float] | None, end: tuple[float, float] | None, own_seconds: float
) -> float | None:
    if start is None or end is None or end[1] <= start[1]:
        return None
    return max(0.0, (end[0] - start[0] - own_seconds) / (end[1] - start[1]))


def _busy_and_total() -> tuple[float, float] | None:
    """Processor seconds since the machine started: not idle, and all."""
    try:
        words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        ticks = [float(word) / os.sysconf("SC_CLK_TCK") for word in words]
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _load() -> float | None:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _clocks() -> list[float]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    except (OSError, ValueError):
        return []


def _throttled() -> int:
    for path in (Path("/sys/fs/cgroup/cpu.stat"), Path("/sys/fs/cgroup/cpu/cpu.stat")):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        return next((int(line.split()[1]) for line in lines if line.startswith("nr_throttled ")), 0)
    return 0
