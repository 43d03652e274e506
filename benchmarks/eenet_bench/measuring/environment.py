"""The machine a figure was measured on: no time means anything without it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from eenet_runtime.commands.machine_info import SystemInfo, system_info


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
        commit: of the toolkit's sources, with `-dirty` where they were changed; empty outside a checkout.
    """

    cpu: str
    cores: int
    memory_bytes: int | None
    load: float | None
    system: SystemInfo
    measured: str
    commit: str = ""

    def describe(self) -> str:
        """The machine in one line."""
        memory = f", {self.memory_bytes / 2**30:.0f} GiB" if self.memory_bytes else ""
        load = f", load {self.load:.1f} before the start" if self.load is not None else ""
        return f"{self.cpu}, {self.system.threads} of {self.cores} processors usable{memory}{load}"


def describe_environment() -> Environment:
    """Look at the machine; nothing heavy is imported."""
    system = system_info()
    return Environment(
        cpu=system.processor.model,
        cores=system.cpus.machine,
        memory_bytes=system.memory.total_bytes,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        system=system,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=source_commit(Path(__file__).parent),
    )


def source_commit(folder: Path) -> str:
    """The commit of a checkout; empty where `folder` is in none, or Git is not there."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return finished.stdout.strip() if finished.returncode == 0 else ""
