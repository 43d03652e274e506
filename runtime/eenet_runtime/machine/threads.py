"""How many processors this process may really use."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from eenet_runtime.machine.cgroup import THIS_PROCESS, Cgroups


@dataclass(frozen=True)
class CpuBudget:
    """The processors of this machine and what is left of them for this process.

    Attributes:
        machine: logical processors of the machine.
        affinity: those that this process may run on: its affinity mask, in which the kernel has taken a cpuset of its
            control group into account.
        quota: processors' worth of time that its control groups allow, None if there is no limit.
    """

    machine: int
    affinity: int
    quota: float | None

    @property
    def threads(self) -> int:
        """Threads that can really run side by side; a quota of 1.5 gives 2, for it is mostly not used up."""
        return max(1, min(self.affinity, math.ceil(self.quota))) if self.quota is not None else self.affinity

    def describe(self) -> str:
        """The number and where it comes from."""
        quota = "no quota" if self.quota is None else f"a quota of {self.quota:.4g}"
        return f"{self.threads}: {self.affinity} of {self.machine} processors by affinity, {quota} by control group"


def cpu_budget(groups: Cgroups = THIS_PROCESS) -> CpuBudget:
    """Ask the system."""
    machine = os.cpu_count() or 1
    try:
        affinity = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        affinity = machine
    return CpuBudget(machine, affinity, groups.cpu_quota())


def usable_cpus() -> int:
    """Processors left by the affinity mask and by the control groups' quotas.

    Engines count the machine's processors; in a container with a quota they then start more threads than may run
    and lose time waiting.
    """
    return cpu_budget().threads
