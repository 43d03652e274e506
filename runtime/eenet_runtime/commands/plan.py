"""`eenet-run plan`: what a folder of cases will cost, how to divide it, and the text for a scheduler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eenet_runtime.folders.job_texts import Job
    from eenet_runtime.folders.planning import Cost, Division, Forecast

_SCHEDULERS = ("slurm", "kubernetes", "snakemake")


def plan(
    cases: Annotated[Path, typer.Argument(help="Cases in a BraTS, Decathlon, nnU-Net or flat layout.")],
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Bundle, for --measure and the texts.")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Do one case here, and tell what it takes.")] = False,
    output: Annotated[Path, typer.Option("--output", help="Output folder that the texts name.")] = Path("RESULTS"),
    wall_time: Annotated[
        float, typer.Option(min=1, metavar="<minutes>", help="Longest that a part may run, in minutes.")
    ] = 60,
    cores: Annotated[int, typer.Option(min=1, metavar="<number>", help="Processors of a machine.")] = 16,
    memory: Annotated[float, typer.Option(min=0.1, metavar="<GB>", help="Memory of a machine.")] = 64,
    nodes: Annotated[int, typer.Option(min=1, metavar="<number>", help="Machines.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="<number>", help="Processors of a part (default: as measured, or 4).")
    ] = None,
    shards: Annotated[
        int | None, typer.Option(min=1, metavar="<n>", help="Number of parts, instead of the one that is found.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The images are as the scanner made them.")] = False,
    text: Annotated[
        str | None, typer.Option(metavar="<scheduler>", help=f"Print a text only: {', '.join(_SCHEDULERS)}.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="<folder>", help="Write the texts for all schedulers there.")
    ] = None,
) -> None:
    """Count the cases of a folder, name the refusals that can be foreseen, and divide it into parts.

    Names and headers are read, no voxels but those of the case that is measured.
    """
    from dataclasses import replace

    from eenet_runtime.folders.job_texts import TEXTS, Job
    from eenet_runtime.folders.planning import Node, divide, forecast

    if text is not None and text not in _SCHEDULERS:
        raise typer.BadParameter(f"{text!r}: expected one of {', '.join(_SCHEDULERS)}", param_hint="--text")
    if model is None and (measure or text or write):
        raise typer.BadParameter("needed by --measure, --text and --write", param_hint="--model")
    found = forecast(cases, raw=raw)
    cost = _measured(model, found, threads, raw) if measure and model is not None else None
    division = divide(len(found.cases), Node(cores, memory * 1024, nodes), wall_time * 60, cost, threads)
    if shards is not None:
        shard_s = None if cost is None else cost.load_s + len(found.cases) / shards * cost.case_s
        division = replace(division, shards=shards, shard_s=shard_s)
    if text is None:
        _tell(found, cost, division)
    if model is None:
        return
    options = ("--raw",) if raw else ()
    job = Job(cases.absolute(), output.absolute(), model.absolute(), division, wall_time * 60, options)
    if text is not None:
        typer.echo(TEXTS[text][1](job), nl=False)
    if write is not None:
        _write(write, job)


def _measured(model: Path, found: Forecast, threads: int | None, raw: bool) -> Cost:
    import time

    from eenet_runtime.folders.planning import measure
    from eenet_runtime.segmenter.segmenter import Segmenter, SegmenterSettings

    started = time.monotonic()
    settings = SegmenterSettings(threads=threads, max_cases_in_flight=3, raw=raw)
    with Segmenter(model, settings) as segmenter:
        return measure(segmenter, found.cases, time.monotonic() - started)


def _tell(found: Forecast, cost: Cost | None, division: Division) -> None:
    from collections import Counter

    from eenet_runtime.codes import in_brackets
    from eenet_runtime.printable import printable

    count = len(found.cases)
    refused = len(found.refused)
    typer.echo(f"{count + refused} cases: {count} to try, {refused} refused as far as names and headers tell")
    if found.ignored:
        typer.echo(f"{found.ignored} NIfTI files belong to no case")
    for code, times in Counter(case.code for case in found.refused).most_common():
        typer.echo(f"  {times} {code}")
    for case in found.refused:
        typer.echo(printable(f"refused {case.case_id}: {case.reason}{in_brackets(case.code)}"), err=True)
    if cost is not None:
        typer.echo(
            printable(
                f"measured here on {cost.case_id} with {cost.threads} threads: {cost.case_s:.2f} s a case, "
                f"{cost.memory_mb:.0f} MB with three in hand, model loaded in {cost.load_s:.1f} s"
            )
        )
        typer.echo(f"all cases: {(cost.load_s + count * cost.case_s) / 3600:.2f} hours of one such process")
    each = "" if division.shard_s is None else f", about {division.shard_s / 60:.1f} minutes each"
    typer.echo(
        f"{division.shards} shards{each}; {division.at_once} at a time on a machine, with {division.threads} threads "
        f"and {division.memory_mb} MB each"
    )
    if cost is None:
        typer.echo("memory and minutes are guesses: --measure does one case and tells")


def _write(folder: Path, job: Job) -> None:
    from eenet_runtime.files.atomic import make_output_folder, write_atomically
    from eenet_runtime.folders.job_texts import TEXTS

    make_output_folder(folder)
    for name, make in TEXTS.values():
        write_atomically(folder / name, make(job).encode(errors="surrogateescape"))
        typer.echo(f"wrote {folder / name}", err=True)
