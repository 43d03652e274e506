"""Energy of the processors and the GPU, where they count it and let us read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eenet_bench.measuring.nvml import GpuReader

_POWERCAP: Final = Path("/sys/class/powercap")


@dataclass(frozen=True)
class EnergyReading:
    """Counters at one moment, in joules.

    Attributes:
        cpu: of each processor package (RAPL); empty where there are none.
        gpu: of the GPU (NVML); None where there is none.
    """

    cpu: tuple[float, ...]
    gpu: float | None


class EnergyMeter:
    """Reads the counters; `why_none` says why there is none of the processors."""

    def __init__(self, gpu: GpuReader | None = None, powercap: Path = _POWERCAP) -> None:
        """Look for counters; nothing is set.

        Args:
            gpu: the GPU to ask as well.
            powercap: where Linux shows those of the processors.
        """
        self._gpu = gpu
        packages = sorted(path for path in powercap.glob("intel-rapl:*") if path.name.count(":") == 1)
        self._counters = [path / "energy_uj" for path in packages]
        self._ranges = [_number(path / "max_energy_range_uj") or 0.0 for path in packages]
        self.why_none = ""
        if not packages:
            self.why_none = "energy: this machine shows no counter of its processors (RAPL)"
        elif any(_number(path) is None for path in self._counters):
            self.why_none = "energy: the counters of the processors may be read by the administrator only"
            self._counters = []

    def read(self) -> EnergyReading:
        """The counters now."""
        values = [_number(path) for path in self._counters]
        cpu = tuple(value * 1e-6 for value in values if value is not None)
        whole = len(cpu) == len(self._counters)
        return EnergyReading(cpu if whole else (), self._gpu.state().energy_j if self._gpu else None)

    def between(self, start: EnergyReading, end: EnergyReading) -> float | None:
        """Joules from one reading to another, of all that counts; None where nothing does."""
        parts: list[float] = []
        if start.cpu and len(start.cpu) == len(end.cpu):
            for before, after, wrap in zip(start.cpu, end.cpu, self._ranges, strict=True):
                # A counter begins again at its range; in runs of seconds that happens once at most.
                parts.append(after - before if after >= before else after - before + wrap * 1e-6)
        if start.gpu is not None and end.gpu is not None:
            parts.append(end.gpu - start.gpu)
        return sum(parts) if parts else None


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None
