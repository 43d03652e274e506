"""What the commands that work on a folder of cases share: options, stopping, what is told, exit codes."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from eenet_runtime.commands.support import ExitCode

if TYPE_CHECKING:
    from eenet_runtime.commands.progress import Progress
    from eenet_runtime.folders.folder import FolderSettings
    from eenet_runtime.folders.outcomes import FolderRun
    from eenet_runtime.folders.stopping import StopRequest
    from eenet_runtime.folders.watch import WatchSettings
    from eenet_runtime.results.mask_settings import MaskSettings, PreprocessSettings
    from eenet_runtime.volumes.labels import Modality

OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Compute cases that are finished, too.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and why; write nothing.")]
ShardOption = Annotated[str, typer.Option(metavar="<i/n>", help="Do one part of the folder: i/n, from 1/n to n/n.")]
TrustTimestampsOption = Annotated[
    bool,
    typer.Option(
        "--trust-timestamps",
        help="Believe that a file whose size, time and inode are as they were is the file it was: a quick restart. "
        "Give it from the first run on.",
    ),
]


@dataclass(frozen=True)
class WatchOptions:
    """How a drop folder is watched."""

    watch: Annotated[bool, typer.Option("--watch", help="Go on waiting for cases; SIGTERM or Ctrl-C ends it.")] = False
    settle: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="<seconds>",
            help="With --watch: take a case when its files have not changed for so many seconds.",
        ),
    ] = 10.0
    poll: Annotated[
        float, typer.Option(min=0.05, metavar="<seconds>", help="With --watch: seconds between two looks.")
    ] = 2.0
    stop_after_idle: Annotated[
        float | None,
        typer.Option(min=0, metavar="<seconds>", help="With --watch: end when nothing has come for so many seconds."),
    ] = None

    def settings(self) -> WatchSettings | None:
        """What was asked for; None where the run ends with the cases that are there."""
        from eenet_runtime.folders.watch import WatchSettings

        return WatchSettings(self.settle, self.poll, self.stop_after_idle) if self.watch else None


NO_WATCH: Final = WatchOptions()


def run_until_stopped(work: Callable[[StopRequest, Progress], FolderRun], quiet: bool) -> None:
    """Let a folder run go until it ends, or a signal ends it; tell what became of it.

    Args:
        work: the run, given what stops it and what it tells to.
        quiet: whether errors alone are printed.

    Raises:
        typer.Exit: cases were refused, or it was stopped.
    """
    from eenet_runtime.commands.progress import Progress
    from eenet_runtime.folders.stopping import StopRequest, stop_on_signals

    stop = StopRequest()
    progress = Progress(quiet)
    with stop_on_signals(stop, _tell_of_stopping):
        run = work(stop, progress)
        progress.end()
    _show_end(run, quiet)
    if stop.signal_number is not None:
        typer.echo(f"stopped; cases left for the next run: {'-' if run.left is None else run.left}", err=True)
        raise typer.Exit(ExitCode.STOPPED + stop.signal_number)
    if run.failed:
        raise typer.Exit(ExitCode.SOME_CASES_FAILED)


def show_plan(
    folder: Path,
    output: Path,
    settings: FolderSettings,
    made_with: MaskSettings | PreprocessSettings,
    allow_missing: Collection[Modality],
) -> None:
    """Print a line for each case: what a run would do with it, and why."""
    from eenet_runtime.codes import in_brackets
    from eenet_runtime.folders.folder import plan_folder
    from eenet_runtime.printable import printable

    for case in plan_folder(folder, output, settings, made_with, allow_missing):
        why = f": {case.why}" if case.why else ""
        typer.echo(printable(f"{case.action} {case.case_id}{why}{in_brackets(case.code)}"))


def _tell_of_stopping() -> None:
    # Straight to the file descriptor: a signal may come in the middle of a print, which must not be entered twice.
    with suppress(OSError):
        os.write(2, b"\nstopping, which may take as long as one inference; a second signal ends at once\n")


def _show_end(run: FolderRun, quiet: bool) -> None:
    from eenet_runtime.commands.progress import tell_refusal
    from eenet_runtime.folders.outcomes import outcome_table

    if not quiet:
        typer.echo(f"\n{outcome_table(run.outcomes)}")
    for outcome in run.failed if run.total is not None else ():  # a watch has told them at once
        tell_refusal(outcome)
