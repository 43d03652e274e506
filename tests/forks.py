"""What a piece of a test does in a process forked from this one."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable

LIMIT_S = 60


def in_a_fork(action: Callable[[], object]) -> str:
    """What an action returns or raises in a child of this process, or that it did not come to an end."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads, which is the point here
        child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LIMIT_S)
        try:
            answer = str(action())
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read().decode()
    return answer if os.waitpid(child, 0)[1] == 0 else f"hung after {answer!r}"
