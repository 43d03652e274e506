"""What the help of the four command lines calls the values of its options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

PYTHON_TYPES = re.compile(r"<[^>]*\b(int|float|str|list|range)\b[^>]*>")


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path
        return
    for name, child in children.items():
        yield from _commands(child, (*path, name))


@pytest.mark.parametrize("package", ["eenet_runtime", "eenet_train", "eenet_export", "eenet_bench"])
def test_no_option_is_named_after_a_type_of_python(package: str) -> None:
    app = import_module(f"{package}.cli").app
    paths = list(_commands(typer.main.get_command(app)))
    assert len(paths) >= 4
    for path in paths:
        shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"}).output
        assert "--help" in shown
        options = [line for line in shown.splitlines() if re.match(r" +-", line)]
        assert not [line for line in options if PYTHON_TYPES.search(line)], path
