"""What happens around an epoch beyond Keras' own callbacks: seeds, logs, validation, checkpoint, time budget."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any, Final

import keras
import numpy as np

from eenet_runtime.errors import TrainingError
from eenet_runtime.files.atomic import make_output_folder, open_for_replace, write_atomically
from eenet_runtime.volumes.labels import Region
from eenet_train.data.data import PreparedCase
from eenet_train.data.input_pipeline import InputWait
from eenet_train.data.samples import centred_sample
from eenet_train.fit.checkpoint import copy_averaged_weights, save_checkpoint
from eenet_train.network.devices import plain_value
from eenet_train.network.network import copy_weights
from eenet_train.pictures.loss_picture import draw_losses
from eenet_train.pictures.sample_pictures import SampleCase, write_sample_pictures
from eenet_train.recipe.optimizer import plateau_rate
from eenet_train.recipe.recipe import Schedule
from eenet_train.runs.run_folder import MEAN, RegionScores, RunFolder, RunRecord, write_record
from eenet_train.runs.validation import CaseScores, mean_scores, validate

PICTURES: Final = 2
"""Held-out cases that are drawn at each validation."""


class SeedEpoch(keras.callbacks.Callback):
    """Set the dropout layers' random states from the seed and the epoch.

    Weight files do not hold these states; set like this, a resumed training draws what an uninterrupted one would.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the states."""
        for index, layer in enumerate(self.model.layers):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                drawn = np.random.SeedSequence((self.seed, epoch, index)).generate_state(2)
                generator.state.assign(drawn.astype(generator.state.dtype))


class RequireFinite(keras.callbacks.Callback):
    """End a training that has left the numbers, before its weights replace the last good ones.

    The losses of an epoch are measured before each change of the weights, so its last change shows in them alone.

    Args:
        run: named in the message.
    """

    def __init__(self, run: RunFolder) -> None:
        super().__init__()
        self.run = run

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the epoch's mean loss and at the weights.

        Raises:
            TrainingError: they are infinite or not a number.
        """
        loss = float((logs or {})["loss"])
        found = "" if math.isfinite(loss) else f"loss of epoch {epoch + 1} is {loss}"
        if not found and not all(np.isfinite(weight).all() for weight in self.model.get_weights()):
            found = f"network has weights that are infinite or not a number after epoch {epoch + 1}"
        if found:
            raise TrainingError(
                f"{self.run.path}: the {found}, expected finite numbers; what the epochs before it left is unchanged; "
                "train anew with a lower learning rate"
            )


class CopyResult(keras.callbacks.Callback):
    """After each epoch: give copies of the trained network the weights that would be exported.

    It must run before the callbacks that use the copies, and they leave the copies' weights alone.

    Args:
        networks: the copies, at whatever geometry.
    """

    def __init__(self, networks: Sequence[keras.Model]) -> None:
        super().__init__()
        self.networks = networks

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Copy the weights: averaged ones where they are kept."""
        for network in self.networks:
            copy_weights(self.model, network)
            copy_averaged_weights(self.model, network)


class EpochLog(keras.callbacks.Callback):
    """A line in the run's `log`, and one in its `timing`, for each epoch, and the picture of the losses.

    Args:
        run: where they are written.
        steps_per_epoch: samples of an epoch.
        wait: measures the time that was spent waiting for samples; None where it cannot be told.
    """

    def __init__(self, run: RunFolder, steps_per_epoch: int, wait: InputWait | None) -> None:
        super().__init__()
        self.run = run
        self.steps_per_epoch = steps_per_epoch
        self.wait = wait
        self.started = 0.0
        self.seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self.seconds = 0.0
        if self.wait is not None:
            self.wait.take()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Time the steps alone: validation and checkpoints come between epochs."""
        self.started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the step's time."""
        self.seconds += time.monotonic() - self.started

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the lines; the learning rate is the one reached: along a cosine that of the next step."""
        logs = logs or {}
        held_out = f"{float(logs['val_loss']):.9g}" if "val_loss" in logs else ""
        rate = float(plain_value(self.model.optimizer.learning_rate))
        steps = (epoch + 1) * self.steps_per_epoch
        self.run.log.append(epoch + 1, [(str(steps), f"{float(logs['loss']):.9g}", held_out, f"{rate:.6g}")])
        share = f"{self.wait.take() / self.seconds:.4f}" if self.wait is not None and self.seconds else ""
        self.run.timing.append(epoch + 1, [(f"{self.seconds:.3f}", share)])
        rows = self.run.log.rows()
        training = [(int(row[1]), float(row[2])) for row in rows]
        crops = [(int(row[1]), float(row[3])) for row in rows if row[3]]
        write_atomically(self.run.losses, draw_losses(self.run.path.resolve().name, training, crops))


class PlateauRate(keras.callbacks.Callback):
    """Set the learning rate of each epoch from the losses in the run's log.

    Args:
        run: whose log.
        schedule: the rule.
    """

    def __init__(self, run: RunFolder, schedule: Schedule) -> None:
        super().__init__()
        self.run = run
        self.schedule = schedule

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the rate."""
        losses = [float(row[2]) for row in self.run.log.rows()]
        self.model.optimizer.learning_rate = plateau_rate(self.schedule, losses)


