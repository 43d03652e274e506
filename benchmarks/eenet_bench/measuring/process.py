"""A measured process of its own, which answers requests in lines of JSON over its standard streams."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from eenet_runtime.machine.memory import peak_rss_bytes


class JsonProcess:
    """A process that says one line of JSON when it is ready, and one for each line that it is sent.

    An answer with a `reason`, or none at all, means that it cannot go on. A context manager: the process ends with the
    block.

    Attributes:
        reason: why it cannot go on; empty while it can.
        ready: what it said when it was ready.
        ready_s: seconds from its start until then.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start it and wait until it is ready.

        Args:
            command: program and arguments.
            environment: variables besides those of this process.
        """
        self.reason = ""
        self.ready: dict[str, Any] = {}
        self.ready_s = 0.0
        start = time.perf_counter()
        try:
            self._process: subprocess.Popen[str] | None = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        except OSError as error:
            self._process, self.reason = None, f"{command[0]} cannot be started ({error.strerror})"
            return
        self.ready = self._answer()
        self.ready_s = time.perf_counter() - start

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer; empty where the process cannot go on."""
        if self.reason or self._process is None or self._process.stdin is None:
            return {}
        # A process that is gone shows by the answer that does not come.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def peak_rss_bytes(self) -> int | None:
        """Its highest resident memory so far (`VmHWM`), None where the system does not tell."""
        if self._process is None:
            return None
        return peak_rss_bytes(self._process.pid)

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {}
        if not line:
            self.reason = f"its process ended with exit code {self._process.wait()} (-9: killed, often for its memory)"
        self.reason = answer.get("reason", self.reason)
        return {} if self.reason else answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        if kind is not None:
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        self._process.wait()
