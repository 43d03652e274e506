"""An export that is killed, kill -9, at any moment, and started again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from eenet_runtime.bundle.manifest import open_bundle
from tests.places import ROOT
from tests.synthetic import make_head, write_case

pytestmark = [pytest.mark.tf, pytest.mark.slow]

KILLS = int(os.environ.get("EENET_TEST_KILLS", "4"))


def _start(output: Path, cases: Path, steps: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.export.stand_in", str(output), str(cases), str(steps)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "exporting\n"
    return process


def _finish(output: Path, cases: Path, steps: Path) -> float:
    """Let an export run to its end; the seconds that it took."""
    process = _start(output, cases, steps)
    begun = time.monotonic()
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-2000:]
    return time.monotonic() - begun


def test_an_export_killed_at_any_moment_leaves_no_bundle_and_ends_like_one_left_alone(tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    cases.mkdir()
    write_case(cases, "Case_1", make_head())
    alone = tmp_path / "alone" / "bundle"
    seconds = _finish(alone, cases, tmp_path / "alone.txt")
    moments = random.Random(8)
    kills, killed_before, output = 0, 0, tmp_path / "killed-0" / "bundle"
    steps = tmp_path / "killed-0.txt"
    while kills < KILLS:
        process = _start(output, cases, steps)
        time.sleep(moments.uniform(0, 0.8) * seconds)
        running = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += running
        killed_before += running
        if output.exists():
            _require_same(output, alone, steps, killed_before)
            output, killed_before = tmp_path / f"killed-{kills}" / "bundle", 0
            steps = tmp_path / f"killed-{kills}.txt"
    if killed_before:
        _finish(output, cases, steps)
        _require_same(output, alone, steps, killed_before)


def _require_same(killed: Path, alone: Path, steps: Path, kills: int) -> None:
    """A bundle whose export was killed is the one of an export that was not, and nothing was done twice needlessly."""
    made, expected = open_bundle(killed), open_bundle(alone)
    hashes = {entry.path: entry.sha256 for entry in made.manifest.files}
    assert hashes == {entry.path: entry.sha256 for entry in expected.manifest.files}
    assert made.manifest.parity == expected.manifest.parity
    # A step is begun again only where a kill came before its end: once for each kill, over all steps.
    done = Counter(steps.read_text().splitlines())
    assert sum(done.values()) <= len(done) + kills
