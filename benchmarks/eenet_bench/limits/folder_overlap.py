"""What a folder run costs beyond its network: the whole of it beside the inferences alone, in turns, in one process."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from eenet_bench.measuring.environment import Environment, describe_environment
from eenet_bench.measuring.spread import Spread, spread
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import DatasetError
from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.files.nifti import nifti_stem
from eenet_runtime.folders.folder import FolderSettings, segment_folder
from eenet_runtime.folders.tables import format_table
from eenet_runtime.results.result_files import ResultPaths, segment_to_files
from eenet_runtime.segmenter.segmenter import Segmenter

NETWORK: Final = "network alone"
_CASES_IN_FLIGHT: Final = 3


@dataclass(frozen=True)
class WayTimes:
    """One way to go through the folder.

    Attributes:
        way: what was done.
        seconds: the measured rounds.
        ratio: to the network alone, round by round.
        processor: processor time of all threads, in seconds. Where the network keeps all processors busy this ratio is
            the least that the other one can be.
        processor_ratio: of that, to the network alone.
    """

    way: str
    seconds: Spread
    ratio: Spread
    processor: Spread
    processor_ratio: Spread


@dataclass(frozen=True)
class FolderReport:
    """A whole measurement.

    Attributes:
        bundle, engine, device: what computed.
        cases: how many.
        repeats: measured rounds, after one that is not.
        environment: the machine.
        ways: the network alone, and what is held against it.
    """

    bundle: str
    engine: str
    device: str
    cases: int
    repeats: int
    environment: Environment
    ways: tuple[WayTimes, ...]

    def to_json(self) -> str:
        """Everything, as the text of a file."""
        return json.dumps({"schema_version": 1, **asdict(self)}, indent=2) + "\n"


def measure_folder(
    bundle: Path,
    cases: Path,
    repeats: int = 5,
    threads: int | None = None,
    backend: str = "auto",
    on_step: Callable[[str], None] = lambda step: None,
) -> FolderReport:
    """Measure a folder from files to files, labels left alone, with the model loaded and warm.

    Args:
        bundle: the model.
        cases: a folder of cases in any layout of docs/data.md.
        repeats: measured rounds.
        threads: of the network; by default as many as the process may use processors.
        backend: the inference engine, see `backends.backend_names`.
        on_step: told in words what happens.

    Raises:
        DatasetError: no usable case.
        BundleError, BackendError: the model cannot be used.
    """
    found = [replace(case, label=None) for case in find_cases(cases).cases]
    if not found:
        raise DatasetError(f"{cases}: no usable case")
    with (
        Segmenter(bundle, backend=backend, threads=threads, max_cases_in_flight=_CASES_IN_FLIGHT) as segmenter,
        tempfile.TemporaryDirectory() as folder,
    ):
        ways = _ways(segmenter, found, Path(folder))
        rounds: list[dict[str, tuple[float, float]]] = []
        for number in range(repeats + 1):
            on_step(f"round {number} of {repeats}" if number else "warming up")
            rounds.append({way: _timed(do) for way, do in ways.items()})
        return FolderReport(
            bundle=segmenter.bundle.manifest.name,
            engine=segmenter.backend.name,
            device=segmenter.backend.device,
            cases=len(found),
            repeats=repeats,
            environment=describe_environment(),
            ways=tuple(_way_times(way, rounds[1:]) for way in ways),
        )


def _ways(segmenter: Segmenter, cases: list[CaseFiles], folder: Path) -> dict[str, Callable[[], object]]:
    inputs = folder / "in"
    for case in cases:
        (inputs / case.case_id).mkdir(parents=True)
        for modality, source in case.images.items():
            # Copies, because a hospital has no labels, and links that lead out of a folder are refused.
            if source.channel is not None:
                raise DatasetError(f"{source.path}: a 4D file found, expected one file for each modality")
            suffix = source.path.name[len(nifti_stem(source.path)) :]
            shutil.copyfile(source.path, inputs / case.case_id / f"{case.case_id}_{modality.value}{suffix}")
    volumes = []
    for case in cases:
        prepared = segmenter.prepare(case)
        volumes.append(prepared.network_input.volume)
        resamples = prepared.network_input.placement.resamples
        prepared.discard()

    def network() -> None:
        for volume in volumes:
            segmenter.backend(volume) if resamples else segmenter.backend.labels(volume)

    def one_after_the_other() -> None:
        (folder / "serial").mkdir(exist_ok=True)
        for case in cases:
            paths = ResultPaths.in_folder(folder / "serial", case.case_id)
            segment_to_files(segmenter, case, paths, preview=False)

    def overlapped(preview: bool) -> None:
        settings = FolderSettings(preview=preview, overwrite=True)
        run = segment_folder(segmenter, inputs, folder / "out", settings)
        if run.failed:
            raise DatasetError(run.failed[0].reason)

    return {
        NETWORK: network,
        "one case after the other": one_after_the_other,
        "folder run": lambda: overlapped(False),
        "folder run with previews": lambda: overlapped(True),
    }


def _timed(do: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and by the processors."""
    clock, processor = time.perf_counter(), time.process_time()
    do()
    return time.perf_counter() - clock, time.process_time() - processor


def _way_times(way: str, rounds: list[dict[str, tuple[float, float]]]) -> WayTimes:
    clocks, processors = ([each[way][index] for each in rounds] for index in (0, 1))
    ratios, processor_ratios = ([each[way][index] / each[NETWORK][index] for each in rounds] for index in (0, 1))
    return WayTimes(way, spread(clocks), spread(ratios), spread(processors), spread(processor_ratios))


def folder_table(report: FolderReport) -> str:
    """The model, the machine, and one line for each way."""
    rows = [
        [
            times.way,
            f"{times.seconds.median:.2f}",
            f"{times.ratio.median:.3f} ({times.ratio.smallest:.2f}-{times.ratio.largest:.2f})",
            f"{times.processor.median:.2f}",
            f"{times.processor_ratio.median:.3f}",
        ]
        for times in report.ways
    ]
    return "\n".join(
        [
            f"{report.cases} cases with {report.bundle}, {report.engine} on {report.device}, files to files",
            report.environment.describe(),
            f"medians of {report.repeats} rounds in turns; in brackets the fastest and the slowest",
            "",
            format_table(["way", "s", "to the network alone", "processor s", "ratio of that"], rows),
        ]
    )


def write_folder_report(report: FolderReport, path: Path) -> None:
    """Write the report as JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomically(path, report.to_json().encode())
