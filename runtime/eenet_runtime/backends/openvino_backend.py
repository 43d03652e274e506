"""OpenVINO on the CPU: reads the ONNX artefact as it is, and is the faster of the two CPU engines on this network."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.backends.base import Backend, LoadRequest
from eenet_runtime.backends.loaded_model import LoadedModel
from eenet_runtime.backends.openvino_norms import spell_out_group_norms
from eenet_runtime.bundle.manifest import Artifact
from eenet_runtime.errors import BackendError
from eenet_runtime.machine.threads import usable_cpus
from eenet_runtime.volumes.presets import GeometryPreset

_INSTALL: Final = 'install it with: pip install "eenet[cpu]"'
_DEVICE: Final = "CPU"
_TELEMETRY: Final = ("openvino_telemetry", "openvino.tools.ovc")
"""`import openvino` imports its converter, which reports that import to a web service and writes into the home folder;
without these two modules it goes on without either."""
_TYPES: Final = {"f32": "float32", "f16": "float16", "u8": "uint8"}
"""OpenVINO's names of element types, in NumPy's."""
_ARITHMETIC: Final = {"fp16": ", computes in fp32"}
"""What a CPU makes of an artefact's precision, where that is another one."""


class OpenVinoBackend(LoadedModel):
    """The ONNX artefact of a bundle in OpenVINO's CPU plugin. One call at a time: others wait.

    Labels and probabilities are two compiled models, each made when it is first asked for, so that neither computes
    the other. The one that rests holds its weights and gives its activations back.
    """

    name = "openvino"
    gpu_index: int | None = None

    def __init__(self, model: Path, artifact: Artifact, preset: GeometryPreset, threads: int | None = None) -> None:
        """Read the graph and check it; it is compiled at the first call, in one or two seconds.

        Args:
            model: the ONNX file; its weights lie beside it.
            artifact: what the manifest says about it.
            preset: the geometry that the graph must have.
            threads: threads for one inference; by default as many as this process may use.

        Raises:
            BackendError: OpenVINO is missing, or cannot read the graph, or the graph has other tensors.
        """
        openvino = load_openvino()
        super().__init__(artifact, preset)
        self.version = str(openvino.__version__).split("-")[0]
        self._openvino = openvino
        self._compiled: dict[str, Any] = {}
        count = threads or usable_cpus()
        self.device = f"cpu ({count} thread{'s' * (count != 1)}{_ARITHMETIC.get(artifact.precision, '')})"
        self._settings = cpu_settings(count)
        try:
            self._core: Any = openvino.Core()
            self._model: Any = self._core.read_model(model)
        except Exception as error:  # pybind11 raises RuntimeError and others, with no base class of their own
            raise BackendError(f"{model}: OpenVINO cannot load it ({reason(error)})") from error
        self._check_tensors(model)
        spell_out_group_norms(openvino, self._model)

    def __call__(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Backend.__call__`."""
        if not self.artifact.probabilities_name:
            raise BackendError(f"{self.artifact.path} gives labels only")
        probabilities: NDArray[np.float32] = np.moveaxis(self._run(volume, self.artifact.probabilities_name), 0, -1)
        if not np.isfinite(probabilities).all():
            raise BackendError("OpenVINO computed NaN or infinity; the model cannot be used on this case")
        return probabilities

    def labels(self, volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See `Backend.labels`."""
        labels: NDArray[np.uint8] = self._run(volume, self.artifact.labels_name)
        return labels

    def _free(self) -> None:
        self._compiled = {}
        self._model = self._core = None

    def _run(self, volume: NDArray[np.float32], output: str) -> Any:
        """Compute one output for one volume, (H, W, D, 4); the batch axis is taken off."""
        self._accept(volume)
        # No copy of a volume that lies channels first in memory already; OpenVINO takes no read-only array.
        channels_first = np.require(np.moveaxis(volume, -1, 0)[np.newaxis], self.artifact.input_dtype, ["C", "W"])
        with self._turn():
            try:
                compiled = self._compiled_for(output)
                port = compiled.output(0)
                batch = np.empty(tuple(port.shape), dtype=port.element_type.to_dtype())
                # OpenVINO reads and writes these arrays themselves, and keeps neither: a request serves one call.
                request = compiled.create_infer_request()
                request.set_input_tensor(0, self._openvino.Tensor(channels_first, shared_memory=True))
                request.set_output_tensor(0, self._openvino.Tensor(batch, shared_memory=True))
                request.infer()
            except Exception as error:
                raise BackendError(f"OpenVINO failed while computing ({reason(error)})") from error
        return batch[0]

    def _compiled_for(self, output: str) -> Any:
        """The model cut down to one output, compiled; the other one gives its activations back."""
        if output not in self._compiled:
            part = self._openvino.Model([self._model.output(output)], self._model.get_parameters())
            self._compiled[output] = self._core.compile_model(part, _DEVICE, self._settings)
        for name, compiled in self._compiled.items():
            if name != output:
                compiled.release_memory()
        return self._compiled[output]

    def _check_tensors(self, model: Path) -> None:
        artifact = self.artifact
        shape = (1, self._shape[-1], *self._shape[:-1])
        expected = {
            artifact.input_name: (shape, artifact.input_dtype),
            artifact.labels_name: ((1, *self._shape[:-1]), "uint8"),
        }
        if artifact.probabilities_name:
            expected[artifact.probabilities_name] = (shape, "float32")
        found = {port.any_name: _described(port) for port in (*self._model.inputs, *self._model.outputs)}
        if found != expected:
            raise BackendError(f"{model}: tensors {found} found, the manifest announces {expected}")


def load(request: LoadRequest) -> Backend:
    """See `engines.EngineSpec.file`."""
    return OpenVinoBackend(request.model, request.artifact, request.preset, request.threads)


def cpu_settings(threads: int) -> dict[str, str]:
    """How OpenVINO's CPU plugin is set for every graph of a bundle (docs/decisions/0019-cpu-engines.md)."""
    return {
        # Processors with BF16 or FP16 arithmetic would otherwise use it, three digits for an FP32 artefact.
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
        # Pinned threads of two processes meet on the same processors while others idle.
        "ENABLE_CPU_PINNING": "NO",
    }


def load_openvino() -> Any:
    """The module `openvino`, imported so that it reports to nobody.

    Raises:
        BackendError: it is not installed, or its libraries cannot be loaded.
    """
    try:
        with _missing(*_TELEMETRY):
            import openvino
    except ModuleNotFoundError as error:
        raise BackendError(f"no inference engine: openvino is not installed; {_INSTALL}") from error
    except (ImportError, OSError) as error:
        raise BackendError(f"openvino is installed, but cannot be loaded ({reason(error)})") from error
    return openvino


@contextmanager
def _missing(*names: str) -> Iterator[None]:
    """Let modules that are not imported yet look as if they were not installed."""
    hidden = [name for name in names if name not in sys.modules]
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            modules.pop(name, None)


def _described(port: Any) -> tuple[tuple[int, ...] | str, str]:
    """Shape and element type of an input or output; a shape that is not fixed as OpenVINO spells it."""
    shape, kind = port.partial_shape, port.element_type.get_type_name()
    return (tuple(shape.to_shape()) if shape.is_static else str(shape)), _TYPES.get(kind, kind)


def reason(error: BaseException) -> str:
    """The line of an exception that says something: the last; those before name places in OpenVINO's source."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]
