"""Keras -> ONNX on a toy network with the layers that need care; test_convert_network.py has the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from eenet_export.convert import convert_to_onnx, write_model
from eenet_runtime.errors import ExportError, OutputError
from eenet_train.normalization import StagedGroupNormalization
from eenet_train.weights import WeightPrecision, named_weights, round_weights

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


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for attempt in ("first", "second"):
        (tmp_path / attempt).mkdir()
        files = write_model(toy_network(), tmp_path / attempt, WeightPrecision.FP16)
        contents.append((files.graph.read_bytes(), files.weights.read_bytes()))
    assert contents[0] == contents[1]


@pytest.mark.parametrize("precision", list(WeightPrecision))
def test_either_precision_agrees_with_the_rounded_model(tmp_path: Path, precision: WeightPrecision) -> None:
    model = toy_network()
    files = write_model(model, tmp_path, precision)
    assert files.rounding == round_weights(model, precision)
    expected = np.asarray(model(VOLUME, training=False))
    session = onnxruntime.InferenceSession(str(files.graph), providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"volume": VOLUME})
    assert expected.std(axis=(0, 1, 2)).min() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    casts = [node for node in onnx.load(files.graph, load_external_data=False).graph.node if node.op_type == "Cast"]
    assert bool(casts) == (precision is WeightPrecision.FP16)


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


def test_a_folder_that_is_not_there_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="absent"):
        write_model(toy_network(), tmp_path / "absent", WeightPrecision.FP32)
    assert list(tmp_path.iterdir()) == []
