"""Seconds by stage, cold start and peak memory of each engine, measured in turns.

Each engine lives in a process of its own (`latency_worker`), so that its memory and its cold start are its own. The
processes take turns, case by case and in a rotating order: a machine that slows down slows all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eenet_bench.environment import Environment, describe_environment
from eenet_bench.spread import Spread, spread
from eenet_runtime.backends import BACKEND_NAMES
from eenet_runtime.bundle import open_bundle
from eenet_runtime.discovery import find_cases
from eenet_runtime.errors import BackendError, DatasetError
from eenet_runtime.files import write_atomically
from eenet_runtime.tables import format_table


@dataclass(frozen=True)
class LatencySettings:
    """What to measure.

    Attributes:
        repeats: measured runs of each case in each engine, after one that is not measured.
        max_cases: how many cases, the first in order of names.
        backends: engines by name; by default all that the runtime knows.
        threads: threads for one inference; by default as many as the process may use.
    """

    repeats: int = 5
    max_cases: int = 1
    backends: tuple[str, ...] = ()
    threads: int | None = None


@dataclass(frozen=True)
class BackendLatency:
    """One engine.

    Attributes:
        backend: its name.
        reason: why it could not run, empty if it did; then nothing below means anything.
        version, device: as the engine names them.
        cold_start_s: from a bare Python process to a loaded model: imports, hashes of the bundle, the engine's own
            loading. The files are in the system's cache already.
        first_case_s: the first case after that, files to files.
        stages_s: measured runs, by stage; `read` to `write`, without a preview.
        total_s: measured runs, files to files, with the report and its hashes, which belong to no stage.
        peak_rss_bytes: highest resident memory of the process, None where the system does not tell.
    """

    backend: str
    reason: str = ""
    version: str = ""
    device: str = ""
    cold_start_s: float = 0.0
    first_case_s: float = 0.0
    stages_s: dict[str, Spread] = field(default_factory=dict)
    total_s: Spread | None = None
    peak_rss_bytes: int | None = None


@dataclass(frozen=True)
class LatencyReport:
    """A whole measurement.

    Attributes:
        bundle_id, bundle_name, preset: the model.
        model_bytes: size of all of the bundle's files but the manifest: graphs and weights.
        cases: names of the cases.
        settings: what was asked for.
        environment: the machine.
        backends: the engines, also those that could not run.
    """

    bundle_id: str
    bundle_name: str
    preset: str
    model_bytes: int
    cases: tuple[str, ...]
    settings: LatencySettings
    environment: Environment
    backends: tuple[BackendLatency, ...]

    def to_json(self) -> str:
        """Everything, as the text of a file."""
        return json.dumps({"schema_version": 1, **asdict(self)}, indent=2) + "\n"


def measure_latency(
    bundle: Path,
    cases: Path,
    settings: LatencySettings = LatencySettings(),
    on_step: Callable[[str], None] = lambda step: None,
) -> LatencyReport:
    """Measure engines on the first cases of a folder.

    Args:
        bundle: a folder made by `eenet-export`.
        cases: a folder of cases in any layout of data.md.
        settings: what to measure.
        on_step: told in words what happens.

    Raises:
        BundleError: the bundle is refused.
        DatasetError: no usable case.
        BackendError: an unknown engine is asked for, or none could run.
    """
    opened = open_bundle(bundle)
    names = chosen_backends(settings.backends)
    found = find_cases(cases).cases[: settings.max_cases]
    if not found:
        raise DatasetError(f"{cases}: no usable case to measure on")
    environment = describe_environment()
    case_ids = tuple(case.case_id for case in found)
    results = tuple(_measure(bundle, cases, names, case_ids, settings, on_step))
    if all(result.reason for result in results):
        raise BackendError("no engine could run: " + "; ".join(f"{r.backend}: {r.reason}" for r in results))
    return LatencyReport(
        bundle_id=opened.bundle_id,
        bundle_name=opened.manifest.name,
        preset=opened.manifest.preset.name,
        model_bytes=sum(entry.bytes for entry in opened.manifest.files),
        cases=case_ids,
        settings=settings,
        environment=environment,
        backends=results,
    )


def chosen_backends(asked: Sequence[str]) -> tuple[str, ...]:
    """The engines that are asked for, or all that the runtime knows.

    Raises:
        BackendError: an unknown name; the message lists the known ones.
    """
    known = tuple(name for name in BACKEND_NAMES if name != "auto")
    if unknown := [name for name in asked if name not in known]:
        raise BackendError(f"unknown backend {unknown[0]!r}; known backends: {', '.join(known)}")
    return tuple(dict.fromkeys(asked)) or known


def latency_table(report: LatencyReport) -> str:
    """The machine, one line for each engine, and below them the reasons of those that did not run."""
    done = [result for result in report.backends if not result.reason]
    stages = list(dict.fromkeys(stage for result in done for stage in result.stages_s))
    header = ["engine", "version", "cold start s", "first case s", *(f"{stage} s" for stage in stages)]
    rows = []
    for result in done:
        row = [result.backend, result.version, f"{result.cold_start_s:.2f}", f"{result.first_case_s:.2f}"]
        row += [f"{result.stages_s[stage].median:.3f}" for stage in stages]
        peak = f"{result.peak_rss_bytes / 2**20:.0f}" if result.peak_rss_bytes else "-"
        assert result.total_s is not None
        total = f"{result.total_s.median:.3f} ({result.total_s.smallest:.3f}-{result.total_s.largest:.3f})"
        rows.append([*row, total, peak])
    runs = len(report.cases) * report.settings.repeats
    return "\n".join(
        [
            f"{report.bundle_name} ({report.preset}, {report.model_bytes / 1e6:.1f} MB) on {', '.join(report.cases)}",
            report.environment.describe(),
            f"medians of {runs} run{'s' * (runs != 1)} in turns; in brackets the fastest and the slowest",
            "",
            format_table([*header, "files to files s", "peak MiB"], rows),
            *(f"{result.backend} did not run: {result.reason}" for result in report.backends if result.reason),
        ]
    )


def write_latency(report: LatencyReport, path: Path) -> None:
    """Write the report as JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomically(path, report.to_json().encode())


