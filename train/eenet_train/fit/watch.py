"""Telling at once that a training goes wrong: no numbers any more, diverged, or collapsed to the background.

A collapsed network labels nothing as tumour. From logits (`eenet_train.recipe.losses`) it has a gradient and may come
out of it, so it is told and not stopped; a loss that is no number spoils all weights and ends the training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import keras
import tensorflow as tf

from eenet_runtime.errors import TrainingError

COLLAPSED_SAMPLES: Final = 25
"""So many samples with tumour in a row, without any of it being labelled, are told of."""
LEAST_LABELLED: Final = 0.01
"""Less than this share of a sample's tumour, in voxels labelled as any tumour, counts as none."""
DIVERGED_LOSS: Final = 24.0
"""Ten times the loss of a network that takes all classes for equally likely: ln 4, and 1 for a soft Dice of 0."""
LEAST_STEPS: Final = 5
"""The mean loss of fewer steps may be that of one odd sample."""
WHAT_TO_TRY: Final = (
    "train anew with a lower --learning-rate, a longer --warmup-steps, or --weights of a network that is trained"
)


class PredictionCounts:
    """Counts, on the device, samples that hold tumour and those of them in which the network labelled none.

    Made within the scope of the training's strategy; `count` is called by the loss, for every sample once.
    """

    def __init__(self) -> None:
        self._with_tumour, self._missed = (
            tf.Variable(
                0.0,
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
            )
            for _ in range(2)
        )

    def count(self, truth: Any, logits: Any) -> None:
        """Count the samples of a batch.

        Args:
            truth: (B, H, W, D, 4), share of each class.
            logits: (B, H, W, D, 4).
        """
        if tf.distribute.in_cross_replica_context():
            return  # Keras traces the loss once beside the devices, to learn shapes; no sample is read there
        tumour = tf.reduce_sum(tf.cast(truth, tf.float32)[..., 1:], axis=(1, 2, 3, 4))
        labelled = tf.math.count_nonzero(tf.argmax(logits, axis=-1), axis=(1, 2, 3), dtype=tf.float32)
        holds = tumour >= 1.0
        self._with_tumour.assign_add(tf.reduce_sum(tf.cast(holds, tf.float32)))
        missed = tf.logical_and(holds, labelled < LEAST_LABELLED * tumour)
        self._missed.assign_add(tf.reduce_sum(tf.cast(missed, tf.float32)))

    def read(self) -> tuple[int, int]:
        """Samples that held tumour, and those of them in which none was labelled, since this object was made."""
        return int(tf.convert_to_tensor(self._with_tumour)), int(tf.convert_to_tensor(self._missed))


class WatchedLoss(keras.losses.Loss):
    """A loss of logits that also lets the predictions be counted; one forward pass serves both."""

    def __init__(self, loss: keras.losses.Loss, counts: PredictionCounts) -> None:
        super().__init__(name=loss.name)
        self._loss = loss
        self._counts = counts

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss itself, one value for each volume, (B,)."""
        self._counts.count(y_true, y_pred)
        return self._loss.call(y_true, y_pred)


class StepWatch:
    """Looks at every step of a training.

    Args:
        run: named in messages.
        read_counts: see `PredictionCounts.read`.
        warmup_steps: no collapse is told of before these samples have been read: it is usual, and passes.
        say: is told what is going wrong, each thing once until it is over.
    """

    def __init__(
        self, run: Path, read_counts: Callable[[], tuple[int, int]], warmup_steps: int, say: Callable[[str], None]
    ) -> None:
        self._run = run
        self._read = read_counts
        self._warmup = warmup_steps
        self._say = say
        self._before = self._epoch_began = read_counts()
        self._in_a_row = 0
        self._told_collapsed = self._told_diverged = False

    def begin_epoch(self) -> None:
        """Count anew for the epoch's own warnings."""
        self._epoch_began = self._before = self._read()
        self._told_diverged = False

    def after_step(self, epoch: int, step: int, samples: int, mean_loss: float) -> None:
        """Look at a step.

        Args:
            epoch: from 0.
            step: in the epoch, from 0.
            samples: read in the whole training so far.
            mean_loss: over the steps of the epoch so far.

        Raises:
            TrainingError: the loss is infinite or not a number.
        """
        if not math.isfinite(mean_loss):
            raise TrainingError(
                f"{self._run}: the loss of epoch {epoch + 1} is {mean_loss} after its step {step + 1}, expected finite "
                f"numbers; what the epochs before it left is unchanged; {WHAT_TO_TRY}"
            )
        if step + 1 >= LEAST_STEPS and mean_loss > DIVERGED_LOSS and not self._told_diverged:
            self._told_diverged = True
            self._say(f"epoch {epoch + 1}, step {step + 1}: {_diverged(mean_loss)}")
        now = self._read()
        held, missed = now[0] - self._before[0], now[1] - self._before[1]
        self._before = now
        if held > missed:
            self._in_a_row, self._told_collapsed = 0, False
        self._in_a_row += missed if held == missed else 0
        if self._in_a_row >= COLLAPSED_SAMPLES and samples > self._warmup and not self._told_collapsed:
            self._told_collapsed = True
            self._say(f"epoch {epoch + 1}, step {step + 1}: {_collapsed(self._in_a_row)}")

    def warnings_of_epoch(self, mean_loss: float) -> tuple[str, ...]:
        """What was wrong with the epoch as a whole: its steps alone decide, so that a resumed run says the same."""
        held, missed = (now - began for now, began in zip(self._read(), self._epoch_began, strict=True))
        found = [_diverged(mean_loss)] if mean_loss > DIVERGED_LOSS else []
        return (*found, _collapsed(missed)) if held == missed > 0 else tuple(found)


def _diverged(loss: float) -> str:
    return (
        f"the training diverges: a mean loss of {loss:.3g}, where one that knows nothing has "
        f"{math.log(4) + 1:.2f}; if it does not fall soon, {WHAT_TO_TRY}"
    )


def _collapsed(samples: int) -> str:
    return (
        f"the network has collapsed to the background: it labelled no tumour in the last {samples} samples that hold "
        f"some; if it does not come out of it soon, {WHAT_TO_TRY}"
    )
