"""The optimizer and the learning rate of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from eenet_train.recipe.recipe import Recipe, Schedule


def build_optimizer(recipe: Recipe, steps: int, accumulate: int, devices: int) -> keras.optimizers.Optimizer:
    """Nadam with the recipe's schedule, clipping and average of the weights.

    Args:
        recipe: what to build.
        steps: samples that the training reads in all.
        accumulate: samples whose gradients are averaged before the weights move.
        devices: samples of one call of the network. Each device shortens its own gradient before the average is
            taken; averaged gradients on one device are shortened after.
    """
    return keras.optimizers.Nadam(
        _rate(recipe.schedule, steps, devices),
        # Each device holds its share of the mean, so that its gradients are shorter by their number.
        global_clipnorm=recipe.gradient_norm / devices or None,
        use_ema=recipe.ema_momentum > 0,
        ema_momentum=recipe.ema_momentum or 0.99,
        gradient_accumulation_steps=accumulate if accumulate > 1 else None,
    )


def _rate(schedule: Schedule, steps: int, devices: int) -> Any:
    """A number that a callback lowers, or a cosine over the calls of the network."""
    if schedule.kind == "plateau":
        return schedule.learning_rate
    calls, warmup = steps // devices, schedule.warmup_steps // devices
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else schedule.learning_rate,
        decay_steps=calls - warmup,
        warmup_target=schedule.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def plateau_rate(schedule: Schedule, losses: Sequence[float]) -> float:
    """The rate of the next epoch, from the mean training losses of all epochs before it.

    A rule over the whole history has no state of its own: a resumed training reads the same losses from its log.
    The paper divides "whenever the loss has not improved for 50 epochs" (docs/network.md); the count starts anew after
    each division.
    """
    rate, best, waited = schedule.learning_rate, float("inf"), 0
    for loss in losses:
        if loss < best:
            best, waited = loss, 0
            continue
        waited += 1
        if waited == schedule.patience_epochs:
            rate, waited = rate / schedule.divide_by, 0
    return rate
