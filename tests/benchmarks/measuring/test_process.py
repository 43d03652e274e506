"""Measured processes that answer in lines of JSON."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from eenet_bench.measuring.process import JsonProcess

ECHO = """
import json, sys
print(json.dumps({"hello": 1}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "die":
        sys.exit(3)
    print(json.dumps(request), flush=True)
"""


def test_it_is_ready_then_answers_each_request() -> None:
    with JsonProcess([sys.executable, "-c", ECHO]) as process:
        assert process.ready == {"hello": 1}
        assert process.ready_s > 0
        assert process.ask(do="this", number=2) == {"do": "this", "number": 2}
        assert process.reason == ""


def test_variables_reach_it() -> None:
    program = "import json, os; print(json.dumps({'value': os.environ['EENET_TEST']}), flush=True)"
    with JsonProcess([sys.executable, "-c", program], {"EENET_TEST": "5"}) as process:
        assert process.ready == {"value": "5"}


def test_a_process_that_ends_says_so_and_is_not_asked_again() -> None:
    with JsonProcess([sys.executable, "-c", ECHO]) as process:
        assert process.ask(do="die") == {}
        assert "exit code 3" in process.reason
        assert process.ask(do="this") == {}


def test_a_reason_instead_of_an_answer_is_kept() -> None:
    program = 'print(\'{"reason": "no model"}\', flush=True)'
    with JsonProcess([sys.executable, "-c", program]) as process:
        assert (process.ready, process.reason) == ({}, "no model")


def test_a_program_that_is_not_there_is_a_reason() -> None:
    with JsonProcess(["/nowhere/python"]) as process:
        assert process.reason.startswith("/nowhere/python cannot be started")
        assert process.ask(do="this") == {}
        assert process.peak_rss_bytes() is None


def test_it_may_finish_its_work_when_nothing_went_wrong(tmp_path: Path) -> None:
    goodbye = tmp_path / "goodbye"
    program = (
        f"import pathlib, sys\nprint('{{}}', flush=True)\nsys.stdin.read()\npathlib.Path({str(goodbye)!r}).touch()"
    )
    with JsonProcess([sys.executable, "-c", program]):
        pass
    assert goodbye.exists()


def test_after_an_error_nobody_waits_for_it() -> None:
    program = "import time; print('{}', flush=True); time.sleep(60)"
    process = JsonProcess([sys.executable, "-c", program])
    process.__enter__()
    start = time.monotonic()
    process.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert time.monotonic() - start < 30
