"""Channels last to channels first: one walk over the graph, after which no layout change is left but the network's own.

ONNX convolves channels first. tf2onnx wraps each convolution of a channels-last network in a pair of Transposes, which
engines then undo, or not. Here every tensor is given its channels-first form. What it was in the old graph is kept as
a permutation beside it, so a Transpose of the old graph only changes that permutation, and an operation that names
axes names them anew. A Transpose is written only where an operation needs a tensor in its old order: before the
network turns its depth axis into channels, and after it turns channels into depth again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import onnx_ir as ir

from eenet_export.passes.counted import add_constant, constant, input_at, remove_unused, required
from eenet_runtime.errors import ExportError

Permutation = tuple[int, ...]
_Item = TypeVar("_Item")

CHANNELS_LAST: Final[Permutation] = (0, 2, 3, 4, 1)
"""Axis i of a channels-last tensor is axis CHANNELS_LAST[i] of its channels-first form."""
LARGEST_COUNT: Final = 2
"""Transposes that the network itself has: depth to channels, channels to depth."""

_ELEMENTWISE: Final = frozenset({"Add", "Sub", "Mul", "Div", "Relu", "Sigmoid", "Sqrt", "Reciprocal"})
_FIXED: Final = frozenset({"Conv", "ConvTranspose", "Expand"})
"""Read their input as ONNX orders it."""


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the new graph, and which axis of it each axis of the old one is."""

    value: ir.Value
    order: Permutation


