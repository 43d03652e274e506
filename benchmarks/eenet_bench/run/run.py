"""`eenet-bench run`: every engine and precision on the same cases, with speed, memory and agreement in one report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from eenet_bench.measuring.bootstrap import Ratio, as_rounds, paired_ratio
from eenet_bench.measuring.energy import EnergyMeter
from eenet_bench.measuring.environment import Environment, describe_environment
from eenet_bench.measuring.noise import Noise, NoiseWatch
from eenet_bench.measuring.nvml import GpuReader, GpuState, open_reader
from eenet_bench.run.latency import NETWORK, TOTAL, Latency, Worker, calibration_by_round, measure_in_turns
from eenet_bench.run.parity import BundleParityRow
from eenet_bench.run.run_parity import RunParity, check_rows, measure_run_parity
from eenet_bench.run.subjects import KERAS, Subject, find_subjects
from eenet_export.gate.gate import case_hashes
from eenet_export.gate.parity import ParityLimits
from eenet_runtime.bundle.manifest import Bundle, open_bundle
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import BackendError, DatasetError, ParityError
from eenet_runtime.machine.hardware import find_memory

SCHEMA_VERSION: Final = 2
"""2: the calibration is done in one thread; times divided by that of version 1 cannot be compared."""
_SPEED_REFERENCES: Final = ((KERAS, "fp32"), ("onnxruntime", "fp32"))
"""What ratios are held against: the first of these that ran, else the first that ran at all."""


@dataclass(frozen=True)
class RunSettings:
    """What to measure.

    Attributes:
        repeats: measured rounds, after one case in each engine that is not measured.
        max_cases: how many cases, the first in order of names.
        backends: engines by name, with a precision after a colon or without; by default all.
        threads: threads for one inference; by default as many as the process may use.
        parity: whether to compare results; without it the run is shorter.
        limits: what counts as agreement.
        time_limit_s: no further round begins after that long in them, once there are three; None for no limit.
    """

    repeats: int = 12
    max_cases: int = 2
    backends: tuple[str, ...] = ()
    threads: int | None = None
    parity: bool = True
    limits: ParityLimits = field(default_factory=ParityLimits)
    time_limit_s: float | None = 120.0


@dataclass(frozen=True)
class Result:
    """One engine with one precision.

    Attributes:
        subject: what it is; its `reason` says why there is no `latency`.
        file_bytes: its files in the bundle.
        latency: what was measured.
        network_ratio, total_ratio: seconds by those of the reference, paired by round; None without either.
        parity: against the reference, by case.
        parity_problem: the first figure beyond the limits; empty where there is none.
        truth_dice: of its finished masks against the cases' own labels, by case and region.
    """

    subject: Subject
    file_bytes: int
    latency: Latency | None = None
    network_ratio: Ratio | None = None
    total_ratio: Ratio | None = None
    parity: tuple[BundleParityRow, ...] = ()
    parity_problem: str = ""
    truth_dice: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """`ok`, `differs` (beyond the limits of parity) or `did not run`."""
        if self.latency is None:
            return "did not run"
        return "differs" if self.parity_problem else "ok"


@dataclass(frozen=True)
class RunReport:
    """A whole run.

    Attributes:
        bundle_id, bundle_name, preset: the model.
        cases: SHA-256 of the input files, by case and modality.
        settings: what was asked for.
        environment: the machine.
        noise: how quiet it was.
        gpu: the GPU's state at the end of the rounds; None without one.
        energy_note: why there is no energy; empty where there is.
        speed_reference, parity_reference: names of what the others are held against; empty where there is none.
        results: everything that could be measured, the reference first.
    """

    bundle_id: str
    bundle_name: str
    preset: str
    cases: Mapping[str, Mapping[str, str]]
    settings: RunSettings
    environment: Environment
    noise: Noise
    gpu: GpuState | None
    energy_note: str
    speed_reference: str
    parity_reference: str
    results: tuple[Result, ...]

    @property
    def measured(self) -> tuple[Result, ...]:
        """The results of engines that ran."""
        return tuple(result for result in self.results if result.latency is not None)

    def to_json(self) -> str:
        """Everything, as the text of a file."""
        content: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "kind": "run", **asdict(self)}
        for entry, result in zip(content["results"], self.results, strict=True):
            entry["name"], entry["status"] = result.subject.name, result.status
        return json.dumps(content, indent=1) + "\n"


def run_benchmark(
    bundle: Path,
    cases: Path,
    settings: RunSettings = RunSettings(),
    on_step: Callable[[str], None] = lambda step: None,
) -> RunReport:
    """Measure every engine and precision of a bundle on the first cases of a folder.

    Args:
        bundle: a folder made by `eenet-export`.
        cases: a folder of cases in any layout of docs/data.md.
        settings: what to measure.
        on_step: told in words what happens.

    Raises:
        BundleError: the bundle is refused.
        DatasetError: no usable case.
        BackendError: an unknown engine is asked for, or none could run.
    """
    opened = open_bundle(bundle)
    subjects = find_subjects(opened, settings.backends)
    found = find_cases(cases).cases[: settings.max_cases]
    if not found:
        raise DatasetError(f"{cases}: no usable case to measure on")
    environment, watch = describe_environment(), NoiseWatch()
    with open_reader() as gpu:
        meter = EnergyMeter(gpu)
        plan = _Plan(opened, cases, subjects, found, settings)
        workers, gpu_state, parity = _measure(plan, gpu, meter, watch, on_step)
    if all(worker.reason for worker in workers):
        reasons = "; ".join(f"{worker.subject.name}: {worker.reason}" for worker in workers)
        raise BackendError(f"no engine could run: {reasons}")
    samples = [sample for worker in workers for sample in worker.samples]
    reference = _speed_reference(workers)
    return RunReport(
        bundle_id=opened.bundle_id,
        bundle_name=opened.manifest.name,
        preset=opened.manifest.preset.name,
        cases=case_hashes(found),
        settings=settings,
        environment=environment,
        noise=watch.finish(calibration_by_round(samples)),
        gpu=gpu_state,
        energy_note="" if any(sample.energy_j is not None for sample in samples) else meter.why_none,
        speed_reference=reference.subject.name,
        parity_reference=parity.reference,
        results=tuple(_result(opened, worker, reference, parity, settings) for worker in workers),
    )


def require_agreement(report: RunReport) -> None:
    """Let a run pass in which every engine that ran is the same model.

    Raises:
        ParityError: the first engine that is not, and the figure beyond the limits.
    """
    for result in report.measured:
        if result.parity_problem:
            raise ParityError(result.parity_problem)


@dataclass(frozen=True)
class _Plan:
    """What is measured on what."""

    bundle: Bundle
    folder: Path
    subjects: Sequence[Subject]
    cases: Sequence[CaseFiles]
    settings: RunSettings


def _measure(
    plan: _Plan, gpu: GpuReader | None, meter: EnergyMeter, watch: NoiseWatch, on_step: Callable[[str], None]
) -> tuple[list[Worker], GpuState | None, RunParity]:
    """All processes from their start to their end."""
    settings, case_ids = plan.settings, [case.case_id for case in plan.cases]
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(subject, subject.reason)) for subject in plan.subjects]
        largest = 0
        for worker in workers:
            worker.reason = worker.reason or _no_room_for(largest)
            if not worker.reason:
                on_step(f"loading {worker.subject.name}")
                _load(worker, plan, case_ids[0], gpu)
                largest = max(largest, worker.memory_so_far())
        running = [worker for worker in workers if not worker.reason]

        def on_round(number: int) -> None:
            on_step(f"round {number + 1} of {settings.repeats} at most")
            watch.between_rounds()

        if running:
            measure_in_turns(running, case_ids, settings.repeats, meter, on_round, settings.time_limit_s)
        state = gpu.state() if gpu is not None else None
        for worker in running:
            on_step(f"throughput of {worker.subject.name}")
            worker.run_folder(case_ids)
            worker.read_peak()
        parity = measure_run_parity(workers, plan.cases, plan.bundle, on_step, enabled=settings.parity)
    return workers, state, parity


def _no_room_for(largest: int) -> str:
    """Why a further process would not fit beside those that are there; empty where it would.

    Args:
        largest: bytes that the largest of them has taken; the next one may take as much.
    """
    memory = find_memory()
    limits = [size for size in (memory.available_bytes, memory.limit_bytes) if size is not None]
    free = min(limits, default=None)
    if free is None or free >= largest:
        return ""
    return (
        f"{free / 2**30:.1f} GiB of memory are free beside the other engines, and the largest of them took "
        f"{largest / 2**30:.1f} GiB; measure fewer at a time (--backends)"
    )


def _load(worker: Worker, plan: _Plan, case_id: str, gpu: GpuReader | None) -> None:
    """Start one process and let it compute once; nothing else runs meanwhile, so the GPU's memory is its own."""
    before = gpu.state().used_bytes if gpu is not None else None
    worker.start(plan.bundle.folder, plan.folder, plan.settings.threads)
    worker.warm_up(case_id)
    after = gpu.state().used_bytes if gpu is not None else None
    if worker.subject.device != "cpu" and before is not None and after is not None:
        worker.gpu_bytes = max(0, after - before)


