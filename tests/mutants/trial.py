"""One change on trial: a forked process runs the tests on a copy of the tree that holds the changed file.

The parent has imported what is slow to import and nothing of ours; every trial is a fork of it, so a trial costs its
tests and not the start of TensorFlow. A fork that finishes no test for a while is ended with all its children.
"""

from __future__ import annotations

import compileall
import contextlib
import importlib
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from tests.mutants.changes import Change
from tests.mutants.covering import ROOMS

STALL_S: Final = 120.0
"""Seconds without a finished test after which a trial is called endless."""

_LONGEST_S: Final = 900.0
_PRELOADED: Final = {
    "runtime": ("pytest", "hypothesis", "numpy", "nibabel", "PIL.Image", "typer", "cc3d", "isal.igzip", "onnxruntime"),
    "benchmarks": ("scipy.ndimage", "scipy.spatial"),
    "train": ("tensorflow", "keras"),
    "export": ("onnx", "onnx_ir"),
}
"""What the tests of a room import that is slow to import."""


def preload(room: str) -> None:
    """Import what the tests of a room need, for all forks to come."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in _PRELOADED[room]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


@dataclass
class Tree:
    """A copy of the repository in which one trial runs at a time."""

    root: Path

    @classmethod
    def copy(cls, repository: Path, root: Path) -> Tree:
        """Copy what git knows or would add. Compiled files are checked by content: a change within a second counts."""
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=repository, check=True, capture_output=True).stdout.decode()
        for name in filter(None, listed.split("\0")):
            if (repository / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(repository / name, root / name)
        mode = py_compile.PycInvalidationMode.CHECKED_HASH
        for folder in [*ROOMS.values(), "tests"]:
            compileall.compile_dir(str(root / folder), quiet=2, invalidation_mode=mode)
        return cls(root)


@dataclass
class Trial:
    """A run of some tests on a tree, changed or not."""

    tree: Tree
    tests: Sequence[str]
    change: Change | None = None
    process: int = 0
    begun: float = 0.0
    _original: bytes = b""
    _last: tuple[float, int] = (0.0, -1)
    _scratch: Path = field(init=False)

    def start(self) -> None:
        """Change the file and let a fork run the tests."""
        self._scratch = self.tree.root.parent / f"{self.tree.root.name}-scratch"
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        if self.change is not None:
            file = self.tree.root / self.change.file
            self._original = file.read_bytes()
            file.write_bytes(self.change.apply(self._original))
        self.begun = time.monotonic()
        self._last = self.begun, -1
        sys.stdout.flush()
        self.process = os.fork()
        if self.process == 0:
            _run_tests(self.tree.root, self._scratch, self.tests)

    def poll(self) -> tuple[str, str] | None:
        """The verdict and what it rests on, once there is one; the tree is whole again then."""
        done, status = os.waitpid(self.process, os.WNOHANG)
        if not done:
            now, size = time.monotonic(), self._progress.stat().st_size if self._progress.exists() else 0
            if size != self._last[1]:
                self._last = now, size
            if now - self._last[0] < STALL_S and now - self.begun < _LONGEST_S:
                return None
        self.end()
        if not done:
            os.waitpid(self.process, 0)
        if self.change is not None:
            (self.tree.root / self.change.file).write_bytes(self._original)
        return self._verdict(status if done else None)

    def end(self) -> None:
        """End the fork and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process, signal.SIGKILL)

    @property
    def _progress(self) -> Path:
        return self._scratch / "progress"

    def _verdict(self, status: int | None) -> tuple[str, str]:
        lines = self._progress.read_text().splitlines() if self._progress.exists() else []
        failed = next((line.removeprefix("failed ") for line in lines if line.startswith("failed ")), "")
        if status is None:
            return "timed out", lines[-1] if lines else "before the first test"
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return "survived", ""
        if code == 5:  # pytest collected nothing
            return "no test", ""
        return "killed", failed or f"exit code {code}"


class _Progress:
    """A pytest plugin that writes down which test finished, and which failed."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def _write(self, line: str) -> None:
        with self._file.open("a") as lines:
            lines.write(line + "\n")

    def pytest_runtest_logreport(self, report: object) -> None:
        failed = bool(getattr(report, "failed", False))
        self._write(("failed " if failed else "done ") + str(getattr(report, "nodeid", "")))

    def pytest_collectreport(self, report: object) -> None:
        if getattr(report, "failed", False):
            self._write("failed " + str(getattr(report, "nodeid", "")))


def _run_tests(root: Path, scratch: Path, tests: Sequence[str]) -> NoReturn:
    """In the fork: become a pytest in the copy, silent, in a process group of its own."""
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sink = os.open(scratch / "output", os.O_WRONLY | os.O_CREAT)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (sink, 1), (sink, 2)):
            os.dup2(source, target)
        os.chdir(root)
        ours = [str(root), *(str(root / package.split("/")[0]) for package in ROOMS.values())]
        sys.path[:0] = ours
        sys.dont_write_bytecode = True
        os.environ |= {"PYTHONPATH": os.pathsep.join(ours), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(scratch)}
        for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "__mp_main__")]:
            del sys.modules[name]
        import pytest

        options = ["-x", "-q", "-m", "not slow and not gpu", "--assert=plain", "-p", "no:cacheprovider", "--tb=short"]
        base = f"--basetemp={scratch / 'pytest'}"
        code = int(pytest.main([*options, base, *tests], plugins=[_Progress(scratch / "progress")]))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
