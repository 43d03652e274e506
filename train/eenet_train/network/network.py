"""EENet in Keras 3: a 3D encoder down to three slices, EfficientNet-B0 over them, and back up to the full volume.

H. Messaoudi et al., "Efficient embedding network for 3D brain tumor segmentation", BrainLes 2020, LNCS 12659,
doi 10.1007/978-3-030-72084-1_23. Layers that the authors' code names keep those names, so that its checkpoints can be
loaded by name. All tensors are channels last: (B, H, W, D, C) in 3D, (B, H, W, C) in 2D.
"""

from __future__ import annotations

import re
from typing import Any, Final

import keras
from keras import layers, ops

from eenet_runtime.volumes.labels import CHANNEL_ORDER, NUM_CLASSES
from eenet_runtime.volumes.presets import ENCODED_SLICES, GeometryPreset
from eenet_train.network.encoder_weights import NO_WEIGHTS, EncoderWeights, efficientnet, load_encoder_weights
from eenet_train.network.normalization import StagedGroupNormalization, StatisticsDtype

SKIPS: Final = (
    "block6a_expand_activation",
    "block4a_expand_activation",
    "block3a_expand_activation",
    "block2a_expand_activation",
)
"""EfficientNet's layers that the 2D decoder is joined to, deepest first."""
BOTTOM: Final = "top_activation"
DECODER_FILTERS: Final = (512, 256, 128, 64)


@keras.saving.register_keras_serializable(package="eenet")
class DepthUpsampling(layers.Layer):
    """Repeat each slice `factor` times along depth (nearest neighbour): (B, H, W, D, C) -> (B, H, W, D * factor, C).

    The same values as `keras.layers.UpSampling3D((1, 1, factor))`, which gathers along each of the three axes in turn.
    """

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs: Any) -> Any:
        """Repeat the slices."""
        _, height, width, depth, channels = inputs.shape
        slices = ops.reshape(inputs, (-1, depth, 1, channels))
        repeated = ops.tile(slices, (1, 1, self.factor, 1))
        return ops.reshape(repeated, (-1, height, width, depth * self.factor, channels))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(B, H, W, D, C) -> (B, H, W, D * factor, C)."""
        batch, height, width, depth, channels = input_shape
        return (batch, height, width, None if depth is None else depth * self.factor, channels)

    def get_config(self) -> dict[str, Any]:
        """What the constructor needs to make the same layer again."""
        return {**super().get_config(), "factor": self.factor}


def _conv_block(x: Any, filters: int, name: str, statistics: StatisticsDtype) -> Any:
    """Pre-activation residual block with a 1x1x1 shortcut (docs/network.md, `Conv_block`)."""
    shortcut = layers.Conv3D(filters, 1, name=f"Res_{name}")(x)
    for step in (1, 2):
        x = StagedGroupNormalization(statistics_dtype=statistics, name=f"GroupNorm_{step}_{name}")(x)
        x = layers.Activation("relu", name=f"Relu_{step}_{name}")(x)
        x = layers.Conv3D(filters, 3, padding="same", name=f"Conv3D_{step}_{name}")(x)
    return layers.Add(name=f"Out_{name}")([x, shortcut])


def _encode_depth(volume: Any, strides: tuple[int, int, int], statistics: StatisticsDtype) -> tuple[Any, list[Any]]:
    """3D encoder: (B, H, W, D, 4) -> (B, H, W, 3), and the three skips x1, x2, x3 at D, D/s1, D/s1/s2."""
    x = layers.Conv3D(16, 3, padding="same", name="Input_L1")(volume)
    x = layers.SpatialDropout3D(0.2, name="Dropout_L1")(x)
    skips = []
    for level, (filters, next_filters, stride) in enumerate(zip((16, 32, 64), (32, 64, 64), strides, strict=True), 1):
        x = _conv_block(x, filters, f"L{level}", statistics)
        skips.append(x)
        x = layers.Conv3D(next_filters, 3, strides=(1, 1, stride), padding="same", name=f"Post_L{level}")(x)
    x = _conv_block(x, 64, "L4", statistics)
    x = layers.Conv3D(1, 1, activation="relu", name="Enc_DownSample_128")(x)
    return layers.Reshape(x.shape[1:4], name="Slices_To_Channels")(x), skips


def _inline_efficientnet(image: Any) -> dict[str, Any]:
    """Run EfficientNet-B0 on a symbolic (B, H, W, 3) tensor inside the caller's graph.

    Each layer is made anew under its own name: `keras.applications` leaves `rescaling` and `normalization` to Keras'
    counter, and a second network in one process would then have other names than the first.

    Returns:
        The output of every layer, by layer name.
    """
    template = efficientnet(image.shape[1:])
    tensors = {id(template.input): image}
    by_name = {}
    for layer in template.layers[1:]:
        config = layer.get_config()
        config["name"] = {layers.Rescaling: "rescaling", layers.Normalization: "normalization"}.get(
            type(layer), layer.name
        )
        source = layer.input
        inputs = [tensors[id(s)] for s in source] if isinstance(source, list) else tensors[id(source)]
        by_name[config["name"]] = tensors[id(layer.output)] = type(layer).from_config(config)(inputs)
    return by_name


def _decode_plane(features: dict[str, Any]) -> Any:
    """2D decoder: five doublings from EfficientNet's bottom back to (B, H, W, 3)."""

    def double(x: Any, filters: int, name: str, use_bias: bool) -> Any:
        initializer = keras.initializers.RandomNormal(0.0, 0.02)
        return layers.Conv2DTranspose(
            filters, 3, strides=2, padding="same", use_bias=use_bias, kernel_initializer=initializer, name=name
        )(x)

    x = features[BOTTOM]
    for filters, skip in zip(DECODER_FILTERS, SKIPS, strict=True):
        x = double(x, filters, f"Dec2D_Up_{filters}", use_bias=False)
        x = layers.BatchNormalization(name=f"Dec2D_BatchNorm_{filters}")(x)
        x = layers.SpatialDropout2D(0.5, name=f"Dec2D_Dropout_{filters}")(x)
        x = layers.Activation("relu", name=f"Dec2D_Relu_{filters}")(x)
        x = layers.Concatenate(name=f"Dec2D_Skip_{filters}")([x, features[skip]])
    return double(x, ENCODED_SLICES, "Dec2D_Up_Slices", use_bias=True)


