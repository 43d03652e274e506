"""The highest memory of a process is its own, not that of the one that started it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from eenet_runtime.machine.memory import peak_rss_bytes


def test_the_memory_of_the_process_that_measures_is_not_counted() -> None:
    # ru_maxrss, which a new process inherits, would be above 300 MB here.
    ballast = np.ones(300_000_000, dtype=np.uint8)
    code = "from eenet_runtime.machine.memory import peak_rss_bytes; print(peak_rss_bytes())"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ballast.any()
    assert 5e6 < int(finished.stdout) < 200e6


def test_a_process_that_is_gone_has_no_memory() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert peak_rss_bytes(gone.pid) is None
