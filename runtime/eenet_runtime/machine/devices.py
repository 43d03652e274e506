"""Which device somebody asks for, and which GPUs this machine has. Imports no package for GPUs."""

from __future__ import annotations

import ctypes
import re
import sys
from dataclasses import dataclass
from typing import Any, Final

from eenet_runtime.errors import BackendError

_SPELLING: Final = re.compile(r"(auto|cpu|cuda)(?::([0-9]{1,3}))?")
_MAJOR, _MINOR = 75, 76
"""Numbers of the compute capability among the attributes of `cuDeviceGetAttribute`."""


@dataclass(frozen=True)
class Device:
    """A processor to compute on.

    Attributes:
        kind: `auto`, `cpu` or `cuda`.
        index: number of the GPU, 0 for others.
    """

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return f"cuda:{self.index}" if self.kind == "cuda" else self.kind


AUTO: Final = Device("auto")
CPU: Final = Device("cpu")


def parse_device(text: str) -> Device:
    """`auto`, `cpu`, `cuda` or `cuda:n`.

    Raises:
        BackendError: anything else.
    """
    match = _SPELLING.fullmatch(text)
    if match is None or (match[2] is not None and match[1] != "cuda"):
        raise BackendError(f"unknown device {text!r}; expected auto, cpu, cuda or cuda:n")
    return Device(match[1], int(match[2] or 0))


@dataclass(frozen=True)
class GpuInfo:
    """One NVIDIA GPU, as its driver describes it.

    Attributes:
        index: its number in this process.
        name: its name.
        compute_capability: for example `8.6`.
        memory_bytes: all of its memory.
    """

    index: int
    name: str
    compute_capability: str
    memory_bytes: int


@dataclass(frozen=True)
class GpuSurvey:
    """The NVIDIA GPUs of this machine.

    Attributes:
        gpus: those that this process may use.
        driver: the newest CUDA version that the driver supports, for example `13.0`; empty without a driver.
        why_none: why there are none; empty where there are.
    """

    gpus: tuple[GpuInfo, ...] = ()
    driver: str = ""
    why_none: str = ""


def find_gpus() -> GpuSurvey:
    """Ask the NVIDIA driver, through its own library, for GPUs. Makes no context on any: they stay untouched.

    Never raises: a driver that is missing or broken is an answer, too.
    """
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver: Any = ctypes.CDLL(library)
    except OSError:
        return GpuSurvey(why_none=f"no NVIDIA driver ({library} is not there)")
    return _survey(driver)


def _survey(driver: Any) -> GpuSurvey:
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    status = driver.cuInit(0)
    if status != 0:
        return GpuSurvey(why_none=f"the NVIDIA driver finds no GPU (cuInit gives error {status})")
    driver.cuDriverGetVersion(ctypes.byref(version))
    spelt = f"{version.value // 1000}.{version.value % 1000 // 10}"
    if driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return GpuSurvey(driver=spelt, why_none="the NVIDIA driver finds no GPU")
    return GpuSurvey(tuple(_describe(driver, index) for index in range(count.value)), spelt)


def _describe(driver: Any, index: int) -> GpuInfo:
    handle, major, minor = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
    memory, name = ctypes.c_size_t(0), ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(handle), index)
    driver.cuDeviceGetName(name, len(name), handle)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, handle)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    return GpuInfo(index, name.value.decode("utf-8", "replace"), f"{major.value}.{minor.value}", memory.value)