class _Worker:
    """A measured process, and what it has said so far."""

    def __init__(self, bundle: Path, cases: Path, backend: str, threads: int | None) -> None:
        self.backend = backend
        self.reason = ""
        self.runs: list[dict[str, Any]] = []
        self.peak: int | None = None
        arguments = [str(bundle), str(cases), backend, str(threads or 0)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "eenet_bench.latency_worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.loaded = self._answer()

    def run(self, case_id: str) -> None:
        """Segment one case and keep its times."""
        if not self.reason:
            self._say(case_id)
            self.runs.append(self._answer())

    def finish(self) -> None:
        """Let the process say its peak memory and end."""
        if not self.reason:
            self._say(None)
            self.peak = self._answer().get("peak_rss_bytes")

    def result(self) -> BackendLatency:
        """What was measured; the first run is the warm-up."""
        if self.reason:
            return BackendLatency(self.backend, self.reason)
        warm_up, *runs = self.runs
        stages = {stage: spread([run["stages_s"][stage] for run in runs]) for stage in runs[0]["stages_s"]}
        return BackendLatency(
            backend=self.backend,
            version=self.loaded["version"],
            device=self.loaded["device"],
            cold_start_s=self.loaded["cold_start_s"],
            first_case_s=warm_up["total_s"],
            stages_s=stages,
            total_s=spread([run["total_s"] for run in runs]),
            peak_rss_bytes=self.peak,
        )

    def _say(self, line: str | None) -> None:
        assert self._process.stdin is not None
        # A process that is gone shows by the answer that does not come.
        with suppress(BrokenPipeError):
            if line is None:
                self._process.stdin.close()
            else:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {}
        if not line:
            self.reason = f"its process ended with exit code {self._process.wait()} (-9: killed, often for its memory)"
        self.reason = answer.get("reason", self.reason)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        self._process.wait()


def _measure(
    bundle: Path,
    cases: Path,
    names: Sequence[str],
    case_ids: Sequence[str],
    settings: LatencySettings,
    on_step: Callable[[str], None],
) -> list[BackendLatency]:
    with ExitStack() as stack:
        workers = []
        for name in names:
            on_step(f"loading {name}")
            workers.append(stack.enter_context(_Worker(bundle, cases, name, settings.threads)))
        on_step("warming up")
        for worker in workers:
            worker.run(case_ids[0])
        for repeat in range(settings.repeats):
            on_step(f"round {repeat + 1} of {settings.repeats}")
            first = repeat % len(workers)
            for case_id in case_ids:
                for worker in [*workers[first:], *workers[:first]]:
                    worker.run(case_id)
        for worker in workers:
            worker.finish()
        return [worker.result() for worker in workers]
