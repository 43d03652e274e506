"""A graph of one input and one output in a CPU engine: for networks beside the one that segments.

Bundles of the segmentation know their geometry, their labels and their precisions; a graph here is a function of one
array. What engines may do in a process stays as it is: see `base.Backend` for the guarantees, which hold here, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.backends.choice import installed
from eenet_runtime.backends.engines import AUTO, ENGINES, EngineSpec, engine_named
from eenet_runtime.errors import BackendError


class Graph(Protocol):
    """A loaded graph.

    It is called by one thread at a time; a call in a process that was forked from the one that loaded it, or after
    `close`, raises `BackendError`.
    """

    @property
    def name(self) -> str:
        """The engine's name in reports."""

    @property
    def version(self) -> str:
        """The engine's version."""

    @property
    def device(self) -> str:
        """The device that really computes, for example `cpu (2 threads)`."""

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The output for an input, in a fresh array.

        Raises:
            BackendError: the engine failed, or computed NaN or infinity.
        """

    def rest(self) -> None:
        """Give back what the engine keeps between two calls, as far as it can; the next call takes it again."""

    def close(self) -> None:
        """Free it; calling it twice is allowed."""


@dataclass(frozen=True)
class GraphRequest:
    """What an engine is told when it shall load a graph.

    Attributes:
        content: the ONNX file's bytes, weights inside; the bytes that were hashed.
        source: the file, for messages.
        input_name, output_name: its tensors, float32.
        threads: threads for one call; None: as many as this process may use.
    """

    content: bytes
    source: str
    input_name: str
    output_name: str
    threads: int | None = None


def graph_engines(backend: str = AUTO) -> tuple[EngineSpec, ...]:
    """The engines that are installed here and load any graph on a CPU, the fastest first.

    Args:
        backend: `auto`, or one engine's name; of one that loads no graph `auto` is taken.

    Raises:
        BackendError: an unknown name, an engine that is not installed, or none at all.
    """
    able = tuple(spec for spec in ENGINES if spec.kind == "onnx" and spec.cpu and spec.in_auto)
    if backend != AUTO and (asked := engine_named(backend)) in able:
        able = (asked,)
    found = tuple(spec for spec in able if installed(spec))
    if not found:
        names = " nor ".join(spec.name for spec in able)
        raise BackendError(f'no inference engine: neither {names} is installed; run: pip install "eenet[cpu]"')
    return found


def load_graph(spec: EngineSpec, request: GraphRequest) -> Graph:
    """Load a graph into one of `graph_engines`.

    Raises:
        BackendError: the engine is missing, or cannot load the graph.
    """
    loaded: Graph = import_module(f"{__package__}.{spec.name}_graph").load(request)
    return loaded
