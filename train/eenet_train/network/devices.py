"""On how many devices a step runs, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from eenet_runtime.errors import TrainingError


def device_strategy(devices: int) -> Any:
    """TensorFlow's strategy for a number of GPUs, or of logical CPUs on a machine without a GPU.

    One device needs none. Several each take a sample of their own, and gradients are averaged between them. Batch
    norms keep the statistics of their own device's samples; those of the first are saved. In each step all devices
    drop the same channels.

    Raises:
        TrainingError: fewer devices than asked for.
    """
    if devices == 1:
        return tf.distribute.get_strategy()
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(found) < devices:
        kind = found[0].device_type
        raise TrainingError(f"{devices} devices asked for, {len(found)} {kind} found; give --devices {len(found)}")
    return tf.distribute.MirroredStrategy([device.name for device in found[:devices]])


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Build networks with a Keras dtype policy, and restore the one before."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def plain_value(variable: Any) -> Any:
    """The value of a Keras variable as a tensor; of one that every device has a copy of, the first one's."""
    return tf.convert_to_tensor(getattr(variable, "value", variable))
