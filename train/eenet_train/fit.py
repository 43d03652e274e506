"""Training a network: settings in, a run folder out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from eenet_runtime.errors import TrainingError
from eenet_runtime.files import make_output_folder, write_atomically
from eenet_runtime.labels import CHANNEL_ORDER, NUM_CLASSES
from eenet_runtime.normalization import NORMALIZATION
from eenet_runtime.presets import GeometryPreset
from eenet_train.callbacks import SaveRun, SeedEpoch, TimeBudget, WholeVolumeValidation
from eenet_train.data import PreparedCase, split_cases, training_sample
from eenet_train.encoder_weights import NO_WEIGHTS, EncoderWeights
from eenet_train.losses import DiceCrossEntropy
from eenet_train.network import build_eenet
from eenet_train.run_folder import RunFolder, RunRecord, Versions, read_record

GRADIENT_NORM: Final = 1.0
"""Longer gradients (all weights together) are shortened to this: with one crop for a batch, single steps are wild."""


@dataclass(frozen=True)
class FitSettings:
    """Everything that decides the result of a training, beside the data.

    Attributes:
        preset: geometry of the network.
        steps: gradient steps in all, a multiple of `steps_per_epoch`.
        steps_per_epoch: steps between two checkpoints and log lines.
        crop: size of the training crops along H and W, multiples of 32; None trains on whole volumes.
        learning_rate: highest rate of Nadam; it rises to it linearly and falls to 0 along a cosine.
        warmup_steps: length of the rise.
        seed: of the split, the samples, the first weights and the dropout.
        validation_cases: cases held out.
        validate_every: epochs between two validations.
        encoder_weights: first weights of the 2D encoder.

    Raises:
        TrainingError: numbers that make no training.
        GeometryError: a crop in which the network cannot be built.
    """

    preset: GeometryPreset
    steps: int = 600
    steps_per_epoch: int = 25
    crop: tuple[int, int] | None = None
    learning_rate: float = 1e-3
    warmup_steps: int = 30
    seed: int = 0
    validation_cases: int = 4
    validate_every: int = 4
    encoder_weights: EncoderWeights = NO_WEIGHTS

    def __post_init__(self) -> None:
        if min(self.steps, self.steps_per_epoch, self.validate_every) < 1 or self.steps % self.steps_per_epoch:
            raise TrainingError(
                f"{self.steps} steps in epochs of {self.steps_per_epoch}, validated every {self.validate_every}: "
                "expected positive numbers, and steps that are a multiple of the steps of an epoch"
            )
        if not 0 <= self.warmup_steps < self.steps:
            raise TrainingError(f"{self.warmup_steps} warm-up steps found, expected fewer than the {self.steps} steps")
        if not self.learning_rate > 0:
            raise TrainingError(f"learning rate {self.learning_rate} found, expected a positive number")
        if any(size > limit for size, limit in zip(self.crop_size, self.preset.shape, strict=False)):
            raise TrainingError(f"crop {self.crop_size} found, expected at most {self.preset.shape[:2]} (H, W)")
        _ = self.crop_preset

    @property
    def crop_size(self) -> tuple[int, int]:
        """H and W of what a step reads."""
        return self.crop or self.preset.shape[:2]

    @property
    def crop_preset(self) -> GeometryPreset:
        """Geometry of the network that is trained: the preset's, but for H and W."""
        shape = (*self.crop_size, self.preset.shape[2])
        return dataclasses.replace(self.preset, name=f"{self.preset.name}-crop", shape=shape)

    @property
    def epochs(self) -> int:
        """Epochs in all."""
        return self.steps // self.steps_per_epoch

    def to_json(self) -> str:
        """The settings as JSON text, one line for each."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["preset"] = dataclasses.asdict(self.preset)
        fields["encoder_weights"] = str(self.encoder_weights)
        return json.dumps(fields, indent=2) + "\n"


def fit(
    cases: Sequence[PreparedCase],
    output: Path,
    settings: FitSettings,
    *,
    resume: bool = False,
    max_minutes: float | None = None,
    verbose: int = 0,
) -> RunRecord:
    """Train a network.

    Args:
        cases: prepared cases, see `eenet_train.data.prepare_dataset`.
        output: the run folder; new, unless `resume`.
        settings: what to do.
        resume: go on after the last checkpoint in `output`, with the same settings and cases; a run that has none
            yet starts anew.
        max_minutes: stop at the end of the epoch in which this time has passed.
        verbose: Keras' progress on standard output: 0 nothing, 1 a bar, 2 a line for each epoch.

    Returns:
        The record of the run, as in its `run.json`.

    Raises:
        TrainingError: the folder holds something else, or the run was started with other settings or cases.
        OutputError: the folder cannot be written.
    """
    run = RunFolder(output)
    training, held_out = split_cases(cases, settings.validation_cases, settings.seed)
    record = RunRecord(
        preset=settings.preset,
        modalities=CHANNEL_ORDER,
        normalization=NORMALIZATION,
        training_cases=tuple(case.case_id for case in training),
        validation_cases=tuple(case.case_id for case in held_out),
        steps_done=0,
        steps_planned=settings.steps,
        loss=float("nan"),
        validation_dice=None,
        encoder_weights=str(settings.encoder_weights),
        versions=Versions.installed(),
    )
    check_run(run, settings, resume=resume)
    make_output_folder(run.path)
    write_atomically(run.config, settings.to_json().encode())
    resumed = resume and run.checkpoint.is_file()
    keras.utils.set_random_seed(settings.seed)
    model = compiled_network(settings)
    if resumed:
        record = _resumed_record(run, record)
        _load_checkpoint(model, run)
    first_epoch = int(model.optimizer.iterations) // settings.steps_per_epoch
    if first_epoch >= settings.epochs:
        return read_record(run)
    whole = build_eenet(settings.preset)
    model.fit(
        training_dataset(training, settings, first_epoch * settings.steps_per_epoch),
        epochs=settings.epochs,
        initial_epoch=first_epoch,
        steps_per_epoch=settings.steps_per_epoch,
        callbacks=_callbacks(whole, held_out, run, record, settings, resumed, max_minutes),
        verbose=verbose,
    )
    return read_record(run)


def check_run(run: RunFolder, settings: FitSettings, *, resume: bool) -> None:
    """Check that a training may write into a folder; nothing is changed.

    A folder that holds nothing but prepared cases counts as empty.

    Raises:
        TrainingError: the folder holds something else, a run that is not to be resumed, or one with other settings.
    """
    if not run.config.is_file():
        if run.path.is_dir() and any(path != run.cache for path in run.path.iterdir()):
            raise TrainingError(f"{run.path}: neither empty nor a run; choose another folder")
        return
    if not resume:
        raise TrainingError(f"{run.path}: holds a run already; go on with --resume, or choose another folder")
    before, now = json.loads(run.config.read_text(encoding="utf-8")), json.loads(settings.to_json())
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        name = changed[0]
        raise TrainingError(
            f"{run.config}: the run was started with {name} = {before.get(name)}, now {now[name]}; a resumed run "
            "keeps its settings"
        )


def compiled_network(settings: FitSettings) -> keras.Model:
    """The network at the crop's geometry, with its loss and optimizer."""
    model = build_eenet(settings.crop_preset, encoder_weights=settings.encoder_weights)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if settings.warmup_steps else settings.learning_rate,
        decay_steps=settings.steps - settings.warmup_steps,
        warmup_target=settings.learning_rate if settings.warmup_steps else None,
        warmup_steps=settings.warmup_steps,
    )
    model.compile(optimizer=keras.optimizers.Nadam(schedule, global_clipnorm=GRADIENT_NORM), loss=DiceCrossEntropy())
    # The optimizer's variables must exist before a checkpoint can be read into them.
    model.optimizer.build(model.trainable_variables)
    return model


