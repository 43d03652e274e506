"""`eenet-run summary`: one table over an output folder, whatever runs wrote into it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def summary(
    output: Annotated[Path, typer.Argument(help="Output folder of `infer folder`, also of a job array's shards.")],
    html: Annotated[bool, typer.Option("--html", help="Write index.html, a page over all cases.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Gather every report below an output folder into summary.json and summary.csv (exit code 3 if a case failed)."""
    from eenet_runtime.commands.progress import tell_refusal
    from eenet_runtime.commands.support import ExitCode
    from eenet_runtime.folders.outcomes import outcome_table
    from eenet_runtime.folders.summary import gather_summary, write_summary

    run = gather_summary(output)
    write_summary(run, output)
    if html:
        from eenet_runtime.folders.folder_page import write_folder_page

        write_folder_page(output)
    if not quiet:
        typer.echo(outcome_table(run.outcomes))
    for outcome in run.failed:
        tell_refusal(outcome)
    if run.failed:
        raise typer.Exit(ExitCode.SOME_CASES_FAILED)
