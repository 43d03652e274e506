"""Folder runs that are killed, or lose their disk, at any moment: the same command again ends as if nothing had been.

Ten kills by default; `EENET_KILLS=50 pytest tests/runtime/folders/test_folder_killed.py` makes as many as it says.
"""

from __future__ import annotations

import ctypes
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from eenet_runtime.files.atomic import is_leftover
from tests.runtime.folders.folder_process import FolderProcess, hidden, reported, results_of
from tests.synthetic import make_head, write_case

KILLS = int(os.environ.get("EENET_KILLS", "10"))
NAMES = [f"Case_{index}" for index in range(6)]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills, limits and permissions of POSIX")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases that differ, so that masks cannot be mistaken for one another."""
    folder = tmp_path_factory.mktemp("cases")
    for index, name in enumerate(NAMES):
        write_case(folder, name, make_head((44 + index, 52, 20)))
    return folder


@dataclass(frozen=True)
class Alone:
    """A run that was left alone: how to start it, what came of it, and how long it computed and wrote a case."""

    run: FolderProcess
    results: dict[str, bytes]
    seconds_per_case: float


@pytest.fixture(scope="module")
def alone(cases: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    folder = tmp_path_factory.mktemp("alone")
    run = FolderProcess(cases, folder / "out", tiny_bundle, folder / "log")
    process = run.start()
    started = time.monotonic()
    assert process.communicate(timeout=120)[1] is not None
    assert process.returncode == 0
    results = results_of(run.output)
    assert len(results) == 2 * len(NAMES)
    return Alone(run, results, (time.monotonic() - started) / len(NAMES))


def test_a_run_killed_at_random_moments_ends_like_one_left_alone(alone: Alone, tmp_path: Path) -> None:
    moments = random.Random(11)
    kills = in_the_middle = while_writing = rounds = 0
    while kills < KILLS:
        rounds += 1
        run = replace(alone.run, output=tmp_path / f"killed-{rounds}", log=tmp_path / f"killed-{rounds}.log")
        while len(reported(run.output)) < len(NAMES) and kills < KILLS:
            kills += _kill(run, moments, alone)
            in_the_middle += 0 < len(reported(run.output)) < len(NAMES)
            while_writing += any(map(is_leftover, run.output.iterdir()))
        finished_before = reported(run.output)
        run.log.unlink()
        assert run.finish()[0] == 0
        assert not finished_before & set(run.computed())
        assert results_of(run.output) == alone.results
        assert hidden(run.output) == []
        assert reported(run.output) == set(NAMES)
    # Otherwise the kills have proved nothing.
    assert in_the_middle >= KILLS // 5
    assert while_writing >= KILLS // 10


def _kill(run: FolderProcess, moments: random.Random, alone: Alone) -> bool:
    """Start, kill at some moment of the next cases and look at what is left; whether it was still running."""
    finished_before = reported(run.output)
    run.log.unlink(missing_ok=True)
    process = run.start()
    # Counted in cases, not in seconds: a busy machine gets no further in a quarter of a second than its start.
    begun = min(moments.randint(1, 2), len(NAMES) - len(finished_before))
    while len(run.computed()) < begun and process.poll() is None:
        time.sleep(0.002)
    time.sleep(moments.uniform(0.0, 1.5 * alone.seconds_per_case))
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not finished_before & set(run.computed()), "a finished case was computed again"
    left = results_of(run.output)
    assert {name: alone.results[name] for name in left} == left, "something half-written lies under a final name"
    for name in reported(run.output):
        assert {f"{name}.nii.gz", f"{name}.png"} <= set(left)
    return running


def _limit_files() -> None:
    """Let no file grow over 2 kB; Python ignores the signal that comes with it and sees an error."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


def test_a_file_that_cannot_be_written_whole_stops_the_run_with_one_line_and_it_goes_on_afterwards(
    alone: Alone, tmp_path: Path
) -> None:
    run = replace(alone.run, output=tmp_path / "limited", log=tmp_path / "limited.log", before_start=_limit_files)
    _stops_plainly(run, "File too large", alone)


def test_a_full_disk_stops_the_run_with_one_line_and_it_goes_on_afterwards(alone: Alone, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # 20 pages: room for some of the cases, not for all.
    mount = ["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own cannot be mounted here; the limit on file sizes is tested anyway")
    try:
        run = replace(alone.run, output=disk / "out", log=tmp_path / "disk.log")
        _stops_plainly(run, "No space left on device", alone, room=disk)
        assert reported(run.output)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _stops_plainly(run: FolderProcess, reason: str, alone: Alone, room: Path | None = None) -> None:
    """The run ends with exit code 2 and a line, leaves nothing half-written, and ends well when there is room."""
    expected = alone.results
    code, errors = run.finish()
    assert code == 2, errors
    assert "Traceback" not in errors
    assert f"cannot be written ({reason})" in errors.strip().splitlines()[-1]
    left = results_of(run.output)
    assert {name: expected[name] for name in left} == left
    assert hidden(run.output) == []
    if room is not None:
        subprocess.run(["mount", "-o", "remount,size=4m", str(room)], check=True)
    finished_before = reported(run.output)
    run.log.unlink(missing_ok=True)
    assert replace(run, before_start=None).finish()[0] == 0
    assert not finished_before & set(run.computed())
    assert results_of(run.output) == expected


def _obey_permissions() -> None:
    """Take from root the right to write where permissions forbid it, for this process and what it starts."""
    if os.geteuid() == 0:
        dropped = ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
        assert dropped == 0


def test_an_output_folder_that_becomes_read_only_stops_the_run_with_one_line_and_it_goes_on_afterwards(
    alone: Alone, tmp_path: Path
) -> None:
    expected = alone.results
    run = replace(
        alone.run,
        output=tmp_path / "locked",
        log=tmp_path / "locked.log",
        before_start=_obey_permissions,
        seconds=0.1,
    )
    try:
        process = run.start()
    except (subprocess.SubprocessError, PermissionError):
        pytest.skip("root's rights cannot be given up here")
    while not reported(run.output):
        time.sleep(0.01)
        assert process.poll() is None, process.communicate()[1]
    run.output.chmod(0o555)
    try:
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 2, errors
        assert "Traceback" not in errors
        assert "cannot be written (Permission denied)" in errors.strip().splitlines()[-1]
        left = results_of(run.output)
        assert {name: expected[name] for name in left} == left
        assert 0 < len(reported(run.output)) < len(NAMES)
    finally:
        run.output.chmod(0o755)
    finished_before = reported(run.output)
    run.log.unlink()
    assert run.finish()[0] == 0
    assert not finished_before & set(run.computed())
    assert results_of(run.output) == expected
    assert hidden(run.output) == []
