"""`eenet-run summary`: one table over an output folder, whatever runs wrote into it, and what is missing from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eenet_runtime.folders.outcomes import FolderRun


def summary(
    output: Annotated[Path, typer.Argument(help="Output folder of `infer folder`, also of a job array's shards.")],
    expect: Annotated[
        Path | None, typer.Option("--expect", metavar="<cases>", help="Name every case of this folder that is missing.")
    ] = None,
    expect_shards: Annotated[
        int | None, typer.Option(min=1, metavar="<n>", help="Name every part of n that never came to its end.")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Write index.html, a page over all cases.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Gather every report below an output folder into summary.json and summary.csv.

    Exit code 3 if a case was refused, or, with --expect, is unfinished or missing.
    """
    from eenet_runtime.commands.support import ExitCode
    from eenet_runtime.folders.accounting import account_for, is_accounted_for
    from eenet_runtime.folders.summary import write_summary

    run = account_for(output, expect, expect_shards)
    write_summary(run, output)
    if html:
        from eenet_runtime.folders.folder_page import write_folder_page

        write_folder_page(output)
    _tell(run, quiet)
    if run.failed or not is_accounted_for(run):
        raise typer.Exit(ExitCode.SOME_CASES_FAILED)


def _tell(run: FolderRun, quiet: bool) -> None:
    from eenet_runtime.commands.progress import tell_refusal
    from eenet_runtime.folders.outcomes import Status, outcome_table
    from eenet_runtime.printable import printable

    if not quiet:
        typer.echo(outcome_table(run.outcomes))
    for outcome in run.failed:
        tell_refusal(outcome)
    if run.expected is None:
        return
    for shard, known in run.expected.missing_shards.items():
        typer.echo(f"missing shard {shard}: {known}", err=True)
    for name in run.expected.unexpected:
        typer.echo(printable(f"not expected {name}: in the results, and not among the cases"), err=True)
    counts = (f"{sum(outcome.status is status for outcome in run.outcomes)} {status.value}" for status in Status)
    typer.echo(f"{run.expected.cases} expected: {', '.join(counts)}", err=True)
