"""Keras model -> ONNX graph, through tf2onnx: the one place that knows about that converter.

The model is traced with every weight as an input of the function. So tf2onnx cannot fold, merge or rename weights, and
each of them is an input of the ONNX graph under its name in the weights file. What `eenet_export.graph.canonicalise`
makes of the graph keeps these names.
"""

from __future__ import annotations

from typing import Any, Final

import keras
import onnx

from eenet_export.graph.canonical import canonical_graph
from eenet_runtime.errors import ExportError
from eenet_train.network.weights import named_weights

OPSET: Final = 18
"""The newest that tf2onnx 1.17 writes."""
INPUT_NAME: Final = "volume"
OUTPUT_NAME: Final = "probabilities"


def convert_to_onnx(model: keras.Model) -> onnx.ModelProto:
    """Convert a network of one input and one output for batches of one volume.

    Returns:
        A graph from `volume` (1, H, W, D, C) to `probabilities` (1, H, W, D, classes), both float32 with static
        shapes. Its further inputs are the weights, in Keras' layout, under the names of `named_weights`; weights that
        inference does not use are left out. Nodes are named after layers.

    Raises:
        ExportError: layers that do not compute in float32, or an operation that tf2onnx does not know.
    """
    for layer in model.layers:
        if layer.compute_dtype != "float32":
            raise ExportError(
                f"model {model.name}: layer {layer.name} computes in {layer.compute_dtype}; "
                "build the network with the float32 policy and give it these weights"
            )
    names = {f"weight_{index}": name for index, name in enumerate(named_weights(model))}
    proto = _convert_function(model, list(names))
    unknown = sorted({node.op_type for node in proto.graph.node if not onnx.defs.has(node.op_type)})
    if unknown:
        raise ExportError(f"model {model.name}: tf2onnx cannot convert {', '.join(unknown)}")
    return canonical_graph(
        proto,
        name=model.name,
        input_names={INPUT_NAME: INPUT_NAME, **names},
        output_name=OUTPUT_NAME,
        layers=frozenset(layer.name for layer in model.layers),
    )


def _convert_function(model: keras.Model, weight_names: list[str]) -> onnx.ModelProto:
    """Trace and convert inference with the weights as arguments, called `weight_names`, in the order of the layers."""
    import tensorflow as tf
    import tf2onnx

    variables = list(named_weights(model).values())
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)]

    def infer(volume: Any, *weights: Any) -> Any:
        with keras.StatelessScope(state_mapping=zip(variables, weights, strict=True)):
            for layer in normalizations:
                # It computes with copies of its weights; here the copies must depend on the arguments.
                layer.finalize_state()
            return model(volume, training=False)

    signature = [tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32, name=INPUT_NAME)]
    signature += [
        tf.TensorSpec(variable.shape, variable.dtype, name=name)
        for variable, name in zip(variables, weight_names, strict=True)
    ]
    try:
        proto, _ = tf2onnx.convert.from_function(tf.function(infer, autograph=False), signature, opset=OPSET)
    finally:
        for layer in normalizations:
            layer.finalize_state()
    return proto
