"""The watch over a training's steps: what is told, when, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eenet_runtime.errors import TrainingError

pytestmark = pytest.mark.tf


class Training:
    """A watch, what it said, and counts that a test sets; each step reads one sample with tumour."""

    def __init__(self, warmup: int = 0) -> None:
        from eenet_train.fit.watch import StepWatch

        self.counts = (0, 0)
        self.said: list[str] = []
        self.watch = StepWatch(Path("run"), lambda: self.counts, warmup, self.said.append)
        self.samples = 0

    def steps(self, count: int, *, missed: bool, loss: float = 1.0, epoch: int = 0, tumour: bool = True) -> None:
        """Some steps of an epoch, from its first on."""
        self.watch.begin_epoch()
        for step in range(count):
            self.samples += 1
            self.counts = (self.counts[0] + tumour, self.counts[1] + (tumour and missed))
            self.watch.after_step(epoch, step, self.samples, loss)


def test_a_collapse_is_told_at_the_25th_sample_in_a_row_and_once() -> None:
    training = Training()
    training.steps(24, missed=True)
    assert training.said == []
    training.steps(100, missed=True, epoch=1)
    (line,) = training.said
    assert line.startswith("epoch 2, step 1: the network has collapsed to the background: it labelled no tumour in the")
    for remedy in ("--learning-rate", "--warmup-steps", "--weights"):
        assert remedy in line


def test_a_network_that_came_out_of_a_collapse_is_told_of_the_next_one() -> None:
    training = Training()
    training.steps(30, missed=True)
    training.steps(1, missed=False)
    training.steps(24, missed=True)
    assert len(training.said) == 1
    training.steps(1, missed=True)
    assert len(training.said) == 2


def test_during_the_warm_up_no_collapse_is_told() -> None:
    training = Training(warmup=40)
    training.steps(40, missed=True)
    assert training.said == []
    training.steps(1, missed=True)
    assert len(training.said) == 1


def test_samples_without_tumour_neither_make_nor_end_a_collapse() -> None:
    training = Training()
    training.steps(200, missed=True, tumour=False)
    assert training.said == []
    training.steps(24, missed=True)
    training.steps(10, missed=True, tumour=False)
    assert training.said == []
    training.steps(1, missed=True)
    assert len(training.said) == 1


def test_a_loss_that_is_no_number_ends_the_training_at_its_step() -> None:
    for loss in (float("nan"), float("inf")):
        training = Training()
        with pytest.raises(TrainingError, match=rf"run: the loss of epoch 4 is {loss} after its step 1, expected"):
            training.steps(1, missed=False, loss=loss, epoch=3)


def test_a_loss_above_ten_times_that_of_ignorance_is_told_once_an_epoch() -> None:
    from eenet_train.fit.watch import DIVERGED_LOSS

    assert abs(DIVERGED_LOSS - 10 * (np.log(4) + 1)) < 0.2
    training = Training()
    training.steps(30, missed=False, loss=23.9)
    training.steps(4, missed=False, loss=24.1)
    assert training.said == []
    training.steps(30, missed=False, loss=24.1, epoch=7)
    (line,) = training.said
    assert line.startswith("epoch 8, step 5: the training diverges: a mean loss of 24.1")


def test_an_epochs_own_warnings_do_not_depend_on_what_came_before() -> None:
    one, other = Training(), Training()
    one.steps(30, missed=False)
    for training in (one, other):
        training.steps(3, missed=True)
    assert one.watch.warnings_of_epoch(1.0) == other.watch.warnings_of_epoch(1.0)
    assert [warning.split(":")[0] for warning in one.watch.warnings_of_epoch(30.0)] == [
        "the training diverges",
        "the network has collapsed to the background",
    ]
    one.steps(3, missed=False)
    assert one.watch.warnings_of_epoch(1.0) == ()


def _sample(tumour: int, labelled: int) -> tuple[Any, Any]:
    """Truth and logits of a sample with that many voxels of tumour, and labelled as tumour, elsewhere."""
    truth, logits = (np.zeros((1, 10, 10, 10, 4), np.float32) for _ in range(2))
    flat_truth, flat_logits = truth.reshape(-1, 4), logits.reshape(-1, 4)
    flat_truth[:, 0], flat_logits[:, 0] = 1, 1
    flat_truth[:tumour] = (0, 0, 1, 0)
    flat_logits[1000 - labelled :] = (0, 1, 0, 0)
    return truth, logits


@pytest.mark.parametrize(
    ("tumour", "labelled", "counted"),
    [(0, 0, (0, 0)), (0, 50, (0, 0)), (500, 0, (1, 1)), (500, 4, (1, 1)), (500, 5, (1, 0)), (500, 900, (1, 0))],
)
def test_a_sample_is_missed_where_less_than_a_hundredth_of_its_tumour_is_labelled(
    tumour: int, labelled: int, counted: tuple[int, int]
) -> None:
    from eenet_train.fit.watch import PredictionCounts

    counts = PredictionCounts()
    counts.count(*_sample(tumour, labelled))
    assert counts.read() == counted


def test_a_watched_loss_is_the_loss_and_counts_every_sample_once() -> None:
    from eenet_train.fit.watch import PredictionCounts, WatchedLoss
    from eenet_train.recipe.losses import build_loss
    from eenet_train.recipe.recipe import LossName

    loss, counts = build_loss(LossName.DICE_FOCAL, from_logits=True), PredictionCounts()
    truth, logits = (np.concatenate(pair) for pair in zip(_sample(500, 0), _sample(500, 300), strict=True))
    assert float(WatchedLoss(loss, counts)(truth, logits)) == float(loss(truth, logits))
    assert counts.read() == (2, 1)


def test_a_network_without_a_softmax_is_no_network_to_take_it_from() -> None:
    from keras import Input, Model, layers

    from eenet_train.network.network import end_in_logits

    volume = Input((4, 4, 4, 4))
    model = Model(volume, layers.Conv3D(4, 1, activation="softmax", name="last")(volume))
    end_in_logits(model)
    with pytest.raises(ValueError, match="the last layer last has no softmax to take away"):
        end_in_logits(model)
