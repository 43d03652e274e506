"""Signals: the first ends a run in good order, the second at once, and nothing half-written is left by either."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.folders.folder_process import FolderProcess, hidden, reported, results_of
from tests.synthetic import make_head, write_case

NAMES = [f"Case_{index}" for index in range(4)]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    for name in NAMES:
        write_case(folder, name, make_head(), label=False)
    return folder


@pytest.fixture
def run(cases: Path, tiny_bundle: Path, tmp_path: Path) -> FolderProcess:
    return FolderProcess(cases, tmp_path / "out", tiny_bundle, tmp_path / "log", seconds=0.3)


def wait_for(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def summary_of(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "summary.json").read_text())
    return content


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_ends_the_run_in_good_order_and_the_next_run_does_the_rest(
    run: FolderProcess, number: signal.Signals, code: int
) -> None:
    process = run.start()
    wait_for(lambda: reported(run.output), process)
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert errors.strip().splitlines()[-1].startswith("stopped; cases left for the next run: ")
    summary = summary_of(run.output)
    assert summary["stopped"] is True
    assert summary["finished"] is False
    done = {case["case_id"] for case in summary["cases"]}
    assert done == reported(run.output)
    assert summary["left"] == len(NAMES) - len(done) > 0
    assert {name.split(".")[0] for name in results_of(run.output)} == done
    assert hidden(run.output) == []
    run.log.unlink()
    assert run.finish()[0] == 0
    assert set(run.computed()) == set(NAMES) - done
    assert summary_of(run.output)["stopped"] is False
    assert summary_of(run.output)["finished"] is True


def test_the_second_signal_ends_the_run_at_once(run: FolderProcess) -> None:
    slow = replace(run, seconds=30.0)
    process = slow.start()
    wait_for(slow.computed, process)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    # Two signals of one kind that nobody has taken yet are one.
    while "a second signal ends at once" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=15)
    assert process.returncode == 143
    assert results_of(run.output) == {}


def test_what_a_killed_run_left_is_gone_after_the_next_start(run: FolderProcess) -> None:
    run.output.mkdir()
    for name in ("Case_0.nii.gz", "Gone.json", "summary.csv"):
        (run.output / f".eenet-0123abcd.{name}").write_bytes(b"half")
    assert run.finish()[0] == 0
    assert hidden(run.output) == []


def test_a_watch_takes_cases_as_they_come_and_ends_cleanly_on_sigterm(run: FolderProcess, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    options = ("--watch", "--settle", "0.2", "--poll", "0.05", "--no-preview")
    watch = replace(run, cases=inbox, options=options, seconds=0.01)
    process = watch.start()
    write_case(inbox, "A", make_head(), label=False)
    wait_for(lambda: reported(run.output) == {"A"}, process)
    write_case(inbox, "B", make_head(), label=False)
    wait_for(lambda: reported(run.output) == {"A", "B"}, process)
    wait_for(lambda: (run.output / "summary.json").exists() and summary_of(run.output)["done"] == 2, process)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 143, errors
    summary = summary_of(run.output)
    assert (summary["stopped"], summary["done"], summary["left"]) == (True, 2, None)
