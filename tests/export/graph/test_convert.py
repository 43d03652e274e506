"""Keras -> ONNX on a toy network with the layers that need care; test_graphs.py has the real one."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from eenet_export.graph.convert import convert_to_onnx
from eenet_runtime.errors import ExportError
from eenet_train.network.normalization import StagedGroupNormalization
from eenet_train.network.weights import named_weights

pytestmark = pytest.mark.tf

VOLUME = np.random.default_rng(1).normal(size=(1, 8, 8, 3, 4)).astype(np.float32)


def toy_network(name: str = "toy") -> Any:
    """The layers that need care in a conversion, without the size."""
    volume = keras.Input((8, 8, 3, 4), name="Model_Input")
    x = keras.layers.Conv3D(8, 3, padding="same", name="Conv3D_1_L1")(volume)
    x = StagedGroupNormalization(name="GroupNorm_1_L1")(x)
    x = keras.layers.Conv3D(1, 1, activation="relu", name="Enc_DownSample_128")(x)
    x = keras.layers.Reshape((8, 8, 3), name="Slices_To_Channels")(x)
    x = keras.layers.Normalization(name="normalization")(x)
    x = keras.layers.Conv2DTranspose(4, 3, padding="same", use_bias=False, name="Dec2D_Up_4")(x)
    x = keras.layers.BatchNormalization(name="Dec2D_BatchNorm_4")(x)
    x = keras.layers.SpatialDropout2D(0.5, name="Dec2D_Dropout_4")(x)
    x = keras.layers.Softmax(name="Model_Outputs")(x)
    model = keras.Model(volume, x, name=name)
    generator = np.random.default_rng(0)
    for weight_name, variable in named_weights(model).items():
        if weight_name != "normalization/count":
            variable.assign(generator.uniform(0.1, 0.5, variable.shape))
    model.get_layer("normalization").finalize_state()
    return model


def test_the_same_network_gives_the_same_bytes() -> None:
    first, second = (convert_to_onnx(toy_network()).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_the_converted_graph_computes_what_keras_computes_from_the_weights_it_is_given() -> None:
    model = toy_network()
    graph = convert_to_onnx(model)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    values = {name: keras.ops.convert_to_numpy(variable) for name, variable in named_weights(model).items()}
    wanted = {value.name for value in session.get_inputs()} - {"volume"}
    (found,) = session.run(["probabilities"], {"volume": VOLUME, **{name: values[name] for name in wanted}})
    expected = np.asarray(model(VOLUME, training=False))
    assert expected.std(axis=(0, 1, 2)).min() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_a_conversion_leaves_the_model_as_it_was() -> None:
    model = toy_network()
    before = np.asarray(model(VOLUME, training=False))
    convert_to_onnx(model)
    np.testing.assert_array_equal(np.asarray(model(VOLUME, training=False)), before)


def test_a_network_that_computes_in_half_precision_is_refused() -> None:
    volume = keras.Input((4,))
    model = keras.Model(volume, keras.layers.Dense(2, dtype="mixed_float16", name="half")(volume), name="mixed")
    with pytest.raises(ExportError, match="model mixed: layer half computes in float16"):
        convert_to_onnx(model)


def test_an_operation_without_an_onnx_form_is_refused_by_name() -> None:
    volume = keras.Input((4,))
    outputs = keras.layers.Lambda(tf.math.lgamma, output_shape=(4,), name="gamma")(volume)
    with pytest.raises(ExportError, match="model odd: tf2onnx cannot convert Lgamma"):
        convert_to_onnx(keras.Model(volume, outputs, name="odd"))
