"""`eenet-gateway`: the commands are in `eenet_gateway.commands`."""

from __future__ import annotations

from typing import Annotated

import typer

from eenet_gateway.commands.running import check, echo, export_config, install_unit, serve
from eenet_gateway.commands.studies import drop, release, retry, status, study
from eenet_runtime._version import __version__
from eenet_runtime.commands.support import new_app, run_app

app = new_app("A gateway between a PACS and an EENet model. Not for diagnosis.")
for command in (serve, check, status, study, retry, release, drop, echo):
    app.command(command.__name__)(command)
app.command("export-config")(export_config)
app.command("install-unit")(install_unit)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"eenet-gateway {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """Entry point of `eenet-gateway`."""
    run_app(app, "eenet-gateway", extras="gateway")
