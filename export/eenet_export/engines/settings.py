"""What an engine shall be, and how a builder tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eenet_runtime.bundle.engine_file import FLAVOURS, HARDWARE_COMPATIBILITIES, SAME_GPU, TENSORRT, TENSORRT_RTX
from eenet_runtime.errors import ExportError

PRECISIONS: Final = ("fp16", "fp32")

Progress = Callable[[float, str], None]
"""Told how far a build is, from 0 to 1 and never back, and what happens. It is called from the builder's threads."""


@dataclass(frozen=True)
class EngineSettings:
    """What an engine shall be.

    Attributes:
        flavour: `tensorrt`, built on the GPU that will run it, or `tensorrt-rtx`, built anywhere.
        precision: `fp16` or `fp32`: which ONNX artefact it is built from.
        compute_capabilities: where an RTX engine shall run, such as `("8.6",)`; empty for every one from Ampere (8.0)
            on that the builder knows.
        workspace_gb: scratch memory in GiB that a layer may take.
        opt_level: 0 to 5, how long `tensorrt` searches for the fastest kernels; RTX ignores it.
        hardware_compatibility: what else than its GPU an engine of `tensorrt` may run on, one of
            `eenet_runtime.bundle.engine_file.HARDWARE_COMPATIBILITIES`. Anything but `none` may be slower.
        timing_cache: file of timings that `tensorrt` reads, if it is there, and writes.
        with_probabilities: whether the engine gives probabilities too, 71 MB at 192 x 160 x 144; None for whether the
            runtime would use them: where masks are brought back from another grid than 1 mm.

    Raises:
        ExportError: on construction, for settings that no engine can have, with the reason.
    """

    flavour: str
    precision: str = "fp16"
    compute_capabilities: tuple[str, ...] = ()
    workspace_gb: float = 4.0
    opt_level: int = 3
    hardware_compatibility: str = SAME_GPU
    timing_cache: Path | None = None
    with_probabilities: bool | None = None

    def __post_init__(self) -> None:
        _require(self.flavour in FLAVOURS, f"unknown engine {self.flavour!r}; known engines: {', '.join(FLAVOURS)}")
        _require(
            self.precision in PRECISIONS, f"precision {self.precision!r} found, expected {' or '.join(PRECISIONS)}"
        )
        _require(0 <= self.opt_level <= 5, f"optimisation level {self.opt_level} found, expected 0 to 5")
        _require(0 < self.workspace_gb < 1024, f"workspace of {self.workspace_gb} GiB found, expected 0 to 1024")
        _require(
            self.hardware_compatibility in HARDWARE_COMPATIBILITIES,
            f"hardware compatibility {self.hardware_compatibility!r} found, expected one of "
            f"{', '.join(HARDWARE_COMPATIBILITIES)}",
        )
        if self.flavour == TENSORRT:
            _require(
                not self.compute_capabilities,
                f"compute capability {', '.join(self.compute_capabilities)} asked for, but an engine of {TENSORRT} is "
                f"for the GPU it is built on; leave it out or build for {TENSORRT_RTX}",
            )
        else:
            _require(
                self.hardware_compatibility == SAME_GPU,
                f"{TENSORRT_RTX} knows no hardware compatibility; list the compute capabilities instead",
            )
            _require(self.timing_cache is None, f"{TENSORRT_RTX} times nothing while it builds; leave the cache out")

    @property
    def workspace_bytes(self) -> int:
        """The workspace as TensorRT takes it."""
        return int(self.workspace_gb * (1 << 30))


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ExportError(message)
