"""The 2D network of a canonical graph as a graph of its own, `plane.onnx`: what the native engine does not compute.

The 3D encoder ends where the three slices become channels, the 3D decoder begins where three channels become slices
again. Both borders are a Reshape between four and five axes, and the graph has no other. What lies between them is cut
out as it is; its weights stay in the bundle's weights file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import onnx_ir as ir

from eenet_export.graph.graphs import save_graph
from eenet_export.passes.counted import remove_unused, required
from eenet_runtime.backends.plane_network import PLANE_INPUT, PLANE_OUTPUT
from eenet_runtime.errors import ExportError

PLANE_FILE: Final = "plane.onnx"
_IN_THE_3D_PART: Final = "GroupNormalization"
"""Every one of these is in the 3D part; one in the cut graph means that the cut is wrong."""


def write_plane(graph: Path, folder: Path) -> Path:
    """Cut the 2D network out of a bundle's FP32 graph and write it as `plane.onnx`; same graph, same bytes.

    Its input is `plane`, float32 (1, H, W, 3), what the encoder makes of the three slices; its output is `slices`,
    float32 (1, H, W, 3), what the decoder goes on with.

    Args:
        graph: `model.onnx` of the bundle, as `graphs.write_fp32` wrote it.
        folder: where to; the weights file of the bundle must lie there, too.

    Returns:
        The file.

    Raises:
        ExportError: not a readable graph, or not the network whose borders are known.
        OutputError: the file cannot be written.
    """
    try:
        whole = ir.load(graph)
    except Exception as error:  # protobuf's, which is published without types
        raise ExportError(f"{graph}: not a readable ONNX graph ({str(error).splitlines()[0]})") from error
    entry = _only_reshape(
        whole.graph, graph, "of slices into channels", lambda before, after: (before, after) == (5, 4)
    )
    leave = _only_reshape(
        whole.graph, graph, "of channels into slices", lambda before, after: (before, after) == (4, 5)
    )
    start, end = entry.outputs[0], required(leave.inputs[0], leave, "an input")
    if start.shape is None or end.shape is None or start.shape != end.shape:
        raise ExportError(f"{graph}: the 2D network reads {start.shape} and gives {end.shape}, expected one shape")
    plane = ir.Value(name=PLANE_INPUT, type=start.type, shape=start.shape)
    ir.convenience.replace_all_uses_with(start, plane)
    whole.graph.inputs[:], whole.graph.outputs[:] = [plane], [end]
    end.name, whole.graph.name = PLANE_OUTPUT, "plane"
    remove_unused(whole.graph)
    if foreign := sum(node.op_type == _IN_THE_3D_PART for node in whole.graph):
        raise ExportError(f"{graph}: {foreign} group norms found in its 2D network, expected none")
    # The checker refuses it if anything still reads the volume.
    save_graph(whole, folder / PLANE_FILE)
    return folder / PLANE_FILE


def _only_reshape(graph: ir.Graph, path: Path, what: str, fits: Callable[[int, int], bool]) -> ir.Node:
    """The one Reshape between these numbers of axes."""
    found = [node for node in graph if node.op_type == "Reshape" and fits(*_ranks(node))]
    if len(found) != 1:
        raise ExportError(f"{path}: {len(found)} reshapes {what} found, expected one")
    return found[0]


def _ranks(node: ir.Node) -> tuple[int, int]:
    """Axes before and after a node; 0 where they are not known."""
    before, after = node.inputs[0], node.outputs[0]
    known = before is not None and before.shape is not None and after.shape is not None
    return (len(before.shape), len(after.shape)) if known else (0, 0)  # type: ignore[union-attr,arg-type]
