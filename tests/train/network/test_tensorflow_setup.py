"""TensorFlow's start-up lines do not reach a user's terminal; what else is written there does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.synthetic import make_head, write_case

pytestmark = pytest.mark.tf

LOADED_AND_USED = """
from eenet_train.network.tensorflow_setup import load_tensorflow
load_tensorflow()
import keras, tensorflow
print(float(tensorflow.constant(1.0) + 1))
"""
OTHER_LINES = """
import os, sys
from eenet_train.network import tensorflow_setup
tensorflow_setup.set_tensorflow_defaults()
with tensorflow_setup._startup_lines_withheld():
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
    os.write(2, b"I0000 00:00:1795979563.139046   14002 cudart_stub.cc:31] Could not find cuda drivers\\n")
    os.write(2, b"2026-01-02 03:04:05.678901: I tensorflow/core/util/port.cc:153] oneDNN custom operations\\n")
    os.write(2, b"W0000 00:00:1795979563.139046   14002 gpu_device.cc:2342] Cannot dlopen some GPU libraries\\n")
    print("of our own", file=sys.stderr)
print("later", file=sys.stderr)
"""


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, with nothing in its environment that would quieten TensorFlow."""
    quiet = {name for name in os.environ if name.startswith("TF_")}
    kept = {name: value for name, value in os.environ.items() if name not in quiet}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=kept | environment, capture_output=True, text=True, check=False
    )


def test_nothing_is_written_while_tensorflow_is_loaded_and_used() -> None:
    done = run("-c", LOADED_AND_USED)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2.0\n", "")


def test_warnings_and_our_own_lines_come_through_and_in_order() -> None:
    done = run("-c", OTHER_LINES)
    assert done.returncode == 0
    warning, own, later = done.stderr.splitlines()
    assert "Cannot dlopen some GPU libraries" in warning
    assert (own, later) == ("of our own", "later")


def test_whoever_asks_tensorflow_to_talk_hears_it() -> None:
    assert len(run("-c", OTHER_LINES, TF_CPP_MIN_LOG_LEVEL="0").stderr.splitlines()) == 6


def test_a_refused_training_is_one_line_on_standard_error(tmp_path: Path) -> None:
    write_case(tmp_path / "cases", "A", make_head())
    done = run("-m", "eenet_train.cli", "fit", tmp_path / "cases", "-o", tmp_path / "run", "--crop", 32, 33)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("eenet-train: ")


def test_a_refused_export_is_one_line_on_standard_error(tmp_path: Path) -> None:
    script = "from eenet_export.cli import main; main()"
    done = run("-c", script, "onnx", tmp_path / "none", "-o", tmp_path / "bundle", "--cases", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    lines = [line for line in done.stderr.splitlines() if line != "loading the model"]
    assert len(lines) == 1
    assert lines[0].startswith("eenet-export: ")
