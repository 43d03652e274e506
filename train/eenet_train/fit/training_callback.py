"""What happens around the steps and epochs of a training, as the one callback that Keras is given."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from eenet_train.data.data import PreparedCase
from eenet_train.data.input_pipeline import InputWait
from eenet_train.fit import epoch_end
from eenet_train.fit.checkpoint import save_checkpoint
from eenet_train.fit.epoch_end import EpochResult
from eenet_train.fit.watch import StepWatch
from eenet_train.network.devices import plain_value
from eenet_train.recipe.losses import build_loss
from eenet_train.recipe.optimizer import plateau_rate
from eenet_train.recipe.settings import FitSettings
from eenet_train.runs.run_folder import RunFolder, RunRecord


@dataclass(frozen=True)
class RunParts:
    """What a training is made of beside the network that is trained.

    Attributes:
        run: where results are written.
        settings: of the training.
        held_out: cases that it is measured on.
        whole: a copy of the network at the full geometry, which is what is saved.
        cropped: a copy at the geometry of the crops; `whole` itself where that is the same, or not needed.
        watch: looks at every step.
        wait: measures the time spent waiting for samples; None where it cannot be told.
        max_minutes: stop after the epoch in which this time has passed.
        say: is told what goes wrong.
    """

    run: RunFolder
    settings: FitSettings
    held_out: Sequence[PreparedCase]
    whole: keras.Model
    cropped: keras.Model
    watch: StepWatch
    wait: InputWait | None
    max_minutes: float | None
    say: Callable[[str], None]


class TrainingCallback(keras.callbacks.Callback):
    """Seeds and rates before an epoch, clocks and the watch around a step, and all that follows an epoch.

    A kill at any moment repeats the epoch on resume: the checkpoint, from which a resumed training concludes which
    epochs are done with, is written last, and `fit` first drops what the epoch left in the tables.

    Args:
        parts: of the training.
        record: of the run so far.
    """

    def __init__(self, parts: RunParts, record: RunRecord) -> None:
        super().__init__()
        self._parts = parts
        self._record = record
        self._loss = build_loss(parts.settings.recipe.loss)
        self._tensorboard = epoch_end.TensorBoardLog(parts.run.tensorboard)
        self._training_began = self._step_began = self._step_seconds = 0.0
        self._epoch = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the clock of the time budget."""
        self._training_began = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set seeds and, on a plateau, the rate; start the epoch's clocks and counts."""
        self._epoch = epoch
        seed_dropout(self.model, self._parts.settings.seed, epoch)
        schedule = self._parts.settings.recipe.schedule
        if schedule.kind == "plateau":
            losses = [float(row[2]) for row in self._parts.run.log.rows()]
            self.model.optimizer.learning_rate = plateau_rate(schedule, losses)
        self._step_seconds = 0.0
        if self._parts.wait is not None:
            self._parts.wait.take()
        self._parts.watch.begin_epoch()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Time the steps alone: validation and checkpoints come between epochs."""
        self._step_began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Add the step's time, and look at its loss and predictions.

        Raises:
            TrainingError: the loss is infinite or not a number.
        """
        self._step_seconds += time.monotonic() - self._step_began
        settings = self._parts.settings
        samples = self._epoch * settings.steps_per_epoch + (batch + 1) * settings.devices
        self._parts.watch.after_step(self._epoch, batch, samples, float(logs["loss"]))

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Everything that follows an epoch, in the order in which it must happen.

        Raises:
            TrainingError: weights are infinite or not a number.
            OutputError: the run folder cannot be written.
        """
        parts, run = self._parts, self._parts.run
        result = self._measured(epoch, float(logs["loss"]))
        epoch_end.require_finite_weights(run, self.model, result)
        last = self._is_last(epoch)
        copies = [parts.whole] if parts.cropped is parts.whole else [parts.whole, parts.cropped]
        epoch_end.copy_result(self.model, copies)
        on_crops = epoch_end.held_out_loss(parts.cropped, parts.held_out, parts.settings.crop_size, self._loss)
        result = dataclasses.replace(result, held_out_loss=on_crops)
        epoch_end.write_log(run, result)
        if parts.held_out and (last or result.number % parts.settings.validate_every == 0):
            scores = epoch_end.validate_whole_volumes(parts.whole, parts.held_out, run, result)
            result = dataclasses.replace(result, scores=scores)
        logs.update(result.for_display())
        self._tensorboard.write(result)
        self._record = epoch_end.save_result(parts.whole, run, self._record, result)
        if epoch_end.is_best(run, result):
            epoch_end.save_result(parts.whole, run.best, self._record, result)
        save_checkpoint(self.model, run.checkpoint, result.steps_done)
        if last:
            for warning in result.warnings:
                parts.say(f"the last epoch: {warning}")

    def _measured(self, epoch: int, loss: float) -> EpochResult:
        return EpochResult(
            epoch=epoch,
            steps_done=(epoch + 1) * self._parts.settings.steps_per_epoch,
            loss=loss,
            learning_rate=float(plain_value(self.model.optimizer.learning_rate)),
            seconds=self._step_seconds,
            waited=None if self._parts.wait is None else self._parts.wait.take(),
            warnings=self._parts.watch.warnings_of_epoch(loss),
        )

    def _is_last(self, epoch: int) -> bool:
        """Whether no epoch follows; where the time is over Keras is told so."""
        minutes = self._parts.max_minutes
        if minutes is not None and time.monotonic() - self._training_began >= minutes * 60:
            self.model.stop_training = True
        return bool(self.model.stop_training) or epoch + 1 == self._parts.settings.epochs


def seed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Set the dropout layers' random states from the seed and the epoch.

    Weight files do not hold these states; set like this, a resumed training draws what an uninterrupted one would.
    """
    for index, layer in enumerate(model.layers):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            drawn = np.random.SeedSequence((seed, epoch, index)).generate_state(2)
            generator.state.assign(drawn.astype(generator.state.dtype))
