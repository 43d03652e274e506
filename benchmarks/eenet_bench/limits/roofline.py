"""`eenet-bench roofline`: how far every engine is from what the machine's arithmetic and memory allow."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from eenet_bench.limits.graph_cost import LayerCost, graph_cost
from eenet_bench.limits.machine_rates import MachineRates, measure_rates
from eenet_bench.measuring.environment import Environment, describe_environment
from eenet_bench.measuring.noise import Noise, NoiseWatch
from eenet_bench.pages.charts import Axis, Series, draw_points
from eenet_bench.pages.report_files import write_forms
from eenet_runtime.backends import make_backend
from eenet_runtime.bundle.manifest import open_bundle
from eenet_runtime.errors import BackendError
from eenet_runtime.folders.tables import format_table
from eenet_runtime.machine.threads import usable_cpus

if TYPE_CHECKING:
    from eenet_runtime.backends import Backend

ENGINES: Final = ("native", "openvino", "onnxruntime")
_SHOWN: Final = 16


@dataclass(frozen=True)
class EngineTime:
    """An engine on the whole network.

    Attributes:
        name, device: the engine.
        reason: why it did not run, empty if it did.
        seconds: of each round, for labels.
    """

    name: str
    device: str = ""
    reason: str = ""
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Roofline:
    """Rates, layers and engines of one bundle; on a noisy machine the rates are too low."""

    preset: str
    environment: Environment
    rates: MachineRates
    layers: tuple[LayerCost, ...]
    engines: tuple[EngineTime, ...]
    noise: Noise

    @property
    def flops(self) -> float:
        """Of the whole network, convolutions computed directly."""
        return sum(layer.flops for layer in self.layers)

    @property
    def bound_s(self) -> float:
        """The sum over layers: what direct convolution, one layer after the other, cannot beat."""
        return sum(layer.bound_s(self.rates.flops_per_s, self.rates.bytes_per_s) for layer in self.layers)

    def to_json(self) -> str:
        """Everything, as the text of a file."""
        return json.dumps({"schema_version": 1, "bound_s": self.bound_s, **asdict(self)}, indent=2) + "\n"


def measure_roofline(
    bundle: Path,
    rounds: int = 5,
    threads: int | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Roofline:
    """Count the layers of a bundle's FP32 graph, measure the machine's rates, and time every CPU engine in turns.

    Raises:
        BundleError: the bundle is refused.
        BackendError: the bundle has no FP32 graph.
    """
    opened = open_bundle(bundle)
    graph = next((entry for entry in opened.manifest.artifacts if entry.form == "onnx-fp32"), None)
    if graph is None:
        raise BackendError(f"{bundle}: no onnx-fp32 artefact found, layers are counted in it")
    count = threads or usable_cpus()
    environment, watch = describe_environment(), NoiseWatch()
    layers = graph_cost(opened.path_of(graph))
    on_step("measuring the machine's rates")
    rates = measure_rates(count)
    preset = opened.manifest.preset
    volume = np.random.default_rng(0).standard_normal((*preset.shape, 4), dtype=np.float32)
    engines: dict[str, Backend] = {}
    results: dict[str, EngineTime] = {}
    for name in ENGINES:
        try:
            engines[name] = make_backend(opened, backend=name, device="cpu", precision="fp32", threads=count)
        except BackendError as error:
            results[name] = EngineTime(name, reason=str(error))
    seconds = _in_turns(engines, volume, rounds, on_step)
    for name, backend in engines.items():
        results[name] = EngineTime(name, backend.device, seconds=tuple(seconds[name]))
        backend.close()
    noise = watch.finish(())
    return Roofline(preset.name, environment, rates, layers, tuple(results[name] for name in ENGINES), noise)


def roofline_table(report: Roofline) -> str:
    """Rates, engines against the bound, and the layers that cost most."""
    rates, bound = report.rates, report.bound_s
    engines = [
        [one.name, one.device, f"{median(one.seconds):.2f}", f"{report.flops / median(one.seconds) / 1e9:.0f}",
         f"{bound / median(one.seconds):.2f}"]
        for one in report.engines
        if one.seconds
    ]  # fmt: skip
    costly = sorted(report.layers, key=lambda layer: -layer.bound_s(rates.flops_per_s, rates.bytes_per_s))[:_SHOWN]
    rows = []
    for layer in costly:
        least = layer.bound_s(rates.flops_per_s, rates.bytes_per_s)
        by = "arithmetic" if layer.flops / rates.flops_per_s >= least else "memory"
        size = " x ".join(map(str, layer.output[1:]))
        figures = [f"{layer.flops / 1e9:.1f}", f"{layer.moved_bytes / 1e6:.0f}", f"{layer.intensity:.1f}"]
        rows.append([layer.name, layer.kind, size, *figures, f"{least * 1e3:.0f}", by])
    header = ["layer", "kind", "output", "GFLOP", "MB moved", "FLOP/byte", "least ms", "bound by"]
    lines = [
        report.environment.describe(),
        report.noise.describe(),
        f"{rates.threads} threads: {rates.flops_per_s / 1e9:.0f} GFLOP/s (float32 matrix product of NumPy's BLAS), "
        f"{rates.bytes_per_s / 1e9:.0f} GB/s (copy, read and written)",
        f"{report.preset}: {report.flops / 1e12:.3f} TFLOP computed directly, at least {bound:.2f} s layer by layer",
        "",
        format_table(["engine", "device", "s", "GFLOP/s", "bound / time"], engines),
        "",
        format_table(header, rows),
        *(f"{one.name} did not run: {one.reason}" for one in report.engines if one.reason),
    ]
    return "\n".join(lines)


def write_roofline(report: Roofline, folder: Path) -> None:
    """Write `roofline.json` and `roofline.png` into a folder.

    Raises:
        OutputError: a file cannot be written.
    """
    write_forms(folder, "roofline", json=report.to_json(), png=_picture(report))


def _picture(report: Roofline) -> bytes:
    """The roof over intensity; layers on it where they could be, engines at the whole network's intensity."""
    peak, copy = report.rates.flops_per_s / 1e9, report.rates.bytes_per_s / 1e9
    moved = sum(layer.moved_bytes for layer in report.layers)
    whole = report.flops / moved
    intensities = [0.1, peak / copy, 1000.0]
    heavy = [layer for layer in report.layers if layer.flops > 1e-3 * report.flops]
    series = [
        Series("the machine", [(x, min(peak, x * copy)) for x in intensities]),
        Series("layers, at best", [(x.intensity, min(peak, x.intensity * copy)) for x in heavy], joined=False),
    ]
    for engine in report.engines:
        if engine.seconds:
            speed = report.flops / median(engine.seconds) / 1e9
            series.append(Series(engine.name, [(whole, speed)], joined=False, labels=[f"{speed:.0f}"]))
    title = f"Roofline, {report.preset}, {report.rates.threads} threads"
    return draw_points(title, Axis("FLOP per byte moved", True), Axis("GFLOP/s of direct convolution", True), series)


def _in_turns(
    engines: dict[str, Backend], volume: NDArray[np.float32], rounds: int, on_step: Callable[[str], None]
) -> dict[str, list[float]]:
    """Seconds of every engine in every round, after one that is not counted; who begins changes."""
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    names = list(engines)
    for number in range(rounds + 1):
        on_step(f"round {number} of {rounds}" if number else "warming up")
        for name in names[number % len(names) :] + names[: number % len(names)] if names else []:
            taken = _seconds(lambda name=name: engines[name].labels(volume))  # type: ignore[misc]
            if number:
                seconds[name].append(taken)
    return seconds


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
