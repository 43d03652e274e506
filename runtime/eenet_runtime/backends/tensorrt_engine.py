"""What the backends for `tensorrt` and `tensorrt-rtx` share: which plan may be loaded, and this network's tensors.

A plan is native code. Everything that can be checked is checked before TensorRT sees a byte of it, in the order of the
list in `EngineBackend.__init__`, and the bytes that were hashed are the bytes that are deserialised.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.backends.cuda import CudaSession, Gpu
from eenet_runtime.backends.engine_runner import EngineRunner, deserialise
from eenet_runtime.backends.loaded_model import LoadedModel
from eenet_runtime.bundle.engine_file import TENSORRT_RTX, EngineSidecar, EngineTensor, check_engine, sidecar_name
from eenet_runtime.bundle.manifest import Artifact, read_listed
from eenet_runtime.errors import BackendError, BundleError
from eenet_runtime.volumes.labels import Label
from eenet_runtime.volumes.presets import GeometryPreset

MEMORY_MARGIN_BYTES: Final = 256 << 20
"""Free GPU memory asked for beyond what the engine and its tensors take: kernels, CUDA graphs, the driver's own."""

_CLASSES: Final = len(Label)


class EngineBackend(LoadedModel):
    """An engine of a bundle on one GPU; see `Backend` for what it guarantees. One call at a time: others wait."""

    name: str
    """The engine's name in reports, and the kind of artefact it runs."""

    def __init__(
        self, trt: Any, model: Path, artifact: Artifact, preset: GeometryPreset, device: int, sha256: str
    ) -> None:
        """Verify the plan, load it, warm it up.

        1. The file is read once, up to `READ_LIMIT_BYTES`.
        2. These bytes have the SHA-256 of the manifest and of the sidecar.
        3. Flavour, exact version and compute capability fit (`check_engine`); the precision is the artefact's.
        4. The GPU has the memory.
        5. RTX: the header is valid for this GPU.
        6. The same bytes are deserialised.
        7. The engine's tensors are those that artefact and sidecar announce.

        Args:
            trt: the module `tensorrt` or `tensorrt_rtx`.
            model: the plan; its sidecar lies beside it.
            artifact: what the manifest says about it.
            preset: the geometry that the engine must have.
            device: the GPU's number.
            sha256: the plan's hash in the manifest.

        Raises:
            BundleError: plan or sidecar cannot be read, or the plan is not the one that the manifest lists.
            BackendError: anything above does not hold, or the engine does not run here.
        """
        super().__init__(artifact, preset)
        self.version = str(trt.__version__)
        self._failure = ""
        plan = read_listed(model, sha256)
        sidecar = _read_sidecar(model)
        self._session = CudaSession(device)
        try:
            gpu = self._session.gpu
            check_engine(sidecar, plan, self.name, self.version, gpu.compute_capability)
            _refuse_other_precision(model, sidecar, artifact)
            _refuse_little_memory(model, sidecar, gpu, self._session.free_bytes())
            loaded = deserialise(trt, plan, str(model), check_header=self.name == TENSORRT_RTX)
            expected = _expected_tensors(artifact, preset)
            _refuse_other_tensors(f"{model}: the engine has", loaded.tensors, expected)
            _refuse_other_tensors(f"{model}: its sidecar has", sidecar.tensors, expected)
            self._runner = EngineRunner(loaded, self._session)
        except BaseException:
            self._session.close()
            raise
        self.gpu_index: int | None = gpu.index
        graphs = f"no CUDA graphs: {self._runner.why_no_graphs}" if self._runner.why_no_graphs else "CUDA graphs"
        self.device = f"{gpu.name} (GPU {gpu.index}, compute capability {gpu.compute_capability}, {graphs})"

    def __call__(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Backend.__call__`."""
        if not self.artifact.probabilities_name:
            raise BackendError(
                f"{self.artifact.path} gives labels only; build an engine with probabilities (eenet-export engine)"
            )
        probabilities: NDArray[np.float32] = self._compute(volume, self.artifact.probabilities_name)[0]
        if not np.isfinite(probabilities).all():
            raise BackendError("TensorRT computed NaN or infinity; the engine cannot be used on this case")
        return np.moveaxis(probabilities, 0, -1)

    def labels(self, volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See `Backend.labels`."""
        labels: NDArray[np.uint8] = self._compute(volume, self.artifact.labels_name)[0]
        if int(labels.max()) >= _CLASSES:
            raise BackendError(f"TensorRT computed class {labels.max()}, expected 0 to {_CLASSES - 1}")
        return labels

    def _free(self) -> None:
        self._session.close()

    def _compute(self, volume: NDArray[np.float32], output: str) -> NDArray[Any]:
        """One output for one volume, with its batch axis; a copy."""
        self._accept(volume)
        with self._turn():
            if self._failure:
                raise BackendError(f"the GPU failed earlier ({self._failure}); restart the process")
            self._fill_input(volume)
            try:
                self._session.activate()
                return self._runner.run(output).copy()
            except BackendError as error:
                # A run allocates nothing, so this is no shortage that passes: the device or the engine is broken, and
                # after most such errors CUDA answers every later call in this process with the same one.
                self._failure = str(error)
                raise BackendError(f"{error}; restart the process before going on") from error

    def _fill_input(self, volume: NDArray[np.float32]) -> None:
        """Write the volume where the GPU reads it, channels first, in the engine's type: one pass, no array between."""
        target = self._runner.arrays[self.artifact.input_name][0]
        try:
            with np.errstate(over="raise"):
                np.copyto(target, np.moveaxis(volume, -1, 0), casting="same_kind")
        except FloatingPointError as error:
            raise BackendError(f"a voxel of the input is too large for {self.artifact.input_dtype}") from error


def _read_sidecar(model: Path) -> EngineSidecar:
    path = model.with_name(sidecar_name(model.name))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BundleError(f"{path}: not found, expected beside the plan; copy the bundle again") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: cannot be read ({error})") from error
    return EngineSidecar.from_json(text, str(path))


def _expected_tensors(artifact: Artifact, preset: GeometryPreset) -> frozenset[EngineTensor]:
    volume = (1, _CLASSES, *preset.shape)
    tensors = {
        EngineTensor(artifact.input_name, "input", volume, artifact.input_dtype),
        EngineTensor(artifact.labels_name, "output", (1, *preset.shape), "uint8"),
    }
    if artifact.probabilities_name:
        tensors.add(EngineTensor(artifact.probabilities_name, "output", volume, "float32"))
    return frozenset(tensors)


def _refuse_other_tensors(what: str, found: tuple[EngineTensor, ...], expected: frozenset[EngineTensor]) -> None:
    if frozenset(found) != expected or len(found) != len(expected):
        raise BackendError(f"{what} {_spelt(found)}, the manifest announces {_spelt(expected)}")


def _spelt(tensors: tuple[EngineTensor, ...] | frozenset[EngineTensor]) -> str:
    ordered = sorted(tensors, key=lambda tensor: (tensor.mode, tensor.name))
    return ", ".join(f"{tensor.mode} {tensor.name} {tensor.dtype} {tensor.shape}" for tensor in ordered)


def _refuse_other_precision(model: Path, sidecar: EngineSidecar, artifact: Artifact) -> None:
    if sidecar.precision != artifact.precision:
        raise BackendError(f"{model}: a plan in {sidecar.precision} found, the manifest announces {artifact.precision}")


def _refuse_little_memory(model: Path, sidecar: EngineSidecar, gpu: Gpu, free: int) -> None:
    tensors = sum(int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize for tensor in sidecar.tensors)
    needed = sidecar.activation_bytes + sidecar.weights_bytes + tensors + MEMORY_MARGIN_BYTES
    if free < needed:
        raise BackendError(
            f"{model}: {free >> 20} MiB of {gpu.memory_bytes >> 20} MiB are free on {gpu.name}, the engine needs "
            f"{needed >> 20} MiB; stop other programs on this GPU or use a smaller preset"
        )
