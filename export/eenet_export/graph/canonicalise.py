"""From the graph that tf2onnx writes to the canonical one, which every engine likes: the passes in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from eenet_export.passes.channels_first import ChannelsFirst
from eenet_export.passes.convolutions import BatchNorms, Biases, WeightNames
from eenet_export.passes.counted import required
from eenet_export.passes.fold_constants import FoldConstants
from eenet_export.passes.global_pooling import GlobalPooling
from eenet_export.passes.group_norms import GroupNorms
from eenet_export.passes.outputs import Outputs
from eenet_export.passes.upsampling import Upsampling
from eenet_runtime.errors import ExportError

_AXES = ("DATA_BATCH", "DATA_CHANNEL", "HEIGHT", "WIDTH", "DEPTH")


@dataclass(frozen=True)
class NetworkCounts:
    """How often each pattern is in a network; the passes must find exactly these.

    Attributes:
        group_norms, batch_norms, upsamplings, global_poolings: layers of these kinds.
        convolutions: convolutions of any kind, transposed and depthwise ones too.
        biased: convolutions with a bias of their own.
    """

    group_norms: int
    batch_norms: int
    upsamplings: int
    global_poolings: int
    convolutions: int
    biased: int

    @classmethod
    def of_model(cls, model: keras.Model) -> NetworkCounts:
        """Count the layers of a Keras network."""
        from eenet_train.network.network import DepthUpsampling
        from eenet_train.network.normalization import StagedGroupNormalization

        kinds = keras.layers
        convolutions = [
            layer
            for layer in model.layers
            if isinstance(layer, kinds.Conv2D | kinds.Conv3D | kinds.Conv2DTranspose | kinds.DepthwiseConv2D)
        ]
        return cls(
            group_norms=sum(isinstance(layer, StagedGroupNormalization) for layer in model.layers),
            batch_norms=sum(isinstance(layer, kinds.BatchNormalization) for layer in model.layers),
            upsamplings=sum(isinstance(layer, DepthUpsampling) for layer in model.layers),
            global_poolings=sum(isinstance(layer, kinds.GlobalAveragePooling2D) for layer in model.layers),
            convolutions=len(convolutions),
            biased=sum(bool(layer.use_bias) for layer in convolutions),
        )


@dataclass(frozen=True)
class CanonicalGraph:
    """The canonical graph and what was folded into it.

    Attributes:
        model: from `volume` (1, 4, H, W, D) to `labels` (1, H, W, D) and `probabilities` (1, classes, H, W, D), with
            its weights inside.
        factors: what each kernel was multiplied with, one number for each output channel, by layer.
    """

    model: ir.Model
    factors: Mapping[str, NDArray[np.float32]]


def canonicalise(
    converted: onnx.ModelProto, weights: Mapping[str, NDArray[np.generic]], counts: NetworkCounts
) -> CanonicalGraph:
    """Make the canonical graph.

    Channels first from input to output, one GroupNormalization for each group norm, batch norms in the convolutions
    before them, constants folded, and the outputs `labels` (uint8) and `probabilities` (float32).

    Args:
        converted: a graph from `convert_to_onnx`; its inputs after the first are weights. It is not changed.
        weights: their values by name.
        counts: what the network has.

    Raises:
        ExportError: a pattern that was not found as often as the network has it.
    """
    model = ir.from_proto(onnx.shape_inference.infer_shapes(converted, strict_mode=True))
    _bind(model.graph, weights)
    batch_norms = BatchNorms(counts.batch_norms)
    passes = ir.passes.Sequential(
        FoldConstants(),
        Upsampling(counts.upsamplings),
        ChannelsFirst(),
        GlobalPooling(counts.global_poolings),
        GroupNorms(counts.group_norms),
        batch_norms,
        Biases(counts.biased + counts.batch_norms),
        WeightNames(counts.convolutions),
        Outputs(1),
    )
    try:
        passes(model)
    except ir.passes.PassError as error:
        cause = error.__cause__ if isinstance(error.__cause__, ExportError | ir.passes.InvariantError) else error
        raise ExportError(str(cause)) from error
    _describe(model)
    return CanonicalGraph(model, batch_norms.factors)


def _bind(graph: ir.Graph, weights: Mapping[str, NDArray[np.generic]]) -> None:
    """Turn the inputs that are weights into initialisers."""
    for value in list(graph.inputs[1:]):
        name = required(value.name, value, "a name")
        graph.inputs.remove(value)
        value.const_value = ir.tensor(weights[name], name=name)
        graph.register_initializer(value)


def _describe(model: ir.Model) -> None:
    """Name the axes of inputs and outputs; the sizes are fixed."""
    for value in (*model.graph.inputs, *model.graph.outputs):
        sizes = required(value.shape, value, "a shape").numpy()
        names = _AXES if len(sizes) == len(_AXES) else (_AXES[0], *_AXES[2:])
        value.shape = ir.Shape(sizes, denotations=names)
