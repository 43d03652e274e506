"""What a user asks for, laid over a recipe's defaults or over the settings of another run."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from eenet_runtime.errors import TrainingError
from eenet_runtime.volumes.presets import EENET_FAST, preset_by_name
from eenet_train.recipe.fit_options import FitOptions
from eenet_train.recipe.recipe import EENET, Recipe, recipe_by_name
from eenet_train.recipe.settings import FitSettings

DEFAULT_EPOCHS: Final = 300
"""Passes over the training cases: the paper names no number; with its rate's three falls at most this is plenty."""
LONGEST_EPOCH_OF_STEPS: Final = 25
"""Where the user counts in steps: the fewest epochs of at most this many that make them up."""
WARMUP_SHARE: Final = 4
"""A recipe's warm-up that is no shorter than the training is cut to one in so many of its steps."""
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


def final_settings(options: FitOptions, base: FitSettings | None, training_cases: int) -> FitSettings:
    """All settings.

    Args:
        options, base: as in `base_settings`.
        training_cases: how many cases such settings leave to train on.

    Raises:
        TrainingError: values that make no training.
    """
    if base is not None or options.steps is not None or options.steps_per_epoch is not None:
        return base_settings(options, base)
    return _laid_over(options, base, training_cases)


def adjustments(options: FitOptions, base: FitSettings | None, settings: FitSettings) -> tuple[str, ...]:
    """What differs between the settings and what was asked for, a line each.

    Args:
        options, base: as in `base_settings`.
        settings: what `final_settings` made of them.
    """
    lines = []
    if options.steps is not None and options.steps != settings.steps:
        lines.append(
            f"{options.steps} steps rounded up to {settings.steps}: {settings.epochs} epochs of "
            f"{settings.steps_per_epoch}"
        )
    asked, taken = _recipe(options, base).schedule.warmup_steps, settings.recipe.schedule.warmup_steps
    if asked != taken:
        lines.append(
            f"warm-up shortened from {asked} to {taken} steps, because there are only {settings.steps}; say "
            "--warmup-steps for another one"
        )
    return tuple(lines)


def _laid_over(options: FitOptions, base: FitSettings | None, training_cases: int | None) -> FitSettings:
    _require_effect(options, base)
    given = {name: value for name, value in dataclasses.asdict(options).items() if value is not None}
    changes = {name: value for name, value in given.items() if name not in _ELSEWHERE}
    if options.preset is not None:
        changes["preset"] = preset_by_name(options.preset)
    steps, per_epoch = _steps(options, base, _samples_together(options, base), training_cases)
    recipe = _recipe(options, base)
    if options.warmup_steps is None and recipe.schedule.warmup_steps >= steps:
        schedule = dataclasses.replace(recipe.schedule, warmup_steps=steps // WARMUP_SHARE)
        recipe = dataclasses.replace(recipe, schedule=schedule)
    changes |= {"recipe": recipe, "steps": steps, "steps_per_epoch": per_epoch}
    return dataclasses.replace(base or FitSettings(preset=EENET_FAST), **changes)


def _require_effect(options: FitOptions, base: FitSettings | None) -> None:
    """Refuse an option that would change nothing: whoever gave it expects something of it."""
    folds = options.folds if options.folds is not None else (base.folds if base else 0)
    if options.fold is not None and not folds:
        raise TrainingError(f"fold {options.fold} found without folds; say how many with --folds")
    split = options.split or (base.split if base else "")
    if options.validation_cases is not None and split:
        raise TrainingError(
            f"{options.validation_cases} validation cases and the split {split} found; the split says which cases are "
            "held out, give one of them"
        )
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


def _samples_together(options: FitOptions, base: FitSettings | None) -> int:
    """Samples of one change of the weights: epochs are made of whole ones."""
    accumulate = options.accumulate or (base.accumulate if base else 1)
    return accumulate * (options.devices or (base.devices if base else 1))


def _steps(options: FitOptions, base: FitSettings | None, together: int, training_cases: int | None) -> tuple[int, int]:
    """Steps in all, and steps of an epoch."""
    if options.steps is not None and options.epochs is not None:
        raise TrainingError(f"{options.steps} steps and {options.epochs} epochs found; give one of them")
    given = options.steps_per_epoch or (base.steps_per_epoch if base else None)
    if options.steps is not None:
        epochs = math.ceil(options.steps / (given or _whole(LONGEST_EPOCH_OF_STEPS, together)))
        per_epoch = given or _whole(math.ceil(options.steps / epochs), together)
        return epochs * per_epoch, per_epoch
    per_epoch = given or _whole(training_cases or LONG_EPOCH, together)
    if options.epochs is None and base is not None:
        return base.steps, per_epoch
    return (options.epochs or DEFAULT_EPOCHS) * per_epoch, per_epoch


def _whole(samples: int, together: int) -> int:
    """Samples, rounded up to a multiple of `together`."""
    return math.ceil(samples / together) * together
