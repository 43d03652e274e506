"""Samples on their way to the network, made ahead of time by other threads, and how long a step had to wait for one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf

from eenet_runtime.volumes.labels import CHANNEL_ORDER, NUM_CLASSES
from eenet_train.data.data import PreparedCase
from eenet_train.data.samples import training_sample
from eenet_train.recipe.settings import FitSettings

WORKERS: Final = 4
"""Samples in the making at once: array work lets go of the interpreter's lock."""
AHEAD: Final = 4
"""Finished batches that wait for their step."""


class InputWait:
    """A clock that runs while the network waits for its next batch."""

    def __init__(self) -> None:
        self.waited = 0.0
        self._asked = 0.0

    def ask(self, step: Any) -> Any:
        """Start the clock; `step` passes through."""
        self._asked = time.monotonic()
        return step

    def served(self, step: Any) -> Any:
        """Stop it; `step` passes through."""
        self.waited += time.monotonic() - self._asked
        return step

    def take(self) -> float:
        """Seconds waited since the last call."""
        waited, self.waited = self.waited, 0.0
        return waited


def training_dataset(
    cases: Sequence[PreparedCase], settings: FitSettings, first_step: int, wait: InputWait | None = None
) -> Any:
    """Batches from sample `first_step` to the last, one sample for each device.

    Args:
        cases: the training cases.
        settings: what to read.
        first_step: number of the first sample.
        wait: measures how long the caller waits for each batch.

    Returns:
        A `tf.data.Dataset` of float32 (devices, h, w, D, 4) images and (devices, h, w, D, 4) class shares.
    """
    shape = settings.crop_preset.shape

    def draw(step: np.int64) -> tuple[Any, Any]:
        sample = training_sample(cases, settings.crop_size, settings.recipe.augmentation, settings.seed, int(step))
        return sample.volume, sample.target

    def load(step: Any) -> tuple[Any, Any]:
        volume, target = tf.numpy_function(draw, [step], [tf.float32, tf.float32])
        return tf.ensure_shape(volume, (*shape, len(CHANNEL_ORDER))), tf.ensure_shape(target, (*shape, NUM_CLASSES))

    samples = tf.data.Dataset.range(first_step, settings.steps).map(
        load, num_parallel_calls=WORKERS, deterministic=True
    )
    batches = samples.batch(settings.devices, drop_remainder=True).prefetch(AHEAD)
    return batches if wait is None else _timed(batches, wait)


def _timed(batches: Any, wait: InputWait) -> Any:
    """The same batches; the clock runs from the request of each to its arrival.

    `zip` asks its parts one after the other, so the first part's function runs when a batch is asked for.
    """
    asked = tf.data.Dataset.range(np.iinfo(np.int64).max).map(
        lambda step: tf.numpy_function(wait.ask, [step], tf.int64)
    )

    def arrived(step: Any, batch: tuple[Any, Any]) -> tuple[Any, Any]:
        with tf.control_dependencies([tf.numpy_function(wait.served, [step], tf.int64)]):
            return tf.identity(batch[0]), tf.identity(batch[1])

    # A buffer that TensorFlow adds on its own would hide the wait.
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    return tf.data.Dataset.zip((asked, batches)).map(arrived).with_options(options)
