"""Named points at which a test lets the process be killed, as a power cut would."""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

VARIABLE: Final = "EENET_GATEWAY_FAULT"
"""Environment variable: the name of a point, or `name:5` for the fifth time that it is passed."""

FAULT_POINTS: Final = (
    "before-file",
    "mid-file",
    "after-file",
    "after-instance-commit",
    "before-decision-commit",
    "after-decision-commit",
    "after-snapshot",
    "mid-job",
    "in-job",
    "after-result-folder",
    "before-result-commit",
    "after-result-commit",
    "before-send",
    "mid-send",
    "after-send",
    "after-send-commit",
    "after-done",
    "mid-recovery",
)
"""All of them, in the order in which a study passes them."""

_wanted, _, _count = os.environ.get(VARIABLE, "").partition(":")
_remaining = int(_count or 1)
_lock = threading.Lock()


def fault_point(name: str) -> None:
    """Do nothing, unless the environment named this point when the process began: then SIGKILL the process."""
    if name != _wanted:
        return
    global _remaining
    with _lock:
        _remaining -= 1
        if _remaining == 0:
            os.kill(os.getpid(), signal.SIGKILL)
