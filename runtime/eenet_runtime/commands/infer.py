"""`eenet-run infer`: one case, or a folder of them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eenet_runtime.commands.option_groups import spread
from eenet_runtime.commands.options import EngineOptions, ModelOptions, OutputOptions
from eenet_runtime.commands.raw_options import BrainMaskOption, KeepAlignedOption, RawOptions
from eenet_runtime.commands.support import ExitCode, new_app

if TYPE_CHECKING:
    from eenet_runtime.folders.folder import FolderSettings
    from eenet_runtime.folders.outcomes import FolderRun

infer = new_app("Segment one case or a folder of cases.")

_CASES_IN_FLIGHT = 3
"""In a folder: one that is read, one that is computed, one that is written."""


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


@infer.command("folder")
@spread
def infer_folder(
    folder: Annotated[Path, typer.Argument(help="Cases in a BraTS, Decathlon, nnU-Net or flat layout.")],
    output: Annotated[Path, typer.Argument(help="Folder for masks, reports, previews and the summary.")],
    model: ModelOptions,
    engine: EngineOptions,
    raw: RawOptions,
    outputs: OutputOptions,
    keep_aligned: KeepAlignedOption = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Compute cases that are finished, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and why; write nothing.")] = False,
    shard: Annotated[
        str, typer.Option(metavar="<i/n>", help="Do one part of the folder: i/n, from 1/n to n/n.")
    ] = "1/1",
    html: Annotated[bool, typer.Option("--html", help="Write index.html, a page over all cases.")] = False,
    trust_timestamps: Annotated[
        bool,
        typer.Option(
            "--trust-timestamps",
            help="Believe that a file whose size, time and inode are as they were is the file it was: a quick restart. "
            "Give it from the first run on.",
        ),
    ] = False,
    watching: WatchOptions = WatchOptions(),
) -> None:
    """Segment every case of a folder; a bad case is reported and the others go on (exit code 3).

    Cases that are finished, with the same inputs and settings, are verified and kept.
    """
    from eenet_runtime.folders.folder import FolderSettings
    from eenet_runtime.folders.shards import Shard
    from eenet_runtime.folders.watch import WatchSettings

    watch = WatchSettings(watching.settle, watching.poll, watching.stop_after_idle) if watching.watch else None
    settings = FolderSettings(
        scheme=outputs.scheme(),
        preview=outputs.preview,
        probabilities=outputs.probabilities,
        overwrite=overwrite,
        shard=Shard.parse(shard),
        watch=watch,
        html=html,
        aligned=raw.allows("--keep-aligned", keep_aligned),
        trust_timestamps=trust_timestamps,
    )
    if dry_run:
        _show_plan(folder, output, model, engine, raw, settings)
    else:
        _run(folder, output, model, engine, raw, settings, outputs.quiet)


def _run(
    folder: Path,
    output: Path,
    model: ModelOptions,
    engine: EngineOptions,
    raw: RawOptions,
    settings: FolderSettings,
    quiet: bool,
) -> None:
    from eenet_runtime.commands.progress import Progress
    from eenet_runtime.folders.folder import segment_folder
    from eenet_runtime.folders.stopping import StopRequest, stop_on_signals

    stop = StopRequest()
    progress = Progress(quiet)
    with stop_on_signals(stop, _tell_of_stopping):
        with model.load(engine, model.opened(), _CASES_IN_FLIGHT, raw.settings()) as segmenter:
            run = segment_folder(segmenter, folder, output, settings, progress.show, stop, progress.trouble)
        progress.end()
    _show_end(run, quiet)
    if stop.signal_number is not None:
        typer.echo(f"stopped; cases left for the next run: {'-' if run.left is None else run.left}", err=True)
        raise typer.Exit(ExitCode.STOPPED + stop.signal_number)
    if run.failed:
        raise typer.Exit(ExitCode.SOME_CASES_FAILED)


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


def _show_plan(
    folder: Path,
    output: Path,
    model: ModelOptions,
    engine: EngineOptions,
    raw: RawOptions,
    settings: FolderSettings,
) -> None:
    from eenet_runtime.codes import in_brackets
    from eenet_runtime.folders.folder import plan_folder
    from eenet_runtime.printable import printable

    mask_settings = model.planned(engine, model.opened(), raw.settings())
    for case in plan_folder(folder, output, settings, mask_settings, model.missing()):
        why = f": {case.why}" if case.why else ""
        typer.echo(printable(f"{case.action} {case.case_id}{why}{in_brackets(case.code)}"))


@infer.command("case")
@spread
def infer_case(
    output: Annotated[Path, typer.Option("--output", "-o", help="The mask, ending in .nii.gz.")],
    model: ModelOptions,
    engine: EngineOptions,
    raw: RawOptions,
    outputs: OutputOptions,
    keep_aligned: KeepAlignedOption = False,
    brain_mask: BrainMaskOption = None,
    t1: Annotated[Path | None, typer.Option("--t1", help="T1 volume.")] = None,
    t1ce: Annotated[Path | None, typer.Option("--t1ce", help="T1 volume after gadolinium.")] = None,
    t2: Annotated[Path | None, typer.Option("--t2", help="T2 volume.")] = None,
    flair: Annotated[Path | None, typer.Option("--flair", help="FLAIR volume.")] = None,
) -> None:
    """Segment one case given by its four files; report and preview are written beside the mask."""
    from eenet_runtime.cases.case_files import case_from_paths
    from eenet_runtime.cases.missing_modality import require_modalities
    from eenet_runtime.commands.progress import tell_warnings
    from eenet_runtime.files.atomic import make_output_folder
    from eenet_runtime.folders.outcomes import CaseOutcome, outcome_table
    from eenet_runtime.folders.reserved import kept_for
    from eenet_runtime.results.result_files import ResultPaths, segment_to_files
    from eenet_runtime.volumes.labels import Modality

    case_id = output.name.removesuffix(".nii.gz")
    if case_id in ("", output.name):
        raise typer.BadParameter(f"{output}: expected a name ending in .nii.gz", param_hint="--output")
    if purpose := kept_for(case_id):
        raise typer.BadParameter(
            f"{output}: the name {case_id} is kept for {purpose}; choose another one", param_hint="--output"
        )
    given = {Modality.T1: t1, Modality.T1CE: t1ce, Modality.T2: t2, Modality.FLAIR: flair}
    images = {modality: path for modality, path in given.items() if path is not None}
    scheme, raw_settings = outputs.scheme(), raw.settings(brain_mask)
    aligned = raw.allows("--keep-aligned", keep_aligned)
    require_modalities(case_id, images, model.missing())
    files = case_from_paths(case_id, images)
    with model.load(engine, model.opened(), 1, raw_settings) as segmenter:
        make_output_folder(output.parent)
        paths = ResultPaths.in_folder(output.parent, case_id)
        report = segment_to_files(
            segmenter,
            files,
            paths,
            scheme=scheme,
            preview=outputs.preview,
            probabilities=outputs.probabilities,
            aligned=aligned,
        )
    if not outputs.quiet:
        tell_warnings(report)
        typer.echo(outcome_table([CaseOutcome(case_id, report)]))
