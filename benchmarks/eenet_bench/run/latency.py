"""Seconds by stage, cold start, throughput and peak memory of each engine, measured in turns.

Each engine lives in a process of its own (`latency_worker`), so that its memory and its cold start are its own. The
processes take turns, case by case and in a rotating order: a machine that slows down slows all of them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from eenet_bench.measuring.energy import EnergyMeter
from eenet_bench.measuring.process import JsonProcess
from eenet_bench.run.subjects import Subject

TOTAL: Final = "total"
"""Files to files: all stages, and the report with its hashes, which belongs to none."""
NETWORK: Final = "network"
LEAST_ROUNDS: Final = 3
"""Rounds that are measured however long they take."""
OUTSIDE_REPEATS: Final = 3
"""How often the stages outside the network are measured again, in one thread, after each case."""
_FOLDER_CASES: Final = 4
"""Cases of the throughput's measurement at least; fewer would be all beginning and end."""


@dataclass(frozen=True)
class Outside:
    """The stages outside the network once more, in one thread, see `replay`.

    Attributes:
        stages_s: seconds by stage.
        cpu_s: processor seconds by stage, of all threads.
    """

    stages_s: dict[str, float]
    cpu_s: dict[str, float]


@dataclass(frozen=True)
class Sample:
    """One measured case in one engine.

    Attributes:
        round: its number, from 0.
        case_id: the case.
        stages_s: seconds by stage, `read` to `write`, without a preview.
        total_s: files to files, with the report and its hashes, which belong to no stage.
        calibration_s: the fixed piece of work just before it, see `noise.calibrate`.
        cpu_s: processor seconds by stage and in all (`TOTAL`), of all threads; other programs hardly change them.
        calibration_cpu_s: processor seconds of the calibration.
        energy_j: what the machine's counters moved by; None where it has none.
        outside: the stages outside the network, again, right after it: they are short, and a comparison of two runs
            knows them the better the more often they were measured. Part of no table.
    """

    round: int
    case_id: str
    stages_s: dict[str, float]
    total_s: float
    calibration_s: float
    cpu_s: dict[str, float]
    calibration_cpu_s: float
    energy_j: float | None = None
    outside: tuple[Outside, ...] = ()

    def seconds(self, stage: str) -> float:
        """Of one stage, or `TOTAL`; 0 for a stage that it did not have, such as waiting."""
        return self.total_s if stage == TOTAL else self.stages_s.get(stage, 0.0)


