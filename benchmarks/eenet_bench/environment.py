"""The machine a figure was measured on: no time means anything without it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from eenet_runtime.info import SystemInfo, system_info


@dataclass(frozen=True)
class Environment:
    """A machine and what is installed on it, at the start of a measurement.

    Attributes:
        cpu: the processor's model.
        cores: logical processors of the machine; `system.threads` are those that this process may use, by affinity
            and by the control group's quota.
        memory_bytes: main memory, None where the system does not tell.
        load: processes that wanted to run during the last minute, None where the system does not tell; far above 0
            before a measurement, its times are not worth much.
        system: versions of Python, the toolkit, its packages and its engines.
        measured: UTC time, ISO 8601.
    """

    cpu: str
    cores: int
    memory_bytes: int | None
    load: float | None
    system: SystemInfo
    measured: str

    def describe(self) -> str:
        """The machine in one line."""
        memory = f", {self.memory_bytes / 2**30:.0f} GiB" if self.memory_bytes else ""
        load = f", load {self.load:.1f} before the start" if self.load is not None else ""
        return f"{self.cpu}, {self.system.threads} of {self.cores} processors usable{memory}{load}"


def describe_environment() -> Environment:
    """Look at the machine; nothing heavy is imported."""
    return Environment(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        system=system_info(),
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return None
