"""`pytest -m gpu` without a GPU: skipped, or failed at once for one plain reason where `--require-gpu` is given."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.places import ROOT


@pytest.mark.parametrize(
    ("options", "summary", "reason"),
    [
        ((), "skipped", "no NVIDIA GPU here (--require-gpu makes this a failure)"),
        (("--require-gpu",), "errors", "no NVIDIA GPU here, and --require-gpu asks for one"),
    ],
)
def test_gpu_tests_without_a_gpu_end_at_once_with_their_reason(
    options: tuple[str, ...], summary: str, reason: str
) -> None:
    command = [sys.executable, "-m", "pytest", "-m", "gpu", *options, "tests/gpu", "-p", "no:cacheprovider"]
    # The driver hides every GPU of a machine that has one.
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    finished = subprocess.run(command, cwd=ROOT, env=hidden, capture_output=True, text=True, check=False, timeout=120)
    last = finished.stdout.splitlines()[-1]
    assert f" {summary}" in last, finished.stdout[-2000:]
    assert "passed" not in last
    assert reason in finished.stdout
