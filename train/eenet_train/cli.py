"""Command line of the training room: `eenet-train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from eenet_runtime.cli_support import new_app, run_app
from eenet_train.phantom.layouts import PhantomLayout
from eenet_train.tensorflow_setup import set_tensorflow_defaults

app = new_app("Make phantoms and train EENet.")


@app.callback()
def _options() -> None:
    """Make phantoms and train EENet."""


@app.command()
def phantom(
    output: Annotated[Path, typer.Argument(help="Folder for the cases; cases already there are kept.")],
    cases: Annotated[int, typer.Option(min=1, help="How many.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the set: same seed, same cases.")] = 0,
    layout: Annotated[PhantomLayout, typer.Option(help="Names, channels and label values.")] = PhantomLayout.BRATS2020,
    first_index: Annotated[int, typer.Option(min=0, help="Number of the first case of the set.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each needs about 1 GB of memory.")] = 1,
) -> None:
    """Make phantoms: synthetic tumours in a template head, with labels. They are not patients."""
    from eenet_train.phantom.write import PhantomDone, write_phantoms

    def show(progress: PhantomDone) -> None:
        kept = " (kept)" if progress.reused else ""
        typer.echo(f"{progress.done}/{progress.total} {progress.case_id}{kept}")

    write_phantoms(
        output, cases=cases, seed=seed, layout=layout, workers=workers, first_index=first_index, progress=show
    )


@app.command()
def fit(
    data: Annotated[Path, typer.Argument(help="Folder of cases with labels, in any known layout.")],
    output: Annotated[Path, typer.Option(help="Run folder: checkpoints, logs, model.keras, run.json.")],
    preset: Annotated[str, typer.Option(help="Geometry preset.")] = "eenet-fast",
    steps: Annotated[int, typer.Option(help="Gradient steps in all.")] = 600,
    steps_per_epoch: Annotated[int, typer.Option(help="Steps between two checkpoints.")] = 25,
    crop: Annotated[
        tuple[int, int] | None, typer.Option(help="Train on crops of H W voxels, multiples of 32 (default: whole).")
    ] = None,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate of Nadam.")] = 1e-3,
    warmup_steps: Annotated[int, typer.Option(help="Steps of linear warm-up.")] = 30,
    validation: Annotated[int, typer.Option(help="Cases held out for validation.")] = 4,
    validate_every: Annotated[int, typer.Option(help="Epochs between two validations.")] = 4,
    encoder_weights: Annotated[str, typer.Option(help="imagenet, none, or a file of EfficientNet-B0.")] = "none",
    seed: Annotated[int, typer.Option(help="Seed of the split, the samples and the first weights.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder of prepared cases (default: in the run folder).")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Stop after the epoch in which this has passed.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last checkpoint of OUTPUT.")] = False,
) -> None:
    """Train a network on the cases of a folder."""
    from eenet_runtime.presets import preset_by_name
    from eenet_train.data import prepare_dataset
    from eenet_train.encoder_weights import EncoderWeights
    from eenet_train.fit import FitSettings, check_run
    from eenet_train.fit import fit as train
    from eenet_train.run_folder import RunFolder

    settings = FitSettings(
        preset=preset_by_name(preset),
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        crop=crop,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        seed=seed,
        validation_cases=validation,
        validate_every=validate_every,
        encoder_weights=EncoderWeights.parse(encoder_weights),
    )
    run = RunFolder(output)
    check_run(run, settings, resume=resume)
    on_terminal = sys.stdout.isatty()
    cases = prepare_dataset(data, cache or run.cache, settings.preset, _show_progress if on_terminal else None)
    typer.echo(f"{len(cases)} cases prepared, {settings.steps} steps in {settings.epochs} epochs")
    record = train(cases, output, settings, resume=resume, max_minutes=max_minutes, verbose=1 if on_terminal else 2)
    typer.echo(f"{run.model}: {record.steps_done} of {record.steps_planned} steps, loss {record.loss:.4f}")
    if record.validation_dice is not None:
        scores = record.validation_dice
        typer.echo(f"validation Dice: ET {scores.ET:.3f}, TC {scores.TC:.3f}, WT {scores.WT:.3f}")


def _show_progress(done: int, total: int) -> None:
    typer.echo(f"\rpreparing cases: {done}/{total}", nl=done == total)


def main() -> None:
    """Entry point: a user's error is one line and exit code 2."""
    set_tensorflow_defaults()
    run_app(app, "eenet-train")


if __name__ == "__main__":
    main()
