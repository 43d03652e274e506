"""A graph of its own in OpenVINO's CPU plugin; see `graph`."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.backends.graph import Graph, GraphRequest
from eenet_runtime.backends.loaded_model import Loaded
from eenet_runtime.backends.openvino_backend import cpu_settings, load_openvino, reason
from eenet_runtime.errors import BackendError
from eenet_runtime.machine.threads import usable_cpus

_DEVICE: Final = "CPU"


class OpenVinoGraph(Loaded):
    """A compiled graph. Its sizes may be left open: OpenVINO prepares itself for those that it is given."""

    name = "openvino"

    def __init__(self, request: GraphRequest) -> None:
        """Read and compile the graph.

        Raises:
            BackendError: OpenVINO is missing, cannot load the graph, or the graph has other tensors.
        """
        openvino = load_openvino()
        super().__init__()
        self.version = str(openvino.__version__).split("-")[0]
        count = request.threads or usable_cpus()
        self.device = f"cpu ({count} thread{'s' * (count != 1)})"
        self._openvino = openvino
        try:
            core = openvino.Core()
            model = core.read_model(io.BytesIO(request.content))
            self._compiled: Any = core.compile_model(model, _DEVICE, cpu_settings(count))
            tensors = [port.any_name for port in (*model.inputs, *model.outputs)]
        except Exception as error:  # pybind11 raises RuntimeError and others, with no base class of their own
            raise BackendError(f"{request.source}: OpenVINO cannot load it ({reason(error)})") from error
        if tensors != [request.input_name, request.output_name]:
            raise BackendError(
                f"{request.source}: tensors {', '.join(tensors)} found, expected {request.input_name} and "
                f"{request.output_name}"
            )

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Graph.__call__`."""
        # OpenVINO reads the array where it lies, and takes no read-only one.
        ready = np.require(values, np.float32, ["C", "W"])
        with self._turn():
            try:
                run = self._compiled.create_infer_request()
                run.set_input_tensor(0, self._openvino.Tensor(ready, shared_memory=True))
                run.infer()
                result: NDArray[np.float32] = run.get_output_tensor(0).data.copy()
            except Exception as error:
                raise BackendError(f"OpenVINO failed while computing ({reason(error)})") from error
        if not np.isfinite(result).all():
            raise BackendError("OpenVINO computed NaN or infinity")
        return result

    def rest(self) -> None:
        """See `Graph.rest`."""
        with self._turn():
            self._compiled.release_memory()

    def _free(self) -> None:
        self._compiled = None


def load(request: GraphRequest) -> Graph:
    """See `graph.load_graph`."""
    return OpenVinoGraph(request)
