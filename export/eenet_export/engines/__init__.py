"""TensorRT engines of a bundle, for servers (`tensorrt`) and for workstations (`tensorrt-rtx`): the build side.

Start at `into_bundle.add_engine`; the side that loads them is `eenet_runtime.backends`.
"""

from __future__ import annotations

from eenet_export.engines.into_bundle import AddedEngine, add_engine
from eenet_export.engines.settings import EngineSettings

__all__ = ["AddedEngine", "EngineSettings", "add_engine"]
