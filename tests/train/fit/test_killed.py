"""Trainings in processes of their own: killed at any moment, and shared between devices."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from eenet_train.runs.run_folder import RunFolder
from tests.train.stand_in import easy_dataset, saved_weights
from tests.warm_starts import WarmProgram, warm_program

pytestmark = [pytest.mark.tf, pytest.mark.slow]

KILLS = 10


@pytest.fixture(scope="module")
def training() -> Iterator[WarmProgram]:
    with warm_program("tests.train.stand_in") as program:
        yield program


def _finish(training: WarmProgram, kind: str, cases: Path, run: Path) -> None:
    output = cases.with_name(f"{run.name}.txt")
    assert training.wait(training.start(output, kind, cases, run)) == 0, output.read_text()[-2000:]


def _kill_after(seconds: float, training: WarmProgram, cases: Path, run: Path) -> bool:
    """Start the training, kill it some time after its first line, and say whether it was still running."""
    output = cases.with_name("killed.txt")
    output.write_text("")
    process = training.start(output, "killable", cases, run)
    while not (said := output.read_text()).startswith("training\n"):
        assert "Traceback" not in said, said
        time.sleep(0.01)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return training.wait(process) == -signal.SIGKILL


def test_a_training_killed_ten_times_ends_with_the_weights_of_one_left_alone(
    training: WarmProgram, tmp_path: Path
) -> None:
    cases = tmp_path / "cases"
    cases.mkdir()
    easy_dataset(cases)
    alone, killed = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "killed")
    started = time.monotonic()
    _finish(training, "killable", cases, alone.path)
    whole = time.monotonic() - started
    moments = random.Random(7)
    # A fifth of the whole time past the start is well inside the training, wherever it has got to.
    running = [_kill_after(moments.uniform(0.0, 0.2 * whole), training, cases, killed.path) for _ in range(KILLS)]
    assert sum(running) >= KILLS // 2, "most kills came after the end: the training is too short for this machine"
    _finish(training, "killable", cases, killed.path)
    for name in ("config.yaml", "run.json", "log.csv", "validation.csv", "split.json", "best/run.json"):
        assert (killed.path / name).read_bytes() == (alone.path / name).read_bytes(), name
    for one, other in zip(saved_weights(killed), saved_weights(alone), strict=True):
        assert np.array_equal(one, other)
    assert not [path for path in killed.path.rglob("*") if path.name.startswith(".")]


def test_two_devices_do_what_one_does_with_averaged_gradients(training: WarmProgram, tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    cases.mkdir()
    easy_dataset(cases)
    for kind in ("mirrored", "averaged"):
        _finish(training, kind, cases, tmp_path / kind)
    shared, averaged = saved_weights(RunFolder(tmp_path / "mirrored")), saved_weights(RunFolder(tmp_path / "averaged"))
    for one, other in zip(shared, averaged, strict=True):
        assert np.abs(one - other).max() < 1e-5
    losses = [[float(row[2]) for row in RunFolder(tmp_path / kind).log.rows()] for kind in ("mirrored", "averaged")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] < losses[0][0]


def test_the_whole_recipe_trains_on_two_devices(training: WarmProgram, tmp_path: Path) -> None:
    cases, run = tmp_path / "cases", RunFolder(tmp_path / "run")
    cases.mkdir()
    easy_dataset(cases)
    _finish(training, "whole recipe", cases, run.path)
    rows = run.log.rows()
    assert [row[1] for row in rows] == ["2", "4", "6", "8", "10", "12", "14", "16"]
    assert float(rows[-1][2]) < 0.5 * float(rows[0][2])
    assert float(rows[-1][3]) < 0.5 * float(rows[0][3])
    assert {row[2] for row in run.timing.rows()} == {""}
