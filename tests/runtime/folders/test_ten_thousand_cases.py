"""Ten thousand finished cases: told of, and passed over by a restart, within the limits of docs/scaling.md.

Seconds are of the processor: the machine of the tests is shared, and waiting is not what is promised.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eenet_runtime.segmenter.segmenter import Segmenter
from tests.many_cases import write_finished
from tests.synthetic import Head

COUNT = 10_000


def usage(*arguments: str | Path) -> tuple[int, float, float]:
    """`eenet-run` in a process of its own: exit code, seconds of processor, largest memory in MB."""
    program = [sys.executable, "-c", "from eenet_runtime.cli import main; main()", *map(str, arguments)]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, spent = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, spent.ru_utime + spent.ru_stime, spent.ru_maxrss / 1024


@pytest.mark.slow
@pytest.mark.alone
def test_a_summary_takes_a_minute_and_a_restart_ten_seconds_at_most(
    segmenter: Segmenter, head: Head, tiny_bundle: Path, tmp_path: Path
) -> None:
    cases, output = tmp_path / "in", tmp_path / "out"
    write_finished(segmenter, head, cases, output, COUNT)
    trusting = (
        "infer",
        "folder",
        cases,
        output,
        "--model",
        tiny_bundle,
        "--no-preview",
        "--quiet",
        "--trust-timestamps",
    )
    assert usage(*trusting)[0] == 0
    code, seconds, _ = usage(*trusting)
    assert code == 0
    assert seconds <= 10
    (output / "case01234.json").unlink()
    (output / "case01234.nii.gz").unlink()
    code, seconds, megabytes = usage("summary", output, "--expect", cases, "--quiet")
    assert code == 3
    assert seconds <= 60
    assert megabytes <= 300
    shutil.rmtree(tmp_path)
