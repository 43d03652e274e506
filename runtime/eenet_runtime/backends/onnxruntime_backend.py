"""ONNX Runtime on the CPU: runs anywhere, needs one package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.bundle import Artifact
from eenet_runtime.errors import BackendError
from eenet_runtime.presets import GeometryPreset
from eenet_runtime.threads import usable_cpus

_INSTALL = 'install it with: pip install "eenet[cpu]"'
_ONNX_TYPES = {"float32": "float", "float16": "float16"}


class OnnxRuntimeBackend:
    """The ONNX artefact of a bundle in ONNX Runtime's CPU execution provider."""

    name = "onnxruntime"

    def __init__(self, model: Path, artifact: Artifact, preset: GeometryPreset, threads: int | None = None) -> None:
        """Load the model.

        Args:
            model: the ONNX file; its weights lie beside it.
            artifact: what the manifest says about it.
            preset: the geometry that the graph must have.
            threads: threads for one inference; by default as many as this process may use.

        Raises:
            BackendError: ONNX Runtime is missing, or cannot load the graph, or the graph has another shape.
        """
        onnxruntime = load_onnxruntime()
        self.version = str(onnxruntime.__version__)
        self.artifact = artifact
        self._shape = (*preset.shape, 4)
        count = threads or usable_cpus()
        self.device = f"cpu ({count} thread{'s' * (count != 1)})"
        # Without this, asking for labels computes the probabilities as well.
        self._only_asked = onnxruntime.RunOptions()
        self._only_asked.only_execute_path_to_fetches = True
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = count
        options.inter_op_num_threads = 1
        # The arena keeps freed activations for ever and gains no time here (docs/performance.md).
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise BackendError(f"{model}: ONNX Runtime cannot load it ({_first_line(error)})") from error
        self._check_tensors(model)

    def __call__(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Backend.__call__`."""
        probabilities: NDArray[np.float32] = np.moveaxis(self._run(volume, self.artifact.probabilities_name), 0, -1)
        if not np.isfinite(probabilities).all():
            raise BackendError("ONNX Runtime computed NaN or infinity; the model cannot be used on this case")
        return probabilities

    def labels(self, volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See `Backend.labels`."""
        labels: NDArray[np.uint8] = self._run(volume, self.artifact.labels_name)
        return labels

    def close(self) -> None:
        """Free the session."""
        self._session = None

    def _run(self, volume: NDArray[np.float32], output: str) -> Any:
        """Compute one output for one volume, (H, W, D, 4); the batch axis is taken off."""
        if volume.shape != self._shape or volume.dtype != np.float32:
            raise ValueError(f"volume is {volume.dtype} {volume.shape}, the model reads float32 {self._shape}")
        if self._session is None:
            raise BackendError("the model was closed")
        channels_first = np.ascontiguousarray(np.moveaxis(volume, -1, 0)[np.newaxis], dtype=self.artifact.input_dtype)
        try:
            (batch,) = self._session.run([output], {self.artifact.input_name: channels_first}, self._only_asked)
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed while computing ({_first_line(error)})") from error
        return batch[0]

    def _check_tensors(self, model: Path) -> None:
        artifact = self.artifact
        shape = [1, self._shape[-1], *self._shape[:-1]]
        expected = {
            artifact.input_name: (shape, f"tensor({_ONNX_TYPES.get(artifact.input_dtype, artifact.input_dtype)})"),
            artifact.labels_name: ([1, *self._shape[:-1]], "tensor(uint8)"),
            artifact.probabilities_name: (shape, "tensor(float)"),
        }
        tensors = (*self._session.get_inputs(), *self._session.get_outputs())
        found = {tensor.name: (list(tensor.shape), tensor.type) for tensor in tensors}
        if found != expected:
            raise BackendError(f"{model}: tensors {found} found, the manifest announces {expected}")


def load_onnxruntime() -> Any:
    """The module `onnxruntime`, imported so that it reports to nobody.

    Its import otherwise writes a device number and an event log into the home folder and sends them to its maker
    (its Privacy.md); only this variable, set before, prevents that.

    Raises:
        BackendError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(f"no inference engine: onnxruntime is not installed; {_INSTALL}") from error
    return onnxruntime


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
