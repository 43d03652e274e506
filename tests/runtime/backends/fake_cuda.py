"""A GPU that is not there: a stand-in for `cuda.bindings.runtime`, faithful where a backend could go wrong.

Device memory is host memory that only copies of the right direction may touch. A stream is a queue whose work is done
by `cudaStreamSynchronize` and not before, so that a result read too early is an old one. A stream that records does
nothing. Each thread has a current device, and graphs start on no other than that of their stream. An error like an
illegal address stays for ever, as on a real device.
"""

# ruff: noqa: N802, N815  # the names are CUDA's

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from enum import IntEnum
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

GIB: Final = 1 << 30


class CudaStatus(IntEnum):
    """The statuses used here, with CUDA's numbers."""

    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900


class CopyKind(IntEnum):
    """Directions of a copy, with CUDA's numbers."""

    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class CaptureMode(IntEnum):
    """Modes of recording, with CUDA's numbers."""

    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1


class FakeCuda:
    """Stands in for the module `cuda.bindings.runtime`.

    Attributes:
        failures: status that a function gives instead of working, by its name.
        calls: names of all functions called, in order.
        downloaded: bytes copied from the device so far.
        free: what `cudaMemGetInfo` calls free.
        live: what has been made and not yet freed: (kind, handle), in the order of making.
        freed: kinds of what was freed, in order, TensorRT's contexts among them.
    """

    cudaError_t = CudaStatus
    cudaMemcpyKind = CopyKind
    cudaStreamCaptureMode = CaptureMode
    cudaStreamNonBlocking = 1
    cudaHostAllocDefault = 0

    def __init__(self, devices: int = 1, driver: int = 13000, compute_capability: tuple[int, int] = (8, 6)) -> None:
        self.failures: dict[str, CudaStatus] = {}
        self.calls: list[str] = []
        self.downloaded = 0
        self.free = 8 * GIB
        self.live: list[tuple[str, int]] = []
        self.freed: list[str] = []
        self._devices, self._driver, self._capability = devices, driver, compute_capability
        self._broken = CudaStatus.cudaSuccess
        self._memory: dict[int, tuple[str, Any]] = {}
        self._queue: list[Callable[[], None]] = []
        self._recording: list[Callable[[], None]] | None = None
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._next_handle = 1
        self._current = threading.local()
        self._stream_device = 0

    @property
    def recording(self) -> bool:
        """Whether the stream records."""
        return self._recording is not None

    def put(self, work: Callable[[], None]) -> None:
        """Put work on the stream, as a kernel does."""
        (self._queue if self._recording is None else self._recording).append(work)

    def array_at(self, address: int, shape: Sequence[int], dtype: str) -> NDArray[Any]:
        """Device memory as an array."""
        kind, memory = self._memory[address]
        assert kind == "device"
        return np.frombuffer(memory, dtype).reshape(tuple(shape))

    # What follows has the names, arguments and results of the real module.

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return self._did("cudaGetDeviceCount", self._devices)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return CudaStatus.cudaSuccess, self._driver

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        major, minor = self._capability
        properties = SimpleNamespace(
            name=b"Imagined GPU\0\0", major=major, minor=minor, multiProcessorCount=46, totalGlobalMem=12 * GIB
        )
        return self._did("cudaGetDeviceProperties", properties)

    def cudaSetDevice(self, device: int) -> tuple[Any, ...]:
        self._current.device = device
        return self._did("cudaSetDevice")

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        return self._did("cudaMemGetInfo", self.free, 12 * GIB)

    def cudaGetLastError(self) -> tuple[Any, ...]:
        return (CudaStatus.cudaSuccess,)

    def cudaGetErrorName(self, status: int) -> tuple[Any, ...]:
        return CudaStatus.cudaSuccess, CudaStatus(status).name.encode()

    def cudaGetErrorString(self, status: int) -> tuple[Any, ...]:
        return CudaStatus.cudaSuccess, f"the meaning of {int(status)}".encode()

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        self._stream_device = self._device()
        return self._did("cudaStreamCreateWithFlags", make="stream")

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        return self._free("stream", stream)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        return self._allocate("cudaHostAlloc", "host", size)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return self._free("host", address)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate("cudaMalloc", "device", size)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        return self._free("device", address)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: CopyKind, stream: int) -> tuple[Any, ...]:
        to_device = kind is CopyKind.cudaMemcpyHostToDevice
        sides = [("device", target), ("host", source)] if to_device else [("host", target), ("device", source)]
        for where, address in sides:
            if (where, address) not in self.live or ctypes.sizeof(self._memory[address][1]) < size:
                return (CudaStatus.cudaErrorInvalidValue,)
        result = self._did("cudaMemcpyAsync")
        if result[0] == CudaStatus.cudaSuccess:
            self.put(lambda: self._copy(target, source, size, to_device))
        return result

    def cudaStreamBeginCapture(self, stream: int, mode: CaptureMode) -> tuple[Any, ...]:
        assert self._recording is None
        assert mode is CaptureMode.cudaStreamCaptureModeThreadLocal
        result = self._did("cudaStreamBeginCapture")
        if result[0] == CudaStatus.cudaSuccess:
            self._recording = []
        return result

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        assert self._recording is not None
        recorded, self._recording = self._recording, None
        result = self._did("cudaStreamEndCapture", make="graph")
        if result[0] == CudaStatus.cudaSuccess:
            self._graphs[result[1]] = recorded
        return result

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:
        result = self._did("cudaGraphInstantiate", make="executable")
        if result[0] == CudaStatus.cudaSuccess:
            self._graphs[result[1]] = self._graphs[graph]
        return result

    def cudaGraphDestroy(self, graph: int) -> tuple[Any, ...]:
        return self._free("graph", graph)

    def cudaGraphExecDestroy(self, executable: int) -> tuple[Any, ...]:
        return self._free("executable", executable)

    def cudaGraphLaunch(self, executable: int, stream: int) -> tuple[Any, ...]:
        assert ("executable", executable) in self.live
        if self._device() != self._stream_device:
            return (CudaStatus.cudaErrorInvalidValue,)
        result = self._did("cudaGraphLaunch")
        if result[0] == CudaStatus.cudaSuccess:
            self._queue += self._graphs[executable]
        return result

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        assert self._recording is None
        result = self._did("cudaStreamSynchronize")
        work, self._queue = self._queue, []
        if result[0] == CudaStatus.cudaSuccess:
            for step in work:
                step()
        return result

    def _did(self, name: str, *values: Any, make: str = "") -> tuple[Any, ...]:
        self.calls.append(name)
        status = self._broken or self.failures.get(name, CudaStatus.cudaSuccess)
        if status == CudaStatus.cudaErrorIllegalAddress:
            self._broken = status
        if status != CudaStatus.cudaSuccess:
            return (status, *(None for _ in values), *([None] if make else []))
        if make:
            values = (self._next_handle,)
            self._next_handle += 1
            self.live.append((make, values[0]))
        return (status, *values)

    def _allocate(self, name: str, kind: str, size: int) -> tuple[Any, ...]:
        memory = (ctypes.c_uint8 * size)(*([0xAB] * min(size, 64)))  # not cleared, like the real ones
        address = ctypes.addressof(memory)
        result = self._did(name, address)
        if result[0] == CudaStatus.cudaSuccess:
            self._memory[address] = kind, memory
            self.live.append((kind, address))
        return result

    def _free(self, kind: str, handle: int) -> tuple[Any, ...]:
        # The memory itself stays until the test ends: a view kept too long must fail a test, not crash it.
        self.live.remove((kind, handle))
        self.freed.append(kind)
        self._graphs.pop(handle, None)
        return (self._broken,)

    def _device(self) -> int:
        return int(getattr(self._current, "device", 0))

    def _copy(self, target: int, source: int, size: int, to_device: bool) -> None:
        ctypes.memmove(target, source, size)
        self.downloaded += 0 if to_device else size
