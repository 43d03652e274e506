"""`eenet-export onnx` and `all`: from a training to a bundle."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from eenet_export.commands.options import ExportOptions, GateOptions, Precision
from eenet_runtime.commands.option_groups import spread
from eenet_train.network.tensorflow_setup import load_tensorflow

RunArgument = Annotated[
    Path, typer.Argument(help="Folder of a training (eenet-train fit), or a Keras file of the network.")
]


@spread
def onnx(
    run: RunArgument,
    export: ExportOptions,
    gate: GateOptions,
    precision: Annotated[
        list[Precision] | None,
        typer.Option(metavar="<fp32|fp16|int8>", help="Graphs to make besides fp32: fp16, int8; repeat it."),
    ] = None,
) -> None:
    """Export to ONNX; nothing gets the final name that does not agree with the oracle (exit code 4)."""
    _export(run, export, gate, (Precision.FP32, *(precision or ())))


@spread
def export_all(run: RunArgument, export: ExportOptions, gate: GateOptions) -> None:
    """The whole way: FP32, FP16, INT8 where it passes, an engine of TensorRT for RTX, the gate, the golden case.

    Stopped at any moment it leaves no bundle under the final name; the same command goes on where it was.
    """
    _export(run, export, gate, Precision, engine=True)


def _export(
    run: Path, export: ExportOptions, gate: GateOptions, precisions: Iterable[Precision], engine: bool = False
) -> None:
    load_tensorflow()
    from eenet_export.bundle.package import export_model
    from eenet_export.bundle.source import source_of
    from eenet_export.gate.parity import parity_table
    from eenet_runtime.commands.machine_info import describe_bundle
    from eenet_runtime.volumes.presets import preset_by_name

    def say(step: str) -> None:
        typer.echo(step, err=True)

    settings = export.settings(gate, precisions, engine=engine)
    say("loading the model")
    source = source_of(run, preset_by_name(export.preset) if export.preset else None)
    bundle = export_model(source, export.output, gate.cases, settings, say)
    typer.echo(describe_bundle(bundle))
    typer.echo("")
    typer.echo(parity_table(bundle.manifest.parity))
    sys.stdout.flush()