@dataclass(frozen=True)
class Latency:
    """What one engine's process told.

    Attributes:
        version, device: as the engine names them.
        cold_start_s: from a bare Python process to a loaded model: imports, hashes of the bundle, the engine's own
            loading and, where it has one, its self-test. The files are in the system's cache already.
        first_case_s: the first case after that, files to files.
        samples: the measured runs, in the order of the rounds.
        cases_per_minute: of a folder, cases side by side; None if it was not measured.
        peak_rss_bytes: highest resident memory of the process, None where the system does not tell.
        gpu_bytes: memory of the GPU that it took, None without one.
    """

    version: str
    device: str
    cold_start_s: float
    first_case_s: float
    samples: tuple[Sample, ...]
    cases_per_minute: float | None = None
    peak_rss_bytes: int | None = None
    gpu_bytes: int | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages in their order."""
        return tuple(self.samples[0].stages_s)

    def rounds(self, stage: str) -> list[list[float]]:
        """Seconds of a stage, by round and case."""
        count = 1 + max(sample.round for sample in self.samples)
        return [[s.seconds(stage) for s in self.samples if s.round == number] for number in range(count)]

    def all_seconds(self, stage: str) -> list[float]:
        """Seconds of a stage, of all runs."""
        return [sample.seconds(stage) for sample in self.samples]


@dataclass
class Worker:
    """A measured process, and what it has said so far. A context manager: it ends with the block.

    Attributes:
        subject: what it measures.
        reason: why it could not, or not any more; empty while it can.
        samples: of the measured runs.
    """

    subject: Subject
    reason: str = ""
    samples: list[Sample] = field(default_factory=list)
    first_case_s: float = 0.0
    folder_s: float | None = None
    folder_cases: int = 0
    peak_rss_bytes: int | None = None
    gpu_bytes: int | None = None
    loaded: dict[str, Any] = field(default_factory=dict)
    _process: JsonProcess | None = None

    def start(self, bundle: Path, cases: Path, threads: int | None) -> None:
        """Start the process and wait until its model is loaded."""
        subject = self.subject
        arguments = [str(bundle), str(cases), subject.backend, subject.precision, subject.device, str(threads or 0)]
        self._process = JsonProcess([sys.executable, "-m", "eenet_bench.run.latency_worker", *arguments])
        self.loaded, self.reason = self._process.ready, self._process.reason

    def memory_so_far(self) -> int:
        """Highest resident memory of the process until now, 0 where nobody knows."""
        return (self._process.peak_rss_bytes() if self._process is not None else None) or 0

    def warm_up(self, case_id: str) -> None:
        """The first case."""
        if answer := self.ask(do="run", case=case_id):
            self.first_case_s = answer["total_s"]

    def run(self, round_number: int, case_id: str, meter: EnergyMeter) -> None:
        """Segment one case and keep its times; then once more what is outside the network."""
        before = meter.read()
        if answer := self.ask(do="run", case=case_id):
            energy = meter.between(before, meter.read())
            figures = (
                answer["stages_s"],
                answer["total_s"],
                answer["calibration_s"],
                answer["cpu_s"],
                answer["calibration_cpu_s"],
            )
            again = self.ask(do="again", case=case_id, times=OUTSIDE_REPEATS).get("outside", ())
            outside = tuple(Outside(one["stages_s"], one["cpu_s"]) for one in again)
            self.samples.append(Sample(round_number, case_id, *figures, energy_j=energy, outside=outside))

    def run_folder(self, case_ids: Sequence[str]) -> None:
        """Cases side by side."""
        repeats = -(-_FOLDER_CASES // len(case_ids))
        cases = list(case_ids) * repeats
        if answer := self.ask(do="folder", cases=cases):
            self.folder_s, self.folder_cases = answer["folder_s"], len(cases)

    def read_peak(self) -> None:
        """Ask for the memory; later requests do not count."""
        self.peak_rss_bytes = self.ask(do="peak").get("peak_rss_bytes")

    def dice(self, case_id: str) -> dict[str, float]:
        """Dice of its mask against the case's own label; empty where there is none."""
        return self.ask(do="run", case=case_id, label=True).get("dice") or {}

    def compute(self, what: str, volume: NDArray[np.float32], folder: Path) -> NDArray[Any]:
        """Let it compute one volume: `probabilities`, `labels` or, of Keras, `oracle`.

        Raises:
            EngineLostError: it cannot; `reason` says why.
        """
        source, target = folder / "input.npy", folder / "output.npy"
        np.save(source, volume)
        self.ask(do="compute", what=what, input=str(source), output=str(target))
        if self.reason:
            raise EngineLostError(self.reason)
        result: NDArray[Any] = np.load(target)
        return result

    def result(self) -> Latency | None:
        """What was measured; None where it could not be."""
        if self.reason or not self.samples:
            return None
        return Latency(
            version=self.loaded["version"],
            device=self.loaded["device"],
            cold_start_s=self.loaded["cold_start_s"],
            first_case_s=self.first_case_s,
            samples=tuple(self.samples),
            cases_per_minute=60 * self.folder_cases / self.folder_s if self.folder_s else None,
            peak_rss_bytes=self.peak_rss_bytes,
            gpu_bytes=self.gpu_bytes,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer; empty where the process cannot answer any more."""
        if self.reason or self._process is None:
            return {}
        answer = self._process.ask(**request)
        self.reason = self._process.reason
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.__exit__(kind, error, trace)


class EngineLostError(Exception):
    """A measured process cannot go on; its text says why. Never shown: the reason goes into the report."""


def measure_in_turns(
    workers: Sequence[Worker],
    case_ids: Sequence[str],
    repeats: int,
    meter: EnergyMeter,
    on_round: Callable[[int], None],
    time_limit_s: float | None = None,
) -> None:
    """Rounds in which every engine runs every case once; who begins changes from round to round.

    Args:
        workers: loaded and warmed up.
        case_ids: the cases.
        repeats: rounds.
        meter: of energy.
        on_round: called before each round with its number from 0.
        time_limit_s: after `LEAST_ROUNDS` rounds no further one begins once this has passed.
    """
    start = time.perf_counter()
    for number in range(repeats):
        if time_limit_s is not None and number >= LEAST_ROUNDS and time.perf_counter() - start > time_limit_s:
            return
        on_round(number)
        first = number % len(workers)
        for case_id in case_ids:
            for worker in [*workers[first:], *workers[:first]]:
                worker.run(number, case_id, meter)


def calibration_by_round(samples: Sequence[Sample]) -> tuple[float, ...]:
    """The median of the calibration in each round, over engines and cases."""
    numbers = sorted({sample.round for sample in samples})
    return tuple(median(s.calibration_s for s in samples if s.round == number) for number in numbers)
