"""A child process: what kills it kills nothing else, and its limits hold."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from eenet_gateway.process.child import Child, RefusedError, StoppedError, StumbledError
from eenet_runtime.errors import BackendError, CaseError
from tests.places import ROOT


def work(asked: str) -> str:
    """What the child is asked to do, by name."""
    if asked == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if asked == "refuse":
        raise CaseError("no brain in it", code="missing-modality")
    if asked == "break":
        raise BackendError("no engine")
    if asked == "raise":
        raise ValueError("Canary^Patience")
    if asked == "sleep":
        time.sleep(100)
    if asked == "fill":
        return str(len(bytearray(3 << 30)))
    if asked == "print":
        print("Canary^Patience", flush=True)  # noqa: T201
    return str(os.getpid())


@contextmanager
def child(memory_mb: int = 2000, replace_after: int = 100, replace_above_mb: int = 10_000) -> Iterator[Child[str, str]]:
    made = Child(work, memory_mb, replace_after, replace_above_mb)
    try:
        yield made
    finally:
        made.close()


def test_one_process_serves_call_after_call_and_is_another_one() -> None:
    with child() as one:
        first = one.call("", 30)
        assert one.call("", 30) == first != str(os.getpid())


def test_what_goes_wrong_is_told_in_words_that_quote_nothing_and_the_next_call_is_served() -> None:
    with child() as one:
        with pytest.raises(StumbledError, match="its process was killed by signal 9"):
            one.call("die", 30)
        with pytest.raises(RefusedError, match="no brain in it"):
            one.call("refuse", 30)
        with pytest.raises(StumbledError, match="no engine"):
            one.call("break", 30)
        with pytest.raises(StumbledError, match=r"^ValueError at test_child\.py:\d+$"):
            one.call("raise", 30)
        with pytest.raises(StumbledError, match="needed more than 2000 MiB of memory"):
            one.call("fill", 30)
        with pytest.raises(StumbledError, match="took longer than 1 s"):
            one.call("sleep", 1)
        assert one.call("", 30)


def test_a_call_ends_at_once_when_the_caller_is_asked_to_stop() -> None:
    with child() as one:
        start = time.monotonic()
        with pytest.raises(StoppedError):
            one.call("sleep", 60, lambda: time.monotonic() - start > 0.5)
        assert one.process_id is None


def test_a_process_is_replaced_after_so_many_calls_and_when_it_has_grown() -> None:
    with child(replace_after=2) as one:
        assert one.call("", 30) == one.call("", 30) != one.call("", 30)
    with child(replace_above_mb=1) as one:
        assert one.call("", 30) != one.call("", 30)


def test_what_a_library_prints_in_the_child_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    with child() as one:
        one.call("print", 30)
    assert "Canary" not in "".join(capfd.readouterr())


def test_a_child_dies_with_its_parent_even_if_that_is_killed() -> None:
    code = (
        "import os, signal\n"
        "from tests.gateway.process.test_child import Child, work\n"
        "if __name__ == '__main__':\n"
        "    print(Child(work, 2000).call('', 30), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    pid = int(finished.stdout)
    deadline = time.monotonic() + 10
    while _alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:  # noqa: PTH123
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
