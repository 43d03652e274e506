"""The few CUDA calls that running an engine takes, over `cuda.bindings.runtime`; nothing else in the runtime makes one.

CUDA returns a status from every call. Here each status that is not success becomes a `BackendError` with CUDA's own
name of it. Only releases are not looked at: there is nothing left to mend, and on a device that failed they fail too.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from eenet_runtime.errors import BackendError

_INSTALL: Final = 'install it with: pip install "eenet[tensorrt]" (or "eenet[rtx]")'


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU.

    Attributes:
        index: its number in this process.
        name: as its driver calls it.
        compute_capability: for example `8.6`.
        multiprocessors: number of streaming multiprocessors.
        memory_bytes: all of its memory.
        driver: the newest CUDA version that the driver supports, for example `13.0`.
    """

    index: int
    name: str
    compute_capability: str
    multiprocessors: int
    memory_bytes: int
    driver: str


def count_gpus() -> int:
    """How many NVIDIA GPUs this process may use; 0 where there is no driver.

    Raises:
        BackendError: cuda-bindings is missing, or the driver is too old for it or broken.
    """
    cuda = _load_cuda()
    status, count = cuda.cudaGetDeviceCount()
    if int(status) == int(cuda.cudaError_t.cudaErrorNoDevice):
        return 0
    if int(status) == int(cuda.cudaError_t.cudaErrorInsufficientDriver):
        driver = int(_check(cuda, "asking for the driver's version", cuda.cudaDriverGetVersion()))
        if driver == 0:  # no driver at all
            return 0
        raise BackendError(
            f"the NVIDIA driver supports CUDA {_version(driver)}, too old for the installed cuda-bindings; update the "
            "driver or install an older cuda-bindings"
        )
    return int(_check(cuda, "counting the GPUs", (status, count)))


def find_gpu(index: int = 0) -> Gpu:
    """Describe a GPU.

    Raises:
        BackendError: cuda-bindings is missing, there is no such GPU, or it does not answer.
    """
    count = count_gpus()
    if count == 0:
        raise BackendError("no NVIDIA GPU found; a TensorRT engine runs on nothing else")
    if not 0 <= index < count:
        raise BackendError(f"GPU {index} was asked for, {count} found (the first is 0)")
    cuda = _load_cuda()
    properties = _check(cuda, f"describing GPU {index}", cuda.cudaGetDeviceProperties(index))
    driver = _check(cuda, "asking for the driver's version", cuda.cudaDriverGetVersion())
    return Gpu(
        index=index,
        name=bytes(properties.name).rstrip(b"\0").decode("utf-8", "replace"),
        compute_capability=f"{int(properties.major)}.{int(properties.minor)}",
        multiprocessors=int(properties.multiProcessorCount),
        memory_bytes=int(properties.totalGlobalMem),
        driver=_version(int(driver)),
    )


