"""ONNX Runtime: runs anywhere on the CPU, needs one package; on an NVIDIA GPU with its other package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.backends.base import Backend, LoadRequest
from eenet_runtime.backends.loaded_model import LoadedModel
from eenet_runtime.bundle.manifest import Artifact
from eenet_runtime.errors import BackendError
from eenet_runtime.machine.devices import CPU, Device
from eenet_runtime.machine.threads import usable_cpus
from eenet_runtime.volumes.presets import GeometryPreset

_INSTALL: Final = 'install it with: pip install "eenet[cpu]"'
_INSTALL_GPU: Final = 'install the one for GPUs: pip uninstall onnxruntime, then pip install "eenet[gpu]"'
_ONNX_TYPES: Final = {"float32": "float", "float16": "float16"}
_CPU_PROVIDER: Final = "CPUExecutionProvider"
_CUDA_PROVIDER: Final = "CUDAExecutionProvider"
_TENSORRT_PROVIDER: Final = "TensorrtExecutionProvider"


class OnnxRuntimeBackend(LoadedModel):
    """The ONNX artefact of a bundle in one of ONNX Runtime's execution providers. One call at a time: others wait.

    A session could compute several volumes at once, but each takes gigabytes for its activations and all the threads.
    """

    name = "onnxruntime"

    def __init__(
        self,
        model: Path,
        artifact: Artifact,
        preset: GeometryPreset,
        threads: int | None = None,
        device: Device = CPU,
        *,
        tensorrt: bool = False,
    ) -> None:
        """Load the model.

        On a GPU no node of the graph may run anywhere else: ONNX Runtime would otherwise go on, on the CPU, without a
        word. TensorRT builds its engine now, which takes minutes, and keeps it nowhere.

        Args:
            model: the ONNX file; its weights lie beside it.
            artifact: what the manifest says about it.
            preset: the geometry that the graph must have.
            threads: threads for one inference on a CPU; by default as many as this process may use.
            device: `CPU`, or a GPU.
            tensorrt: whether TensorRT computes on the GPU, rather than CUDA's own libraries.

        Raises:
            BackendError: ONNX Runtime is missing or not the one for GPUs, cannot load the graph or not all of it on
                this device, or the graph has another shape.
        """
        onnxruntime = load_onnxruntime()
        super().__init__(artifact, preset)
        if tensorrt:
            self.name = "onnxruntime-tensorrt"
        self.version = str(onnxruntime.__version__)
        self.gpu_index = None if device == CPU else device.index
        # Without this, asking for labels computes the probabilities as well.
        self._only_asked = onnxruntime.RunOptions()
        self._only_asked.only_execute_path_to_fetches = True
        if device == CPU:
            count = threads or usable_cpus()
            self.device = f"cpu ({count} thread{'s' * (count != 1)})"
            options = cpu_options(onnxruntime, count)
            providers: list[Any] = [_CPU_PROVIDER]
        else:
            self.device = f"{device} ({'TensorRT' if tensorrt else 'CUDA'} execution provider)"
            options = _options(onnxruntime)
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            providers = _gpu_providers(onnxruntime, artifact, device, tensorrt)
        try:
            # Its fallback would print, and go on with another provider, now or in the middle of a run.
            self._session: Any = onnxruntime.InferenceSession(
                str(model), options, providers=providers, enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise BackendError(f"{model}: ONNX Runtime cannot load it ({first_line(error)})") from error
        _refuse_other_provider(self._session, providers, device)
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

    def _free(self) -> None:
        self._session = None

    def _run(self, volume: NDArray[np.float32], output: str) -> Any:
        """Compute one output for one volume, (H, W, D, 4); the batch axis is taken off."""
        self._accept(volume)
        channels_first = np.ascontiguousarray(np.moveaxis(volume, -1, 0)[np.newaxis], dtype=self.artifact.input_dtype)
        with self._turn():
            try:
                (batch,) = self._session.run([output], {self.artifact.input_name: channels_first}, self._only_asked)
            except Exception as error:
                raise BackendError(f"ONNX Runtime failed while computing ({first_line(error)})") from error
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


def load(request: LoadRequest) -> Backend:
    """ONNX Runtime with its own providers; see `engines.EngineSpec.file`."""
    return OnnxRuntimeBackend(request.model, request.artifact, request.preset, request.threads, request.device)


def load_with_tensorrt(request: LoadRequest) -> Backend:
    """ONNX Runtime with TensorRT's provider; see `engines.EngineSpec.file`."""
    return OnnxRuntimeBackend(
        request.model, request.artifact, request.preset, request.threads, request.device, tensorrt=True
    )


def load_onnxruntime() -> Any:
    """The module `onnxruntime`, imported so that it reports to nobody.

    Its import otherwise writes a device number and an event log into the home folder and sends them to its maker
    (its Privacy.md); only this variable, set before, prevents that. It is the one thing in the environment that the
    runtime touches, and it reads nothing there: whatever the variable was, nothing is reported.

    Raises:
        BackendError: it is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(f"no inference engine: onnxruntime is not installed; {_INSTALL}") from error
    return onnxruntime


def cpu_options(onnxruntime: Any, threads: int) -> Any:
    """How ONNX Runtime is set for every graph on a CPU."""
    options = _options(onnxruntime)
    options.intra_op_num_threads = threads
    # The arena keeps freed activations for ever and gains no time here (docs/performance.md).
    options.enable_cpu_mem_arena = False
    return options


def _options(onnxruntime: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _gpu_providers(onnxruntime: Any, artifact: Artifact, device: Device, tensorrt: bool) -> list[Any]:
    """The execution provider for a GPU, with its options."""
    provider = _TENSORRT_PROVIDER if tensorrt else _CUDA_PROVIDER
    available = list(onnxruntime.get_available_providers())
    if provider not in available:
        raise BackendError(
            f"this onnxruntime has no {provider} ({', '.join(available)} found), {device} was asked for; {_INSTALL_GPU}"
        )
    # TF32 has 10 bits of mantissa: no artefact is called so.
    cuda = (_CUDA_PROVIDER, {"device_id": str(device.index), "use_tf32": "0"})
    if not tensorrt:
        return [cuda]
    if artifact.precision == "fp32":
        raise BackendError(
            f"{artifact.path}: TensorRT inside ONNX Runtime computes fp32 graphs in TF32, and only an environment "
            "variable could forbid it; take an fp16 artefact, or an engine made by eenet-export engine"
        )
    return [(_TENSORRT_PROVIDER, {"device_id": str(device.index), "trt_fp16_enable": "1"}), cuda]


def _refuse_other_provider(session: Any, providers: list[Any], device: Device) -> None:
    """Refuse a session that runs on something else than it was told to: a library may have been missing."""
    wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
    found = list(session.get_providers())
    if not found or found[0] != wanted:
        raise BackendError(
            f"ONNX Runtime computes with {', '.join(found) or 'nothing'}, {wanted} was asked for on {device}; CUDA or "
            "cuDNN cannot be loaded, or not in the version that this onnxruntime needs"
        )


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