def _speed_reference(workers: Sequence[Worker]) -> Worker:
    ran = [worker for worker in workers if worker.result() is not None]
    for wanted in _SPEED_REFERENCES:
        for worker in ran:
            if (worker.subject.backend, worker.subject.precision) == wanted and worker.subject.device == "cpu":
                return worker
    return ran[0]


def _result(
    bundle: Bundle,
    worker: Worker,
    reference: Worker,
    parity: RunParity,
    settings: RunSettings,
) -> Result:
    subject, latency = worker.subject, worker.result()
    sizes = {entry.path: entry.bytes for entry in bundle.manifest.files}
    file_bytes = sum(sizes.get(path, 0) for path in subject.paths)
    if latency is None:
        lost = Subject(subject.backend, subject.precision, subject.device, worker.reason, subject.paths)
        return Result(lost, file_bytes)
    own = tuple(parity.rows.get(subject.name, ()))
    held_against = None if worker is reference else reference.result()
    return Result(
        subject=subject,
        file_bytes=file_bytes,
        latency=latency,
        network_ratio=_ratio(latency, held_against, NETWORK),
        total_ratio=_ratio(latency, held_against, TOTAL),
        parity=own,
        parity_problem=parity.problems.get(subject.name) or check_rows(own, settings.limits),
        truth_dice=parity.truth.get(subject.name, {}),
    )


def _ratio(latency: Latency, reference: Latency | None, stage: str) -> Ratio | None:
    if reference is None:
        return None
    return paired_ratio(as_rounds(latency.rounds(stage)), as_rounds(reference.rounds(stage)))