class ChannelsFirst(ir.passes.InPlacePass):
    """Rewrite a graph of one channels-last input and one channels-last output to channels first."""

    def requires(self, model: ir.Model) -> None:
        """One input and one output of five axes."""
        for kind, values in (("input", model.graph.inputs), ("output", model.graph.outputs)):
            if len(values) != 1 or values[0].shape is None or len(values[0].shape) != 5:
                raise ir.passes.PreconditionError(f"expected one {kind} of five axes, channels last")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Walk the graph once.

        Raises:
            ExportError: an operation that this pass does not know.
        """
        _Walk(model.graph).run()
        remove_unused(model.graph)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """No more Transposes than the network has."""
        count = sum(node.op_type == "Transpose" for node in model.graph)
        if count > LARGEST_COUNT:
            raise ir.passes.PostconditionError(f"{count} Transposes are left, expected at most {LARGEST_COUNT}")


class _Walk:
    """The state of one walk: the new form of every tensor of the old graph."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.tensors: dict[ir.Value, _Tensor] = {}
        self.handlers: dict[str, Callable[[ir.Node], None]] = {
            "Transpose": self._transpose,
            "ReduceMean": self._reduce_mean,
            "Concat": self._concat,
            "Softmax": self._softmax,
            "Pad": self._pad,
            "Resize": self._resize,
            **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze"), self._reshape),
            **dict.fromkeys(_ELEMENTWISE, self._elementwise),
            **dict.fromkeys(_FIXED, self._fixed),
        }

    def run(self) -> None:
        """Rewrite all nodes, then input and output."""
        graph = self.graph
        (volume,) = graph.inputs
        self.tensors[volume] = _Tensor(volume, CHANNELS_LAST)
        volume.shape = ir.Shape(_to_first(required(volume.shape, volume, "a shape").numpy()))
        (old_output,) = graph.outputs
        name = old_output.name
        for node in list(graph):
            handler = self.handlers.get(node.op_type)
            if handler is None:
                raise ExportError(f"node {node.name}: {node.op_type} found, an operation whose axes are not known here")
            handler(node)
        result = required(self.tensors.get(old_output), old_output, "a tensor that follows from the graph's input")
        if result.order != CHANNELS_LAST:
            raise ExportError(f"output {name}: axis order {result.order} found, expected channels last")
        old_output.name = f"{name}/channels_last"
        graph.outputs[0] = result.value
        result.value.name = name

    def _emit(
        self,
        node: ir.Node,
        inputs: Sequence[ir.Value | None],
        order: Permutation,
        *,
        op_type: str | None = None,
        keep_attributes: bool = True,
        **attributes: object,
    ) -> None:
        """Write a node's new form before it, and note the new form of its output.

        Args:
            node: of the old graph.
            inputs: of the new form.
            order: of the new form's output.
            op_type: where it is another operation from here on.
            keep_attributes: whether the new form has those of the old one, where `attributes` does not say otherwise.
            attributes: of the new form.
        """
        changed = {name: ir.convenience.convert_attribute(name, value) for name, value in attributes.items()}
        kept = dict(node.attributes) if keep_attributes else {}
        new = ir.Node(node.domain, op_type or node.op_type, inputs, [*{**kept, **changed}.values()], name=node.name)
        old = node.outputs[0]
        new.outputs[0].name = f"{old.name}"
        new.outputs[0].type = old.type
        if old.shape is not None and len(old.shape) == len(order):
            new.outputs[0].shape = ir.Shape(_new_order(old.shape.numpy(), order))
        old.name = f"{old.name}/old"
        self.graph.insert_before(node, new)
        self.tensors[old] = _Tensor(new.outputs[0], order)

    def _tensor(self, node: ir.Node, value: ir.Value | None) -> _Tensor:
        """The new form of one of a node's inputs."""
        found = required(value, node, "an input")
        return required(
            self.tensors.get(found), node, f"an input that follows from the graph's in place of {found.name}"
        )

    def _in_old_order(self, node: ir.Node, value: ir.Value | None) -> ir.Value:
        """A tensor as the old graph had it; a Transpose is written if it is not."""
        tensor = self._tensor(node, value)
        if tensor.order == _identity(len(tensor.order)):
            return tensor.value
        transpose = ir.node("Transpose", [tensor.value], {"perm": tensor.order}, name=f"{node.name}/Transpose")
        transpose.outputs[0].name = transpose.name
        transpose.outputs[0].type = tensor.value.type
        if tensor.value.shape is not None:
            transpose.outputs[0].shape = ir.Shape([tensor.value.shape.numpy()[axis] for axis in tensor.order])
        self.graph.insert_before(node, transpose)
        return transpose.outputs[0]

    def _transpose(self, node: ir.Node) -> None:
        tensor = self._tensor(node, node.inputs[0])
        # Without a permutation the axes are reversed.
        turned = node.attributes["perm"].as_ints() if "perm" in node.attributes else range(len(tensor.order))[::-1]
        order = tuple(tensor.order[axis] for axis in turned)
        self.tensors[node.outputs[0]] = _Tensor(tensor.value, order)

    def _fixed(self, node: ir.Node) -> None:
        first = self._in_old_order(node, node.inputs[0])
        rank = len(self._tensor(node, node.inputs[0]).order)
        self._emit(node, [first, *node.inputs[1:]], _identity(rank))

    def _elementwise(self, node: ir.Node) -> None:
        orders = [self._tensor(node, value).order for value in node.inputs if constant(value) is None]
        order = required(max(orders, key=len, default=None), node, "an input that is not constant")
        inputs = [
            self._in_order(node, value, order) if constant(value) is None else self._turned(node, value, order)
            for value in node.inputs
        ]
        self._emit(node, inputs, order)

    def _in_order(self, node: ir.Node, value: ir.Value | None, order: Permutation) -> ir.Value:
        """A tensor in a certain order: as it is, or a vector reshaped to broadcast there."""
        tensor = self._tensor(node, value)
        if tensor.order == order:
            return tensor.value
        value = required(value, node, "an input")
        if value.shape is None or _long_axes(value.shape.numpy()) > 1:
            raise ExportError(f"node {node.name}: inputs in the axis orders {tensor.order} and {order} found")
        old = value.shape.numpy()
        shape = _new_order([*(1,) * (len(order) - len(old)), *old], order)
        name = f"{node.name}/{value.name}"
        reshape = ir.node("Reshape", [tensor.value, self._integers(node, f"{value.name}/shape", shape)], name=name)
        reshape.outputs[0].name = name
        reshape.outputs[0].type, reshape.outputs[0].shape = value.type, ir.Shape(shape)
        self.graph.insert_before(node, reshape)
        return reshape.outputs[0]

    def _turned(self, node: ir.Node, value: ir.Value | None, order: Permutation) -> ir.Value:
        """A constant that broadcasts against a tensor of this order."""
        value = required(value, node, "an input")
        values = required(constant(value), node, "a constant")
        if values.size == 1:
            return value
        full = values.reshape((1,) * (len(order) - values.ndim) + values.shape)
        return add_constant(self.graph, f"{node.name}/{value.name}/turned", full.transpose(np.argsort(order)))

    def _reduce_mean(self, node: ir.Node) -> None:
        tensor, axes = self._tensor(node, node.inputs[0]), constant(input_at(node, 1))
        if axes is None:
            found = "computed" if input_at(node, 1) else "left out"
            raise ExportError(f"node {node.name}: axes that are {found} found, expected constant ones")
        rank = len(tensor.order)
        old = [int(axis) % rank for axis in axes.ravel()]
        new = sorted(tensor.order[axis] for axis in old)
        keep = node.attributes["keepdims"].as_int() if "keepdims" in node.attributes else 1
        order = tensor.order if keep else tuple(tensor.order[axis] for axis in range(rank) if axis not in old)
        if not keep:
            # The axes that are left keep their sequence; number them from 0.
            order = tuple(sorted(order).index(axis) for axis in order)
        self._emit(node, [tensor.value, self._integers(node, "axes", new)], order)

    def _concat(self, node: ir.Node) -> None:
        tensors = [self._tensor(node, value) for value in node.inputs]
        order = tensors[0].order
        if any(tensor.order != order for tensor in tensors):
            raise ExportError(f"node {node.name}: inputs in several axis orders found, expected one order")
        axis = order[node.attributes["axis"].as_int() % len(order)]
        self._emit(node, [tensor.value for tensor in tensors], order, axis=axis)

    def _softmax(self, node: ir.Node) -> None:
        tensor = self._tensor(node, node.inputs[0])
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
        self._emit(node, [tensor.value], tensor.order, axis=tensor.order[axis % len(tensor.order)])

    def _pad(self, node: ir.Node) -> None:
        tensor, pads = self._tensor(node, node.inputs[0]), constant(input_at(node, 1))
        if pads is None or len(pads) != 2 * len(tensor.order) or input_at(node, 3) is not None:
            raise ExportError(f"node {node.name}: paddings of all axes expected, as constants")
        both = _new_order(list(pads.reshape(2, -1).T), tensor.order)
        new = [int(pair[side]) for side in (0, 1) for pair in both]
        self._emit(node, [tensor.value, self._integers(node, "pads", new), *node.inputs[2:]], tensor.order)

    def _resize(self, node: ir.Node) -> None:
        tensor = self._tensor(node, node.inputs[0])
        scales = required(constant(input_at(node, 2)), node, "constant scales")
        turned = add_constant(self.graph, f"{node.name}/scales", np.array(_new_order(list(scales), tensor.order)))
        self._emit(node, [tensor.value, None, turned], tensor.order)

    def _reshape(self, node: ir.Node) -> None:
        tensor = self._tensor(node, node.inputs[0])
        if node.outputs[0].shape is None or tensor.value.shape is None:
            raise ExportError(f"node {node.name}: shapes that are computed found, expected constant ones")
        # A vector has no axis order; anything else is reshaped as the old graph had it.
        is_vector = _long_axes(tensor.value.shape.numpy()) <= 1
        source = tensor.value if is_vector else self._in_old_order(node, node.inputs[0])
        order, shape = _reshaped([int(size) for size in node.outputs[0].shape.numpy()])
        integers = self._integers(node, "shape", shape)
        # A Squeeze or Unsqueeze says nothing that a Reshape to this shape needs.
        self._emit(node, [source, integers], order, op_type="Reshape", keep_attributes=False)

    def _integers(self, node: ir.Node, what: str, values: Sequence[int]) -> ir.Value:
        return add_constant(self.graph, f"{node.name}/{what}", np.array(values, dtype=np.int64))


def _identity(rank: int) -> Permutation:
    return tuple(range(rank))


def _to_first(shape: Sequence[int]) -> list[int]:
    return _new_order(shape, CHANNELS_LAST)


def _new_order(old: Sequence[_Item], order: Permutation) -> list[_Item]:
    """What belongs to the axes of the old tensor, in the order of the new tensor's axes."""
    return [old[axis] for axis in np.argsort(order)]


def _long_axes(shape: Sequence[int]) -> int:
    return sum(size > 1 for size in shape)


def _reshaped(shape: list[int]) -> tuple[Permutation, list[int]]:
    """Order and new shape of what a Reshape of the old graph makes.

    One value for each channel is written (1, C, 1, ...) from here on, wherever the old graph had its channels.
    """
    if len(shape) < 4 or _long_axes(shape) != 1:
        return _identity(len(shape)), shape
    channels = next(axis for axis, size in enumerate(shape) if size > 1)
    others = iter(axis for axis in range(len(shape)) if axis != 1)
    order = tuple(1 if axis == channels else next(others) for axis in range(len(shape)))
    return order, _new_order(shape, order)
