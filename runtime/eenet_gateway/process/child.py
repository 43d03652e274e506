"""A function that runs in a process of its own, with limits: what kills it, kills nothing else."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from eenet_gateway.process.logs import describe, silence_libraries
from eenet_gateway.process.parent import die_with_parent
from eenet_runtime.errors import CaseError, DatasetError, EENetError

_POLL_S: Final = 0.1
_MEGABYTE: Final = 1 << 20

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


class ChildError(Exception):
    """A call has no result. The words are clean: no text of a library, nothing of a header."""


class RefusedError(ChildError):
    """The function refused what it was asked, with words that it chose: asking again is of no use."""


class StumbledError(ChildError):
    """The process died, or took too long, or met an error that nobody expected."""


class StoppedError(ChildError):
    """The caller was asked to stop meanwhile."""


class Child(Generic[Asked, Answered]):
    """Serves one call at a time; the process is started with the first one and stays, so that what it loaded is warm.

    One thread makes all calls: the kernel ends the process when that thread ends (`die_with_parent`).
    """

    def __init__(
        self,
        function: Callable[[Asked], Answered],
        memory_mb: int,
        replace_after: int = 1_000_000,
        replace_above_mb: int = 1_000_000,
    ) -> None:
        """Say what runs in it.

        Args:
            function: at the top of a module, for the child imports it by name; so must be what it takes and returns.
            memory_mb: most address space, in MiB.
            replace_after, replace_above_mb: after so many calls, or with so much resident memory after one, a fresh
                process takes over.
        """
        self._function, self._memory_mb = function, memory_mb
        self._replace_after, self._replace_above_mb = replace_after, replace_above_mb
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._calls = 0

    @property
    def process_id(self) -> int | None:
        """Of the process that serves now; None where there is none."""
        return None if self._process is None else self._process.pid

    def call(self, asked: Asked, time_limit_s: float, stopped: Callable[[], bool] = lambda: False) -> Answered:
        """Run the function in the process.

        Raises:
            RefusedError: it raised a `CaseError` or a `DatasetError`; the words are its.
            StumbledError: anything else went wrong; the process is gone if it was its fault.
            StoppedError: `stopped` said so; the process is gone.
        """
        pipe = self._started()
        try:
            pipe.send(asked)
            deadline = time.monotonic() + time_limit_s
            while not pipe.poll(_POLL_S):
                if stopped():
                    raise StoppedError("stopped")
                if time.monotonic() > deadline:
                    raise StumbledError(f"took longer than {time_limit_s:g} s")
            kind, found, resident_mb = pipe.recv()
        except (EOFError, OSError) as error:
            raise StumbledError(self._how_it_died()) from error
        except ChildError:
            self.close()
            raise
        self._calls += 1
        if self._calls >= self._replace_after or resident_mb > self._replace_above_mb or kind == "stumbled":
            self.close()
        if kind == "refused":
            raise RefusedError(found)
        if kind == "stumbled":
            raise StumbledError(found)
        answered: Answered = found
        return answered

    def close(self) -> None:
        """End the process, now."""
        process, self._process = self._process, None
        pipe, self._pipe = self._pipe, None
        if process is not None:
            process.kill()
            process.join()
            process.close()
        if pipe is not None:
            pipe.close()

    def _started(self) -> Connection:
        if self._process is not None and not self._process.is_alive():
            self.close()
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(
                target=_serve, args=(theirs, self._function, os.getpid(), self._memory_mb), daemon=True
            )
            self._process.start()
            theirs.close()
            self._calls = 0
        return self._pipe

    def _how_it_died(self) -> str:
        code = None
        if self._process is not None:
            self._process.join(5)
            code = self._process.exitcode
        self.close()
        if code is not None and code < 0:
            return f"its process was killed by signal {-code}"
        return f"its process ended with exit code {code}"


def _serve(pipe: Connection, function: Callable[[Any], Any], parent: int, memory_mb: int) -> None:
    die_with_parent(parent)
    silence_libraries()
    _drop_output()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = memory_mb * _MEGABYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while True:
        try:
            asked = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer: tuple[str, Any] = ("done", function(asked))
        except (CaseError, DatasetError) as error:
            answer = ("refused", str(error))
        except EENetError as error:
            # The model, the engine or the disk: nothing that is wrong with what was asked.
            answer = ("stumbled", str(error))
        except MemoryError:
            answer = ("stumbled", f"needed more than {memory_mb} MiB of memory")
        except Exception as error:
            answer = ("stumbled", f"{describe(error)} at {_where(error)}")
        with contextlib.suppress(BrokenPipeError):
            pipe.send((*answer, _resident_mb()))


def _drop_output() -> None:
    """What libraries print may quote a header."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _where(error: BaseException) -> str:
    """The line that raised: it says nothing of any patient."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / _MEGABYTE
