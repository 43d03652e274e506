"""Where a killed training goes on: weights, optimizer state and the number of samples read, in one file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Final

import h5py
import keras

from eenet_runtime.errors import TrainingError
from eenet_runtime.files.atomic import make_output_folder, open_for_replace
from eenet_train.network.devices import plain_value

_STEPS: Final = "eenet_steps_done"
"""Attribute of the file. The optimizer's own counter leaves out steps that a loss scale skipped."""


def save_checkpoint(model: keras.Model, path: Path, steps_done: int) -> None:
    """Write a checkpoint; the one before it stays until this one is complete.

    Args:
        model: compiled; its weights, and its optimizer's state with the average of the weights, are kept.
        path: ends in .weights.h5.
        steps_done: samples read so far.

    Raises:
        OutputError: it cannot be written.
    """
    make_output_folder(path.parent)
    with open_for_replace(path) as temporary:
        model.save_weights(temporary)
        with h5py.File(temporary, "r+") as file:
            file.attrs[_STEPS] = steps_done


def load_checkpoint(model: keras.Model, path: Path) -> int:
    """Read a checkpoint into a compiled model whose optimizer is built.

    Returns:
        Samples read when it was written.

    Raises:
        TrainingError: no checkpoint of this network.
    """
    try:
        with h5py.File(path, "r") as file:
            steps_done = int(file.attrs[_STEPS])
        with warnings.catch_warnings():
            # Keras only warns of an optimizer's state that does not fit, and then goes on without it.
            warnings.filterwarnings("error", message=".*(?i:optimizer)")
            model.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        raise TrainingError(f"{path}: not a checkpoint of this network ({error})") from error
    return steps_done


def copy_averaged_weights(model: keras.Model, target: keras.Model) -> None:
    """Put the running average of a model's trained weights into a copy of it; nothing happens where none is kept.

    Statistics of batch norms are no trained weights: the target keeps those that it has.

    Args:
        model: compiled, with an optimizer from `eenet_train.recipe.optimizer`.
        target: the same network, maybe at another geometry.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema or int(plain_value(optimizer.iterations)) == 0:
        return
    averages: list[Any] = optimizer._model_variables_moving_average  # Keras' own SwapEMAWeights reads it too.
    # By name: the target may train weights that the model keeps frozen.
    copies = {variable.path: variable for variable in target.trainable_variables}
    for average, variable in zip(averages, model.trainable_variables, strict=True):
        copies[variable.path].assign(plain_value(average))
