"""The network: its size, its names, and that all of it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eenet_runtime.presets import EENET_144, GeometryPreset

pytestmark = [pytest.mark.tf, pytest.mark.slow]

SMALL = GeometryPreset("small", (64, 64, 24), 1.0, (2, 2, 2))


@pytest.fixture(scope="module")
def small() -> Any:
    import keras

    from eenet_train.network import build_eenet

    keras.utils.set_random_seed(0)
    return build_eenet(SMALL)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, *SMALL.shape, 4)).astype(np.float32)


def test_eenet_144_has_the_size_of_the_authors_network() -> None:
    from eenet_train.network import build_eenet

    model = build_eenet(EENET_144)
    assert model.count_params() == 14_422_043
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 14_378_100
    assert model.output_shape == (None, 192, 160, 144, 4)


def test_the_layers_carry_the_authors_names(small: Any) -> None:
    names = {layer.name for layer in small.layers}
    blocks = ["L1", "L2", "L3", "L4", "Post_L1_Dec", "Post_L2_Dec", "Post_L3_Dec"]
    parts = ["Res_{}", "GroupNorm_1_{}", "Conv3D_1_{}", "GroupNorm_2_{}", "Conv3D_2_{}", "Out_{}"]
    expected = {part.format(block) for block in blocks for part in parts}
    expected |= {"Input_L1", "Post_L1", "Post_L2", "Post_L3", "Enc_DownSample_128", "L1_Dec", "L2_Dec", "L3_Dec"}
    expected |= {"Up_L1_Dec", "L4_Dec", "Model_Outputs", "block2a_expand_activation", "top_activation"}
    assert expected <= names


def test_probabilities_add_up_to_one(small: Any, volume: np.ndarray) -> None:
    probabilities = np.asarray(small(volume, training=False))
    assert probabilities.shape == (1, *SMALL.shape, 4)
    assert np.abs(probabilities.sum(axis=-1) - 1).max() < 1e-5


def test_the_oracle_is_the_same_function_at_a_small_size(small: Any, volume: np.ndarray) -> None:
    from eenet_train.network import as_oracle

    oracle = as_oracle(small, SMALL)
    assert oracle.get_layer("GroupNorm_1_L1").statistics_dtype == "float64"
    assert np.abs(np.asarray(oracle(volume)) - np.asarray(small(volume))).max() < 1e-4


def test_the_gradient_reaches_every_trainable_weight(small: Any, volume: np.ndarray) -> None:
    import tensorflow as tf

    from eenet_train.losses import DiceCrossEntropy

    labels = np.random.default_rng(1).integers(0, 4, (1, *SMALL.shape)).astype(np.uint8)
    with tf.GradientTape() as tape:
        loss = DiceCrossEntropy()(labels, small(volume, training=False))
    gradients = tape.gradient(loss, small.trainable_variables)
    silent = [
        weight.path
        for weight, gradient in zip(small.trainable_variables, gradients, strict=True)
        if gradient is None or not np.asarray(gradient).any()
    ]
    assert silent == []
