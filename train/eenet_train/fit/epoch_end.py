"""What happens after an epoch, one function for each step; `eenet_train.fit.training_callback` has their order.

Each reads and writes what its arguments say and nothing else: an `EpochResult` carries what one finds to the next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from eenet_runtime.errors import TrainingError
from eenet_runtime.files.atomic import make_output_folder, open_for_replace, write_atomically
from eenet_runtime.volumes.labels import Region
from eenet_train.data.data import PreparedCase
from eenet_train.data.samples import centred_sample
from eenet_train.fit.checkpoint import copy_averaged_weights
from eenet_train.fit.watch import WHAT_TO_TRY
from eenet_train.network.network import copy_weights
from eenet_train.pictures.loss_picture import draw_losses
from eenet_train.pictures.sample_pictures import SampleCase, write_sample_pictures
from eenet_train.runs.run_folder import MEAN, RegionScores, RunFolder, RunRecord, write_record
from eenet_train.runs.validation import CaseScores, mean_scores, validate

PICTURES: Final = 2
"""Held-out cases that are drawn at each validation."""


@dataclass(frozen=True)
class EpochResult:
    """One epoch, as far as it has been looked at.

    Attributes:
        epoch: its number, from 0.
        steps_done: samples read in the whole training.
        loss: mean over the epoch's steps.
        learning_rate: the one reached: along a cosine that of the next step.
        seconds: of the steps alone.
        waited: seconds of them that were spent waiting for samples; None where that cannot be told.
        warnings: what is wrong with the training.
        held_out_loss: mean over a crop of each held-out case; None where nothing is held out.
        scores: of whole held-out volumes; empty where the epoch is not validated.
    """

    epoch: int
    steps_done: int
    loss: float
    learning_rate: float
    seconds: float
    waited: float | None
    warnings: tuple[str, ...] = ()
    held_out_loss: float | None = None
    scores: tuple[CaseScores, ...] = ()

    @property
    def number(self) -> int:
        """Its number as tables and messages have it, from 1."""
        return self.epoch + 1

    @property
    def dice(self) -> RegionScores | None:
        """Mean of the scores."""
        return mean_scores(self.scores) if self.scores else None

    def for_display(self) -> dict[str, float]:
        """What Keras' progress shows beside the loss."""
        shown = {} if self.held_out_loss is None else {"val_loss": self.held_out_loss}
        if self.dice is not None:
            shown |= {f"val_dice_{region}": getattr(self.dice, region) for region in Region}
        return shown


def require_finite_weights(run: RunFolder, model: keras.Model, result: EpochResult) -> None:
    """End a training that has left the numbers, before its weights replace the last good ones.

    The loss of a step is measured before the weights change, so the epoch's last change shows in them alone.

    Raises:
        TrainingError: weights are infinite or not a number.
    """
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise TrainingError(
            f"{run.path}: the network has weights that are infinite or not a number after epoch {result.number}, "
            f"expected finite numbers; what the epochs before it left is unchanged; {WHAT_TO_TRY}"
        )


def copy_result(model: keras.Model, copies: Sequence[keras.Model]) -> None:
    """Give copies of the trained network the weights that would be exported: averaged ones where they are kept."""
    for network in copies:
        copy_weights(model, network)
        copy_averaged_weights(model, network)


def held_out_loss(
    network: keras.Model, cases: Sequence[PreparedCase], crop: tuple[int, int], loss: keras.losses.Loss
) -> float | None:
    """Mean loss on one crop of each held-out case; None without cases.

    Args:
        network: from `copy_result`, at the geometry of the crops.
        cases: held-out cases.
        crop: H and W.
        loss: of probabilities.
    """
    losses = []
    for case in cases:
        sample = centred_sample(case, crop)
        losses.append(float(loss(sample.target[None], network.predict_on_batch(sample.volume[None]))))
    return float(np.mean(losses)) if losses else None


def write_log(run: RunFolder, result: EpochResult) -> None:
    """A line in the run's `log` and one in its `timing`, and the picture of the losses."""
    held_out = "" if result.held_out_loss is None else f"{result.held_out_loss:.9g}"
    line = (str(result.steps_done), f"{result.loss:.9g}", held_out, f"{result.learning_rate:.6g}")
    run.log.append(result.number, [line])
    share = "" if result.waited is None or not result.seconds else f"{result.waited / result.seconds:.4f}"
    run.timing.append(result.number, [(f"{result.seconds:.3f}", share)])
    rows = run.log.rows()
    training = [(int(row[1]), float(row[2])) for row in rows]
    crops = [(int(row[1]), float(row[3])) for row in rows if row[3]]
    write_atomically(run.losses, draw_losses(run.path.resolve().name, training, crops))


def validate_whole_volumes(
    whole: keras.Model, cases: Sequence[PreparedCase], run: RunFolder, result: EpochResult
) -> tuple[CaseScores, ...]:
    """Dice on whole held-out volumes, into the run's table too, and pictures of the first of them.

    Args:
        whole: from `copy_result`, at the full geometry.
        cases: held-out cases, at least one.
        run: its `validation` gets a line for each case and region, and for their means.
        result: of the epoch.
    """
    shown = {case.case_id for case in cases[:PICTURES]}

    def draw(case: SampleCase) -> None:
        if case.case_id in shown:
            write_sample_pictures(run.samples, result.number, [case])

    scores = validate(whole, cases, draw)
    named = [*((score.case_id, score.dice) for score in scores), (MEAN, mean_scores(scores))]
    rows = [(name, region.value, f"{getattr(dice, region):.6f}") for name, dice in named for region in Region]
    run.validation.append(result.number, rows)
    return scores


def is_best(run: RunFolder, result: EpochResult) -> bool:
    """Whether the epoch was validated, and none before had as high a mean Dice; the table is the memory."""
    means: dict[int, list[float]] = {}
    for epoch, case, _, dice in run.validation.rows():
        if case == MEAN:
            means.setdefault(int(epoch), []).append(float(dice))
    latest = sum(means.get(result.number, []))
    return result.number in means and all(
        latest > sum(values) for epoch, values in means.items() if epoch != result.number
    )


def save_result(network: keras.Model, folder: RunFolder, record: RunRecord, result: EpochResult) -> RunRecord:
    """Write a network and the record of it, the record last.

    Args:
        network: from `copy_result`, at the full geometry.
        folder: the run, or its `best`.
        record: of the epoch before.
        result: of this epoch.

    Returns:
        The record of this epoch.

    Raises:
        OutputError: they cannot be written.
    """
    record = dataclasses.replace(
        record,
        steps_done=result.steps_done,
        loss=result.loss,
        validation_dice=result.dice or record.validation_dice,
        warnings=result.warnings,
    )
    make_output_folder(folder.path)
    with open_for_replace(folder.model) as temporary:
        network.save(temporary)
    write_record(folder, record)
    return record


class TensorBoardLog:
    """Event files under the names that Keras' own callback gives them.

    Args:
        folder: where; files are made with the first values.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def write(self, result: EpochResult) -> None:
        """Add an epoch, and flush it to the disk."""
        training = {"loss": result.loss, "learning_rate": result.learning_rate}
        validation = {name.removeprefix("val_"): value for name, value in result.for_display().items()}
        for side, values in {"train": training, "validation": validation}.items():
            if not values:
                continue
            if side not in self._writers:
                self._writers[side] = tf.summary.create_file_writer(str(self._folder / side))
            with self._writers[side].as_default():
                for name, value in values.items():
                    tf.summary.scalar(f"epoch_{name}", value, step=result.epoch)
            self._writers[side].flush()
