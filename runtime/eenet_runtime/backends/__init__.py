"""Inference engines. `choice` says which one runs, `load` loads it; nothing else in the runtime knows which it is."""

from __future__ import annotations

from eenet_runtime.backends.base import Backend
from eenet_runtime.backends.choice import BACKEND_NAMES, Candidates, Choice, candidates, choose
from eenet_runtime.bundle.manifest import Bundle
from eenet_runtime.errors import BundleError

__all__ = ["BACKEND_NAMES", "Backend", "Candidates", "Choice", "candidates", "choose", "load", "make_backend"]


def make_backend(
    bundle: Bundle,
    name: str = "auto",
    threads: int | None = None,
    precision: str | None = None,
    device: str = "auto",
) -> Backend:
    """Load a bundle's model into the first engine that `candidates` finds.

    Args:
        bundle: the verified bundle.
        name: one of `BACKEND_NAMES`.
        threads: threads for one inference on a CPU; by default as many as this process may use.
        precision: precision of the artefact; see `candidates`.
        device: `auto`, `cpu`, `cuda` or `cuda:n`; see `candidates`.

    Raises:
        BackendError: nothing fits (`candidates`), a missing package, or an engine that cannot run the artefact.
        BundleError: an engine's file or what belongs to it cannot be read.
    """
    return load(bundle, choose(bundle, name, precision, device), threads)


def load(bundle: Bundle, choice: Choice, threads: int | None = None, *, plane_engine: str = "") -> Backend:
    """Load what was chosen.

    Args:
        bundle: the verified bundle.
        choice: engine, artefact and device.
        threads: threads for one inference on a CPU; by default as many as this process may use.
        plane_engine: what runs the 2D network of the native engine; see `NativeBackend`.

    Raises:
        BackendError: a missing package or device, or an engine that cannot run the artefact.
        BundleError: an engine's file or what belongs to it cannot be read, or is not what the manifest lists.
    """
    artifact, preset = choice.artifact, bundle.manifest.preset
    path = bundle.path_of(artifact)
    if choice.name == "native":
        from eenet_runtime.backends.native_backend import NativeBackend

        return NativeBackend(path, artifact, preset, threads, plane_engine=plane_engine)
    if choice.name == "openvino":
        from eenet_runtime.backends.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(path, artifact, preset, threads)
    if choice.name in ("onnxruntime", "onnxruntime-tensorrt"):
        from eenet_runtime.backends.onnxruntime_backend import OnnxRuntimeBackend

        return OnnxRuntimeBackend(
            path, artifact, preset, threads, choice.device, tensorrt=choice.name == "onnxruntime-tensorrt"
        )
    listed = bundle.listed(artifact.path)
    if listed is None:
        raise BundleError(f"{path}: not among the files that the manifest lists")
    if choice.name == "tensorrt":
        from eenet_runtime.backends.tensorrt_backend import TensorRTBackend

        return TensorRTBackend(path, artifact, preset, choice.device.index, sha256=listed.sha256)
    from eenet_runtime.backends.tensorrt_rtx_backend import TensorRTRTXBackend

    return TensorRTRTXBackend(path, artifact, preset, choice.device.index, sha256=listed.sha256)
