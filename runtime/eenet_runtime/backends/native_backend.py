"""The toolkit's own engine: the 3D network in compiled kernels for x86-64, the 2D network between them in ONNX Runtime.

The extension `eenet_native` (folder `runtime/native`) is a package of its own, because it needs a compiler; without it,
or on a processor that its kernels are not for, the other CPU engines serve.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.backends.base import Backend, LoadRequest
from eenet_runtime.backends.loaded_model import LoadedModel
from eenet_runtime.backends.plane_network import load_plane_network
from eenet_runtime.bundle.manifest import Artifact
from eenet_runtime.bundle.weights_file import WEIGHTS_FILE, map_weights
from eenet_runtime.errors import BackendError
from eenet_runtime.machine.threads import usable_cpus
from eenet_runtime.volumes.presets import GeometryPreset

PACKAGE: Final = "eenet_native"
DISTRIBUTION: Final = "eenet-native"
"""The names under which it is imported and installed."""
INSTALL: Final = "pip install ./runtime/native"
"""Run in a checkout of the toolkit; needs a C++ compiler."""

_NEEDS: Final = ("avx2", "fma")

T = TypeVar("T")


class NativeBackend(LoadedModel):
    """The `native` artefact of a bundle. One call at a time: others wait."""

    name = "native"
    gpu_index: int | None = None

    def __init__(
        self,
        graph: Path,
        artifact: Artifact,
        preset: GeometryPreset,
        threads: int | None = None,
        *,
        instructions: str = "auto",
        plane_engine: str = "",
    ) -> None:
        """Load the 2D graph and the weights, and allocate everything a case needs.

        Args:
            graph: `plane.onnx`; the weights file lies beside it.
            artifact: what the manifest says about it.
            preset: the geometry.
            threads: threads for one inference; by default as many as this process may use.
            instructions: `auto`, or one of the engine's own names, such as `avx2`.
            plane_engine: what runs the 2D graph, one of `plane_network.PLANE_ENGINES`; by default the first installed.

        Raises:
            BackendError: the extension or an engine for the 2D graph is missing, the processor is not one that the
                kernels are for, memory is short, or the weights are not this network's.
            BundleError: the weights file cannot be read.
        """
        native = load_native()
        if obstacle := processor_obstacle(native.cpu_features()):
            raise BackendError(f"native engine: {obstacle}; use another backend")
        super().__init__(artifact, preset)
        self.version = native_version()
        count = threads or usable_cpus()
        # Views of the mapped file, which the engine widens and transforms, and does not keep.
        weights = map_weights(graph.parent / WEIGHTS_FILE)
        self._engine: Any = _failing_as(
            f"{graph}: the native engine cannot load it",
            lambda: native.Engine(
                preset.shape, preset.depth_strides, weights, threads=count, instructions=instructions
            ),
        )
        height, width, _ = preset.shape
        self._plane_network: Any = load_plane_network(graph, (height, width), count, plane_engine)
        self.device = (
            f"cpu ({count} thread{'s' * (count != 1)}, {self._engine.instructions}, "
            f"2D network in {self._plane_network.engine})"
        )

    def __call__(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Backend.__call__`."""
        found = self._run(volume, lambda plane: self._engine.decode_probabilities(plane))
        probabilities: NDArray[np.float32] = np.moveaxis(found, 0, -1)
        if not np.isfinite(probabilities).all():
            raise BackendError("the native engine computed NaN or infinity; the model cannot be used on this case")
        return probabilities

    def labels(self, volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See `Backend.labels`."""
        labels: NDArray[np.uint8] = self._run(volume, lambda plane: self._engine.decode(plane))
        return labels

    def _free(self) -> None:
        self._engine.close()
        self._engine = self._plane_network = None

    def _run(self, volume: NDArray[np.float32], decode: Callable[[Any], Any]) -> Any:
        """One case, (H, W, D, 4): the engine keeps the encoder's skips until it has decoded."""
        self._accept(volume)
        channels_first = np.ascontiguousarray(np.moveaxis(volume, -1, 0))
        with self._turn():
            plane = _failing_as("the native engine failed", lambda: self._engine.encode(channels_first))
            slices = self._plane_network(plane)
            if not (np.isfinite(plane).all() and np.isfinite(slices).all()):
                # Labels would show nothing of it: whatever is compared with NaN is not greater.
                raise BackendError("the native engine computed NaN or infinity; the model cannot be used on this case")
            return _failing_as("the native engine failed", lambda: decode(slices))


def load(request: LoadRequest) -> Backend:
    """See `engines.EngineSpec.file`."""
    return NativeBackend(
        request.model, request.artifact, request.preset, request.threads, plane_engine=request.plane_engine
    )


def load_native() -> Any:
    """The extension.

    Raises:
        BackendError: it is not installed, or cannot be loaded.
    """
    try:
        import eenet_native
    except ModuleNotFoundError as error:
        raise BackendError(f"{PACKAGE} is not installed; in a checkout: {INSTALL}") from error
    except (ImportError, OSError) as error:
        raise BackendError(f"{PACKAGE} is installed, but cannot be loaded ({error}); again: {INSTALL}") from error
    return eenet_native


def native_version() -> str:
    """The extension's version, as its package says."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "of unknown version"


def processor_obstacle(features: Any) -> str | None:
    """Why the native engine does not serve on a processor; None where it does.

    Args:
        features: what the processor has, as `eenet_native.cpu_features` tells: true attributes.
    """
    missing = [name.upper() for name in _NEEDS if not getattr(features, name)]
    return f"this processor has no {' and no '.join(missing)}" if missing else None


def obstacle() -> str | None:
    """Why the native engine does not serve here, extension and processor; None where it does. Loads no model."""
    try:
        return processor_obstacle(load_native().cpu_features())
    except BackendError as error:
        return str(error)


def _failing_as(what: str, action: Callable[[], T]) -> T:
    """Do something in the extension, whose refusals are built-in exceptions with plain messages."""
    try:
        return action()
    except MemoryError as error:
        raise BackendError(f"{what} (memory is short)") from error
    except (ValueError, RuntimeError, ArithmeticError, OSError) as error:
        raise BackendError(f"{what} ({error})") from error
