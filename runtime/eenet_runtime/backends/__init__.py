"""Inference engines. `make_backend` chooses one; nothing else in the runtime knows which one runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from eenet_runtime.backends.base import Backend
from eenet_runtime.bundle import Artifact, Bundle
from eenet_runtime.errors import BackendError

__all__ = ["BACKEND_NAMES", "Backend", "Choice", "choose", "make_backend"]

BACKEND_NAMES: Final = ("auto", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")

_CPU_ENGINES: Final = ("openvino", "onnxruntime")
"""What `auto` chooses from, the faster first (docs/decisions/0019-cpu-engines.md). Names of packages, too."""
_CPU_PRECISION: Final = "fp32"
"""What a CPU engine runs unless somebody asks for another precision: a CPU computes FP16 graphs in FP32, so they bring
nothing there, and INT8 changes masks."""
_KINDS: Final[Mapping[str, str]] = {"onnxruntime": "onnx", "openvino": "onnx"}
"""The kind of artefact that an engine runs, where the two have different names."""


@dataclass(frozen=True)
class Choice:
    """Which engine runs which artefact, and why.

    Attributes:
        name: the engine, one of `BACKEND_NAMES` but not `auto`.
        artifact: what it runs.
        why: the reasons, in one line.
    """

    name: str
    artifact: Artifact
    why: str


def choose(bundle: Bundle, name: str = "auto", precision: str | None = None) -> Choice:
    """Choose an engine and an artefact; nothing is loaded.

    What is asked for by name is never replaced by something else.

    Args:
        bundle: the verified bundle.
        name: one of `BACKEND_NAMES`; `auto` takes the faster CPU engine that is installed.
        precision: precision of the artefact, such as `fp32`; by default FP32 on a CPU, and on a GPU the first that the
            bundle lists.

    Raises:
        BackendError: unknown name, no CPU engine installed, or no artefact that fits; the message lists those that the
            bundle has.
    """
    if name not in BACKEND_NAMES:
        raise BackendError(f"unknown backend {name!r}; known backends: {', '.join(BACKEND_NAMES)}")
    engine, why_engine = (name, f"{name} was asked for") if name != "auto" else _installed_cpu_engine()
    kind = _KINDS.get(engine, engine)
    wanted = precision if precision is not None or engine not in _CPU_ENGINES else _CPU_PRECISION
    for artifact in bundle.manifest.artifacts:
        if artifact.kind == kind and wanted in (None, artifact.precision):
            return Choice(engine, artifact, f"{why_engine}; {_why_artifact(artifact, engine, precision)}")
    listed = ", ".join(f"{artifact.path} ({artifact.form})" for artifact in bundle.manifest.artifacts)
    expected = f"{kind}-{wanted}" if wanted else kind
    raise BackendError(f"{bundle.folder}: artefacts {listed} found, {engine} needs {expected}")


def make_backend(
    bundle: Bundle, name: str = "auto", threads: int | None = None, precision: str | None = None, device: int = 0
) -> Backend:
    """Load a bundle's model into an inference engine; see `choose` for which.

    Args:
        bundle: the verified bundle.
        name: one of `BACKEND_NAMES`.
        threads: threads for one inference on a CPU; by default as many as this process may use.
        precision: precision of the artefact; see `choose`.
        device: number of the GPU, for engines that run on one.

    Raises:
        BackendError: nothing fits (`choose`), a missing package, or an engine that cannot run the artefact.
        BundleError: an engine's file or what belongs to it cannot be read.
    """
    choice = choose(bundle, name, precision)
    artifact, preset = choice.artifact, bundle.manifest.preset
    path = bundle.path_of(artifact)
    if choice.name == "openvino":
        from eenet_runtime.backends.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(path, artifact, preset, threads)
    if choice.name == "onnxruntime":
        from eenet_runtime.backends.onnxruntime_backend import OnnxRuntimeBackend

        return OnnxRuntimeBackend(path, artifact, preset, threads)
    sha256 = next(entry.sha256 for entry in bundle.manifest.files if entry.path == artifact.path)
    if choice.name == "tensorrt":
        from eenet_runtime.backends.tensorrt_backend import TensorRTBackend

        return TensorRTBackend(path, artifact, preset, device, sha256=sha256)
    from eenet_runtime.backends.tensorrt_rtx_backend import TensorRTRTXBackend

    return TensorRTRTXBackend(path, artifact, preset, device, sha256=sha256)


def _installed_cpu_engine() -> tuple[str, str]:
    """The first CPU engine that is installed, found without importing it, and why it is that one."""
    for position, engine in enumerate(_CPU_ENGINES):
        if find_spec(engine) is not None:
            missing = ", ".join(f"{name} is not installed" for name in _CPU_ENGINES[:position])
            return engine, f"auto takes {engine}: {missing or 'the fastest CPU engine, and installed'}"
    raise BackendError(
        f'no inference engine: neither {" nor ".join(_CPU_ENGINES)} is installed; run: pip install "eenet[cpu]"'
    )


def _why_artifact(artifact: Artifact, engine: str, precision: str | None) -> str:
    if precision is not None:
        return f"{artifact.path}: {precision} was asked for"
    if engine in _CPU_ENGINES:
        return f"{artifact.path}: CPU engines take {_CPU_PRECISION} unless another precision is asked for"
    return f"{artifact.path}: the first {engine} artefact of the bundle"
