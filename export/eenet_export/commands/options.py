"""Options that several commands of `eenet-export` share; heavy imports wait until a command needs them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eenet_runtime.volumes.pose import Pose

if TYPE_CHECKING:
    from eenet_export.bundle.package import ExportSettings
    from eenet_export.gate.parity import ParityLimits


class StoredWeights(StrEnum):
    """Precision of the kernels on disk."""

    FP32 = "fp32"
    FP16 = "fp16"


class Precision(StrEnum):
    """Precision of the arithmetic."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


@dataclass(frozen=True)
class GateOptions:
    """What the agreement is measured on, and whether it must prove something."""

    cases: Annotated[Path, typer.Option("--cases", help="Cases on which the agreement is measured.")]
    max_cases: Annotated[int, typer.Option(metavar="<number>", min=1, help="How many of the cases to measure.")] = 2
    allow_unproven: Annotated[
        bool,
        typer.Option(
            "--allow-unproven",
            help="Let through what finds no tumour in any of the cases, so that agreement proves nothing: for tests "
            "of a pipeline, never for patients.",
        ),
    ] = False

    def limits(self) -> ParityLimits:
        """The gate's limits."""
        from eenet_export.gate.parity import ParityLimits

        return ParityLimits(allow_unproven=self.allow_unproven)


@dataclass(frozen=True)
class ExportOptions:
    """What a bundle is made from and what it shall be."""

    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle, a new folder.")]
    weights: Annotated[StoredWeights, typer.Option(help="Precision of the weights on disk.")] = StoredWeights.FP32
    preset: Annotated[
        str | None, typer.Option(metavar="<preset>", help="Geometry of a Keras file (default: the one it fits).")
    ] = None
    name: Annotated[str, typer.Option(metavar="<name>", help="Name of the model (default: the folder's).")] = ""
    note: Annotated[
        str,
        typer.Option(metavar="<sentence>", help="A sentence for the manifest, for example what the model is not for."),
    ] = ""
    min_tumour_ml: Annotated[
        float, typer.Option(metavar="<ml>", min=0, help="Default for the runtime: drop smaller components.")
    ] = 0
    min_enhancing_ml: Annotated[
        float, typer.Option(metavar="<ml>", min=0, help="Default for the runtime: ET below becomes NCR.")
    ] = 0
    head_only: Annotated[
        bool,
        typer.Option(
            "--head-only/--no-head-only",
            help="Default for the runtime: mask voxels in which all images are exactly 0 become background.",
        ),
    ] = True
    pose: Annotated[
        Pose | None,
        typer.Option(help="Which way the training's heads lie, for raw heads (default: what the training says)."),
    ] = None
    half_input: Annotated[bool, typer.Option("--half-input", help="Let the FP16 graph read FP16.")] = False

    def settings(self, gate: GateOptions, precisions: Iterable[Precision], *, engine: bool = False) -> ExportSettings:
        """The settings of an export."""
        from eenet_export.bundle.package import ExportSettings
        from eenet_runtime.bundle.manifest import PostprocessingSettings
        from eenet_train.network.weights import WeightPrecision

        wanted = set(precisions)
        return ExportSettings(
            name=self.name,
            weights=WeightPrecision(self.weights.value),
            precisions=tuple(item.value for item in Precision if item in wanted),
            half_input=self.half_input,
            engine=engine,
            max_cases=gate.max_cases,
            limits=gate.limits(),
            postprocessing=PostprocessingSettings(self.min_tumour_ml, self.min_enhancing_ml, self.head_only),
            note=self.note,
            pose=self.pose,
        )
