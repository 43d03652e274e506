"""What an NVIDIA GPU says about itself while it works: clocks, power, temperature, memory. Read, never set.

Over the driver's own library (NVML), so that no package is needed. A figure that a GPU does not give is None.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

_LIBRARY: Final = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
_GRAPHICS, _MEMORY = 0, 2
"""Kinds of clocks: `nvmlClockType_t`."""
_CORE_TEMPERATURE: Final = 0
_THROTTLES: Final = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""Reasons of `nvmlDeviceGetCurrentClocksThrottleReasons` that make figures incomparable; idleness is none of them."""


@dataclass(frozen=True)
class GpuState:
    """A GPU at one moment; None for what it does not tell.

    Attributes:
        graphics_mhz, memory_mhz: clocks.
        power_w: power draw.
        temperature_c: of the core.
        used_bytes: memory in use by everybody.
        energy_j: since the driver was loaded.
        throttled: why its clocks are held down, empty where they are not.
    """

    graphics_mhz: int | None = None
    memory_mhz: int | None = None
    power_w: float | None = None
    temperature_c: int | None = None
    used_bytes: int | None = None
    energy_j: float | None = None
    throttled: tuple[str, ...] = ()

    def describe(self) -> str:
        """In one line."""
        known = [
            (self.graphics_mhz, f"{self.graphics_mhz} MHz"),
            (self.memory_mhz, f"memory {self.memory_mhz} MHz"),
            (self.power_w, f"{self.power_w or 0:.0f} W"),
            (self.temperature_c, f"{self.temperature_c} °C"),
        ]
        parts = [text for value, text in known if value is not None]
        parts += [f"held down by {reason}" for reason in self.throttled]
        return ", ".join(parts) or "the driver tells nothing"


class _Memory(ctypes.Structure):
    """`nvmlMemory_t`."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class GpuReader:
    """One GPU, asked through NVML."""

    def __init__(self, library: Any, index: int = 0) -> None:
        """Take a GPU by its number among those NVML knows.

        Raises:
            OSError: there is no such GPU, or NVML does not start.
        """
        self._library = library
        self._handle = ctypes.c_void_p()
        if library.nvmlInit_v2() != 0:
            raise OSError("NVML does not start")
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(self._handle)) != 0:
            raise OSError(f"NVML knows no GPU {index}")

    def state(self) -> GpuState:
        """How it is now."""
        milliwatts = self._number("nvmlDeviceGetPowerUsage", ctypes.c_uint())
        millijoules = self._number("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong())
        throttles = self._number("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong()) or 0
        memory = _Memory()
        known = self._library.nvmlDeviceGetMemoryInfo(self._handle, ctypes.byref(memory)) == 0
        return GpuState(
            graphics_mhz=self._number("nvmlDeviceGetClockInfo", ctypes.c_uint(), _GRAPHICS),
            memory_mhz=self._number("nvmlDeviceGetClockInfo", ctypes.c_uint(), _MEMORY),
            power_w=None if milliwatts is None else milliwatts / 1e3,
            temperature_c=self._number("nvmlDeviceGetTemperature", ctypes.c_uint(), _CORE_TEMPERATURE),
            used_bytes=int(memory.used) if known else None,
            energy_j=None if millijoules is None else millijoules / 1e3,
            throttled=tuple(name for bit, name in _THROTTLES.items() if throttles & bit),
        )

    def close(self) -> None:
        """Let go of NVML."""
        self._library.nvmlShutdown()

    def _number(self, function: str, answer: Any, *arguments: int) -> int | None:
        ask = getattr(self._library, function, None)
        if ask is None or ask(self._handle, *arguments, ctypes.byref(answer)) != 0:
            return None
        return int(answer.value)


@contextmanager
def open_reader(index: int = 0) -> Iterator[GpuReader | None]:
    """A reader for a GPU; None where there is no driver or no such GPU."""
    try:
        reader = GpuReader(ctypes.CDLL(_LIBRARY), index)
    except (OSError, AttributeError):
        yield None
        return
    try:
        yield reader
    finally:
        reader.close()
