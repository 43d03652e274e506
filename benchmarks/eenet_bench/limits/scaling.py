"""`eenet-bench scaling`: what the size of the volume, the threads and the cases in flight cost, measured in turns."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

from eenet_bench.limits.graph_cost import graph_cost
from eenet_bench.measuring.environment import Environment, describe_environment
from eenet_bench.measuring.process import JsonProcess
from eenet_bench.pages.charts import Axis, Series, draw_points
from eenet_bench.pages.report_files import write_forms
from eenet_bench.peers.models import make_models
from eenet_export.graph.graphs import FP32_FILE
from eenet_runtime.bundle.manifest import open_bundle
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import DatasetError
from eenet_runtime.folders.tables import format_table
from eenet_runtime.machine.threads import usable_cpus
from eenet_runtime.volumes.presets import EENET_108, EENET_144, EENET_FAST, GeometryPreset

GEOMETRIES: Final = (
    GeometryPreset("64 x 64 x 72", (64, 64, 72), 1.0, (3, 4, 2)),
    EENET_FAST,
    GeometryPreset("128 x 128 x 72", (128, 128, 72), 1.0, (3, 4, 2)),
    GeometryPreset("192 x 160 x 72", (192, 160, 72), 1.0, (3, 4, 2)),
    EENET_108,
    EENET_144,
)
"""The presets, and sizes between them."""
ENGINES: Final = ("native", "openvino", "onnxruntime")
IN_FLIGHT: Final = (1, 2, 3)
_FOLDER_CASES: Final = 4


@dataclass(frozen=True)
class Point:
    """One engine in one setting, in a process of its own.

    Attributes:
        engine, geometry, threads: the setting.
        megavoxels: of the volume.
        gflop: of the network, computed directly.
        reason: why it did not run, empty if it did.
        seconds: of each round, for one volume.
        peak_rss_bytes: highest resident memory; None where the system does not tell.
    """

    engine: str
    geometry: str
    threads: int
    megavoxels: float
    gflop: float
    reason: str = ""
    seconds: tuple[float, ...] = ()
    peak_rss_bytes: int | None = None


@dataclass(frozen=True)
class InFlight:
    """A folder with so many cases in hand at a time, of the bundle's own geometry: seconds of a case, by round."""

    cases: int
    reason: str = ""
    seconds: tuple[float, ...] = ()
    peak_rss_bytes: int | None = None


@dataclass(frozen=True)
class ScalingReport:
    """A whole measurement; `in_flight` is empty where no cases were given."""

    bundle_name: str
    environment: Environment
    rounds: int
    points: tuple[Point, ...]
    in_flight: tuple[InFlight, ...]

    def to_json(self) -> str:
        """Everything, as the text of a file."""
        return json.dumps({"schema_version": 1, **asdict(self)}, indent=2) + "\n"


def measure_scaling(
    bundle: Path,
    cases: Path | None = None,
    rounds: int = 5,
    engines: Sequence[str] = ENGINES,
    geometries: Sequence[GeometryPreset] = GEOMETRIES,
    on_step: Callable[[str], None] = lambda step: None,
) -> ScalingReport:
    """Measure a bundle's network, rebuilt in several geometries, in several engines and numbers of threads.

    Args:
        bundle: whose weights every geometry gets; they fit all.
        cases: a folder of cases for the cases in flight; without it these are left out.
        rounds: measured rounds, after one that is not.
        engines, geometries: what to measure.
        on_step: told in words what happens.

    Raises:
        BundleError, ExportError: the bundle is refused, or its weights are another network's.
        DatasetError: no usable case in the folder.
    """
    opened = open_bundle(bundle)
    if cases is not None and not find_cases(cases).cases:
        raise DatasetError(f"{cases}: no usable case to measure on")
    environment = describe_environment()
    threads = sorted({1, usable_cpus()})
    points: list[Point] = []
    with tempfile.TemporaryDirectory(prefix="eenet-scaling-") as scratch:
        for number, geometry in enumerate(geometries):
            on_step(f"{geometry.name}: converting")
            model = make_models(Path(scratch) / str(number), geometry, bundle).bundle
            # One geometry at a time: all of them in memory would crowd each other out.
            points += _measure_geometry(model, geometry, engines, threads, rounds, on_step)
    in_flight = () if cases is None else _measure_in_flight(bundle, cases, rounds, on_step)
    return ScalingReport(opened.manifest.name, environment, rounds, tuple(points), in_flight)


