"""The 2D network between the two native halves: a small ONNX graph in one of the two CPU engines.

It is 2 % of the arithmetic. ONNX Runtime comes first here, other than for the whole network: as fast on these layers,
loaded in half the time, and 80 MB smaller in memory (docs/decisions/0027-native-backend.md).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import BackendError

PLANE_INPUT: Final = "plane"
PLANE_OUTPUT: Final = "slices"
"""The two tensors of `plane.onnx`; see `eenet_export.graph.plane`."""

PLANE_ENGINES: Final = ("onnxruntime", "openvino")
"""Packages that can run it, the preferred one first."""

Plane = NDArray[np.float32]


class PlaneNetwork(Protocol):
    """The loaded 2D network.

    Attributes:
        engine: name and version of the engine, for reports.
    """

    engine: str

    def __call__(self, plane: Plane) -> Plane:
        """Compute; float32 (1, H, W, 3) to the same shape, a fresh array.

        Raises:
            BackendError: the engine failed.
        """


def load_plane_network(graph: Path, shape: tuple[int, int], threads: int, engine: str = "") -> PlaneNetwork:
    """Load the 2D network.

    Args:
        graph: `plane.onnx`; its weights lie beside it.
        shape: H and W that it must have.
        threads: threads for one inference.
        engine: one of `PLANE_ENGINES`; by default the first that is installed.

    Raises:
        BackendError: no engine, or one that cannot load the graph, or the graph has other tensors.
    """
    name = engine or next((name for name in PLANE_ENGINES if find_spec(name) is not None), PLANE_ENGINES[0])
    kind = _InOnnxRuntime if name == "onnxruntime" else _InOpenVino
    return kind(graph, (1, *shape, 3), threads)


class _InOnnxRuntime:
    def __init__(self, graph: Path, shape: tuple[int, ...], threads: int) -> None:
        from eenet_runtime.backends.onnxruntime_backend import load_onnxruntime

        onnxruntime = load_onnxruntime()
        self.engine = f"onnxruntime {onnxruntime.__version__}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        # Its threads would spin on for the native half's processors.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = _failing_as(
            f"{graph}: ONNX Runtime cannot load it",
            lambda: onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"]),
        )
        tensors = (*self._session.get_inputs(), *self._session.get_outputs())
        _check(graph, {tensor.name: (tuple(tensor.shape), tensor.type) for tensor in tensors}, shape, "tensor(float)")

    def __call__(self, plane: Plane) -> Plane:
        (slices,) = _failing_as(
            "ONNX Runtime failed while computing the 2D network",
            lambda: self._session.run([PLANE_OUTPUT], {PLANE_INPUT: plane}),
        )
        return np.asarray(slices)


class _InOpenVino:
    def __init__(self, graph: Path, shape: tuple[int, ...], threads: int) -> None:
        from eenet_runtime.backends.openvino_backend import cpu_settings, load_openvino

        openvino = load_openvino()
        self.engine = f"openvino {str(openvino.__version__).split('-')[0]}"
        self._tensor = openvino.Tensor

        def load() -> Any:
            core = openvino.Core()
            model = core.read_model(graph)
            found = {port.any_name: (tuple(port.shape), port.element_type.get_type_name()) for port in _ports(model)}
            _check(graph, found, shape, "f32")
            return core.compile_model(model, "CPU", cpu_settings(threads))

        self._compiled: Any = _failing_as(f"{graph}: OpenVINO cannot load it", load)
        self._shape = shape

    def __call__(self, plane: Plane) -> Plane:
        # OpenVINO reads and writes these two arrays themselves, and keeps neither; it takes no read-only one.
        source, slices = np.require(plane, np.float32, ["C", "W"]), np.empty(self._shape, dtype=np.float32)

        def run() -> None:
            request = self._compiled.create_infer_request()
            request.set_input_tensor(0, self._tensor(source, shared_memory=True))
            request.set_output_tensor(0, self._tensor(slices, shared_memory=True))
            request.infer()

        _failing_as("OpenVINO failed while computing the 2D network", run)
        return slices


def _ports(model: Any) -> tuple[Any, ...]:
    return (*model.inputs, *model.outputs)


def _check(graph: Path, found: dict[str, tuple[tuple[int, ...], str]], shape: tuple[int, ...], dtype: str) -> None:
    expected = {PLANE_INPUT: (shape, dtype), PLANE_OUTPUT: (shape, dtype)}
    if found != expected:
        raise BackendError(f"{graph}: tensors {found} found, this geometry expects {expected}")


def _failing_as(what: str, action: Callable[[], Any]) -> Any:
    """Do something in an engine; its exceptions share no base class of their own."""
    try:
        return action()
    except BackendError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]
        raise BackendError(f"{what} ({reason})") from error
