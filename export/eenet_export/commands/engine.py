"""`eenet-export engine`: a TensorRT engine into a bundle."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

_BAR_COLUMNS: Final = 79


class EngineFlavour(StrEnum):
    """The two libraries; see `eenet_runtime.bundle.engine_file.FLAVOURS`."""

    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


class EnginePrecision(StrEnum):
    """Precision of the arithmetic."""

    FP16 = "fp16"
    FP32 = "fp32"


class Compatibility(StrEnum):
    """What else than its GPU an engine of `tensorrt` runs on; see `HARDWARE_COMPATIBILITIES`."""

    NONE = "none"
    AMPERE_PLUS = "ampere_plus"
    SAME_COMPUTE_CAPABILITY = "same_compute_capability"


def engine(
    bundle: Annotated[Path, typer.Argument(help="The bundle (eenet-export onnx); the engine is added to it.")],
    flavour: Annotated[EngineFlavour, typer.Option("--for", help="The library that will run it.")],
    precision: Annotated[EnginePrecision, typer.Option(help="Precision of the arithmetic.")] = EnginePrecision.FP16,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(
            metavar="<capability>",
            help="tensorrt-rtx: where it shall run, such as 8.6; repeat it (default: 8.0 and newer).",
        ),
    ] = None,
    workspace_gb: Annotated[
        float, typer.Option(metavar="<number>", help="Scratch memory in GiB that a layer may take.")
    ] = 4.0,
    opt_level: Annotated[
        int, typer.Option(metavar="<number>", min=0, max=5, help="tensorrt: how long to search for kernels.")
    ] = 3,
    hardware_compatibility: Annotated[
        Compatibility, typer.Option(help="tensorrt: what else than this GPU it may run on; may be slower.")
    ] = Compatibility.NONE,
    timing_cache: Annotated[Path | None, typer.Option(help="tensorrt: file of timings to read and to write.")] = None,
    probabilities: Annotated[
        bool | None,
        typer.Option("--probabilities/--labels-only", help="What it gives (default: probabilities unless at 1 mm)."),
    ] = None,
) -> None:
    """Build a TensorRT engine from the bundle's ONNX graph; one that is there already is kept."""
    from eenet_export.engines import EngineSettings, add_engine
    from eenet_runtime.bundle.manifest import MANIFEST_NAME
    from eenet_runtime.bundle.signature import signature_path

    settings = EngineSettings(
        flavour=flavour.value,
        precision=precision.value,
        compute_capabilities=tuple(compute_capability or ()),
        workspace_gb=workspace_gb,
        opt_level=opt_level,
        hardware_compatibility=hardware_compatibility.value,
        timing_cache=timing_cache,
        with_probabilities=probabilities,
    )
    on_terminal = sys.stderr.isatty()
    try:
        # A bar only where somebody can see it move; in a file it would be thousands of lines.
        added = add_engine(bundle, settings, _show_progress if on_terminal else lambda fraction, phase: None)
    finally:
        if on_terminal:
            typer.echo(f"\r{' ' * _BAR_COLUMNS}\r", nl=False, err=True)
    typer.echo(f"{added.plan}: {'built' if added.built else 'kept, it is what these settings would build'}")
    sidecar, layers = added.sidecar, added.sidecar.layers
    typer.echo(
        f"runs on {sidecar.flavour} {sidecar.tensorrt_version}, compute capability "
        f"{', '.join(sidecar.compute_capabilities)}; {layers.kernels} kernels, {layers.traffic_bytes / 1e9:.2f} GB of "
        f"traffic, {sidecar.activation_bytes / 1e6:.0f} MB of activations"
    )
    if added.built and signature_path(bundle / MANIFEST_NAME).exists():
        typer.echo(f"{bundle}: its manifest is another one now, sign it again (eenet-export sign)")


def _show_progress(fraction: float, phase: str) -> None:
    filled = int(30 * fraction)
    bar = f"[{'#' * filled}{'.' * (30 - filled)}] {fraction:4.0%} {phase}"
    typer.echo(f"\r{bar[:_BAR_COLUMNS]:{_BAR_COLUMNS}}", nl=False, err=True)
