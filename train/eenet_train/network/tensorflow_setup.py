"""TensorFlow's start: its switches, which count only before its first import, and what it writes to the terminal."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_STARTUP_LINES: Final = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog"
    # Information (I) of any source file: oneDNN's rounding, CUDA that was not found, instructions of the processor.
    rb"|I\d{4} [\d:.]+ +\d+ [\w./-]+:\d+\]"
    rb"|\d{4}-\d\d-\d\d [\d:.]+: I [\w./-]+:\d+\]"
    rb"|To enable the following instructions:"
    # Told as errors on a machine without a GPU, and on one with a GPU at every start.
    rb"|.*failed call to cuInit"
    rb"|.*Unable to register cu\w+ (factory|plugin)"
)


def set_tensorflow_defaults() -> None:
    """Choose quiet logs and oneDNN kernels, unless the user's environment says otherwise.

    On processors without AVX-512 TensorFlow 2.21 leaves oneDNN off and convolves with Eigen. With it a training step
    of `eenet-fast` on 64 x 64 x 72 voxels takes 5.3 s instead of 12 s on two AVX2 cores (median of 5).
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def load_tensorflow() -> None:
    """Import TensorFlow, and look for GPUs, without the lines that it writes to standard error when it starts.

    `TF_CPP_MIN_LOG_LEVEL` does not reach them: they are written before TensorFlow's logging is set up, by its C++ code
    and past Python's `sys.stderr`. Everything else that is written meanwhile comes through when the import is done or
    has failed. Command lines call this before what needs TensorFlow; with `TF_CPP_MIN_LOG_LEVEL=0` in the environment
    all lines come through.
    """
    if "tensorflow" in sys.modules:
        return
    set_tensorflow_defaults()
    with _startup_lines_withheld():
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")


@contextmanager
def _startup_lines_withheld() -> Iterator[None]:
    """Standard error goes to a file, and from there to where it went, but for TensorFlow's start-up lines."""
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0":
        yield
        return
    try:
        sys.stderr.flush()
        terminal = os.dup(2)
    except (OSError, ValueError, AttributeError):  # closed: nobody reads it
        yield
        return
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            written.seek(0)
            for line in written:
                if not _STARTUP_LINES.match(line):
                    os.write(2, line)
