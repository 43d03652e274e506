"""Which commit a run names: that of the checkout it was trained from, and no other's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from eenet_train.runs import environment


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_the_file_and_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "environment.py"
    here.write_text("one")
    monkeypatch.setattr(environment, "__file__", str(here))
    assert environment.git_commit() == "", "no checkout at all"
    git(tmp_path, "init", "--quiet")
    (tmp_path / "other.py").write_text("")
    git(tmp_path, "add", "other.py")
    git(tmp_path, "commit", "--quiet", "-m", "somebody's")
    assert environment.git_commit() == "", "installed inside somebody else's checkout"
    git(tmp_path, "add", "environment.py")
    git(tmp_path, "commit", "--quiet", "-m", "ours")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert environment.git_commit() == commit
    here.write_text("two")
    assert environment.git_commit() == f"{commit}-dirty"
