"""What a user asks for, laid over a recipe's defaults or over the settings of another run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from eenet_runtime.errors import TrainingError
from eenet_runtime.volumes.presets import EENET_FAST, preset_by_name
from eenet_train.recipe.recipe import EENET, Recipe, recipe_by_name
from eenet_train.recipe.settings import FitSettings

DEFAULT_EPOCHS: Final = 300
"""Passes over the training cases: the paper names no number; with its rate's three falls at most this is plenty."""
DEFAULT_STEPS_PER_EPOCH: Final = 25
"""Where the user counts in steps."""
LONG_EPOCH: Final = 10**6
"""Stands for a pass over the cases until they are counted: longer than any warm-up."""

_ELSEWHERE: Final = (
    "preset",
    "recipe",
    "learning_rate",
    "warmup_steps",
    "freeze_batch_norms",
    "steps",
    "steps_per_epoch",
    "epochs",
)
"""Options that are not simply a setting of the same name."""


@dataclass(frozen=True)
class FitOptions:
    """Options of a training, None where the user said nothing; otherwise as in `FitSettings`.

    Attributes:
        epochs: instead of `steps`; an epoch is then a pass over the training cases unless `steps_per_epoch` is given.
        learning_rate, warmup_steps, freeze_batch_norms: in place of the recipe's.
    """

    preset: str | None = None
    recipe: str | None = None
    learning_rate: float | None = None
    warmup_steps: int | None = None
    freeze_batch_norms: bool | None = None
    steps: int | None = None
    steps_per_epoch: int | None = None
    epochs: int | None = None
    crop: tuple[int, int] | None = None
    accumulate: int | None = None
    devices: int | None = None
    precision: str | None = None
    deterministic: bool | None = None
    seed: int | None = None
    validation_cases: int | None = None
    folds: int | None = None
    fold: int | None = None
    validate_every: int | None = None
    encoder_weights: str | None = None
    initial_weights: str | None = None
    partial_weights: bool | None = None
    data: str | None = None
    skip_bad: bool | None = None


def base_settings(options: FitOptions, base: FitSettings | None) -> FitSettings:
    """Settings as far as they can be told before the cases are counted: enough to prepare and split them.

    Args:
        options: what the user said.
        base: settings of another run, where the user named one.

    Raises:
        TrainingError: unknown names, or values that do not fit together.
        GeometryError: an unknown preset, or a crop in which the network cannot be built.
    """
    return _laid_over(options, base, None)


def final_settings(
    options: FitOptions, base: FitSettings | None, count_training_cases: Callable[[FitSettings], int]
) -> FitSettings:
    """All settings.

    Args:
        options, base: as in `base_settings`.
        count_training_cases: how many cases such settings leave to train on.

    Raises:
        TrainingError: values that make no training.
    """
    if base is not None or options.steps is not None or options.steps_per_epoch is not None:
        return base_settings(options, base)
    return _laid_over(options, base, count_training_cases(base_settings(options, base)))


def _laid_over(options: FitOptions, base: FitSettings | None, training_cases: int | None) -> FitSettings:
    _require_effect(options, base)
    given = {name: value for name, value in dataclasses.asdict(options).items() if value is not None}
    changes = {name: value for name, value in given.items() if name not in _ELSEWHERE}
    if options.preset is not None:
        changes["preset"] = preset_by_name(options.preset)
    changes["recipe"] = _recipe(options, base)
    changes["steps_per_epoch"] = _steps_per_epoch(options, base, training_cases)
    changes["steps"] = _steps(options, base, changes["steps_per_epoch"])
    return dataclasses.replace(base or FitSettings(preset=EENET_FAST), **changes)


def _require_effect(options: FitOptions, base: FitSettings | None) -> None:
    """Refuse an option that would change nothing: whoever gave it expects something of it."""
    folds = options.folds if options.folds is not None else (base.folds if base else 0)
    if options.fold is not None and not folds:
        raise TrainingError(f"fold {options.fold} found without folds; say how many with --folds")
    if options.validation_cases is not None and folds:
        raise TrainingError(
            f"{options.validation_cases} validation cases and {folds} folds found; a fold says which cases are held "
            "out, give one of them"
        )
    if options.partial_weights and not (options.initial_weights or (base and base.initial_weights)):
        raise TrainingError("partial weights found without weights; say which with --weights")


def _recipe(options: FitOptions, base: FitSettings | None) -> Recipe:
    recipe = recipe_by_name(options.recipe) if options.recipe else (base.recipe if base else EENET)
    schedule = recipe.schedule
    if options.learning_rate is not None:
        schedule = dataclasses.replace(schedule, learning_rate=options.learning_rate)
    if options.warmup_steps is not None:
        schedule = dataclasses.replace(schedule, warmup_steps=options.warmup_steps)
    if options.freeze_batch_norms is not None:
        recipe = dataclasses.replace(recipe, frozen_batch_norms=options.freeze_batch_norms)
    return dataclasses.replace(recipe, schedule=schedule)


def _steps_per_epoch(options: FitOptions, base: FitSettings | None, training_cases: int | None) -> int:
    if options.steps_per_epoch is not None:
        return options.steps_per_epoch
    if base is not None:
        return base.steps_per_epoch
    together = (options.accumulate or 1) * (options.devices or 1)
    samples = (training_cases or LONG_EPOCH) if options.steps is None else DEFAULT_STEPS_PER_EPOCH
    return -(-samples // together) * together


def _steps(options: FitOptions, base: FitSettings | None, per_epoch: int) -> int:
    if options.steps is not None and options.epochs is not None:
        raise TrainingError(f"{options.steps} steps and {options.epochs} epochs found; give one of them")
    if options.steps is not None:
        return options.steps
    if options.epochs is None and base is not None:
        return base.steps
    return (options.epochs or DEFAULT_EPOCHS) * per_epoch
