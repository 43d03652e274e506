"""What a case costs outside the network, stage by stage, beside the naive way to do the same.

The network is not part of it: the case's own label stands in for what it would have found. Both ways read the same
files and write the same mask, in turns, in one process; a machine that slows down slows both.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_bench.evaluation.ceiling import class_shares
from eenet_bench.measuring.environment import Environment, describe_environment
from eenet_bench.measuring.spread import Spread, spread
from eenet_bench.peers import naive_way
from eenet_runtime.bundle.manifest import PostprocessingSettings
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.content_checks import find_problems
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.cases.preprocessing import measure_images, prepare, read_case, read_label
from eenet_runtime.errors import DatasetError
from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.files.nifti import write_labels
from eenet_runtime.folders.tables import format_table
from eenet_runtime.segmenter.postprocessing import clean, restore, restore_labels
from eenet_runtime.volumes.grid import Grid, to_network_axes
from eenet_runtime.volumes.labels import Modality
from eenet_runtime.volumes.placement import Placement, most_probable
from eenet_runtime.volumes.presets import GeometryPreset

SETTINGS: Final = PostprocessingSettings(min_tumour_ml=0.1, min_enhancing_ml=0.05)
"""Both steps of the post-processing are switched on."""


class _Seconds(NamedTuple):
    """One stage of one round."""

    clock: float
    processor: float


_Round = dict[str, _Seconds]


@dataclass(frozen=True)
class StageTimes:
    """One stage, in seconds.

    Attributes:
        stage: its name.
        ours, naive: the measured rounds; naive is None for a stage that only we have.
        ratio: naive by ours, round by round; None where naive is.
        ours_processor, naive_processor: processor time of all threads: beside other programs it says more than the
            clock, which then shows how many processors were left.
    """

    stage: str
    ours: Spread
    naive: Spread | None
    ratio: Spread | None
    ours_processor: Spread
    naive_processor: Spread | None


@dataclass(frozen=True)
class StagesReport:
    """A whole measurement.

    Attributes:
        case_id, shape, dtype: the case, its grid, and the type of its T1's voxels.
        preset: the network's geometry.
        repeats: measured rounds, after one that is not.
        environment: the machine.
        stages: read to write, and at the end all of them together.
        input_difference: largest difference between the two inputs of the network.
        mask_difference: voxels in which the two masks differ.
    """

    case_id: str
    shape: tuple[int, int, int]
    dtype: str
    preset: str
    repeats: int
    environment: Environment
    stages: tuple[StageTimes, ...]
    input_difference: float
    mask_difference: int

    def to_json(self) -> str:
        """Everything, as the text of a file."""
        return json.dumps({"schema_version": 1, **asdict(self)}, indent=2) + "\n"


def measure_stages(
    cases: Path,
    preset: GeometryPreset,
    repeats: int = 7,
    threads: int | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> StagesReport:
    """Measure the first case of a folder that has a label.

    Args:
        cases: a folder of cases in any layout of docs/data.md.
        preset: the network's geometry.
        repeats: measured rounds.
        threads: of our way; by default as many as the process may use processors. The naive way has one.
        on_step: told in words what happens.

    Raises:
        DatasetError: no usable case with a label.
        CaseError: the case is refused.
    """
    with_label = [case for case in find_cases(cases).cases if case.label is not None]
    if not with_label:
        raise DatasetError(f"{cases}: no usable case with a label, which stands in for the network's answer")
    files = with_label[0]
    environment = describe_environment()
    stand_in = _StandIn.make(files, preset)
    ours: list[_Round] = []
    naive: list[_Round] = []
    with tempfile.TemporaryDirectory() as folder:
        for round_number in range(repeats + 1):
            on_step(f"round {round_number} of {repeats}" if round_number else "warming up")
            # Which way goes first changes from round to round.
            for way in (0, 1) if round_number % 2 else (1, 0):
                if way == 0:
                    ours.append(_ours(stand_in, preset, threads, Path(folder) / "ours.nii.gz"))
                else:
                    naive.append(_naive(stand_in, Path(folder) / "naive.nii.gz"))
        masks = [np.asanyarray(nib.load(Path(folder) / f"{way}.nii.gz").dataobj) for way in ("ours", "naive")]
    images = read_case(files)
    input_difference = np.abs(
        prepare(images, preset).volume - naive_way.prepare(naive_way.read(files), stand_in.placement, stand_in.grid)
    ).max()
    return StagesReport(
        case_id=files.case_id,
        shape=images.grid.shape,
        dtype=str(images.reference.data.dtype),
        preset=preset.name,
        repeats=repeats,
        environment=environment,
        stages=_stage_times(ours[1:], naive[1:]),
        input_difference=float(input_difference),
        mask_difference=int(np.count_nonzero(masks[0] != masks[1])),
    )


def stages_table(report: StagesReport) -> str:
    """The case, the machine, and one line for each stage."""
    rows = []
    for times in report.stages:
        ratio = (
            f"{times.ratio.median:.1f} ({times.ratio.smallest:.1f}-{times.ratio.largest:.1f})" if times.ratio else "-"
        )
        processor = [_milliseconds(times.ours_processor), _milliseconds(times.naive_processor)]
        rows.append([times.stage, _milliseconds(times.ours), _milliseconds(times.naive), ratio, *processor])
    shape = " x ".join(map(str, report.shape))
    return "\n".join(
        [
            f"{report.case_id}, {shape} voxels of {report.dtype}, {report.preset}, without the network",
            report.environment.describe(),
            f"medians of {report.repeats} rounds in turns; in brackets the fastest and the slowest",
            "",
            format_table(
                ["stage", "ours ms", "naive ms", "naive / ours", "ours, processor ms", "naive, processor ms"], rows
            ),
            "",
            f"the network's input differs by {report.input_difference:.1e} at most, "
            f"the mask in {report.mask_difference} voxels",
        ]
    )


def write_stages(report: StagesReport, path: Path) -> None:
    """Write the report as JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomically(path, report.to_json().encode())


