"""A package that is not installed is told in one line, with the extra that brings it."""

from __future__ import annotations

import sys

import pytest
import typer

from eenet_runtime.commands.support import new_app, run_app


def program_that_needs(package: str) -> typer.Typer:
    app = new_app("A program.")

    @app.command("work")
    def work() -> None:
        """Import."""
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    @app.command("other")
    def other() -> None:
        """A second command makes typer ask for its name."""

    return app


@pytest.mark.parametrize(
    ("package", "extras", "line"),
    [
        ("keras", "train", 'eenet-x: keras is not installed; run: pip install "eenet[train]"\n'),
        ("tf2onnx.convert", "export", 'eenet-x: tf2onnx is not installed; run: pip install "eenet[export]"\n'),
        ("cryptography", "export", 'eenet-x: cryptography is not installed; run: pip install "eenet[sign]"\n'),
        ("torch", "bench", 'eenet-x: torch is not installed; run: pip install "eenet[peers]"\n'),
    ],
)
def test_a_missing_package_is_one_line_that_names_the_extra(
    package: str, extras: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["eenet-x", "work"])
    with pytest.raises(SystemExit) as stopped:
        run_app(program_that_needs(package), "eenet-x", extras=extras)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(("package", "extras"), [("eenet_train.lost", "train"), ("keras", None)])
def test_a_module_of_our_own_that_is_missing_is_a_bug_and_keeps_its_traceback(
    package: str, extras: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["eenet-x", "work"])
    with pytest.raises(ModuleNotFoundError):
        run_app(program_that_needs(package), "eenet-x", extras=extras)