def scaling_table(report: ScalingReport) -> str:
    """A line for each geometry and engine, then one for each number of cases in flight."""
    rows = []
    for one, several in _by_threads(report.points):
        seconds = [f"{median(point.seconds):.2f}" for point in (one, several)]
        gain = median(one.seconds) / median(several.seconds)
        speed = several.gflop / median(several.seconds)
        peak = f"{several.peak_rss_bytes / 2**20:.0f}" if several.peak_rss_bytes else "-"
        size = [several.geometry, several.engine, f"{several.megavoxels:.2f}", f"{several.gflop:.0f}"]
        rows.append([*size, *seconds, f"{gain:.2f}", f"{speed:.0f}", peak])
    most = max((point.threads for point in report.points), default=1)
    header = ["geometry", "engine", "Mvoxel", "GFLOP", "1 thread s", f"{most} threads s", "gain", "GFLOP/s", "peak MB"]
    lines = [
        report.environment.describe(),
        f"medians of {report.rounds} rounds in turns",
        "",
        format_table(header, rows),
    ]
    if report.in_flight:
        flown = [one for one in report.in_flight if one.seconds]
        lines += ["", format_table(["cases in flight", "s per case", "peak MB"], [_flight_row(one) for one in flown])]
    reasons = {f"{p.engine} did not run: {p.reason}" for p in report.points if p.reason}
    reasons |= {f"{one.cases} cases in flight did not run: {one.reason}" for one in report.in_flight if one.reason}
    return "\n".join([*lines, *sorted(reasons)])


def write_scaling(report: ScalingReport, folder: Path) -> None:
    """Write `scaling.json` and `scaling.png` into a folder.

    Raises:
        OutputError: a file cannot be written.
    """
    write_forms(folder, "scaling", json=report.to_json())
    pairs = _by_threads(report.points)
    series = []
    for engine in dict.fromkeys(several.engine for _, several in pairs):
        measured = sorted((s.megavoxels, median(s.seconds)) for _, s in pairs if s.engine == engine)
        series.append(Series(engine, measured))
    if series:
        most = max(point.threads for point in report.points)
        title = f"The network by size of the volume, {most} threads"
        picture = draw_points(title, Axis("millions of voxels"), Axis("seconds"), series)
        write_forms(folder, "scaling", png=picture)


def _measure_geometry(
    bundle: Path,
    geometry: GeometryPreset,
    engines: Sequence[str],
    threads: Sequence[int],
    rounds: int,
    on_step: Callable[[str], None],
) -> list[Point]:
    """Every engine with every number of threads, in turns."""
    gflop = sum(layer.flops for layer in graph_cost(bundle / FP32_FILE)) / 1e9
    settings = [(engine, count) for engine in engines for count in threads]
    with ExitStack() as stack:
        on_step(f"{geometry.name}: measuring")
        processes = [stack.enter_context(_worker(bundle, *setting, 2)) for setting in settings]
        seconds = _in_turns(processes, rounds, {"do": "network"})
        return [
            Point(
                engine,
                geometry.name,
                count,
                math.prod(geometry.shape) / 1e6,
                gflop,
                process.reason,
                () if process.reason else tuple(taken),
                process.peak_rss_bytes(),
            )
            for (engine, count), process, taken in zip(settings, processes, seconds, strict=True)
        ]


def _measure_in_flight(bundle: Path, cases: Path, rounds: int, on_step: Callable[[str], None]) -> tuple[InFlight, ...]:
    on_step("cases in flight")
    with ExitStack() as stack:
        processes = [stack.enter_context(_worker(bundle, "auto", usable_cpus(), count)) for count in IN_FLIGHT]
        seconds = _in_turns(processes, rounds, {"do": "folder", "cases": str(cases), "count": _FOLDER_CASES})
        return tuple(
            InFlight(
                count,
                process.reason,
                () if process.reason else tuple(one / _FOLDER_CASES for one in taken),
                process.peak_rss_bytes(),
            )
            for count, process, taken in zip(IN_FLIGHT, processes, seconds, strict=True)
        )


def _worker(bundle: Path, engine: str, threads: int, in_flight: int) -> JsonProcess:
    command = [
        sys.executable,
        "-m",
        "eenet_bench.limits.scaling_worker",
        str(bundle),
        engine,
        str(threads),
        str(in_flight),
    ]
    return JsonProcess(command)


def _in_turns(processes: Sequence[JsonProcess], rounds: int, request: dict[str, object]) -> list[list[float]]:
    """Seconds of every process in every round, after one that is not counted; who begins changes."""
    seconds: list[list[float]] = [[] for _ in processes]
    numbers = list(range(len(processes)))
    for count in range(rounds + 1):
        first = count % len(numbers)
        for number in numbers[first:] + numbers[:first]:
            answer = processes[number].ask(**request)
            if count and answer:
                seconds[number].append(answer["seconds"])
    return seconds


def _by_threads(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    """Of each geometry and engine that ran: with the fewest threads, and with the most."""
    pairs = []
    for key in dict.fromkeys((point.geometry, point.engine) for point in points):
        ran = [point for point in points if (point.geometry, point.engine) == key and point.seconds]
        if ran:
            pairs.append((ran[0], ran[-1]))
    return pairs


def _flight_row(one: InFlight) -> list[str]:
    peak = f"{one.peak_rss_bytes / 2**20:.0f}" if one.peak_rss_bytes else "-"
    return [str(one.cases), f"{median(one.seconds):.2f}", peak]
