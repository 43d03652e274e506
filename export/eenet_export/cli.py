"""`eenet-export`: parse, call one library function, print."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from eenet_runtime.cli_support import ExitCode, new_app, run_app
from eenet_runtime.errors import EENetError, ParityError
from eenet_train.tensorflow_setup import set_tensorflow_defaults

app = new_app("Turn a trained EENet into a bundle that the runtime can trust.")


class StoredWeights(StrEnum):
    """Precision of the kernels on disk; the arithmetic stays FP32."""

    FP32 = "fp32"
    FP16 = "fp16"


@app.callback()
def options() -> None:
    """Keeps `onnx` a command of its own while it is the only one."""


@app.command("onnx")
def onnx(
    run: Annotated[Path, typer.Argument(help="Folder of a training (eenet-train fit).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle, a new folder.")],
    cases: Annotated[Path, typer.Option("--cases", help="Cases on which the agreement with Keras is measured.")],
    weights: Annotated[StoredWeights, typer.Option(help="Precision of the weights on disk.")] = StoredWeights.FP32,
    max_cases: Annotated[int, typer.Option(min=1, help="How many of the cases to measure.")] = 2,
    name: Annotated[str, typer.Option(help="Name of the model (default: the folder's).")] = "",
    note: Annotated[str, typer.Option(help="A sentence for the manifest, for example what the model is not for.")] = "",
    min_tumour_ml: Annotated[float, typer.Option(min=0, help="Default for the runtime: drop smaller components.")] = 0,
    min_enhancing_ml: Annotated[float, typer.Option(min=0, help="Default for the runtime: ET below becomes NCR.")] = 0,
) -> None:
    """Export to ONNX; nothing gets the final name that does not agree with Keras (exit code 4)."""
    from eenet_export.package import ExportSettings, export_run
    from eenet_export.parity import parity_table
    from eenet_runtime.bundle import PostprocessingSettings
    from eenet_runtime.info import describe_bundle
    from eenet_train.weights import WeightPrecision

    settings = ExportSettings(
        name=name,
        weights=WeightPrecision(weights.value),
        max_cases=max_cases,
        postprocessing=PostprocessingSettings(min_tumour_ml, min_enhancing_ml),
        note=note,
    )
    bundle = export_run(run, output, cases, settings, lambda step: typer.echo(step, err=True))
    typer.echo(describe_bundle(bundle))
    typer.echo("")
    typer.echo(parity_table(bundle.manifest.parity))


def _exit_code(error: EENetError) -> ExitCode:
    return ExitCode.PARITY if isinstance(error, ParityError) else ExitCode.USAGE


def main() -> None:
    """Entry point of `eenet-export`."""
    set_tensorflow_defaults()
    run_app(app, "eenet-export", _exit_code)
