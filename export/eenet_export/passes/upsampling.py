"""Upsampling of depth: tf2onnx writes reshape, tile, reshape; ONNX has an operation for it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from eenet_export.passes.counted import (
    CountedPass,
    add_constant,
    constant,
    layer_of,
    only_user,
    producer,
    remove_unused,
    replace_value,
)


class Upsampling(CountedPass):
    """(1, H, W, D, C) -> reshape (H W, D, 1, C) -> tile (1, 1, f, 1) -> reshape (1, H, W, D f, C) becomes one Resize.

    Nearest neighbour with the floor of asymmetric coordinates repeats each slice f times, as tile does.
    """

    what: ClassVar[str] = "upsamplings of depth"

    def rewrite(self, graph: ir.Graph) -> int:
        """Rewrite each Tile between its two Reshapes."""
        found = 0
        for tile in [node for node in graph if node.op_type == "Tile"]:
            before = producer(tile.inputs[0], "Reshape")
            after = only_user(tile.outputs[0], "Reshape")
            repeats = constant(tile.inputs[1])
            if before is None or after is None or repeats is None:
                continue
            source, result = before.inputs[0], after.outputs[0]
            factor = _depth_factor(source, before.outputs[0], result, repeats)
            if source is None or factor is None:
                continue
            scales = add_constant(graph, f"{layer_of(tile)}/scales", np.array([1, 1, 1, factor, 1], np.float32))
            resize = ir.node(
                "Resize",
                [source, None, scales],
                {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
                name=f"{layer_of(tile)}/Resize",
            )
            resize.outputs[0].name = resize.name
            resize.outputs[0].shape, resize.outputs[0].type = result.shape, result.type
            graph.insert_after(after, resize)
            replace_value(graph, result, resize.outputs[0])
            found += 1
        remove_unused(graph)
        return found


def _depth_factor(source: ir.Value | None, between: ir.Value, result: ir.Value, repeats: np.ndarray) -> int | None:
    """How often each slice is repeated; None if this is something else."""
    if source is None or any(value.shape is None for value in (source, between, result)):
        return None
    shape, tiled, final = (value.shape.numpy() for value in (source, between, result) if value.shape is not None)
    if len(shape) != 5:
        return None
    batch, height, width, depth, channels = shape
    factor = int(repeats[2]) if repeats.shape == (4,) else 0
    fits = (
        tuple(repeats) == (1, 1, factor, 1)
        # Without an axis of its own beside depth, tile would repeat the volume and not each slice of it.
        and tiled == (batch * height * width, depth, 1, channels)
        and final == (batch, height, width, depth * factor, channels)
    )
    return factor if fits else None
