"""What the four command lines share: how errors become one line and an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Final

import typer

from eenet_runtime.commands.standard_streams import protect_standard_streams, tell_what_was_lost
from eenet_runtime.errors import EENetError


class ExitCode(IntEnum):
    """Exit codes of every command of the toolkit. A shell script may rely on them."""

    DONE = 0
    BUG = 1
    """An unexpected exception; the traceback is shown."""
    USAGE = 2
    """Wrong options, or an input that is unusable as a whole."""
    SOME_CASES_FAILED = 3
    """The run went to its end; the summary names the cases that were refused."""
    PARITY = 4
    """An exported artefact does not agree with its model, at export or in a self-test."""
    REGRESSION = 5
    """A benchmark is slower, larger or less alike than the one it is compared with, beyond noise and threshold."""
    STOPPED = 128
    """Plus the number of the signal that stopped the program: 130 for Ctrl-C, 143 for SIGTERM."""


EXTRA_OF_PACKAGE: Final = {
    "cryptography": "sign",
    "highdicom": "dicom",
    "monai": "peers",
    "pydicom": "dicom",
    "torch": "peers",
}
"""Packages that only one command needs; all others come with the program's own extras."""


def run_app(
    app: typer.Typer,
    name: str,
    exit_codes: Callable[[EENetError], ExitCode] | None = None,
    extras: str | None = None,
) -> None:
    """Run a typer application; an `EENetError` becomes one line on stderr, a bug keeps its traceback.

    A package that is not installed is told with the extra that brings it. Standard output and error that are closed or
    full do not fail the work (`standard_streams`).

    Args:
        app: the application.
        name: the program's name, shown before the message.
        exit_codes: chooses the exit code of an error; `ExitCode.USAGE` by default.
        extras: the extras of the distribution that all of its commands together need; None where the base install is
            enough.
    """
    protect_standard_streams()
    try:
        app(prog_name=name)
    except EENetError as error:
        typer.echo(f"{name}: {' '.join(str(error).split())}", err=True)
        sys.exit(ExitCode.USAGE if exit_codes is None else exit_codes(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        wanted = EXTRA_OF_PACKAGE.get(package, extras)
        if wanted is None or not package or package.startswith("eenet_"):
            raise
        typer.echo(f'{name}: {package} is not installed; run: pip install "eenet[{wanted}]"', err=True)
        sys.exit(ExitCode.USAGE)
    except KeyboardInterrupt:
        typer.echo(f"{name}: stopped", err=True)
        sys.exit(ExitCode.STOPPED + signal.SIGINT)
    finally:
        tell_what_was_lost()


def new_app(help_text: str) -> typer.Typer:
    """A typer application in the toolkit's style: plain help, plain tracebacks.

    Rich is left out on purpose: it triples the start-up time of `--help`, and its tracebacks print local variables,
    which here can hold file names with patient names.
    """
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
