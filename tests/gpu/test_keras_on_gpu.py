"""What the toolkit asks of a GPU today: that Keras computes there what it computes on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from eenet_runtime.volumes.presets import GeometryPreset

pytestmark = [pytest.mark.gpu, pytest.mark.tf]


def test_the_network_computes_the_same_on_the_gpu_as_on_the_cpu() -> None:
    import tensorflow as tf

    from eenet_train.network.network import build_eenet

    assert tf.config.list_physical_devices("GPU"), "TensorFlow sees no GPU"
    # TF32 rounds products to ten bits; a column called FP32 must not use it.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    model = build_eenet(GeometryPreset("small", (64, 64, 24), 1.0, (2, 2, 2)))
    volume = np.random.default_rng(0).normal(size=(1, 64, 64, 24, 4)).astype(np.float32)
    with tf.device("/CPU:0"):
        expected = np.asarray(model(volume, training=False))
    with tf.device("/GPU:0"):
        computed = np.asarray(model(volume, training=False))
    assert np.abs(computed - expected).max() <= 1e-3
