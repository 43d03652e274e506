"""`eenet-run classify`: which series of a DICOM study is which contrast, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eenet_runtime.commands.options import ThreadsOption
from eenet_runtime.commands.support import ExitCode


def classify(
    study: Annotated[Path, typer.Argument(help="A folder tree, a medium with a DICOMDIR, a ZIP of one, or a file.")],
    explain: Annotated[bool, typer.Option("--explain", help="Show every series with every reason.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, reasons and all.")] = False,
    rules: Annotated[
        Path | None, typer.Option(metavar="<file>", help="Rules of this site (TOML), before the toolkit's own.")
    ] = None,
    threads: ThreadsOption = None,
) -> None:
    """Say which series of a DICOM study is T1, T1ce, T2 and FLAIR; reads headers only and writes nothing.

    Exit code 3 where a contrast is ambiguous or missing, or a study is refused.
    """
    import json

    from eenet_runtime.dicom.explain import as_json as to_json
    from eenet_runtime.dicom.explain import describe
    from eenet_runtime.dicom.studies import find_studies

    found = find_studies(study, rules, threads=threads)
    typer.echo(json.dumps(to_json(found), indent=2) if as_json else describe(found, explain))
    if not all(one.complete for one in found.studies):
        raise typer.Exit(ExitCode.SOME_CASES_FAILED)