def training_dataset(cases: Sequence[PreparedCase], settings: FitSettings, first_step: int) -> Any:
    """Batches of one sample from `first_step` to the last: (1, h, w, D, 4) images, (1, h, w, D, 4) fractions."""

    def sample(step: np.int64) -> tuple[Any, Any]:
        drawn = training_sample(cases, settings.crop_size, settings.seed, int(step))
        return drawn.volume[None], drawn.target[None]

    def load(step: Any) -> tuple[Any, Any]:
        volume, target = tf.numpy_function(sample, [step], [tf.float32, tf.float32])
        shape = (1, *settings.crop_preset.shape)
        return tf.ensure_shape(volume, (*shape, len(CHANNEL_ORDER))), tf.ensure_shape(target, (*shape, NUM_CLASSES))

    return tf.data.Dataset.range(first_step, settings.steps).map(load).prefetch(2)


def _callbacks(
    whole: keras.Model,
    held_out: Sequence[PreparedCase],
    run: RunFolder,
    record: RunRecord,
    settings: FitSettings,
    resumed: bool,
    max_minutes: float | None,
) -> list[keras.callbacks.Callback]:
    """In the order in which they run: the clock first, so that the last epoch is known as such; the save last."""
    validation = WholeVolumeValidation(whole, held_out, run, settings.validate_every, settings.epochs)
    return [
        SeedEpoch(settings.seed),
        *([TimeBudget(max_minutes)] if max_minutes is not None else []),
        keras.callbacks.CSVLogger(str(run.log), append=resumed),
        validation,
        keras.callbacks.TensorBoard(str(run.tensorboard), write_graph=False),
        SaveRun(whole, run, record, validation),
    ]


def _resumed_record(run: RunFolder, record: RunRecord) -> RunRecord:
    """The record with what the run already reached.

    Raises:
        TrainingError: the cases are not those of the run.
    """
    if not run.record.is_file():
        return record
    before = read_record(run)
    if (before.training_cases, before.validation_cases) != (record.training_cases, record.validation_cases):
        raise TrainingError(
            f"{run.record}: the run was started with {len(before.training_cases)} training and "
            f"{len(before.validation_cases)} validation cases, the data are now other ones "
            f"({len(record.training_cases)} and {len(record.validation_cases)}); a resumed run needs the same"
        )
    return dataclasses.replace(record, loss=before.loss, validation_dice=before.validation_dice)


def _load_checkpoint(model: keras.Model, run: RunFolder) -> None:
    try:
        model.load_weights(run.checkpoint)
    except (ValueError, OSError, KeyError) as error:
        raise TrainingError(f"{run.checkpoint}: not a checkpoint of this network ({error})") from error