def _decode_depth(plane: Any, skips: list[Any], strides: tuple[int, int, int], statistics: StatisticsDtype) -> Any:
    """3D decoder: (B, H, W, 3) and the skips x1, x2, x3 -> (B, H, W, D, 16)."""
    x = layers.Reshape((*plane.shape[1:], 1), name="Channels_To_Slices")(plane)
    for level, (filters, skip, stride) in enumerate(
        zip((64, 32, 16), reversed(skips), reversed(strides), strict=True), 1
    ):
        x = layers.Conv3D(filters, 1, name=f"L{level}_Dec")(x)
        x = DepthUpsampling(stride, name=f"Up_L{level}_Dec")(x)
        x = layers.Add(name=f"Skip_L{level}_Dec")([x, skip])
        x = _conv_block(x, filters, f"Post_L{level}_Dec", statistics)
    return layers.Conv3D(16, 3, padding="same", name="L4_Dec")(x)


def build_eenet(
    preset: GeometryPreset,
    *,
    encoder_weights: EncoderWeights = NO_WEIGHTS,
    statistics_dtype: StatisticsDtype = "float32",
) -> keras.Model:
    """Build the network for one geometry.

    The weights do not depend on H and W: a network for crops is the same call with a `GeometryPreset` of the same
    strides and a smaller shape, and `copy_weights` carries the weights over.

    Args:
        preset: input shape and depth strides.
        encoder_weights: where EfficientNet's weights come from.
        statistics_dtype: precision of the group norm statistics; "float64" is the oracle.

    Returns:
        A model from (B, H, W, D, 4), channels in `CHANNEL_ORDER`, to (B, H, W, D, 4) float32 probabilities in the
        order of `Label`.

    Raises:
        TrainingError: encoder weights that cannot be downloaded, read or fitted.
    """
    volume = layers.Input((*preset.shape, len(CHANNEL_ORDER)), name="Model_Input")
    image, skips = _encode_depth(volume, preset.depth_strides, statistics_dtype)
    plane = _decode_plane(_inline_efficientnet(image))
    x = _decode_depth(plane, skips, preset.depth_strides, statistics_dtype)
    # Softmax stays in FP32 under a mixed policy: FP16 probabilities have three digits.
    outputs = layers.Conv3D(NUM_CLASSES, 1, activation="softmax", name="Model_Outputs", dtype="float32")(x)
    # TensorFlow takes a model's name into a graph, where not every character may stand.
    model = keras.Model(volume, outputs, name=re.sub(r"[^A-Za-z0-9]+", "_", preset.name))
    load_encoder_weights(model, encoder_weights)
    return model


def end_in_logits(model: keras.Model) -> None:
    """Take the softmax from a network's last layer, in place: to be trained it must end in logits.

    Layers and weights stay what they are, so weights go from and to a network with the softmax (`copy_weights`).

    Args:
        model: from `build_eenet`; it has not been called or compiled.

    Raises:
        ValueError: its last layer has no softmax.
    """
    last = model.layers[-1]
    if getattr(last, "activation", None) is not keras.activations.softmax:
        raise ValueError(f"{model.name}: the last layer {last.name} has no softmax to take away")
    last.activation = keras.activations.linear


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Give `target` the weights of `source`, layer by layer and by name.

    Raises:
        ValueError: the two networks do not have the same layers.
    """
    if [layer.name for layer in source.layers] != [layer.name for layer in target.layers]:
        raise ValueError(f"{source.name} and {target.name} do not have the same layers")
    for layer in target.layers:
        layer.set_weights(source.get_layer(layer.name).get_weights())
        if isinstance(layer, layers.Normalization):
            # It computes with copies of its weights, which set_weights does not renew.
            layer.finalize_state()


def as_oracle(model: keras.Model, preset: GeometryPreset) -> keras.Model:
    """The same network and weights with float64 group norm statistics: the reference of every parity figure.

    Args:
        model: a network from `build_eenet`.
        preset: the geometry for the oracle; its shape may differ from the model's, its strides may not.

    Returns:
        A new model; `model` is not changed.
    """
    oracle = build_eenet(preset, statistics_dtype="float64")
    copy_weights(model, oracle)
    return oracle
