"""TensorRT: engines that were built on the GPU which runs them, for servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eenet_runtime.backends.base import Backend, LoadRequest
from eenet_runtime.backends.tensorrt_engine import EngineBackend
from eenet_runtime.bundle.engine_file import TENSORRT
from eenet_runtime.bundle.manifest import Artifact
from eenet_runtime.errors import BackendError
from eenet_runtime.volumes.presets import GeometryPreset


class TensorRTBackend(EngineBackend):
    """A `tensorrt` artefact of a bundle."""

    name = TENSORRT

    def __init__(
        self, model: Path, artifact: Artifact, preset: GeometryPreset, device: int = 0, *, sha256: str
    ) -> None:
        """Load the engine; see `EngineBackend`."""
        super().__init__(load_tensorrt(), model, artifact, preset, device, sha256)


def load(request: LoadRequest) -> Backend:
    """See `engines.EngineSpec.file`."""
    return TensorRTBackend(
        request.model, request.artifact, request.preset, request.device.index, sha256=request.listed_sha256()
    )


def load_tensorrt() -> Any:
    """The module `tensorrt`.

    Raises:
        BackendError: it is not installed, or its libraries cannot be loaded.
    """
    try:
        import tensorrt
    except ModuleNotFoundError as error:
        raise BackendError('tensorrt is not installed; install it with: pip install "eenet[tensorrt]"') from error
    except (ImportError, OSError) as error:
        raise BackendError(f"tensorrt is installed, but cannot be loaded ({error})") from error
    return tensorrt