class CudaSession:
    """One stream on one GPU, and the buffers and graphs used on it. `close` frees them all; a context manager.

    Not thread-safe: its owner holds a lock, and calls `activate` first in whatever thread it works.
    """

    def __init__(self, index: int = 0) -> None:
        """Take a GPU and make a stream on it.

        Raises:
            BackendError: as `find_gpu`, or the GPU does not take work.
        """
        self.gpu = find_gpu(index)
        self._cuda = _load_cuda()
        self._resources = ExitStack()
        self.activate()
        # TensorRT slows down on the default stream (documentation of enqueueV3).
        created = self._cuda.cudaStreamCreateWithFlags(self._cuda.cudaStreamNonBlocking)
        self._stream = self._checked("making a stream", created)
        self._resources.callback(self._cuda.cudaStreamDestroy, self._stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def stream(self) -> int:
        """The stream's handle, as TensorRT takes it."""
        return int(self._stream)

    def activate(self) -> None:
        """Make this session's GPU the one of the calling thread, which is where CUDA keeps that."""
        self._checked(f"taking GPU {self.gpu.index}", self._cuda.cudaSetDevice(self.gpu.index))

    def free_bytes(self) -> int:
        """Memory of the GPU that nobody uses."""
        free, _ = self._checked("asking for free memory", self._cuda.cudaMemGetInfo())
        return int(free)

    def pinned_array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A page-locked array of zeros on the host, from which the GPU copies at full speed.

        It is gone after `close`: hand out copies only.
        """
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        allocated = self._cuda.cudaHostAlloc(size, self._cuda.cudaHostAllocDefault)
        address = int(self._checked(f"locking {size} bytes of host memory", allocated))
        self._resources.callback(self._cuda.cudaFreeHost, address)
        memory = memoryview((ctypes.c_uint8 * size).from_address(address))
        array: NDArray[Any] = np.frombuffer(memory, dtype=dtype).reshape(shape)
        array[...] = 0
        return array

    def device_buffer(self, size: int) -> int:
        """The address of `size` bytes on the GPU."""
        address = int(self._checked(f"allocating {size} bytes on the GPU", self._cuda.cudaMalloc(size)))
        self._resources.callback(self._cuda.cudaFree, address)
        return address

    def upload(self, array: NDArray[Any], address: int) -> None:
        """Copy a pinned array to the GPU, in stream order."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        copied = self._cuda.cudaMemcpyAsync(address, array.ctypes.data, array.nbytes, kind, self._stream)
        self._checked("copying to the GPU", copied)

    def download(self, address: int, array: NDArray[Any]) -> None:
        """Copy from the GPU into a pinned array, in stream order; it is there after `synchronize`."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        copied = self._cuda.cudaMemcpyAsync(array.ctypes.data, address, array.nbytes, kind, self._stream)
        self._checked("copying from the GPU", copied)

    def capture(self, work: Callable[[], None]) -> Any:
        """Record what `work` puts on the stream, without doing it.

        Returns:
            A graph for `replay`.

        Raises:
            BackendError: CUDA cannot record this work. The stream is out of recording again. What `work` raises
                passes through.
        """
        cuda = self._cuda
        # Other threads may go on allocating meanwhile; in CUDA's default mode that would spoil the recording.
        mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._checked("starting a CUDA graph", cuda.cudaStreamBeginCapture(self._stream, mode))
        try:
            work()
        except BaseException:
            status, spoilt = cuda.cudaStreamEndCapture(self._stream)
            if int(status) == 0:
                cuda.cudaGraphDestroy(spoilt)
            raise
        graph = self._checked("recording a CUDA graph", cuda.cudaStreamEndCapture(self._stream))
        try:
            executable = self._checked("making a CUDA graph", cuda.cudaGraphInstantiate(graph, 0))
        finally:
            cuda.cudaGraphDestroy(graph)
        self._resources.callback(cuda.cudaGraphExecDestroy, executable)
        return executable

    def replay(self, graph: Any) -> None:
        """Put a recorded graph on the stream."""
        self._checked("starting the recorded work", self._cuda.cudaGraphLaunch(graph, self._stream))

    def synchronize(self) -> None:
        """Wait until everything on the stream is done; a failure of any of it shows here at the latest."""
        self._checked("computing", self._cuda.cudaStreamSynchronize(self._stream))

    def on_close(self, release: Callable[[], None]) -> None:
        """Have `close` call something too: after freeing what is made later, before freeing what was made earlier."""
        self._resources.callback(release)

    def close(self) -> None:
        """Free graphs, buffers and the stream, the newest first. Calling it twice is allowed."""
        self._cuda.cudaSetDevice(self.gpu.index)
        self._resources.close()

    def _checked(self, doing: str, result: tuple[Any, ...]) -> Any:
        return _check(self._cuda, doing, result)


def _load_cuda() -> Any:
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise BackendError(f"cuda-bindings is not installed, and a TensorRT engine needs it; {_INSTALL}") from error


def _check(cuda: Any, doing: str, result: tuple[Any, ...]) -> Any:
    """The values behind the status of a CUDA call: none, one, or a tuple."""
    status, *values = result
    if int(status) != 0:
        # CUDA also remembers the error for whoever asks next; it has been reported here.
        cuda.cudaGetLastError()
        _, name = cuda.cudaGetErrorName(status)
        _, meaning = cuda.cudaGetErrorString(status)
        raise BackendError(f"CUDA failed while {doing}: {bytes(name).decode()} ({bytes(meaning).decode()})")
    return values[0] if len(values) == 1 else tuple(values) or None


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
