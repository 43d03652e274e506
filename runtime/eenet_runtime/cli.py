"""`eenet-run`: the commands are in `eenet_runtime.commands`, each parses, calls one library function and prints."""

from __future__ import annotations

from typing import Annotated

import typer

from eenet_runtime._version import __version__
from eenet_runtime.commands.bundle import info, selftest
from eenet_runtime.commands.classify import classify
from eenet_runtime.commands.infer import infer
from eenet_runtime.commands.infer_dicom import infer_dicom
from eenet_runtime.commands.plan import plan
from eenet_runtime.commands.preprocess import preprocess
from eenet_runtime.commands.summary import summary
from eenet_runtime.commands.support import ExitCode, new_app, run_app
from eenet_runtime.errors import EENetError, SelfTestError

app = new_app("Segment brain tumours in MRI with an EENet model. Not for diagnosis.")
infer.command("dicom")(infer_dicom)
app.add_typer(infer, name="infer")
app.command("preprocess")(preprocess)
app.command("classify")(classify)
app.command("plan")(plan)
app.command("summary")(summary)
app.command("info")(info)
app.command("selftest")(selftest)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"eenet-run {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


def _exit_code(error: EENetError) -> ExitCode:
    return ExitCode.PARITY if isinstance(error, SelfTestError) else ExitCode.USAGE


def main() -> None:
    """Entry point of `eenet-run`."""
    run_app(app, "eenet-run", _exit_code)
