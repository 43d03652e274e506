"""`eenet-gateway serve`, `check`, `echo`, `export-config` and `install-unit`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from eenet_gateway.commands.options import ConfigOption
from eenet_runtime.commands.support import ExitCode


def serve(config: ConfigOption) -> None:
    """Receive, compute and deliver until SIGINT or SIGTERM; after a kill or a power cut it goes on where it was."""
    from eenet_gateway.config.reading import read_settings
    from eenet_gateway.service.serving import serve as run

    run(read_settings(config))


def check(config: ConfigOption) -> None:
    """Look at everything that can be wrong before the first study comes. Exit code 2 where something is."""
    from eenet_gateway.config.reading import mistakes_in, read_settings
    from eenet_gateway.process.logs import silence_libraries
    from eenet_gateway.service.checking import check as look

    silence_libraries()
    mistakes = mistakes_in(config)
    if mistakes:
        for line in mistakes:
            typer.echo(f"wrong  {line}")
        raise typer.Exit(ExitCode.USAGE)
    typer.echo(f"good   {config}")
    good = True
    for finding in look(read_settings(config)):
        typer.echo(f"{'good ' if finding.good else 'wrong'}  {finding.words}")
        good = good and finding.good
    if not good:
        raise typer.Exit(ExitCode.USAGE)


def echo(config: ConfigOption) -> None:
    """Ask each destination whether it is there (C-ECHO). Exit code 2 where one does not answer."""
    from eenet_gateway.config.reading import read_settings
    from eenet_gateway.process.logs import silence_libraries
    from eenet_gateway.send.associating import echo as ask

    silence_libraries()
    settings, good = read_settings(config), True
    for destination in settings.destinations:
        answer = ask(destination, 10.0)
        good = good and answer.seconds is not None
        words = answer.words if answer.seconds is None else f"answered in {answer.seconds * 1000:.0f} ms"
        typer.echo(f"{destination.name}: {words}")
    if not good:
        raise typer.Exit(ExitCode.USAGE)


def export_config() -> None:
    """Print a commented example of a configuration."""
    from eenet_gateway.config.example import example_configuration

    typer.echo(example_configuration(), nl=False)


def install_unit(
    config: ConfigOption,
    user: Annotated[str, typer.Option("--user", metavar="<user>", help="Who it runs as.")] = "eenet",
) -> None:
    """Print a systemd unit with limits; `sudo tee /etc/systemd/system/eenet-gateway.service` takes it."""
    from eenet_gateway.config.reading import read_settings
    from eenet_gateway.service.unit import unit_text

    program = Path(sys.argv[0]).absolute()
    typer.echo(unit_text(read_settings(config), config, program, user), nl=False)
