"""TensorRT for RTX: engines that are built anywhere and finished on the GPU when they are loaded, for workstations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eenet_runtime.backends.base import Backend, LoadRequest
from eenet_runtime.backends.tensorrt_engine import EngineBackend
from eenet_runtime.bundle.engine_file import TENSORRT_RTX
from eenet_runtime.bundle.manifest import Artifact
from eenet_runtime.errors import BackendError
from eenet_runtime.volumes.presets import GeometryPreset


class TensorRTRTXBackend(EngineBackend):
    """A `tensorrt-rtx` artefact of a bundle."""

    name = TENSORRT_RTX

    def __init__(
        self, model: Path, artifact: Artifact, preset: GeometryPreset, device: int = 0, *, sha256: str
    ) -> None:
        """Load the engine, which takes seconds: its kernels are compiled for this GPU. See `EngineBackend`."""
        super().__init__(load_tensorrt_rtx(), model, artifact, preset, device, sha256)


def load(request: LoadRequest) -> Backend:
    """See `engines.EngineSpec.file`."""
    return TensorRTRTXBackend(
        request.model, request.artifact, request.preset, request.device.index, sha256=request.listed_sha256()
    )


def load_tensorrt_rtx() -> Any:
    """The module `tensorrt_rtx`.

    Raises:
        BackendError: it is not installed, or its libraries cannot be loaded.
    """
    try:
        import tensorrt_rtx
    except ModuleNotFoundError as error:
        raise BackendError('tensorrt_rtx is not installed; install it with: pip install "eenet[rtx]"') from error
    except (ImportError, OSError) as error:
        raise BackendError(f"tensorrt_rtx is installed, but cannot be loaded ({error})") from error
    return tensorrt_rtx
