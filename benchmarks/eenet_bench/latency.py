"""Seconds by stage and peak memory of each backend, each in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from eenet_runtime.backends import BACKEND_NAMES
from eenet_runtime.discovery import find_cases
from eenet_runtime.errors import DatasetError
from eenet_runtime.tables import format_table


@dataclass(frozen=True)
class Latency:
    """One backend on one case.

    Attributes:
        backend: its name.
        load_s: from nothing to a loaded model, hashing included.
        stages_s: median seconds of each stage, after one warm-up run.
        network_spread_s: smallest and largest network time.
        peak_rss_mb: highest resident memory of the process.
        reason: why it could not run, empty if it did.
    """

    backend: str
    load_s: float
    stages_s: dict[str, float]
    network_spread_s: tuple[float, float]
    peak_rss_mb: float
    reason: str = ""


def measure_latency(bundle: Path, cases: Path, repeats: int = 5, backends: Sequence[str] = ()) -> list[Latency]:
    """Measure each backend in a fresh process, so that memory of one is not charged to another."""
    return [_in_a_process(bundle, cases, repeats, name) for name in backends or BACKEND_NAMES if name != "auto"]


def measure_here(bundle: Path, cases: Path, repeats: int, backend: str) -> Latency:
    """Measure one backend in this process, on the first case of a folder.

    Raises:
        DatasetError: no usable case.
    """
    from eenet_runtime.segmenter import Segmenter

    found = find_cases(cases).cases
    if not found:
        raise DatasetError(f"{cases}: no usable case to measure on")
    start = time.perf_counter()
    with Segmenter(bundle, backend=backend) as segmenter:
        load = time.perf_counter() - start
        segmenter.segment(found[0])
        runs = [segmenter.segment(found[0]).seconds for _ in range(repeats)]
    stages = {stage: median(run[stage] for run in runs) for stage in runs[0]}
    network = [run["network"] for run in runs]
    # Linux counts in kilobytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Latency(backend, load, stages, (min(network), max(network)), peak)


def latency_table(results: Sequence[Latency]) -> str:
    """One line for each backend; one that could not run has its reason below."""
    done = [result for result in results if not result.reason]
    stages = list(done[0].stages_s) if done else []
    header = ["backend", "load s", *(f"{stage} s" for stage in stages), "network spread s", "peak MB"]
    rows = []
    for result in done:
        low, high = result.network_spread_s
        seconds = [f"{result.stages_s[stage]:.3f}" for stage in stages]
        row = [result.backend, f"{result.load_s:.2f}", *seconds, f"{low:.2f}-{high:.2f}", f"{result.peak_rss_mb:.0f}"]
        rows.append(row)
    reasons = [f"{result.backend} did not run: {result.reason}" for result in results if result.reason]
    return "\n".join([format_table(header, rows), *reasons])


def _in_a_process(bundle: Path, cases: Path, repeats: int, backend: str) -> Latency:
    arguments = [str(bundle), str(cases), str(repeats), backend]
    command = [sys.executable, "-m", "eenet_bench.latency", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        return Latency(backend, 0.0, {}, (0.0, 0.0), 0.0, reason)
    content = json.loads(finished.stdout)
    return Latency(**{**content, "network_spread_s": tuple(content["network_spread_s"])})


if __name__ == "__main__":
    measured = measure_here(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    sys.stdout.write(json.dumps(asdict(measured)))
