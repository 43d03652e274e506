"""One run at a time in an output folder, but for the parts of one division; a killed run is in nobody's way."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from eenet_runtime.errors import OutputError
from eenet_runtime.folders.output_lock import sole_run
from eenet_runtime.folders.shards import WHOLE, Shard
from tests.runtime.folders.folder_process import FolderProcess, hidden, reported
from tests.synthetic import make_head, write_case

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks and kills of POSIX")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (WHOLE, WHOLE),
        (WHOLE, Shard(1, 8)),
        (Shard(3, 8), WHOLE),
        (Shard(3, 8), Shard(3, 8)),
        # Parts of two divisions have cases in common.
        (Shard(3, 8), Shard(1, 4)),
    ],
)
def test_runs_that_have_cases_in_common_exclude_each_other(tmp_path: Path, first: Shard, second: Shard) -> None:
    who = "another run" if first == WHOLE else "a run of shard 3/8"
    with sole_run(tmp_path, first):
        with pytest.raises(OutputError) as refused, sole_run(tmp_path, second):
            pytest.fail("both are in the folder")
        expected = f"{tmp_path}: {who} is writing into this folder; wait until it has ended, or choose another folder"
        assert str(refused.value) == expected
    with sole_run(tmp_path, second):
        pass
    assert hidden(tmp_path) == []


def test_the_parts_of_one_division_go_together(tmp_path: Path) -> None:
    with ExitStack() as runs:
        for index in range(1, 9):
            runs.enter_context(sole_run(tmp_path, Shard(index, 8)))
        with pytest.raises(OutputError, match="a run of shard"), sole_run(tmp_path, WHOLE):
            pass
    assert hidden(tmp_path) == []


def test_many_that_start_at_once_are_let_in_one_by_one(tmp_path: Path) -> None:
    inside = threading.Semaphore(1)
    let_in: list[bool] = []

    def run() -> None:
        for _ in range(50):
            try:
                with sole_run(tmp_path, WHOLE):
                    let_in.append(inside.acquire(blocking=False))
                    inside.release()
            except OutputError:
                pass

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert let_in
    assert all(let_in), "two were in the folder"
    assert hidden(tmp_path) == []


def test_files_of_killed_runs_and_of_others_users_are_no_lock(tmp_path: Path) -> None:
    for name in (".eenet-run.lock", ".eenet-run-1-of-1.lock", ".eenet-run-2-of-8.lock", ".eenet-run-9-of-4.lock"):
        (tmp_path / name).write_bytes(b"")
        (tmp_path / name).chmod(0o444)
    with sole_run(tmp_path, Shard(2, 8)):
        assert hidden(tmp_path) == [".eenet-run-2-of-8.lock"]
    assert hidden(tmp_path) == []


def test_a_lock_is_not_made_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".eenet-run.lock").symlink_to(tmp_path / "elsewhere")
    with sole_run(tmp_path / "out", WHOLE):
        assert not (tmp_path / "elsewhere").exists()


def test_a_file_system_without_locks_is_used_without_and_the_log_says_so_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING, "eenet_runtime"), sole_run(tmp_path, WHOLE), sole_run(tmp_path, WHOLE):
        pass
    assert set(caplog.messages) == {
        "the output folder cannot be locked (No locks available); see that no other run uses it"
    }
    assert not set(hidden(tmp_path)) - {".eenet-run.lock"}


# Programs


@contextmanager
def _computing(run: FolderProcess) -> Iterator[None]:
    """Inside the block a run computes its first case; it is killed at the end."""
    process = run.start()
    try:
        deadline = time.monotonic() + 60
        while not run.computed():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield
        assert process.poll() is None, "the other run stopped it"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("options", [(), ("--watch", "--settle", "0", "--poll", "0.05")])
def test_a_second_program_is_told_so_and_the_first_can_be_killed_and_followed(
    tiny_bundle: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    write_case(tmp_path / "in", "A", make_head())
    first = FolderProcess(tmp_path / "in", tmp_path / "out", tiny_bundle, tmp_path / "log", 600, ("--quiet", *options))
    second = replace(first, log=tmp_path / "second.log", seconds=0.0, options=("--quiet",))
    with _computing(first):
        code, errors = second.finish()
        assert code == 2
        assert errors.startswith(f"eenet-run: {tmp_path / 'out'}: another run is writing into this folder; wait until")
        assert len(errors.splitlines()) == 1
        assert second.computed() == []
    assert second.finish() == (0, "")
    assert reported(second.output) == {"A"}
    assert hidden(second.output) == []
