"""Trainings in processes of their own: killed at any moment, and shared between devices."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eenet_train.runs.run_folder import RunFolder
from tests.places import ROOT
from tests.train.stand_in import easy_dataset, saved_weights

pytestmark = [pytest.mark.tf, pytest.mark.slow]

KILLS = 10


def _start(kind: str, cases: Path, run: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.train.stand_in", kind, str(cases), str(run)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(kind: str, cases: Path, run: Path) -> None:
    process = _start(kind, cases, run)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-2000:]


def _kill_after(seconds: float, cases: Path, run: Path) -> bool:
    """Start the training, kill it some time after its first line, and say whether it was still running."""
    process = _start("killable", cases, run)
    assert process.stdout is not None
    assert process.stdout.readline() == "training\n"
    time.sleep(seconds)
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return running


def test_a_training_killed_ten_times_ends_with_the_weights_of_one_left_alone(tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    cases.mkdir()
    easy_dataset(cases)
    alone, killed = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "killed")
    started = time.monotonic()
    _finish("killable", cases, alone.path)
    whole = time.monotonic() - started
    moments = random.Random(7)
    # A fifth of the whole time past the start is well inside the training, wherever it has got to.
    running = [_kill_after(moments.uniform(0.0, 0.2 * whole), cases, killed.path) for _ in range(KILLS)]
    assert sum(running) >= KILLS // 2, "most kills came after the end: the training is too short for this machine"
    _finish("killable", cases, killed.path)
    for name in ("config.yaml", "run.json", "log.csv", "validation.csv", "split.json", "best/run.json"):
        assert (killed.path / name).read_bytes() == (alone.path / name).read_bytes(), name
    for one, other in zip(saved_weights(killed), saved_weights(alone), strict=True):
        assert np.array_equal(one, other)
    assert not [path for path in killed.path.rglob("*") if path.name.startswith(".")]


def test_two_devices_do_what_one_does_with_averaged_gradients(tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    cases.mkdir()
    easy_dataset(cases)
    for kind in ("mirrored", "averaged"):
        _finish(kind, cases, tmp_path / kind)
    shared, averaged = saved_weights(RunFolder(tmp_path / "mirrored")), saved_weights(RunFolder(tmp_path / "averaged"))
    for one, other in zip(shared, averaged, strict=True):
        assert np.abs(one - other).max() < 1e-5
    losses = [[float(row[2]) for row in RunFolder(tmp_path / kind).log.rows()] for kind in ("mirrored", "averaged")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] < losses[0][0]


def test_the_whole_recipe_trains_on_two_devices(tmp_path: Path) -> None:
    cases, run = tmp_path / "cases", RunFolder(tmp_path / "run")
    cases.mkdir()
    easy_dataset(cases)
    _finish("whole recipe", cases, run.path)
    rows = run.log.rows()
    assert [row[1] for row in rows] == ["2", "4", "6", "8", "10", "12", "14", "16"]
    assert float(rows[-1][2]) < 0.5 * float(rows[0][2])
    assert float(rows[-1][3]) < 0.5 * float(rows[0][3])
    assert {row[2] for row in run.timing.rows()} == {""}