@dataclass(frozen=True)
class _StandIn:
    """What the network would say about a case, and where its box lies.

    Attributes:
        files, placement, grid: the case.
        answer: what our way takes from an engine: uint8 classes (H, W, D), or, where they must be interpolated,
            float32 probabilities (H, W, D, classes) that lie classes first in memory.
        probabilities: float32 (H, W, D, classes) in this order in memory, as Keras gives them: the naive way's.
    """

    files: CaseFiles
    placement: Placement
    grid: Grid
    answer: NDArray[Any]
    probabilities: NDArray[np.float32]

    @classmethod
    def make(cls, files: CaseFiles, preset: GeometryPreset) -> _StandIn:
        """From the case's own label."""
        images = read_case(files)
        placement = prepare(images, preset).placement
        probabilities = class_shares(to_network_axes(read_label(files, images), images.grid), placement)
        if placement.resamples:
            answer: NDArray[Any] = np.moveaxis(np.ascontiguousarray(np.moveaxis(probabilities, -1, 0)), 0, -1)
        else:
            answer = most_probable(probabilities)
        return cls(files, placement, images.grid, answer, probabilities)


def _ours(stand_in: _StandIn, preset: GeometryPreset, threads: int | None, path: Path) -> _Round:
    watch = _Watch()
    with watch.stage("read"):
        images = read_case(stand_in.files, threads)
    with watch.stage("prepare"):
        measured = measure_images(images, threads)
    with watch.stage("check"):
        find_problems(images, preset, measured)
    with watch.stage("prepare"):
        prepared = prepare(images, preset, threads, measured)
    with watch.stage("restore"):
        back = restore if prepared.placement.resamples else restore_labels
        labels = back(stand_in.answer, prepared.placement, images.grid)
    with watch.stage("clean"):
        clean(labels, images.grid.voxel_ml, SETTINGS, [volume.data for volume in images.volumes.values()])
    with watch.stage("write"):
        write_labels(path, stand_in.files.scheme.to_file(labels), images.reference)
    return watch.stages


def _naive(stand_in: _StandIn, path: Path) -> _Round:
    watch = _Watch()
    files, placement, grid = stand_in.files, stand_in.placement, stand_in.grid
    with watch.stage("read"):
        images = naive_way.read(files)
    with watch.stage("prepare"):
        naive_way.prepare(images, placement, grid)
    with watch.stage("restore"):
        labels = naive_way.restore(stand_in.probabilities, placement, grid)
    with watch.stage("clean"):
        naive_way.clean(labels, grid.voxel_ml, SETTINGS)
    with watch.stage("write"):
        naive_way.write(path, labels, files.scheme, files.images[Modality.T1].path)
    return watch.stages


class _Watch:
    """Seconds by the clock and of the processors, by stage."""

    def __init__(self) -> None:
        self.stages: dict[str, _Seconds] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        clock, processor = time.perf_counter(), time.process_time()
        yield
        before = self.stages.get(name, _Seconds(0.0, 0.0))
        self.stages[name] = _Seconds(
            before.clock + time.perf_counter() - clock, before.processor + time.process_time() - processor
        )


def _stage_times(ours: Sequence[_Round], naive: Sequence[_Round]) -> tuple[StageTimes, ...]:
    """Every stage, and all together."""
    rows = []
    for stage in ours[0]:
        theirs = [seconds[stage] for seconds in naive if stage in seconds]
        rows.append(_times(stage, [seconds[stage] for seconds in ours], theirs))
    return (*rows, _times("all", [_together(seconds) for seconds in ours], [_together(seconds) for seconds in naive]))


def _together(seconds: _Round) -> _Seconds:
    return _Seconds(sum(one.clock for one in seconds.values()), sum(one.processor for one in seconds.values()))


def _times(stage: str, ours: Sequence[_Seconds], naive: Sequence[_Seconds]) -> StageTimes:
    return StageTimes(
        stage=stage,
        ours=spread([one.clock for one in ours]),
        naive=spread([one.clock for one in naive]) if naive else None,
        ratio=spread([slow.clock / fast.clock for slow, fast in zip(naive, ours, strict=True)]) if naive else None,
        ours_processor=spread([one.processor for one in ours]),
        naive_processor=spread([one.processor for one in naive]) if naive else None,
    )


def _milliseconds(seconds: Spread | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds.median * 1e3:.0f} ({seconds.smallest * 1e3:.0f}-{seconds.largest * 1e3:.0f})"
