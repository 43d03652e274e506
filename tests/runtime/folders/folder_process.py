"""Folder runs in processes of their own, for tests that stop them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.places import ROOT
from tests.runtime.folders.folder_stand_in import LOADED


@dataclass(frozen=True)
class FolderProcess:
    """How to start `eenet-run infer folder` with a stand-in for the network.

    Attributes:
        cases, output, bundle: its arguments.
        log: where it notes the name of each case that it computes.
        seconds: how long one inference takes.
        options: further options.
        command: what is run; `preprocess` takes no model.
        before_start: called in the new process before the program starts.
    """

    cases: Path
    output: Path
    bundle: Path
    log: Path
    seconds: float = 0.02
    options: Sequence[str] = ()
    command: Sequence[str] = ("infer", "folder")
    before_start: Callable[[], None] | None = None

    def start(self) -> subprocess.Popen[str]:
        """Start it and wait until the model is loaded."""
        program = [sys.executable, "-m", "tests.runtime.folders.folder_stand_in", str(self.log), str(self.seconds)]
        arguments = [*self.command, str(self.cases), str(self.output)]
        arguments += ["--model", str(self.bundle)] if "infer" in self.command else []
        process = subprocess.Popen(
            [*program, *arguments, *self.options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=self.before_start,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if line != f"{LOADED}\n":
            raise AssertionError(f"{line!r} instead of a loaded model: {process.communicate()[1][-2000:]}")
        return process

    def finish(self) -> tuple[int, str]:
        """Run it to its end: exit code and what it printed to stderr."""
        process = self.start()
        errors = process.communicate(timeout=300)[1]
        return process.returncode, errors

    def computed(self) -> list[str]:
        """The cases that were computed since the log was last emptied, in order."""
        return self.log.read_text().split() if self.log.exists() else []


def results_of(output: Path) -> dict[str, bytes]:
    """Masks and pictures under their final names."""
    kinds = (".nii.gz", ".png")
    return {path.name: path.read_bytes() for path in _visible(output) if path.name.endswith(kinds)}


def reported(output: Path) -> set[str]:
    """The cases with a report."""
    reports = {path.stem for path in _visible(output) if path.suffix == ".json"}
    return {stem for stem in reports if not stem.startswith("summary")}


def hidden(output: Path) -> list[str]:
    """Temporary files."""
    return sorted(path.name for path in output.iterdir() if path.name.startswith("."))


def _visible(output: Path) -> list[Path]:
    return [path for path in output.iterdir() if not path.name.startswith(".")] if output.exists() else []
