"""`eenet-run` with stand-ins for the network and for registration: slow enough to be hit at any moment, with a log.

Run as `python -m tests.runtime.folders.folder_stand_in LOG SECONDS ARGUMENTS...`. Each inference writes the name of its
case into LOG when it begins, and takes SECONDS. Every flush to the disk takes a little longer, too, so that a kill now
and then falls between the writing of a file and its final name. When the model is loaded a line is printed.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.backends import Choice
from eenet_runtime.bundle.manifest import Artifact, Bundle
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.files import atomic as files
from eenet_runtime.segmenter.preprocessor import PreprocessedCase, Preprocessor
from eenet_runtime.segmenter.segmenter import ComputedCase, PreparedCase, Segmenter
from eenet_runtime.selftest import serving
from tests.synthetic import BIAS, CLASSIFIER

LOADED = "loaded"


class NumpyBackend:
    """The model of `tests.synthetic.write_bundle` as a matrix product."""

    name, version, device = "stand-in", "1", "cpu (1 thread)"
    gpu_index: int | None = None

    def __init__(self, artifact: Artifact) -> None:
        """Stand in for an artefact's engine."""
        self.artifact = artifact

    def __call__(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Backend.__call__`."""
        logits = np.exp(volume @ CLASSIFIER + BIAS)
        return np.asarray(logits / logits.sum(axis=-1, keepdims=True), dtype=np.float32)

    def labels(self, volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See `Backend.labels`."""
        return np.asarray(np.argmax(volume @ CLASSIFIER + BIAS, axis=-1), dtype=np.uint8)

    def close(self) -> None:
        """Nothing to free."""


def _note(log: Path, case_id: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{case_id}\n".encode())
    os.close(descriptor)


def replace_network(log: Path, seconds: float) -> None:
    """Put the stand-in where the network is loaded and run, for this process."""
    compute, flush = Segmenter.compute, files._flush_to_disk

    def load(_bundle: Bundle, choice: Choice, _threads: int | None) -> NumpyBackend:
        sys.stdout.write(f"{LOADED}\n")
        sys.stdout.flush()
        return NumpyBackend(choice.artifact)

    def slow_compute(self: Segmenter, prepared: PreparedCase, **options: Any) -> ComputedCase:
        _note(log, prepared.case_id)
        time.sleep(seconds)
        return compute(self, prepared, **options)

    def slow_flush(path: Path) -> None:
        time.sleep(0.003)
        flush(path)

    setattr(serving, "load", load)  # noqa: B010  (mypy does not let a function be replaced by assignment)
    setattr(Segmenter, "compute", slow_compute)  # noqa: B010
    setattr(files, "_flush_to_disk", slow_flush)  # noqa: B010


def _replace_preprocessing(log: Path, seconds: float) -> None:
    preprocess = Preprocessor.preprocess

    def slow_preprocess(self: Preprocessor, files: CaseFiles, **options: Any) -> PreprocessedCase:
        _note(log, files.case_id)
        time.sleep(seconds)
        return preprocess(self, files, **options)

    setattr(Preprocessor, "preprocess", slow_preprocess)  # noqa: B010
    sys.stdout.write(f"{LOADED}\n")
    sys.stdout.flush()


def _replace_registration() -> None:
    from eenet_runtime.heads import pairs, pose
    from tests.raw_cases import header_registration

    for module in (pairs, pose):
        setattr(module, "register", header_registration)  # noqa: B010


if __name__ == "__main__":
    replace_network(Path(sys.argv[1]), float(sys.argv[2]))
    if "preprocess" in sys.argv:
        _replace_preprocessing(Path(sys.argv[1]), float(sys.argv[2]))
    if "preprocess" in sys.argv or "--raw" in sys.argv:
        _replace_registration()
    sys.argv = ["eenet-run", *sys.argv[3:]]
    from eenet_runtime.cli import main

    main()
