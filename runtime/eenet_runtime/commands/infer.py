"""`eenet-run infer`: one case, or a folder of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eenet_runtime.commands.folder_runs import (
    NO_WATCH,
    DryRunOption,
    OverwriteOption,
    ShardOption,
    TrustTimestampsOption,
    WatchOptions,
    run_until_stopped,
    show_plan,
)
from eenet_runtime.commands.option_groups import spread
from eenet_runtime.commands.options import EngineOptions, ModelOptions, OutputOptions
from eenet_runtime.commands.raw_options import BrainMaskOption, KeepAlignedOption, RawOptions
from eenet_runtime.commands.support import new_app

if TYPE_CHECKING:
    from eenet_runtime.commands.progress import Progress
    from eenet_runtime.folders.folder import FolderSettings
    from eenet_runtime.folders.outcomes import FolderRun
    from eenet_runtime.folders.stopping import StopRequest

infer = new_app("Segment one case or a folder of cases.")

_CASES_IN_FLIGHT = 3
"""In a folder: one that is read, one that is computed, one that is written."""


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
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    shard: ShardOption = "1/1",
    html: Annotated[bool, typer.Option("--html", help="Write index.html, a page over all cases.")] = False,
    trust_timestamps: TrustTimestampsOption = False,
    watching: WatchOptions = NO_WATCH,
) -> None:
    """Segment every case of a folder; a bad case is reported and the others go on (exit code 3).

    Cases that are finished, with the same inputs and settings, are verified and kept.
    """
    from eenet_runtime.folders.folder import FolderSettings
    from eenet_runtime.folders.shards import Shard

    settings = FolderSettings(
        scheme=outputs.scheme(),
        preview=outputs.preview,
        probabilities=outputs.probabilities,
        overwrite=overwrite,
        shard=Shard.parse(shard),
        watch=watching.settings(),
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
    from eenet_runtime.folders.folder import segment_folder

    def work(stop: StopRequest, progress: Progress) -> FolderRun:
        with model.load(engine, model.opened(), _CASES_IN_FLIGHT, raw.settings()) as segmenter:
            return segment_folder(segmenter, folder, output, settings, progress.show, stop, progress.trouble)

    run_until_stopped(work, quiet)


def _show_plan(
    folder: Path,
    output: Path,
    model: ModelOptions,
    engine: EngineOptions,
    raw: RawOptions,
    settings: FolderSettings,
) -> None:
    mask_settings = model.planned(engine, model.opened(), raw.settings())
    show_plan(folder, output, settings, mask_settings, model.missing())


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
