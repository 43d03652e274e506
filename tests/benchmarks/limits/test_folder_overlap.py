"""A folder run beside its inferences alone."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from eenet_bench.cli import app
from tests.synthetic import Head, write_case


def test_the_command_prints_the_table_and_writes_the_json(tiny_bundle: Path, head: Head, tmp_path: Path) -> None:
    for name in ("A", "B"):
        write_case(tmp_path / "cases", name, head)
    before = sorted((tmp_path / "cases").rglob("*"))
    arguments = [
        "folder",
        str(tiny_bundle),
        str(tmp_path / "cases"),
        "--repeats",
        "1",
        "--json",
        str(tmp_path / "json"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "folder run with previews" in result.output
    report = json.loads((tmp_path / "json").read_text())
    assert report["cases"] == 2
    assert report["ways"][0]["way"] == "network alone"
    assert report["ways"][0]["ratio"]["median"] == 1.0
    assert all(way["seconds"]["count"] == 1 and way["processor"]["smallest"] > 0 for way in report["ways"])
    assert sorted((tmp_path / "cases").rglob("*")) == before
