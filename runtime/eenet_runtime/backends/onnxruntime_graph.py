"""A graph of its own in ONNX Runtime on the CPU; see `graph`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.backends.graph import Graph, GraphRequest
from eenet_runtime.backends.loaded_model import Loaded
from eenet_runtime.backends.onnxruntime_backend import cpu_options, first_line, load_onnxruntime
from eenet_runtime.errors import BackendError
from eenet_runtime.machine.threads import usable_cpus


class OnnxRuntimeGraph(Loaded):
    """A session of one graph."""

    name = "onnxruntime"

    def __init__(self, request: GraphRequest) -> None:
        """Load the graph.

        Raises:
            BackendError: ONNX Runtime is missing, cannot load the graph, or the graph has other tensors.
        """
        onnxruntime = load_onnxruntime()
        super().__init__()
        self.version = str(onnxruntime.__version__)
        count = request.threads or usable_cpus()
        self.device = f"cpu ({count} thread{'s' * (count != 1)})"
        self._input = request.input_name
        try:
            self._session: Any = onnxruntime.InferenceSession(
                request.content,
                cpu_options(onnxruntime, count),
                providers=["CPUExecutionProvider"],
                enable_fallback=0,
            )
            tensors = [tensor.name for tensor in (*self._session.get_inputs(), *self._session.get_outputs())]
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise BackendError(f"{request.source}: ONNX Runtime cannot load it ({first_line(error)})") from error
        if tensors != [request.input_name, request.output_name]:
            raise BackendError(
                f"{request.source}: tensors {', '.join(tensors)} found, expected {request.input_name} and "
                f"{request.output_name}"
            )

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Graph.__call__`."""
        with self._turn():
            try:
                result: NDArray[np.float32] = self._session.run(None, {self._input: np.ascontiguousarray(values)})[0]
            except Exception as error:
                raise BackendError(f"ONNX Runtime failed while computing ({first_line(error)})") from error
        if not np.isfinite(result).all():
            raise BackendError("ONNX Runtime computed NaN or infinity")
        return result

    def rest(self) -> None:
        """Nothing is kept: the session has no arena."""

    def _free(self) -> None:
        self._session = None


def load(request: GraphRequest) -> Graph:
    """See `graph.load_graph`."""
    return OnnxRuntimeGraph(request)
