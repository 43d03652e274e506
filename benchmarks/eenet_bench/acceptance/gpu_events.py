"""Time of a TensorRT engine on the GPU itself, by events in its stream, beside the time that the host waits.

The two answer different questions: events say what the GPU works, the host says what a caller waits for. Every figure
is taken after the stream was synchronised; nothing about the GPU is set.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_bench.measuring.spread import Spread, spread
from eenet_runtime.backends.cuda import CudaSession
from eenet_runtime.backends.engine_runner import EngineRunner, deserialise
from eenet_runtime.bundle.engine_file import TENSORRT_RTX
from eenet_runtime.errors import BackendError

_MARKS: Final = ("start", "uploaded", "computed", "end")
_PARTS: Final = {"upload": ("start", "uploaded"), "compute": ("uploaded", "computed"), "download": ("computed", "end")}
_WARM_UP: Final = 10


@dataclass(frozen=True)
class DeviceTimes:
    """One engine, one output, in milliseconds.

    Attributes:
        output: the tensor that is brought back.
        host: from the call to the result in the host's memory, as served: replayed from a CUDA graph where that can be.
        device: by events around the same work on the stream.
        upload, compute, download: by events between the parts, without a CUDA graph.
        replayed: whether `host` and `device` are of a CUDA graph.
    """

    output: str
    host: Spread
    device: Spread
    upload: Spread
    compute: Spread
    download: Spread
    replayed: bool


class EventSession(CudaSession):
    """A session that notes events in its stream: around a run, and in a run that is not recorded around each part.

    Args:
        replay: False to refuse CUDA graphs, so that the parts of a run can be told apart.
    """

    def __init__(self, index: int = 0, *, replay: bool = True) -> None:
        """Take a GPU, make a stream and the events; see `CudaSession`."""
        super().__init__(index)
        self._replay = replay
        self._recording = False
        self._events = {mark: self._new_event() for mark in _MARKS}

    def begin(self) -> None:
        """Note the start of a run."""
        self._note("start")

    def synchronize(self) -> None:
        """Note the end behind the work, then wait for it."""
        self._note("end")
        super().synchronize()

    def upload(self, array: NDArray[Any], address: int) -> None:
        """See `CudaSession.upload`."""
        super().upload(array, address)
        self._note("uploaded")

    def download(self, address: int, array: NDArray[Any]) -> None:
        """See `CudaSession.download`; what the engine does lies before it."""
        self._note("computed")
        super().download(address, array)

    def capture(self, work: Any) -> Any:
        """See `CudaSession.capture`.

        Raises:
            BackendError: besides, where the parts are to be told apart.
        """
        if not self._replay:
            raise BackendError("the parts of a run are timed one by one")
        self._recording = True
        try:
            return super().capture(work)
        finally:
            self._recording = False

    def elapsed_ms(self, first: str, second: str) -> float:
        """Milliseconds between two events of the last run, which must have been waited for."""
        elapsed = self._cuda.cudaEventElapsedTime(self._events[first], self._events[second])
        return float(self._checked("reading an event", elapsed))

    def _new_event(self) -> Any:
        event = self._checked("making an event", self._cuda.cudaEventCreate())
        self.on_close(lambda: self._cuda.cudaEventDestroy(event))
        return event

    def _note(self, mark: str) -> None:
        # An event in a recording would become part of the graph.
        if hasattr(self, "_events") and not self._recording:
            self._checked("noting an event", self._cuda.cudaEventRecord(self._events[mark], self.stream))


def time_engine(trt: Any, plan: bytes, flavour: str, volume: NDArray[np.float32], repeats: int) -> list[DeviceTimes]:
    """Time every output of an engine on a volume.

    Args:
        trt: the module of its flavour.
        plan: the bytes of its file, verified by the caller: they are native code.
        flavour: `tensorrt` or `tensorrt-rtx`.
        volume: float32 (H, W, D, 4), as the runtime prepares it.
        repeats: timed runs, after ten that are not.

    Raises:
        BackendError: the engine does not run here.
    """
    found = []
    with _runner(trt, plan, flavour, volume, replay=True) as (runner, session, outputs):
        whole = {output: _run(runner, session, output, repeats) for output in outputs}
        replayed = not runner.why_no_graphs
    with _runner(trt, plan, flavour, volume, replay=False) as (runner, session, outputs):
        parts = {output: _run(runner, session, output, repeats) for output in outputs}
    for output, runs in whole.items():
        split = parts[output]
        found.append(
            DeviceTimes(
                output,
                host=spread([run["host"] for run in runs]),
                device=spread([run["device"] for run in runs]),
                upload=spread([run["upload"] for run in split]),
                compute=spread([run["compute"] for run in split]),
                download=spread([run["download"] for run in split]),
                replayed=replayed,
            )
        )
    return found


@contextmanager
def _runner(
    trt: Any, plan: bytes, flavour: str, volume: NDArray[np.float32], *, replay: bool
) -> Iterator[tuple[EngineRunner, EventSession, list[str]]]:
    with EventSession(replay=replay) as session:
        loaded = deserialise(trt, plan, "benchmark", check_header=flavour == TENSORRT_RTX)
        runner = EngineRunner(loaded, session)
        (name,) = (tensor.name for tensor in loaded.tensors if tensor.mode == "input")
        np.copyto(runner.arrays[name][0], np.moveaxis(volume, -1, 0), casting="same_kind")
        yield runner, session, [tensor.name for tensor in loaded.tensors if tensor.mode == "output"]


def _run(runner: EngineRunner, session: EventSession, output: str, repeats: int) -> list[dict[str, float]]:
    times = []
    for number in range(_WARM_UP + repeats):
        session.begin()
        start = time.perf_counter()
        runner.run(output)
        run = {"host": (time.perf_counter() - start) * 1e3, "device": session.elapsed_ms("start", "end")}
        if runner.why_no_graphs:  # the parts of a graph cannot be told apart
            run |= {part: session.elapsed_ms(*between) for part, between in _PARTS.items()}
        if number >= _WARM_UP:
            times.append(run)
    return times


def plan_bytes(folder: Path, name: str) -> bytes:
    """A plan of a bundle.

    Raises:
        BackendError: it cannot be read.
    """
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise BackendError(f"{folder / name}: cannot be read ({error.strerror or error})") from error
