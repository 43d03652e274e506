"""`eenet-train`: parse, call one library function, print. Heavy imports wait until a command needs them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from eenet_runtime.commands.option_groups import spread
from eenet_runtime.commands.support import ExitCode, new_app, run_app
from eenet_train.network.tensorflow_setup import load_tensorflow, set_tensorflow_defaults
from eenet_train.phantom.layouts import PhantomLayout
from eenet_train.phantom.raw.settings import RawSize
from eenet_train.phantom.settings import Difficulty
from eenet_train.recipe.fit_options import FitOptions

app = new_app("Make phantoms and train EENet.")

RunOption = Annotated[
    Path, typer.Option("--output", "-o", help="Run folder: checkpoints, logs, model.keras, run.json.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Settings of another run (its config.yaml); options change them.", show_default=False
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder for prepared cases, not kept in the settings [default: cache in the run folder].",
        show_default=False,
    ),
]
MinutesOption = Annotated[
    float | None, typer.Option(metavar="<minutes>", min=0, help="Stop after the epoch in which this time has passed.")
]


@app.command("phantom")
def phantom(
    output: Annotated[Path, typer.Argument(help="Folder for the cases; cases already there are kept.")],
    cases: Annotated[int, typer.Option(metavar="<number>", min=1, help="How many.")] = 10,
    seed: Annotated[int, typer.Option(metavar="<number>", min=0, help="Seed of the set: same seed, same cases.")] = 0,
    layout: Annotated[PhantomLayout, typer.Option(help="Names, channels and label values.")] = PhantomLayout.BRATS2020,
    difficulty: Annotated[Difficulty, typer.Option(help="How clear tumours and images are.")] = Difficulty.STANDARD,
    first_index: Annotated[
        int, typer.Option(metavar="<number>", min=0, help="Number of the first case of the set.")
    ] = 0,
    workers: Annotated[
        int, typer.Option(metavar="<number>", min=1, help="Processes; each needs about 1 GB of memory, raw 1.3 GB.")
    ] = 1,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Heads with skull, face and neck, each series on a grid of its own; truth beside."),
    ] = False,
    size: Annotated[RawSize, typer.Option(help="With --raw: voxels as a scanner's, or of 4 mm for tests.")] = (
        RawSize.FULL
    ),
    turn: Annotated[
        tuple[float, float],
        typer.Option(
            metavar="<degrees> <mm>",
            help="With --raw: how far the headers of T1, T2 and FLAIR may be wrong beside the head's motion.",
        ),
    ] = (0.0, 0.0),
) -> None:
    """Make phantoms: synthetic tumours in a template head, with labels. They are not patients."""
    from eenet_train.phantom.write import PhantomDone, write_phantoms

    def show(progress: PhantomDone) -> None:
        kept = " (kept)" if progress.reused else ""
        typer.echo(f"[{progress.done}/{progress.total}] {progress.case_id}{kept}", err=True)

    if raw:
        from eenet_train.phantom.raw.settings import raw_settings
        from eenet_train.phantom.raw.write import write_raw_phantoms

        if layout is not PhantomLayout.BRATS2020:
            raise typer.BadParameter("raw phantoms have a layout of their own", param_hint="--layout")
        settings = raw_settings(difficulty, size, turn)
        write_raw_phantoms(
            output,
            cases=cases,
            seed=seed,
            workers=workers,
            first_index=first_index,
            settings=settings,
            progress=show,
        )
        return
    if size is not RawSize.FULL or turn != (0.0, 0.0):
        raise typer.BadParameter("--size and --turn need --raw", param_hint="--raw")
    write_phantoms(
        output,
        cases=cases,
        seed=seed,
        layout=layout,
        workers=workers,
        first_index=first_index,
        settings=difficulty.settings,
        progress=show,
    )


@app.command("check")
def check(
    data: Annotated[Path, typer.Argument(help="Cases in any known layout.")],
    workers: Annotated[
        int, typer.Option(metavar="<number>", min=1, help="Processes; each needs about 0.6 GB of memory.")
    ] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write everything to this file.")] = None,
) -> None:
    """Tell what a data set holds and all that would stop a training (exit code 3 if anything would)."""
    from eenet_runtime.files.atomic import write_atomically
    from eenet_train.data.check import check_dataset
    from eenet_train.data.check_table import check_json, check_table

    found = check_dataset(data, workers=workers, report=_show_reading if sys.stderr.isatty() else None)
    typer.echo(check_table(found))
    if json_file is not None:
        write_atomically(json_file, check_json(found).encode())
    if found.bad:
        raise typer.Exit(ExitCode.SOME_CASES_FAILED)


@app.command("fit")
@spread
def fit(
    options: FitOptions,
    output: RunOption,
    config: ConfigOption = None,
    cache: CacheOption = None,
    max_minutes: MinutesOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the last checkpoint of the run folder, with its settings.")
    ] = False,
) -> None:
    """Train a network on the cases of a folder; a stopped training goes on with --resume."""
    load_tensorflow()
    from eenet_train.fit.start import start_training
    from eenet_train.runs.run_folder import RunFolder

    record = start_training(
        output,
        options,
        config=config,
        cache=cache,
        resume=resume,
        max_minutes=max_minutes,
        # A bar only where somebody can see it move; in a file it would be thousands of lines.
        verbose=1 if sys.stdout.isatty() else 2,
        report=_show_progress if sys.stderr.isatty() else None,
        say=typer.echo,
    )
    typer.echo(
        f"{RunFolder(output).model}: {record.steps_done} of {record.steps_planned} steps, loss {record.loss:.4f}"
    )
    if record.skipped_cases:
        typer.echo(f"left out {len(record.skipped_cases)} cases: {', '.join(record.skipped_cases)}")
    if record.validation_dice is not None:
        scores = record.validation_dice
        typer.echo(f"validation Dice: ET {scores.ET:.3f}, TC {scores.TC:.3f}, WT {scores.WT:.3f}")


@app.command("summary")
def summary(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, such as the folds of a cross-validation.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for summary.json, summary.csv and summary.png.")
    ] = None,
) -> None:
    """Gather runs into one table and one picture."""
    from eenet_train.runs.summary import summarise, summary_table, write_summary

    found = summarise(runs)
    typer.echo(summary_table(found))
    if output is not None:
        for path in write_summary(found, output):
            typer.echo(f"wrote {path}")


def _show_progress(done: int, total: int) -> None:
    typer.echo(f"\rpreparing cases: {done}/{total}", nl=done == total, err=True)


def _show_reading(done: int, total: int) -> None:
    typer.echo(f"\rreading cases: {done}/{total}", nl=done == total, err=True)


def main() -> None:
    """Entry point of `eenet-train`."""
    set_tensorflow_defaults()
    run_app(app, "eenet-train", extras="train,phantom")


if __name__ == "__main__":
    main()
