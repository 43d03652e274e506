"""Options for raw heads: what goes together, and that nothing of their room is loaded where nobody asks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eenet_runtime.cli import app
from tests.synthetic import Head, write_case


@pytest.mark.parametrize(
    "option",
    [["--stripped"], ["--keep-aligned"], ["--strip-bundle", "b"], ["--strip-command", "c"], ["--brain-mask", "m"]],
)
def test_an_option_of_raw_heads_without_raw_is_wrong_usage(option: list[str], tiny_bundle: Path) -> None:
    arguments = ["infer", "case", "-o", "mask.nii.gz", "-m", str(tiny_bundle), *option]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert f"{option[0]} is for raw heads; add --raw" in result.output


def test_two_answers_to_where_the_brain_is_are_wrong_usage(tiny_bundle: Path) -> None:
    arguments = ["infer", "case", "-o", "m.nii.gz", "-m", str(tiny_bundle), "--raw", "--stripped", "--brain-mask", "b"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "brain_mask and stripped given" in " ".join(result.output.split())


@pytest.mark.parametrize(
    "code",
    [
        "import eenet_runtime",
        "from eenet_runtime import Segmenter, RawSettings",
        "from eenet_runtime.cli import app; import typer.testing; typer.testing.CliRunner().invoke(app, ['--help'])",
    ],
)
def test_nothing_of_raw_heads_is_imported_unless_asked_for(code: str) -> None:
    check = f"{code}; import sys; sys.exit(any(name.startswith('eenet_runtime.heads') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-I", "-c", check], check=False).returncode == 0


def test_a_run_with_raw_tells_what_changed_since_one_without(head: Head, tiny_bundle: Path, tmp_path: Path) -> None:
    write_case(tmp_path / "cases", "A", head)
    arguments = ["infer", "folder", str(tmp_path / "cases"), str(tmp_path / "out"), "-m", str(tiny_bundle)]
    assert CliRunner().invoke(app, [*arguments, "--quiet"]).exit_code == 0
    planned = CliRunner().invoke(app, [*arguments, "--dry-run", "--raw", "--stripped"])
    assert planned.exit_code == 0
    assert "compute A: raw was None, is strip heads stripped before, pose native" in planned.output
    assert "keep A" in CliRunner().invoke(app, [*arguments, "--dry-run"]).output
