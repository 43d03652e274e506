"""Group normalisation in stages: Keras' function at a small size, right at the full one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytestmark = pytest.mark.tf


def _reference(values: NDArray[np.float32], groups: int = 8, epsilon: float = 1e-3) -> NDArray[np.float64]:
    """Group by group in float64, without scale and offset; (1, H, W, D, C)."""
    per_group = values.shape[-1] // groups
    result = np.empty(values.shape, np.float64)
    for first in range(0, values.shape[-1], per_group):
        part = values[..., first : first + per_group].astype(np.float64)
        result[..., first : first + per_group] = (part - part.mean()) / np.sqrt(part.var() + epsilon)
    return result


def test_it_is_the_group_norm_of_keras_with_the_same_weights() -> None:
    import keras

    from eenet_train.network.normalization import StagedGroupNormalization

    values = np.random.default_rng(0).normal(2, 3, (2, 6, 5, 4, 16)).astype(np.float32)
    theirs, ours = keras.layers.GroupNormalization(groups=8, epsilon=1e-3), StagedGroupNormalization()
    theirs.build(values.shape)
    ours.build(values.shape)
    assert [weight.name for weight in ours.weights] == [weight.name for weight in theirs.weights]
    weights = [np.linspace(0.5, 2, 16, dtype=np.float32), np.linspace(-1, 1, 16, dtype=np.float32)]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    assert np.abs(np.asarray(ours(values)) - np.asarray(theirs(values))).max() < 1e-5


@pytest.mark.slow
def test_it_is_right_at_full_size_where_keras_is_not() -> None:
    import keras

    from eenet_train.network.normalization import StagedGroupNormalization

    rng = np.random.default_rng(0)
    # Channels with offsets, as convolutions with a bias make them.
    offsets = rng.normal(0, 3, 16).astype(np.float32)
    values = rng.standard_normal((1, 192, 160, 144, 16), dtype=np.float32) + offsets
    expected = _reference(values)
    ours = float(np.abs(np.asarray(StagedGroupNormalization()(values)) - expected).max())
    theirs = float(np.abs(np.asarray(keras.layers.GroupNormalization(groups=8)(values)) - expected).max())
    assert ours < 1e-4
    # If this fails, Keras was mended and the layer in stages may go (docs/decisions/0003).
    assert theirs > 10 * ours


@pytest.mark.parametrize("shape", [(1, 4, 4, 4, 12), (1, 4, 4, 16)])
def test_shapes_that_cannot_be_grouped_are_refused(shape: tuple[int, ...]) -> None:
    from eenet_train.network.normalization import StagedGroupNormalization

    with pytest.raises(ValueError, match="found, expected"):
        StagedGroupNormalization().build(shape)


def test_its_gradient_is_that_of_keras() -> None:
    import keras
    import tensorflow as tf

    from eenet_train.network.normalization import StagedGroupNormalization

    rng = np.random.default_rng(0)
    values = tf.constant(rng.normal(1, 2, (1, 6, 5, 4, 16)), tf.float32)
    weighting = tf.constant(rng.normal(size=values.shape), tf.float32)

    def gradients(layer: keras.layers.Layer) -> list[NDArray[np.float32]]:
        layer.build(values.shape)
        layer.set_weights([np.linspace(0.5, 2, 16), np.linspace(-1, 1, 16)])
        with tf.GradientTape() as tape:
            tape.watch(values)
            total = tf.reduce_sum(layer(values) * weighting)
        return [np.asarray(part) for part in tape.gradient(total, [values, *layer.trainable_variables])]

    ours = gradients(StagedGroupNormalization())
    theirs = gradients(keras.layers.GroupNormalization(groups=8, epsilon=1e-3))
    for found, expected in zip(ours, theirs, strict=True):
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_half_precision_input_is_normalised_in_fp32() -> None:
    from eenet_train.network.normalization import StagedGroupNormalization

    # Squares of these deviations overflow FP16 (65504), and their sums all the more.
    values = np.random.default_rng(0).normal(0, 500, (1, 8, 8, 8, 16)).astype(np.float16)
    result = np.asarray(StagedGroupNormalization(dtype="mixed_float16")(values))
    assert result.dtype == np.float16
    # Half a unit in the last place of FP16 between 2 and 4 is 1e-3; no value of this draw lies beyond 4.
    assert np.abs(result - _reference(values.astype(np.float32))).max() < 1.1e-3


def test_statistics_in_float64_are_exact() -> None:
    from eenet_train.network.normalization import StagedGroupNormalization

    # A mean far above the spread takes the digits away from FP32 statistics.
    values = np.random.default_rng(0).normal(1000, 1, (1, 8, 8, 8, 16)).astype(np.float32)
    expected = _reference(values)
    oracle = np.abs(np.asarray(StagedGroupNormalization(statistics_dtype="float64")(values)) - expected).max()
    network = np.abs(np.asarray(StagedGroupNormalization()(values)) - expected).max()
    assert oracle < 1e-6 < network


def test_its_settings_survive_serialisation() -> None:
    import keras

    from eenet_train.network.normalization import StagedGroupNormalization

    layer = StagedGroupNormalization(groups=4, epsilon=1e-5, statistics_dtype="float64", name="norm")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert isinstance(again, StagedGroupNormalization)
    assert again.get_config() == layer.get_config()
    with pytest.raises(ValueError, match="expected 'float32' or 'float64'"):
        StagedGroupNormalization(statistics_dtype="float16")  # type: ignore[arg-type]
