"""How many processors this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Processors left by the affinity mask and by the control group's quota.

    Engines count the machine's processors; in a container with a quota they then start more threads than may run
    and lose time waiting.

    Args:
        cgroup: the control group's folder (version 2: `cpu.max`; version 1: `cpu/cpu.cfs_quota_us`).
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        allowed = os.cpu_count() or 1
    quota = _cgroup_quota(cgroup)
    return max(1, min(allowed, math.ceil(quota))) if quota else allowed


def _cgroup_quota(cgroup: Path) -> float | None:
    """Processors' worth of time in one period, None if there is no limit."""
    try:
        words = (cgroup / "cpu.max").read_text().split()
        if len(words) == 2 and words[0] != "max":
            return float(words[0]) / float(words[1])
    except (OSError, ValueError):
        pass
    try:
        quota = float((cgroup / "cpu" / "cpu.cfs_quota_us").read_text())
        period = float((cgroup / "cpu" / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
