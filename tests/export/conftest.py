"""What several files of the room's tests would make anew each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def kept_conversions() -> Iterator[Callable[[Any], Any]]:
    """Let `write_fp32` convert each network once; gives the function that does.

    A converted graph holds no weights: they are its inputs, and every caller brings its own. Tracing EENet takes most
    of a minute. That two conversions give the same bytes has a test of its own.
    """
    from eenet_export.graph import graphs
    from eenet_export.graph.convert import convert_to_onnx

    kept: dict[tuple[object, ...], Any] = {}

    def convert(model: Any) -> Any:
        key = (model.name, model.input_shape, *(layer.name for layer in model.layers))
        if key not in kept:
            kept[key] = convert_to_onnx(model)
        copy = type(kept[key])()
        copy.CopyFrom(kept[key])
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "convert_to_onnx", convert)
        yield convert