class HeldOutLoss(keras.callbacks.Callback):
    """The loss on one crop of each held-out case, after each epoch, as `val_loss` in its logs.

    Args:
        network: a copy of the trained network at the crops' geometry, whose weights `CopyResult` keeps up to date.
        cases: held-out cases; without any nothing happens.
        crop: H and W.
        loss: what the training minimises.
    """

    def __init__(
        self, network: keras.Model, cases: Sequence[PreparedCase], crop: tuple[int, int], loss: keras.losses.Loss
    ) -> None:
        super().__init__()
        self.network = network
        self.cases = cases
        self.crop = crop
        self.loss = loss

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure it."""
        if not self.cases or logs is None:
            return
        losses = []
        for case in self.cases:
            sample = centred_sample(case, self.crop)
            probabilities = self.network.predict_on_batch(sample.volume[None])
            losses.append(float(self.loss(sample.target[None], probabilities)))
        logs["val_loss"] = float(np.mean(losses))


class WholeVolumeValidation(keras.callbacks.Callback):
    """Dice on whole volumes, and pictures of the first of them, every few epochs and after the last one.

    Means go into the epoch's logs as `val_dice_ET` and so on, so that later callbacks log them.

    Args:
        whole: the network at the full geometry, whose weights `CopyResult` keeps up to date.
        cases: validation cases; without any nothing happens.
        run: its `validation` file gets a line for each case and region.
        every: epochs between two validations.
        epochs: epochs in all.
    """

    def __init__(
        self, whole: keras.Model, cases: Sequence[PreparedCase], run: RunFolder, every: int, epochs: int
    ) -> None:
        super().__init__()
        self.whole = whole
        self.cases = cases
        self.run = run
        self.every = every
        self.epochs = epochs
        self.latest: RegionScores | None = None
        self.epoch = -1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validate if it is time."""
        last = epoch + 1 == self.epochs or self.model.stop_training
        if not self.cases or not (last or (epoch + 1) % self.every == 0):
            return
        shown = {case.case_id for case in self.cases[:PICTURES]}
        scores = validate(
            self.whole, self.cases, lambda case: self._draw(epoch, case) if case.case_id in shown else None
        )
        self.latest, self.epoch = mean_scores(scores), epoch
        self.run.validation.append(epoch + 1, _score_rows(scores, self.latest))
        if logs is not None:
            logs.update({f"val_dice_{region}": getattr(self.latest, region) for region in Region})

    def _draw(self, epoch: int, case: SampleCase) -> None:
        write_sample_pictures(self.run.samples, epoch + 1, [case])

    def is_best(self) -> bool:
        """Whether no earlier validation of the run had a mean Dice as high as the latest; the table is the memory."""
        means: dict[int, list[float]] = {}
        for epoch, case, _, dice in self.run.validation.rows():
            if case == MEAN:
                means.setdefault(int(epoch), []).append(float(dice))
        latest = max(means)
        return all(sum(means[latest]) > sum(values) for epoch, values in means.items() if epoch != latest)


class SaveRun(keras.callbacks.Callback):
    """After each epoch: the network at full geometry, the record of the run, and the checkpoint.

    Args:
        whole: the network at the full geometry, whose weights `CopyResult` keeps up to date.
        run: where to write.
        record: what stays the same during the run.
        validation: where the latest scores are.
        steps_per_epoch: samples of an epoch.
    """

    def __init__(
        self,
        whole: keras.Model,
        run: RunFolder,
        record: RunRecord,
        validation: WholeVolumeValidation,
        steps_per_epoch: int,
    ) -> None:
        super().__init__()
        self.whole = whole
        self.run = run
        self.record = record
        self.validation = validation
        self.steps_per_epoch = steps_per_epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the files, each under its name only when it is complete.

        The checkpoint comes last, because from it a resumed training concludes which epochs are done with.
        """
        self.record = dataclasses.replace(
            self.record,
            steps_done=(epoch + 1) * self.steps_per_epoch,
            loss=float((logs or {})["loss"]),
            validation_dice=self.validation.latest or self.record.validation_dice,
        )
        save_result(self.whole, self.run, self.record)
        if self.validation.epoch == epoch and self.validation.is_best():
            save_result(self.whole, self.run.best, self.record)
        save_checkpoint(self.model, self.run.checkpoint, self.record.steps_done)


def save_result(network: keras.Model, folder: RunFolder, record: RunRecord) -> None:
    """Write a network and the record of it, the record last.

    Raises:
        OutputError: they cannot be written.
    """
    make_output_folder(folder.path)
    with open_for_replace(folder.model) as temporary:
        network.save(temporary)
    write_record(folder, record)


class TimeBudget(keras.callbacks.Callback):
    """Stop after the epoch in which a time has passed; the clock starts with the first step."""

    def __init__(self, minutes: float) -> None:
        super().__init__()
        self.seconds = minutes * 60
        self.started = 0.0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the clock."""
        if time.monotonic() - self.started >= self.seconds:
            self.model.stop_training = True


def _score_rows(scores: Sequence[CaseScores], mean: RegionScores) -> list[tuple[str, str, str]]:
    """Case, region and Dice, for every case and for the mean over them."""
    named = [*((score.case_id, score.dice) for score in scores), (MEAN, mean)]
    return [(name, region.value, f"{getattr(dice, region):.6f}") for name, dice in named for region in Region]
