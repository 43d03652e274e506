"""Group norms that stay right on a volume of millions of voxels, for OpenVINO.

OpenVINO's own kernel sums a whole group in FP32: at 192 x 160 x 144 it moved probabilities by 1.4e-2 on a head, most
of which is the same background. Here the mean and the sum of squares are taken over depth, then width, then the rest,
so that no accumulator takes more than a few thousand numbers, and what is left is arithmetic by channel, which OpenVINO
fuses with what follows: 2e-5 instead (docs/decisions/0019-cpu-engines.md).

No volume is reshaped: convolutions leave their result channels last in memory, and a reshape would have OpenVINO copy
it to channels first and back, a third of the whole inference on a processor with AVX-512.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# The axis of (1, C, H, W, D) that is reduced first.
_DEPTH = np.array([4])


def spell_out_group_norms(openvino: Any, model: Any) -> int:
    """Replace every GroupNormalization of a model, in place.

    Args:
        openvino: the module.
        model: an `openvino.Model` with fixed shapes, tensors (1, C, H, W, D).

    Returns:
        How many there were.
    """
    norms = [node for node in model.get_ordered_ops() if node.get_type_name() == "GroupNormalization"]
    for node in norms:
        attributes = node.get_attributes()
        source, gamma, beta = (node.input_value(index) for index in range(3))
        result = _group_norm(
            openvino.opset13, source, gamma, beta, int(attributes["num_groups"]), float(attributes["epsilon"])
        )
        result.set_friendly_name(node.get_friendly_name())
        node.output(0).replace(result.output(0))
    return len(norms)


def _group_norm(ops: Any, source: Any, gamma: Any, beta: Any, groups: int, epsilon: float) -> Any:
    """(x - mean) * (gamma / sqrt(variance + epsilon)) + beta, with variance = E[x^2] - mean^2.

    The difference of squares is right to 1e-7 * (1 + mean^2 / variance) of the variance, because both sums are: far
    below what a network notices for any mean that its convolutions make.
    """
    _, channels, _, _, depth = source.get_shape()
    kind = source.get_element_type()
    # In an FP16 graph the statistics are still FP32.
    values, scale, shift = (ops.convert(item, "f32") for item in (source, gamma, beta))

    def per_channel(value: Any) -> Any:
        spread = ops.broadcast(value, np.array([1, groups, channels // groups]))
        return ops.reshape(spread, np.array([1, channels, 1, 1, 1]), special_zero=False)

    mean = _mean_of_planes(ops, ops.reduce_mean(values, _DEPTH, keep_dims=True), groups)
    lengths = ops.reduce_l2(values, _DEPTH, keep_dims=True)
    squares = _mean_of_planes(ops, ops.multiply(lengths, lengths), groups)
    variance = ops.subtract(ops.multiply(squares, np.float32(1 / depth)), ops.multiply(mean, mean))
    # Sums of a constant group may differ in their last digit, the wrong way round too.
    root = ops.sqrt(ops.add(ops.maximum(variance, np.float32(0)), np.float32(epsilon)))
    as_column = np.array([1, channels, 1, 1, 1])
    factor = ops.divide(ops.reshape(scale, as_column, special_zero=False), per_channel(root))
    # Subtracted first: the product of a large value and a large factor would lose the digits that matter.
    deviations = ops.subtract(values, per_channel(mean))
    scaled = ops.multiply(deviations, factor)
    result = ops.add(scaled, ops.reshape(shift, as_column, special_zero=False))
    return ops.convert(result, kind.get_type_name())


def _mean_of_planes(ops: Any, values: Any, groups: int) -> Any:
    """Mean of (1, C, H, W, 1) over width, then height and the channels of a group: -> (1, groups, 1)."""
    _, channels, height, _, _ = values.get_output_shape(0)
    rows = ops.reduce_mean(values, np.array([3]), keep_dims=True)
    columns = ops.reshape(rows, np.array([1, groups, channels // groups * height]), special_zero=False)
    return ops.reduce_mean(columns, np.array([2]), keep_dims=True)
