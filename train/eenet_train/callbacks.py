"""What happens around an epoch beyond Keras' own callbacks: seeds, validation, checkpoint, time budget."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from eenet_runtime.errors import OutputError
from eenet_runtime.files import make_output_folder, open_for_replace
from eenet_runtime.labels import Region
from eenet_train.data import PreparedCase
from eenet_train.network import copy_weights
from eenet_train.run_folder import RegionScores, RunFolder, RunRecord, write_record
from eenet_train.validation import CaseScores, mean_scores, validate


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


class WholeVolumeValidation(keras.callbacks.Callback):
    """Dice on whole volumes, every few epochs and after the last one.

    Means go into the epoch's logs as `val_dice_ET` and so on, so that later callbacks log them.

    Args:
        whole: the network at the full geometry; it is given the trained weights.
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

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validate if it is time."""
        last = epoch + 1 == self.epochs or self.model.stop_training
        if not self.cases or not (last or (epoch + 1) % self.every == 0):
            return
        copy_weights(self.model, self.whole)
        scores = validate(self.whole, self.cases)
        self.latest = mean_scores(scores)
        _append_scores(self.run, epoch + 1, scores, self.latest)
        if logs is not None:
            logs.update({f"val_dice_{region}": getattr(self.latest, region) for region in Region})


class SaveRun(keras.callbacks.Callback):
    """After each epoch: the checkpoint, the network at full geometry, and the record of the run.

    Args:
        whole: the network at the full geometry; it is given the trained weights.
        run: where to write.
        record: what stays the same during the run.
        validation: where the latest scores are.
    """

    def __init__(
        self, whole: keras.Model, run: RunFolder, record: RunRecord, validation: WholeVolumeValidation
    ) -> None:
        super().__init__()
        self.whole = whole
        self.run = run
        self.record = record
        self.validation = validation

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the three files, each under its name only when it is complete."""
        make_output_folder(self.run.checkpoint.parent)
        with open_for_replace(self.run.checkpoint) as temporary:
            self.model.save_weights(temporary)
        copy_weights(self.model, self.whole)
        with open_for_replace(self.run.model) as temporary:
            self.whole.save(temporary)
        self.record = dataclasses.replace(
            self.record,
            steps_done=int(self.model.optimizer.iterations),
            loss=float((logs or {})["loss"]),
            validation_dice=self.validation.latest or self.record.validation_dice,
        )
        write_record(self.run, self.record)


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


def _append_scores(run: RunFolder, epoch: int, scores: Sequence[CaseScores], mean: RegionScores) -> None:
    rows = [(score.case_id, score.dice) for score in scores]
    rows.append(("mean", mean))
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(run.validation.open("a", newline="", encoding="utf-8"))
        except OSError as error:
            raise OutputError(f"{run.validation}: cannot be written ({error.strerror or error})") from error
        writer = csv.writer(stream)
        if stream.tell() == 0:
            writer.writerow(("epoch", "case", "region", "dice"))
        for case_id, values in rows:
            for region in Region:
                writer.writerow((epoch, case_id, region.value, f"{getattr(values, region):.6f}"))
