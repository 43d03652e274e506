"""What `eenet-train fit` can be asked for: one dataclass, whose fields are the command's options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from eenet_runtime.volumes.pose import Pose
from eenet_runtime.volumes.presets import EENET_FAST, PRESETS


@dataclass(frozen=True)
class FitOptions:
    """Options of a training, None where the user said nothing; otherwise as in `FitSettings`.

    `eenet_runtime.commands.option_groups.spread` makes options of a command of them.

    Attributes:
        epochs: instead of `steps`; an epoch is then a pass over the training cases unless `steps_per_epoch` is given.
        learning_rate, warmup_steps, freeze_batch_norms: in place of the recipe's.
    """

    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]",
            help="Cases in a BraTS, Decathlon, nnU-Net or flat layout; those without a label are ignored "
            "(default: the folder of --config or of the run that is resumed).",
            show_default=False,
        ),
    ] = None
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="<preset>", help=f"Geometry: {', '.join(PRESETS)} [default: {EENET_FAST.name}].", show_default=False
        ),
    ] = None
    recipe: Annotated[
        str | None,
        typer.Option(metavar="<recipe>", help="Recipe: eenet (ours) or paper [default: eenet].", show_default=False),
    ] = None
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="<number>", min=1, help="Samples to read in all, rounded up to whole epochs.", show_default=False
        ),
    ] = None
    epochs: Annotated[
        int | None, typer.Option(metavar="<number>", min=1, help="Epochs, instead of --steps [default: 300].")
    ] = None
    steps_per_epoch: Annotated[
        int | None,
        typer.Option(
            metavar="<number>",
            min=1,
            help="Samples between two checkpoints [default: the training cases, at most 25 with --steps].",
        ),
    ] = None
    crop: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="<H> <W>", help="Train on crops of H x W voxels, multiples of 32 [default: whole volumes]."
        ),
    ] = None
    learning_rate: Annotated[
        float | None, typer.Option(metavar="<number>", help="Highest learning rate [default: the recipe's].")
    ] = None
    warmup_steps: Annotated[
        int | None,
        typer.Option(
            metavar="<number>",
            min=0,
            help="Steps of linear rise to it [default: the recipe's, a quarter of the steps where those are few].",
        ),
    ] = None
    freeze_batch_norms: Annotated[
        bool | None,
        typer.Option(
            "--freeze-batch-norms", help="Leave the batch norms as they are: for the last part of a training."
        ),
    ] = None
    validation_cases: Annotated[
        int | None,
        typer.Option(
            "--validation",
            metavar="<number>",
            min=0,
            help="Cases held out, in whole patients, without folds [default: 4].",
        ),
    ] = None
    folds: Annotated[
        int | None, typer.Option(metavar="<number>", min=2, help="Stratified folds of a cross-validation.")
    ] = None
    fold: Annotated[int | None, typer.Option(metavar="<number>", min=0, help="The fold to hold out, from 0.")] = None
    patients: Annotated[
        str | None,
        typer.Option(
            metavar="<path>",
            help="Table (CSV) with the columns case and patient; cases that it leaves out go by their names "
            "[default: all do].",
        ),
    ] = None
    split: Annotated[
        str | None,
        typer.Option(
            metavar="<path>",
            help="Table (CSV) that says what is held out: case or patient, and side (training, validation) or fold "
            "[default: drawn by the seed].",
        ),
    ] = None
    validate_every: Annotated[
        int | None, typer.Option(metavar="<number>", min=1, help="Epochs between two validations [default: 4].")
    ] = None
    encoder_weights: Annotated[
        str | None,
        typer.Option(
            metavar="<weights>",
            help="First weights of the 2D encoder: none, imagenet, or a file of EfficientNet-B0 [default: none].",
        ),
    ] = None
    initial_weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="<weights>",
            help="First weights of the whole network: a run, a bundle, or a checkpoint (.keras, .h5).",
        ),
    ] = None
    partial_weights: Annotated[
        bool | None,
        typer.Option("--partial-weights", help="Take those of --weights that fit, where not all do."),
    ] = None
    accumulate: Annotated[
        int | None,
        typer.Option(
            metavar="<number>",
            min=1,
            help="Samples whose gradients are averaged for a step of the weights [default: 1].",
        ),
    ] = None
    devices: Annotated[
        int | None, typer.Option(metavar="<number>", min=1, help="GPUs that share the work [default: 1].")
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(metavar="<precision>", help="float32, mixed_float16 or mixed_bfloat16 [default: float32]."),
    ] = None
    deterministic: Annotated[
        bool | None,
        typer.Option("--deterministic", help="Use only kernels that give the same bits each time; slower."),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(metavar="<number>", min=0, help="Seed of split, samples, first weights and dropout [default: 0]."),
    ] = None
    pose: Annotated[
        Pose | None,
        typer.Option(
            help="Which way the cases' heads lie: native, mni152 (phantoms) or sri24 (BraTS) [default: native]."
        ),
    ] = None
    skip_bad: Annotated[
        bool | None,
        typer.Option("--skip-bad", help="Train without the cases that cannot be used; the run names them."),
    ] = None
    healthy_cases: Annotated[
        bool | None,
        typer.Option("--healthy-cases", help="Train on cases without any tumour, too, instead of refusing them."),
    ] = None
