"""ONNX Runtime on the CPU: runs anywhere, needs one package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.bundle import Artifact
from eenet_runtime.errors import BackendError
from eenet_runtime.presets import GeometryPreset
from eenet_runtime.threads import usable_cpus

_INSTALL = 'install it with: pip install "eenet[cpu]"'


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
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError(f"no inference engine: onnxruntime is not installed; {_INSTALL}") from error
        self.version = str(onnxruntime.__version__)
        self._artifact = artifact
        self._shape = (*preset.shape, 4)
        count = threads or usable_cpus()
        self.device = f"cpu ({count} thread{'s' * (count != 1)})"
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
        self._check_shapes(model)

    def __call__(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Backend.__call__`."""
        if volume.shape != self._shape or volume.dtype != np.float32:
            raise ValueError(f"volume is {volume.dtype} {volume.shape}, the model reads float32 {self._shape}")
        if self._session is None:
            raise BackendError("the model was closed")
        try:
            (batch,) = self._session.run([self._artifact.output_name], {self._artifact.input_name: volume[np.newaxis]})
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed while computing ({_first_line(error)})") from error
        probabilities: NDArray[np.float32] = batch[0]
        if not np.isfinite(probabilities).all():
            raise BackendError("ONNX Runtime computed NaN or infinity; the model cannot be used on this case")
        return probabilities

    def close(self) -> None:
        """Free the session."""
        self._session = None

    def _check_shapes(self, model: Path) -> None:
        expected = [1, *self._shape]
        for tensors, wanted in (
            (self._session.get_inputs(), self._artifact.input_name),
            (self._session.get_outputs(), self._artifact.output_name),
        ):
            found = [(tensor.name, list(tensor.shape)) for tensor in tensors]
            if found != [(wanted, expected)]:
                raise BackendError(f"{model}: tensors {found} found, the manifest announces {[(wanted, expected)]}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
