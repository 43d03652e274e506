"""The network: its size, its names, and that all of it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eenet_runtime.volumes.presets import EENET_144, GeometryPreset

pytestmark = [pytest.mark.tf, pytest.mark.slow]

SMALL = GeometryPreset("small", (64, 64, 24), 1.0, (2, 2, 2))


@pytest.fixture(scope="module")
def small() -> Any:
    import keras

    from eenet_train.network.network import build_eenet

    keras.utils.set_random_seed(0)
    return build_eenet(SMALL)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, *SMALL.shape, 4)).astype(np.float32)


def test_eenet_144_has_the_size_of_the_authors_network() -> None:
    from eenet_train.network.network import build_eenet

    model = build_eenet(EENET_144)
    assert model.count_params() == 14_422_043
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 14_378_100
    assert model.output_shape == (None, 192, 160, 144, 4)


@pytest.mark.parametrize(("name", "expected"), [("eenet-144", "eenet_144"), ("64 x 64 x 24", "64_x_64_x_24")])
def test_a_preset_of_any_name_becomes_a_model_that_a_graph_takes(name: str, expected: str) -> None:
    import tensorflow as tf

    from eenet_train.network.network import build_eenet

    model = build_eenet(replace(SMALL, name=name))
    assert model.name == expected
    traced = tf.function(lambda volume: model(volume, training=False)).get_concrete_function(
        tf.TensorSpec((1, *SMALL.shape, 4), tf.float32)
    )
    assert traced.output_shapes == (1, *SMALL.shape, 4)


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
    from eenet_train.network.network import as_oracle

    oracle = as_oracle(small, SMALL)
    assert oracle.get_layer("GroupNorm_1_L1").statistics_dtype == "float64"
    assert np.abs(np.asarray(oracle(volume)) - np.asarray(small(volume))).max() < 1e-4


def test_the_gradient_reaches_every_trainable_weight(small: Any, volume: np.ndarray) -> None:
    import tensorflow as tf

    from eenet_train.recipe.losses import RegionLoss

    labels = np.random.default_rng(1).integers(0, 4, (1, *SMALL.shape)).astype(np.uint8)
    with tf.GradientTape() as tape:
        loss = RegionLoss()(labels, small(volume, training=False))
    gradients = tape.gradient(loss, small.trainable_variables)
    silent = [
        weight.path
        for weight, gradient in zip(small.trainable_variables, gradients, strict=True)
        if gradient is None or not np.asarray(gradient).any()
    ]
    assert silent == []


def test_a_second_network_has_the_names_of_the_first(small: Any) -> None:
    from eenet_train.network.network import build_eenet

    again = build_eenet(SMALL)
    assert [layer.name for layer in again.layers] == [layer.name for layer in small.layers]


def test_weights_carry_over_to_another_height_and_width(small: Any) -> None:
    from eenet_train.network.network import build_eenet, copy_weights

    wider = build_eenet(GeometryPreset("wider", (64, 96, 24), 1.0, (2, 2, 2)))
    normalization = small.get_layer("normalization")
    kept = normalization.get_weights()
    try:
        # Values that differ from a new network's, in the one layer that computes with copies of its weights.
        normalization.set_weights([np.full(3, 0.5), np.full(3, 4.0), np.zeros((), np.int32)])
        copy_weights(small, wider)
    finally:
        normalization.set_weights(kept)
    assert np.array_equal(wider.get_layer("L4_Dec").get_weights()[0], small.get_layer("L4_Dec").get_weights()[0])
    assert np.allclose(wider.get_layer("normalization").variance, 4.0)


def test_weights_do_not_carry_over_to_other_layers(small: Any) -> None:
    import keras

    from eenet_train.network.network import copy_weights

    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match="the same layers"):
        copy_weights(small, keras.Model(inputs, keras.layers.Dense(2)(inputs)))


def test_a_saved_network_comes_back_the_same(small: Any, volume: np.ndarray, tmp_path: Path) -> None:
    import keras

    small.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in small.layers]
    assert np.abs(np.asarray(loaded(volume)) - np.asarray(small(volume))).max() < 1e-6


def test_under_mixed_precision_statistics_and_probabilities_stay_in_fp32() -> None:
    import keras

    from eenet_train.network.network import build_eenet

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build_eenet(SMALL)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("Conv3D_1_L1").compute_dtype == "float16"
    assert model.get_layer("GroupNorm_1_L1").statistics_dtype == "float32"
    assert model.output.dtype == "float32"


def test_depth_upsampling_is_that_of_keras() -> None:
    import keras

    from eenet_train.network.network import DepthUpsampling

    values = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 6)).astype(np.float32)
    expected = keras.layers.UpSampling3D((1, 1, 3))(values)
    assert np.array_equal(DepthUpsampling(3)(values), expected)
    assert DepthUpsampling(3).compute_output_shape(values.shape) == expected.shape
