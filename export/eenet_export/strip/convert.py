"""TorchScript to ONNX: weights in half precision, log-odds instead of two probabilities, any size."""

from __future__ import annotations

import io
import warnings
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from eenet_runtime.errors import ExportError

OPSET: Final = 17
INPUT: Final = "volume"
OUTPUT: Final = "log_odds"
_AXES: Final = {2: "x", 3: "y", 4: "z"}


def convert(torch: Any, network: Any) -> bytes:
    """An ONNX graph, float32 (1, 1, X, Y, Z) to the log-odds of brain, same shape; same network, same bytes.

    Args:
        torch: the module.
        network: one of deepbet's, which gives a softmax of two channels, the second of them brain.

    Raises:
        ExportError: the network has another end than that, or weights that half precision cannot hold.
    """
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter takes no TorchScript; this one warns that it is the older.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, 64, 64, 64),),
            stream,
            opset_version=OPSET,
            dynamo=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: _AXES, OUTPUT: _AXES},
        )
    model = onnx.load_from_string(stream.getvalue())
    _log_odds(model.graph)
    _half_weights(model.graph)
    # Places in somebody's file system and the like.
    for node in model.graph.node:
        node.doc_string = ""
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _log_odds(graph: Any) -> None:
    """The second of a softmax over two channels is the sigmoid of their difference, which one channel computes.

    The sigmoid is left to who reads it: where engines learn the size at run time only, theirs takes a fifth of all.
    """
    makers = {name: node for node in graph.node for name in node.output}
    last = makers[OUTPUT]
    before = makers.get(last.input[0])
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    if last.op_type != "Softmax" or before is None or before.op_type != "ConvTranspose" or len(before.input) != 3:
        raise ExportError(f"{last.op_type} found at the end of the network, expected a softmax behind a convolution")
    kernel, bias = (numpy_helper.to_array(tensors[name]) for name in before.input[1:])
    if kernel.shape[1] != 2 or bias.shape != (2,):
        raise ExportError(f"{kernel.shape[1]} channels found at the end of the network, expected 2")
    tensors[before.input[1]].CopyFrom(
        numpy_helper.from_array(np.ascontiguousarray(kernel[:, 1:] - kernel[:, :1]), before.input[1])
    )
    tensors[before.input[2]].CopyFrom(numpy_helper.from_array(bias[1:] - bias[:1], before.input[2]))
    graph.node.remove(last)
    before.output[0] = OUTPUT
    shape = [1, 1, *_AXES.values()]
    graph.output[0].CopyFrom(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))
    graph.input[0].CopyFrom(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape))


def _half_weights(graph: Any) -> None:
    """Store the kernels of convolutions in half precision, and cast them where they are read: engines fold that."""
    casts = []
    kernels = {node.input[1] for node in graph.node if node.op_type in ("Conv", "ConvTranspose")}
    for tensor in graph.initializer:
        if tensor.name not in kernels:
            continue
        values = numpy_helper.to_array(tensor)
        if not np.abs(values).max() < np.finfo(np.float16).max:
            raise ExportError(f"{tensor.name}: weights beyond half precision found")
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
        casts.append(helper.make_node("Cast", [f"{name}/half"], [name], name=f"{name}/cast", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
