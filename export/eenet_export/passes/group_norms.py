"""Group norms: fifteen nodes each after the conversion, one opset-21 GroupNormalization in the canonical graph.

Opset 21 has scale and offset per channel, as Keras has them; the operation of opset 18 has them per group. Engines know
the whole operation: TensorRT makes one kernel of it and the ReLU behind it, and carries its sums in FP32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import onnx_ir as ir

from eenet_export.passes.counted import (
    CountedPass,
    add_constant,
    constant,
    layer_of,
    producer,
    remove_unused,
    replace_value,
)

OPSET: Final = 21
_DOUBLE: Final = ir.DataType.DOUBLE.value
"""Precision of the statistics. ONNX Runtime spells the operation out with E[x^2] - E[x]^2, which in FP32 moved
probabilities of a trained network by 1.1e-3, and in double precision by 2e-6; OpenVINO and TensorRT have kernels of
their own and do not read it (docs/decisions/0014-canonical-graph.md)."""
_MEAN_OVER_VOLUME: Final = ("Reshape", "Expand", "ReduceMean", "Reshape", "ReduceMean", "ReduceMean", "ReduceMean")
"""`StagedGroupNormalization._group_mean` from its end to its beginning."""


@dataclass(frozen=True)
class _GroupNorm:
    source: ir.Value
    groups: int
    epsilon: float
    gamma: np.ndarray
    beta: np.ndarray


class GroupNorms(CountedPass):
    """(x - mean) * (gamma / sqrt(variance + epsilon)) + beta, with statistics in stages, becomes GroupNormalization."""

    what: ClassVar[str] = "group norms"

    def rewrite(self, graph: ir.Graph) -> int:
        """Rewrite every match, found from its last addition backwards."""
        found = 0
        for last in [node for node in graph if node.op_type == "Add"]:
            norm = _match(last)
            if norm is None:
                continue
            layer, old = layer_of(last), last.outputs[0]
            new = ir.node(
                "GroupNormalization",
                [
                    norm.source,
                    add_constant(graph, f"{layer}/gamma", norm.gamma),
                    add_constant(graph, f"{layer}/beta", norm.beta),
                ],
                {"num_groups": norm.groups, "epsilon": norm.epsilon, "stash_type": _DOUBLE},
                name=f"{layer}/GroupNormalization",
            )
            new.outputs[0].name = new.name
            new.outputs[0].type, new.outputs[0].shape = old.type, old.shape
            graph.insert_after(last, new)
            replace_value(graph, old, new.outputs[0])
            found += 1
        remove_unused(graph)
        graph.opset_imports[""] = OPSET
        return found


def _match(last: ir.Node) -> _GroupNorm | None:
    """The group norm that ends in this addition, if it is one in every part."""
    product, beta = producer(last.inputs[0], "Mul"), constant(last.inputs[1])
    if product is None or beta is None:
        return None
    deviations, scale = producer(product.inputs[0], "Sub"), producer(product.inputs[1], "Mul")
    if deviations is None or scale is None:
        return None
    inverse, gamma = producer(scale.inputs[0], "Reciprocal"), constant(scale.inputs[1])
    root = producer(inverse.inputs[0], "Sqrt") if inverse else None
    variance = producer(root.inputs[0], "Add") if root else None
    epsilon = constant(variance.inputs[1]) if variance else None
    if variance is None or gamma is None or epsilon is None or epsilon.size != 1:
        return None
    source = deviations.inputs[0]
    squares = _origin_of_mean(variance.inputs[0])
    squared = producer(squares[0], "Mul") if squares else None
    means = _origin_of_mean(deviations.inputs[1])
    if squares is None or means is None or squared is None or source is None:
        return None
    if list(squared.inputs) != [deviations.outputs[0]] * 2 or means[0] is not source or means[1] != squares[1]:
        return None
    # A vector along another axis of the same size would broadcast, too.
    along = [gamma.shape, beta.shape, *(_shape(value) for value in (deviations.inputs[1], variance.inputs[0]))]
    if any(shape != _per_channel(source) for shape in along):
        return None
    return _GroupNorm(source, means[1], float(epsilon.ravel()[0]), gamma.ravel(), beta.ravel())


def _origin_of_mean(mean: ir.Value | None) -> tuple[ir.Value, int] | None:
    """What a mean over the volume and the channels of a group was taken of, and the number of groups."""
    nodes = []
    value = mean
    for op_type in _MEAN_OVER_VOLUME:
        node = producer(value, op_type)
        if node is None:
            return None
        nodes.append(node)
        value = node.inputs[0]
    grouped = constant(nodes[3].inputs[1])
    within_group = constant(nodes[2].inputs[1])
    over = [constant(node.inputs[1]) for node in nodes[4:]]
    axes = [tuple(axis.ravel()) for axis in over if axis is not None]
    if value is None or grouped is None or within_group is None or len(grouped) != 3:
        return None
    if sorted(axes) != [(2,), (3,), (4,)] or tuple(within_group.ravel()) not in ((-1,), (2,)) or grouped[0] != 1:
        return None
    return value, int(grouped[1])


def _per_channel(source: ir.Value) -> tuple[int, ...] | None:
    """The shape of one number for each channel of a volume, channels first."""
    shape = _shape(source)
    return None if shape is None else (1, shape[1], *(1,) * (len(shape) - 2))


def _shape(value: ir.Value | None) -> tuple[int, ...] | None:
    return None if value is None or value.shape is None else tuple(value.shape.numpy())
