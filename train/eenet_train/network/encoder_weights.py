"""Where the weights of the 2D encoder come from: ImageNet (downloaded by Keras), a file, or nowhere.

`keras.applications` builds EfficientNet-B0 with `weights="imagenet"` differently from every other case: the published
normalisation layer holds standard deviations where it should hold variances, and Keras mends that with one more
rescaling layer. Here the architecture never changes, it is the one without that layer (as in the authors' code); the
true variances go into the normalisation layer instead, and the network computes what Keras' own computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import TrainingError

IMAGENET_STD: Final = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's channels after division by 255; the published weights call it the variance."""
_ALTERNATIVES: Final = "give a file of EfficientNet-B0 weights without its top, or train with encoder weights 'none'"


@dataclass(frozen=True)
class EncoderWeights:
    """A source of encoder weights.

    Attributes:
        source: "none" (random), "imagenet" or "file".
        path: the file, for the source "file" only.
    """

    source: Literal["none", "imagenet", "file"]
    path: Path | None = None

    def __post_init__(self) -> None:
        if (self.source == "file") != (self.path is not None):
            raise ValueError(f"encoder weights: source {self.source!r} with path {self.path}")

    @classmethod
    def parse(cls, text: str) -> EncoderWeights:
        """ "none", "imagenet", or else the path of a file."""
        if text == "none":
            return NO_WEIGHTS
        if text == "imagenet":
            return IMAGENET_WEIGHTS
        return cls("file", Path(text))

    def __str__(self) -> str:
        return self.source if self.path is None else str(self.path)


NO_WEIGHTS: Final = EncoderWeights("none")
IMAGENET_WEIGHTS: Final = EncoderWeights("imagenet")


def efficientnet(image_shape: tuple[int, int, int]) -> keras.Model:
    """EfficientNet-B0 without its top and with random weights, for images of (H, W, 3)."""
    return keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=image_shape)


def load_encoder_weights(model: keras.Model, weights: EncoderWeights) -> None:
    """Put encoder weights into a network from `build_eenet`; its other layers stay as they are.

    Without a source the encoder keeps its random weights, and its normalisation undoes the division by 255 before it:
    there are no image statistics to honour, and features of the 3D encoder shrunk to 1/255 would drown in the epsilon
    of the batch norms.

    Raises:
        TrainingError: a download that fails, or a file that is missing, unreadable or of another network.
    """
    if weights.source == "none":
        _set_normalization(model, np.zeros(3), np.full(3, 1.0 / 255.0**2))
        return
    donor = _imagenet_encoder() if weights.path is None else _encoder_from_file(weights.path)
    for layer in donor.layers:
        if isinstance(layer, keras.layers.Normalization):
            mean, variance, _ = layer.get_weights()
            published = np.allclose(variance, IMAGENET_STD, rtol=1e-3)
            _set_normalization(model, mean, np.square(variance) if published else variance)
        elif layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())


def _set_normalization(model: keras.Model, mean: NDArray[Any], variance: NDArray[Any]) -> None:
    layer = model.get_layer("normalization")
    layer.set_weights([mean, variance, np.zeros((), dtype=np.int32)])
    # The layer computes with copies of its weights, which set_weights does not renew.
    layer.finalize_state()


def _imagenet_encoder() -> keras.Model:
    try:
        return keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
    except Exception as error:  # Keras raises a bare Exception when a download fails.
        raise TrainingError(f"encoder weights 'imagenet': {_one_line(error)}; {_ALTERNATIVES}") from error


def _encoder_from_file(path: Path) -> keras.Model:
    """Read .weights.h5 and .h5 (weights or a whole model, as Keras 2 wrote them) or .keras (a whole model)."""
    if not path.is_file():
        raise TrainingError(f"{path}: no such file; {_ALTERNATIVES}")
    encoder = efficientnet((32, 32, 3))
    try:
        if path.suffix == ".keras":
            _copy_in_order(keras.saving.load_model(path, compile=False), encoder)
        else:
            encoder.load_weights(path)
    except Exception as error:  # h5py, zipfile and Keras raise many kinds, none of them for this purpose.
        raise TrainingError(
            f"{path}: not the weights of EfficientNet-B0 without its top ({_one_line(error)}); {_ALTERNATIVES}"
        ) from error
    return encoder


def _copy_in_order(source: keras.Model, target: keras.Model) -> None:
    """Copy between two networks whose layers with weights are the same ones in the same order."""
    donors = [layer for layer in source.layers if layer.weights]
    receivers = [layer for layer in target.layers if layer.weights]
    if len(donors) != len(receivers):
        raise ValueError(f"{len(donors)} layers with weights found, expected {len(receivers)}")
    for donor, receiver in zip(donors, receivers, strict=True):
        receiver.set_weights(donor.get_weights())


def _one_line(error: Exception) -> str:
    """First line of an error's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
