"""Options of `eenet-bench`: those that several commands share, each written once, and the long lists as dataclasses.

A command takes such a dataclass as one parameter; `spread` shows typer its fields as options of the command's own.
Heavy imports wait until a command needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eenet_bench.peers.measure import PeersSettings
    from eenet_bench.run.run import RunSettings
    from eenet_runtime.volumes.labels import LabelScheme

BundleArgument = Annotated[Path, typer.Argument(help="Bundle made by eenet-export.")]
BackendsOption = Annotated[
    str, typer.Option(metavar="<names>", help="Engines, with commas between them (default: all).", show_default=False)
]
CasesOption = Annotated[Path, typer.Option(help="Cases in any known layout.")]
ThreadsOption = Annotated[
    int | None, typer.Option(metavar="<number>", min=1, help="Threads (default: as many as usable).")
]
RoundsOption = Annotated[int, typer.Option(metavar="<number>", min=1, help="Measured rounds, after a warm-up.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write everything to this file.")]


def names_in(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


@dataclass(frozen=True)
class MasksOptions:
    """Masks and their truth, for every command that compares the two."""

    predictions: Annotated[Path, typer.Argument(help="Masks named <case>.nii.gz, as eenet-run writes them.")]
    truth: Annotated[Path, typer.Argument(help="Cases with labels in any known layout, or label files.")]
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="<scheme>",
            help="Label values of the masks: brats2020 (ET = 4), brats2023 (ET = 3) or msd "
            "(default: told by the report beside a mask, otherwise as in the truth).",
        ),
    ] = None

    def scheme(self) -> LabelScheme | None:
        """The label values that were asked for.

        Raises:
            DatasetError: unknown; the message lists the known ones.
        """
        from eenet_bench.evaluation.truth import scheme_by_name

        return scheme_by_name(self.labels) if self.labels else None


@dataclass(frozen=True)
class RunOptions:
    """What `run` measures."""

    backends: Annotated[
        str,
        typer.Option(
            metavar="<names>", help="Engines, with commas between them, such as keras,openvino,onnxruntime:fp16."
        ),
    ] = ""
    repeats: RoundsOption = 12
    max_cases: Annotated[int, typer.Option(metavar="<number>", min=1, help="How many of the cases to measure.")] = 2
    time_limit: Annotated[
        float,
        typer.Option(
            metavar="<seconds>", min=0, help="Seconds after which no further round begins, once there are three."
        ),
    ] = 120.0
    threads: ThreadsOption = None
    parity: Annotated[bool, typer.Option(help="Compare what the engines compute.")] = True
    max_difference: Annotated[
        float, typer.Option(metavar="<number>", min=0, help="Largest difference of a probability in FP32.")
    ] = 1e-2
    min_dice: Annotated[
        float, typer.Option(metavar="<number>", min=0, max=1, help="Smallest Dice between two masks.")
    ] = 0.995

    def settings(self) -> RunSettings:
        """The same for the library."""
        from eenet_bench.run.run import RunSettings
        from eenet_export.gate.parity import ParityLimits

        mean = min(self.min_dice, 0.999)
        return RunSettings(
            repeats=self.repeats,
            max_cases=self.max_cases,
            backends=names_in(self.backends),
            threads=self.threads,
            parity=self.parity,
            limits=ParityLimits(max_abs_difference=self.max_difference, worst_dice=self.min_dice, mean_dice=mean),
            time_limit_s=self.time_limit,
        )


@dataclass(frozen=True)
class PeersOptions:
    """What `peers` measures."""

    rounds: RoundsOption = 5
    max_cases: Annotated[int, typer.Option(metavar="<number>", min=1, help="How many of the cases to measure.")] = 1
    threads: ThreadsOption = None
    avx2: Annotated[bool, typer.Option("--avx2", help="Keep the engines from AVX-512, as far as they can be.")] = False
    monai_python: Annotated[
        Path | None, typer.Option(help="Python that has MONAI and PyTorch (default: this one).", show_default=False)
    ] = None
    pipelines: Annotated[
        str, typer.Option(metavar="<names>", help="Which; all stay in memory, 13 GB with eenet-144.")
    ] = "keras,onnx,monai,auto,openvino"

    def settings(self) -> PeersSettings:
        """The same for the library."""
        from eenet_bench.peers.measure import PeersSettings

        return PeersSettings(
            rounds=self.rounds,
            max_cases=self.max_cases,
            threads=self.threads,
            avx2=self.avx2,
            monai_python=self.monai_python,
            pipelines=names_in(self.pipelines),
        )
