"""Reporting must not fail the work: closed, full and broken standard streams of all four programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import DEMO_BUNDLE, ROOT
from tests.synthetic import Head, write_case

PROGRAMS = {
    "eenet-run": f"info {DEMO_BUNDLE}",
    "eenet-train": "--help",
    "eenet-export": f"info {DEMO_BUNDLE}",
    "eenet-bench": "--help",
}
REDIRECTIONS = {
    "closed errors": "2>&-",
    "everything closed": "<&- >&- 2>&-",
    "everything full": ">/dev/full 2>/dev/full",
    "a reader who has left": "| true",
}


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run by a shell that reports the exit code of the program, not that of the reader behind it."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("redirection", REDIRECTIONS.values(), ids=REDIRECTIONS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_whose_streams_fail_ends_as_if_they_had_not(program: str, redirection: str) -> None:
    finished = shell(f"{Path(sys.executable).with_name(program)} {PROGRAMS[program]} {redirection}")
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    assert "Exception ignored" not in finished.stderr


@pytest.mark.parametrize("redirection", REDIRECTIONS.values(), ids=REDIRECTIONS)
def test_a_folder_run_is_done_whatever_becomes_of_its_streams(
    redirection: str, head: Head, tiny_bundle: Path, tmp_path: Path
) -> None:
    for name in ("A", "B", "C"):
        write_case(tmp_path / "in", name, head)
    (tmp_path / "in" / "B" / "B_t1.nii.gz").write_bytes(b"torn")
    program = Path(sys.executable).with_name("eenet-run")
    command = f"{program} infer folder {tmp_path / 'in'} {tmp_path / 'out'} -m {tiny_bundle} --no-preview {redirection}"
    finished = shell(command)
    assert finished.returncode == 3, finished.stderr
    assert "Traceback" not in finished.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["done"], len(summary["cases"])) == (2, 3)
    # A file that was opened under the number of a closed stream would hold what was meant for it.
    assert all(path.read_bytes().startswith(b"\x1f\x8b") for path in (tmp_path / "out").glob("*.nii.gz"))


def test_lost_output_is_told_where_somebody_can_read_it() -> None:
    finished = shell(f"{Path(sys.executable).with_name('eenet-run')} info >/dev/full")
    assert finished.stderr == (
        "standard output could not be written (No space left on device): what is printed is incomplete\n"
    )


def test_a_reader_who_left_is_not_told_of_it() -> None:
    finished = shell(f"{Path(sys.executable).with_name('eenet-run')} info | true")
    assert finished.stderr == ""


def test_a_file_opened_after_a_stream_was_closed_does_not_get_the_streams_number() -> None:
    code = (
        "import os; from eenet_runtime.commands.standard_streams import protect_standard_streams as protect; "
        "protect(); opened = os.open(os.devnull, os.O_RDONLY); assert opened > 2, opened"
    )
    assert shell(f"{sys.executable} -c '{code}' <&- >&- 2>&-").returncode == 0


def test_an_error_that_cannot_be_shown_keeps_its_exit_code(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("eenet-run")
    for redirection in REDIRECTIONS.values():
        assert shell(f"{program} info {tmp_path / 'nothing'} {redirection}").returncode == 2
