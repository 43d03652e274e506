"""`eenet-export onnx` and `all`: from a training to a bundle."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eenet_train.network.tensorflow_setup import load_tensorflow

if TYPE_CHECKING:
    from eenet_export.bundle.package import ExportSettings


class StoredWeights(StrEnum):
    """Precision of the kernels on disk."""

    FP32 = "fp32"
    FP16 = "fp16"


class Precision(StrEnum):
    """Precision of the arithmetic."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


RunArgument = Annotated[
    Path, typer.Argument(help="Folder of a training (eenet-train fit), or a Keras file of the network.")
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The bundle, a new folder.")]
CasesOption = Annotated[Path, typer.Option("--cases", help="Cases on which the agreement is measured.")]
WeightsOption = Annotated[StoredWeights, typer.Option(help="Precision of the weights on disk.")]
MaxCasesOption = Annotated[int, typer.Option(min=1, help="How many of the cases to measure.")]
PresetOption = Annotated[str | None, typer.Option(help="Geometry of a Keras file (default: the one it fits).")]
NameOption = Annotated[str, typer.Option(help="Name of the model (default: the folder's).")]
NoteOption = Annotated[str, typer.Option(help="A sentence for the manifest, for example what the model is not for.")]
MinTumourOption = Annotated[float, typer.Option(min=0, help="Default for the runtime: drop smaller components.")]
MinEnhancingOption = Annotated[float, typer.Option(min=0, help="Default for the runtime: ET below becomes NCR.")]
HalfInputOption = Annotated[bool, typer.Option("--half-input", help="Let the FP16 graph read FP16.")]


def onnx(
    run: RunArgument,
    output: OutputOption,
    cases: CasesOption,
    precision: Annotated[
        list[Precision] | None, typer.Option(help="Graphs to make besides fp32: fp16, int8; repeat it.")
    ] = None,
    weights: WeightsOption = StoredWeights.FP32,
    max_cases: MaxCasesOption = 2,
    preset: PresetOption = None,
    name: NameOption = "",
    note: NoteOption = "",
    min_tumour_ml: MinTumourOption = 0,
    min_enhancing_ml: MinEnhancingOption = 0,
    half_input: HalfInputOption = False,
) -> None:
    """Export to ONNX; nothing gets the final name that does not agree with the oracle (exit code 4)."""
    wanted = {Precision.FP32, *(precision or ())}
    chosen = _settings(weights, max_cases, name, note, min_tumour_ml, min_enhancing_ml, half_input, wanted)
    _export(run, output, cases, chosen, preset)


def everything(
    run: RunArgument,
    output: OutputOption,
    cases: CasesOption,
    weights: WeightsOption = StoredWeights.FP32,
    max_cases: MaxCasesOption = 2,
    preset: PresetOption = None,
    name: NameOption = "",
    note: NoteOption = "",
    min_tumour_ml: MinTumourOption = 0,
    min_enhancing_ml: MinEnhancingOption = 0,
    half_input: HalfInputOption = False,
) -> None:
    """The whole way: FP32, FP16, INT8 where it passes, an engine of TensorRT for RTX, the gate, the golden case.

    Stopped at any moment it leaves no bundle under the final name; the same command goes on where it was.
    """
    chosen = _settings(weights, max_cases, name, note, min_tumour_ml, min_enhancing_ml, half_input, set(Precision))
    _export(run, output, cases, replace(chosen, engine=True), preset)


def _settings(
    weights: StoredWeights,
    max_cases: int,
    name: str,
    note: str,
    min_tumour_ml: float,
    min_enhancing_ml: float,
    half_input: bool,
    precisions: set[Precision],
) -> ExportSettings:
    """What both commands have options for."""
    load_tensorflow()
    from eenet_export.bundle.package import ExportSettings
    from eenet_runtime.bundle.manifest import PostprocessingSettings
    from eenet_train.network.weights import WeightPrecision

    return ExportSettings(
        name=name,
        weights=WeightPrecision(weights.value),
        precisions=tuple(item.value for item in Precision if item in precisions),
        half_input=half_input,
        max_cases=max_cases,
        postprocessing=PostprocessingSettings(min_tumour_ml, min_enhancing_ml),
        note=note,
    )


def _export(run: Path, output: Path, cases: Path, settings: ExportSettings, preset: str | None) -> None:
    load_tensorflow()
    from eenet_export.bundle.package import export_model
    from eenet_export.bundle.source import source_of
    from eenet_export.gate.parity import parity_table
    from eenet_runtime.commands.machine_info import describe_bundle
    from eenet_runtime.volumes.presets import preset_by_name

    def say(step: str) -> None:
        typer.echo(step, err=True)

    say("loading the model")
    source = source_of(run, preset_by_name(preset) if preset else None)
    bundle = export_model(source, output, cases, settings, say)
    typer.echo(describe_bundle(bundle))
    typer.echo("")
    typer.echo(parity_table(bundle.manifest.parity))
    sys.stdout.flush()
