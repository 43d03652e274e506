"""Encoder weights: the same function from every source, and one line where a source fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from eenet_runtime.errors import TrainingError
from eenet_runtime.volumes.presets import GeometryPreset

pytestmark = [pytest.mark.tf, pytest.mark.slow]

SMALL = GeometryPreset("small", (64, 64, 24), 1.0, (2, 2, 2))
PUBLISHED_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
PUBLISHED_STD = np.array([0.229, 0.224, 0.225], np.float32)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An encoder like the published one: random, but with standard deviations in the place of variances."""
    import keras

    from eenet_train.network.encoder_weights import efficientnet

    keras.utils.set_random_seed(7)
    encoder = efficientnet((64, 64, 3))
    rng = np.random.default_rng(7)
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
        elif isinstance(layer, keras.layers.Normalization):
            layer.set_weights([PUBLISHED_MEAN, PUBLISHED_STD, np.zeros((), np.int32)])
            layer.finalize_state()
    return encoder


@pytest.fixture
def network() -> Any:
    from eenet_train.network.network import build_eenet

    return build_eenet(SMALL)


def _encoder_of(network: Any) -> Any:
    """The EfficientNet inside the network, as a model of its own: (1, 64, 64, 3) -> its last features."""
    import keras

    return keras.Model(network.get_layer("Slices_To_Channels").output, network.get_layer("top_activation").output)


@pytest.mark.parametrize("name", ["encoder.weights.h5", "encoder.h5", "encoder.keras"])
def test_a_file_of_any_kind_fills_the_encoder(name: str, published: Any, network: Any, tmp_path: Path) -> None:
    from eenet_train.network.encoder_weights import EncoderWeights, load_encoder_weights

    path = tmp_path / name
    if name.endswith(".weights.h5"):
        published.save_weights(path)
    else:
        published.save(path)
    load_encoder_weights(network, EncoderWeights.parse(str(path)))

    ours = {weight.path.removeprefix("small/"): weight for weight in network.weights}
    for layer in published.layers:
        if "normalization" in layer.name:
            continue
        for theirs in layer.weights:
            assert np.array_equal(ours[theirs.path], theirs), theirs.path
    normalization = network.get_layer("normalization")
    assert np.allclose(normalization.variance, PUBLISHED_STD**2), "the layer must compute with the new values at once"


def test_a_weights_file_of_keras_2_fills_the_encoder(published: Any, network: Any, tmp_path: Path) -> None:
    from eenet_train.network.encoder_weights import EncoderWeights, load_encoder_weights

    path = tmp_path / "efficientnetb0_notop.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in published.layers]
        for layer in published.layers:
            group = file.create_group(layer.name)
            kernel = "depthwise_kernel" if layer.name.endswith("dwconv") else "kernel"
            names = [f"{layer.name}/{weight.name.replace('kernel', kernel)}:0" for weight in layer.weights]
            group.attrs["weight_names"] = np.array([name.encode() for name in names], "S")
            for name, values in zip(names, layer.get_weights(), strict=True):
                group.create_dataset(name, data=values)
    load_encoder_weights(network, EncoderWeights.parse(str(path)))
    for name in ("stem_conv", "block4c_dwconv", "block6a_se_reduce", "top_bn"):
        for ours, theirs in zip(network.get_layer(name).weights, published.get_layer(name).weights, strict=True):
            assert np.array_equal(ours, theirs), theirs.path
    assert np.allclose(network.get_layer("normalization").variance, PUBLISHED_STD**2)


@pytest.mark.parametrize("name", ["with-top.h5", "with-top.keras"])
def test_an_encoder_with_its_top_is_refused(name: str, network: Any, tmp_path: Path) -> None:
    import keras

    from eenet_train.network.encoder_weights import EncoderWeights, load_encoder_weights

    path = tmp_path / name
    keras.applications.EfficientNetB0(weights=None, input_shape=(32, 32, 3), classes=2).save(path)
    before = network.get_layer("stem_conv").get_weights()[0]
    with pytest.raises(TrainingError, match=f"{name}: not the weights of EfficientNet-B0 without its top"):
        load_encoder_weights(network, EncoderWeights.parse(str(path)))
    assert np.array_equal(network.get_layer("stem_conv").get_weights()[0], before)


def test_imagenet_weights_compute_what_keras_own_network_computes(
    published: Any, network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    from keras.src.utils import file_utils

    from eenet_train.network.encoder_weights import IMAGENET_WEIGHTS, load_encoder_weights

    path = tmp_path / "published.weights.h5"
    published.save_weights(path)
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
    load_encoder_weights(network, IMAGENET_WEIGHTS)

    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    theirs = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(64, 64, 3))
    expected = np.asarray(theirs(image, training=False))
    assert expected.std() > 1e-3
    assert np.allclose(_encoder_of(network)(image, training=False), expected, rtol=1e-4, atol=1e-4 * expected.std())


def test_a_download_that_fails_names_the_alternatives_in_one_line(
    network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras.src.utils import file_utils

    from eenet_train.network.encoder_weights import IMAGENET_WEIGHTS, load_encoder_weights

    def unreachable(*_: object, **__: object) -> str:
        raise Exception("URL fetch failure on https://example.org/weights.h5: None\n-- no route to host")

    monkeypatch.setattr(file_utils, "get_file", unreachable)
    with pytest.raises(TrainingError, match=r"'imagenet': URL fetch failure .* give a file .* 'none'") as refusal:
        load_encoder_weights(network, IMAGENET_WEIGHTS)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["text.weights.h5", "text.h5", "text.keras", "missing.h5"])
def test_a_file_that_is_no_weights_file_is_refused(name: str, network: Any, tmp_path: Path) -> None:
    from eenet_train.network.encoder_weights import EncoderWeights, load_encoder_weights

    path = tmp_path / name
    if not name.startswith("missing"):
        path.write_text("not weights")
    with pytest.raises(TrainingError, match=name) as refusal:
        load_encoder_weights(network, EncoderWeights.parse(str(path)))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["other.weights.h5", "other.h5", "other.keras"])
def test_the_weights_of_another_network_are_refused_and_change_nothing(name: str, network: Any, tmp_path: Path) -> None:
    import keras

    from eenet_train.network.encoder_weights import EncoderWeights, load_encoder_weights

    inputs = keras.Input((64, 64, 3))
    other = keras.Model(inputs, keras.layers.Conv2D(32, 3, name="stem_conv")(inputs))
    path = tmp_path / name
    if name.endswith(".weights.h5"):
        other.save_weights(path)
    else:
        other.save(path)
    before = network.get_layer("stem_conv").get_weights()[0]
    with pytest.raises(TrainingError, match=f"{name}: not the weights of EfficientNet-B0"):
        load_encoder_weights(network, EncoderWeights.parse(str(path)))
    assert np.array_equal(network.get_layer("stem_conv").get_weights()[0], before)


def test_an_untrained_encoder_sees_its_features_at_their_own_scale(network: Any) -> None:
    import keras

    image = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    normalized = keras.Model(network.get_layer("Slices_To_Channels").output, network.get_layer("normalization").output)
    assert np.allclose(normalized(image), image, rtol=1e-4)


def test_a_source_is_named_as_it_is_typed() -> None:
    from eenet_train.network.encoder_weights import EncoderWeights

    assert [str(EncoderWeights.parse(text)) for text in ("none", "imagenet", "b0.h5")] == ["none", "imagenet", "b0.h5"]
    with pytest.raises(ValueError, match="source 'file' with path None"):
        EncoderWeights("file")
