"""Processes of one program that start warm: what it imports is imported once, and each start is a fork.

A test that kills a training ten times starts it twelve times, and importing TensorFlow takes seconds of a processor
each time. A fork has its own memory, files and number like any process, and SIGKILL ends it as suddenly. Before it,
nothing may happen but imports: TensorFlow starts its threads with the first operation, and a fork would lack them.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.places import ROOT

_PR_SET_PDEATHSIG = 1


class WarmProgram:
    """A program that has been imported and waits to be started."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Take the process that imports; `warm_program` makes it."""
        self._process = process

    def start(self, output: Path, *arguments: object) -> int:
        """Start the program; returns its process id.

        Args:
            output: file for its standard output and standard error.
            arguments: of its `main`, as text.
        """
        return self._ask({"start": [str(argument) for argument in arguments], "output": str(output)})

    def wait(self, pid: int) -> int:
        """Wait for the end of a start; returns its exit code, or the signal that ended it, negative."""
        return self._ask({"wait": pid})

    def _ask(self, request: dict[str, object]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def warm_program(module: str) -> Iterator[WarmProgram]:
    """A module whose `warm` imports and whose `main` is the program; whatever still runs at the end is killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.warm_starts", module],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield WarmProgram(process)
    finally:
        process.kill()
        process.communicate()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _run(program: Any, arguments: list[str], output: str) -> None:
    """A start, in the fork; never comes back."""
    code = 1
    try:
        _die_with_parent()
        written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(written, stream)
        program.main(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve(module: str) -> None:
    """Answer requests, a line of JSON each, until the test goes away."""
    _die_with_parent()
    # The answers go where standard output went; what the imports write does not.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    program = importlib.import_module(module)
    program.warm()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                _run(program, request["start"], request["output"])
        answers.write(f"{answer}\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
