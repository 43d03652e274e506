"""What all passes have in common: a pattern, how often it must be there, and an error if it is not."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir import convenience

from eenet_runtime.errors import ExportError

_Found = TypeVar("_Found")


class CountedPass(ir.passes.InPlacePass):
    """A pass that rewrites a pattern exactly as often as the network has it.

    A converter or a framework that changes its habits makes a pattern match 13 times instead of 14. Without the
    count the graph would stay correct and become slow, or be half rewritten; with it the export stops.

    Args:
        expected: how often the pattern is there.
    """

    what: ClassVar[str]
    """The pattern in words, in the plural."""

    def __init__(self, expected: int) -> None:
        super().__init__()
        self.expected = expected

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite and count.

        Raises:
            ExportError: another number of matches than expected.
        """
        found = self.rewrite(model.graph)
        if found != self.expected:
            raise ExportError(
                f"pass {type(self).__name__}: {found} {self.what} found in the graph, expected {self.expected}; "
                "the converter writes this network in another way than this pass knows"
            )
        return ir.passes.PassResult(model, modified=found > 0)

    @abstractmethod
    def rewrite(self, graph: ir.Graph) -> int:
        """Rewrite every match; return how many there were."""


def required(value: _Found | None, of: ir.Node | ir.Value, what: str) -> _Found:
    """What a pass cannot do without.

    Args:
        value: what was found, None for nothing.
        of: the node, or the tensor, that lacks it then.
        what: is lacking, in words.

    Raises:
        ExportError: there is none; the graph is legal, perhaps, but not one that the passes were written for.
    """
    if value is None:
        kind = "node" if isinstance(of, ir.Node) else "tensor"
        raise ExportError(f"{kind} {of.name}: {what} expected, none found")
    return value


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    """An input of a node; None where it is left out, in the middle or at the end."""
    return node.inputs[index] if index < len(node.inputs) else None


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The numbers of an initialiser; None for anything else."""
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    numbers: NDArray[Any] = value.const_value.numpy()
    return numbers


def add_constant(graph: ir.Graph, name: str, values: NDArray[Any] | np.generic) -> ir.Value:
    """A new initialiser."""
    values = np.asarray(values, order="C")
    value = ir.Value(
        name=name,
        type=ir.TensorType(ir.DataType.from_numpy(values.dtype)),
        shape=ir.Shape(values.shape),
        const_value=ir.tensor(values, name=name),
    )
    graph.register_initializer(value)
    return value


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that makes a value, if it is of one of these kinds."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type in op_types else None


def only_user(value: ir.Value, *op_types: str) -> ir.Node | None:
    """The one node that reads a value, if there is one only and it is of one of these kinds."""
    users = list(value.uses())
    if len(users) != 1 or value.is_graph_output():
        return None
    node = users[0].node
    return node if node.op_type in op_types else None


def replace_value(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    """Let every user of a value, and the graph's outputs, read another one."""
    convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)


def remove_unused(graph: ir.Graph) -> None:
    """Drop nodes and initialisers that no output depends on."""
    for node in reversed(list(graph)):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def layer_of(node: ir.Node) -> str:
    """The Keras layer that a node of a converted graph is named after."""
    return (node.name or "").split("/")[0]
