"""`eenet-run preprocess`: raw cases of a folder, registered and stripped, in the layout of BraTS; no model."""

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
from eenet_runtime.commands.options import (
    AllowMissingOption,
    PreviewOption,
    QuietOption,
    StrictOption,
    ThreadsOption,
    TimeLimitOption,
    modalities_of,
    policy_of,
)
from eenet_runtime.commands.raw_options import StripBundleOption, StripCommandOption, StrippedOption, raw_settings_of

if TYPE_CHECKING:
    from eenet_runtime.commands.progress import Progress
    from eenet_runtime.folders.outcomes import FolderRun
    from eenet_runtime.folders.stopping import StopRequest


@spread
def preprocess(
    folder: Annotated[Path, typer.Argument(help="Raw cases in a BraTS, Decathlon, nnU-Net or flat layout.")],
    output: Annotated[Path, typer.Argument(help="Folder for images (in aligned), brain masks, reports, the summary.")],
    strip_bundle: StripBundleOption = None,
    strip_command: StripCommandOption = None,
    stripped: StrippedOption = False,
    pose: Annotated[
        str,
        typer.Option(
            metavar="<pose>", help="Which way heads lie then: sri24 (as in BraTS), mni152, or native (as the T1ce)."
        ),
    ] = "sri24",
    strict: StrictOption = None,
    allow_missing: AllowMissingOption = None,
    time_limit: TimeLimitOption = None,
    threads: ThreadsOption = None,
    preview: PreviewOption = True,
    quiet: QuietOption = False,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    shard: ShardOption = "1/1",
    trust_timestamps: TrustTimestampsOption = False,
    watching: WatchOptions = NO_WATCH,
) -> None:
    """Register and strip every raw case of a folder, for training; a bad case is reported, the others go on (code 3).

    Cases that are finished, with the same inputs and settings, are verified and kept.
    """
    from dataclasses import replace

    from eenet_runtime.folders.folder import FolderSettings, preprocess_folder
    from eenet_runtime.folders.shards import Shard
    from eenet_runtime.results.mask_settings import PreprocessSettings
    from eenet_runtime.segmenter.preprocessor import Preprocessor

    settings = FolderSettings(
        preview=preview,
        overwrite=overwrite,
        shard=Shard.parse(shard),
        watch=watching.settings(),
        aligned=True,
        trust_timestamps=trust_timestamps,
    )
    preprocessor = Preprocessor(
        replace(raw_settings_of(strip_bundle, strip_command, stripped), pose=pose),
        checks=policy_of(strict),
        allow_missing=modalities_of(allow_missing),
        threads=threads,
        time_limit_s=time_limit,
    )
    if dry_run:
        made_with = PreprocessSettings.of(preprocessor)
        show_plan(folder, output, settings, made_with, preprocessor.allow_missing)
        return

    def work(stop: StopRequest, progress: Progress) -> FolderRun:
        return preprocess_folder(preprocessor, folder, output, settings, progress.show, stop, progress.trouble)

    run_until_stopped(work, quiet)
