"""From a choice to a loaded model."""

from __future__ import annotations

from eenet_runtime.backends.base import Backend, LoadRequest
from eenet_runtime.backends.choice import Choice, choose
from eenet_runtime.backends.engines import AUTO, engine_named
from eenet_runtime.bundle.manifest import Bundle


def make_backend(
    bundle: Bundle,
    *,
    backend: str = AUTO,
    device: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
) -> Backend:
    """Load a bundle's model into the first engine that `candidates` finds.

    Args:
        bundle: the verified bundle.
        backend, device, precision: see `candidates`.
        threads: threads for one inference on a CPU; by default as many as this process may use.

    Raises:
        BackendError: nothing fits (`candidates`), a missing package, or an engine that cannot run the artefact.
        BundleError: an engine's file or what belongs to it cannot be read.
    """
    return load(bundle, choose(bundle, backend=backend, device=device, precision=precision), threads)


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
    artifact = choice.artifact
    listed = bundle.listed(artifact.path)
    request = LoadRequest(
        model=bundle.path_of(artifact),
        artifact=artifact,
        preset=bundle.manifest.preset,
        device=choice.device,
        threads=threads,
        sha256=None if listed is None else listed.sha256,
        plane_engine=plane_engine,
    )
    return engine_named(choice.name).load(request)
