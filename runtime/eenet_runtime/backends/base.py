"""What every inference engine must be to the rest of the runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.bundle.manifest import Artifact
from eenet_runtime.errors import BundleError
from eenet_runtime.machine.devices import CPU, Device
from eenet_runtime.volumes.presets import GeometryPreset


class Backend(Protocol):
    """One loaded model in one inference engine.

    Guarantees of every implementation:

    - Making it loads the model; a missing package, device or an unusable model raises `BackendError`.
    - Any number of threads may call it, labels and probabilities mixed. It computes one volume at a time, with all its
      threads; the other calls wait, and `close` waits for the one that runs. So memory does not grow with the callers.
    - Calling it changes no argument and returns a fresh array that the caller owns. It may read the argument where it
      lies: nobody may write to it before the call returns.
    - Two calls with the same volume on the same machine give the same result.
    - It computes in the precision that the artefact names, on the device that it was made for, or fails: nothing is
      downgraded silently.
    - `close` frees what it holds; calling it twice is allowed, and every later call raises `BackendError`.
    - In a process forked from the one that loaded it, every call raises `BackendError` at once, and `close` does
      nothing: threads and GPUs do not follow.
    - It reads no environment variable, writes no file, opens no connection and prints nothing; its library is imported
      in a way that keeps it from doing so.
    """

    @property
    def name(self) -> str:
        """The engine's name in reports, for example `onnxruntime`."""

    @property
    def version(self) -> str:
        """The engine's version."""

    @property
    def device(self) -> str:
        """The device that really computes, for example `cpu (2 threads)`."""

    @property
    def gpu_index(self) -> int | None:
        """The GPU that computes, by its number in this process; None on a CPU."""

    @property
    def artifact(self) -> Artifact:
        """The artefact that it was loaded from."""

    def __call__(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute class probabilities.

        Args:
            volume: float32 (H, W, D, 4), as `preprocessing.prepare` makes it.

        Returns:
            float32 (H, W, D, 4), softmax over the last axis. Engines compute channels first, so in memory the last
            axis may be the slowest.

        Raises:
            BackendError: the engine failed, or gave something else than finite probabilities of that shape.
        """

    def labels(self, volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Compute classes only, where nobody needs probabilities: less to copy and to keep.

        Args:
            volume: as for `__call__`.

        Returns:
            uint8 (H, W, D), network classes: the most probable one, the lower number of equals.

        Raises:
            BackendError: the engine failed, or gave something else.
        """

    def close(self) -> None:
        """Free the model."""


@dataclass(frozen=True)
class LoadRequest:
    """What an engine is told when it shall load a model; each takes of it what it needs.

    Attributes:
        model: the artefact's file; what belongs to it lies beside it.
        artifact: what the manifest says about it.
        preset: the geometry.
        device: `cpu` or a GPU.
        threads: threads for one inference on a CPU; None: as many as this process may use.
        sha256: the file's hash in the manifest; None where the manifest does not list it.
        plane_engine: what runs the 2D network of the native engine; see `NativeBackend`.
    """

    model: Path
    artifact: Artifact
    preset: GeometryPreset
    device: Device = CPU
    threads: int | None = None
    sha256: str | None = None
    plane_engine: str = ""

    def listed_sha256(self) -> str:
        """The hash, for engines that hold the file's bytes against it.

        Raises:
            BundleError: the manifest does not list the file.
        """
        if self.sha256 is None:
            raise BundleError(f"{self.model}: not among the files that the manifest lists")
        return self.sha256
