"""Inference engines. `make_backend` chooses one; nothing else in the runtime knows which one runs."""

from __future__ import annotations

from eenet_runtime.backends.base import Backend
from eenet_runtime.bundle import Bundle
from eenet_runtime.errors import BackendError

__all__ = ["BACKEND_NAMES", "Backend", "make_backend"]

BACKEND_NAMES = ("auto", "onnxruntime")


def make_backend(bundle: Bundle, name: str = "auto", threads: int | None = None) -> Backend:
    """Load a bundle's model into an inference engine.

    Args:
        bundle: the verified bundle.
        name: one of `BACKEND_NAMES`; `auto` takes the first that fits.
        threads: threads for one inference; by default as many as this process may use.

    Raises:
        BackendError: unknown name, a missing package, or no artefact that this engine runs.
    """
    if name not in BACKEND_NAMES:
        raise BackendError(f"unknown backend {name!r}; known backends: {', '.join(BACKEND_NAMES)}")
    from eenet_runtime.backends.onnxruntime_backend import OnnxRuntimeBackend

    for artifact in bundle.manifest.artifacts:
        if artifact.kind == "onnx":
            return OnnxRuntimeBackend(bundle.path_of(artifact), artifact, bundle.manifest.preset, threads)
    kinds = ", ".join(artifact.kind for artifact in bundle.manifest.artifacts)
    raise BackendError(f"{bundle.folder}: artefacts of kind {kinds} found, ONNX Runtime needs one of kind onnx")
