"""This machine as far as the runtime cares: processor, memory and disk, as the system tells in milliseconds."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eenet_runtime.machine.cgroup import THIS_PROCESS, Cgroups

_SHOWN_FEATURES: Final = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd")
"""What kernels for convolutions are written for, on x86-64 and 64-bit Arm, as Linux names it."""


@dataclass(frozen=True)
class Processor:
    """The processor.

    Attributes:
        model: its maker's name for it.
        features: those of its instruction sets that engines care about; empty where the system does not tell.
    """

    model: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class Memory:
    """Main memory, each None where the system does not tell.

    Attributes:
        total_bytes: of the machine.
        available_bytes: what could be taken now without swapping.
        limit_bytes: what the control groups of this process allow.
    """

    total_bytes: int | None
    available_bytes: int | None
    limit_bytes: int | None


def find_processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Processor:
    """Ask the system for the first processor; a machine's are alike."""
    try:
        lines = cpuinfo.read_text().partition("\n\n")[0].splitlines()
    except OSError:  # not on Linux
        lines = []
    entries = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = set(entries.get("flags", entries.get("Features", "")).split())
    model = entries.get("model name") or platform.processor() or platform.machine()
    return Processor(model, tuple(name for name in _SHOWN_FEATURES if name in flags))


def find_memory(meminfo: Path = Path("/proc/meminfo"), groups: Cgroups = THIS_PROCESS) -> Memory:
    """Ask the system for its memory."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:  # not on Linux
        lines = []
    entries = {line.partition(":")[0]: line.partition(":")[2].split() for line in lines}
    total, available = (_kibibytes(entries.get(name, [])) for name in ("MemTotal", "MemAvailable"))
    return Memory(_total_by_pages() if total is None else total, available, groups.memory_limit_bytes())


def free_disk_bytes(folder: Path) -> int | None:
    """What a file system has left for this user, None where it cannot be asked."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _kibibytes(words: list[str]) -> int | None:
    return int(words[0]) * 1024 if words and words[0].isdecimal() else None


def _total_by_pages() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return None
