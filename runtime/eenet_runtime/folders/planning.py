"""What a folder of cases will cost, and into how many parts it should be divided."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.discovery import RefusedCase, find_cases
from eenet_runtime.cases.preprocessing import on_one_grid
from eenet_runtime.errors import CaseError, DatasetError
from eenet_runtime.files.nifti import Volume, read_header
from eenet_runtime.folders.folder import FolderSettings, segment_each
from eenet_runtime.folders.outcomes import CaseOutcome
from eenet_runtime.machine.memory import peak_rss_bytes
from eenet_runtime.machine.threads import usable_cpus
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import Modality

_REPEATS: Final = 4
"""Times that one case is computed when it is measured; the first warms up and is not counted."""
_TRIES: Final = 5
"""Cases that are tried in turn where the first ones are refused."""
_MEMORY_MARGIN: Final = 1.5
"""Memory that is asked for, over what the measured case took: others are larger."""
_FILLED: Final = 0.5
"""Share of the wall time that a part of average size fills: parts are of equal size only on average."""
_PARTS_FOR_EACH_WORKER: Final = 4
"""Many more parts than workers even out the load, and bound what is lost with one."""
MEMORY_STEP_MB: Final = 256


@dataclass(frozen=True)
class Forecast:
    """What a folder holds.

    Attributes:
        cases: those that can be tried.
        refused: those that will be refused, as far as names and headers tell.
        ignored: NIfTI files that belong to no case.
    """

    cases: tuple[CaseFiles, ...]
    refused: tuple[RefusedCase, ...]
    ignored: int


@dataclass(frozen=True)
class Cost:
    """What one case takes on this machine.

    Attributes:
        case_id: the case.
        load_s: seconds to load the model.
        case_s: seconds for a case in a folder run, with cases overlapping.
        memory_mb: largest memory of the process with three cases in hand.
        threads: that the network had.
    """

    case_id: str
    load_s: float
    case_s: float
    memory_mb: float
    threads: int


@dataclass(frozen=True)
class Node:
    """The machines that shall do the work.

    Attributes:
        cores, memory_mb: of one.
        count: how many there are.
    """

    cores: int
    memory_mb: float
    count: int = 1


@dataclass(frozen=True)
class Division:
    """How the work is divided.

    Attributes:
        shards: number of parts.
        threads, memory_mb: for one part.
        at_once: parts that fit on one node at a time.
        shard_s: seconds for a part of average size; None where nothing was measured.
    """

    shards: int
    threads: int
    memory_mb: int
    at_once: int
    shard_s: float | None


def forecast(folder: Path, allow_missing: Collection[Modality] = (), *, raw: bool = False) -> Forecast:
    """Find the cases of a folder and look at the headers of their files; no voxel is read.

    Args:
        folder: the cases.
        allow_missing: modalities of which a case may lack one.
        raw: whether the images may lie on several grids.

    Raises:
        DatasetError: as `find_cases`.
    """
    found = find_cases(folder, allow_missing, links_out=False)
    refused = list(found.refused)
    cases = []
    for case in found.cases:
        try:
            _look_at_headers(case, raw)
        except CaseError as error:
            refused.append(RefusedCase(case.case_id, str(error), error.code))
        else:
            cases.append(case)
    return Forecast(tuple(cases), tuple(refused), len(found.ignored))


def measure(segmenter: Segmenter, cases: Sequence[CaseFiles], load_s: float) -> Cost:
    """Do one case as a folder run would, several times over, and see what it takes.

    Args:
        segmenter: the loaded model, with room for three cases in hand.
        cases: of them the one of middle size on the disk is taken; where it is refused, one of the next.
        load_s: seconds that loading took.

    Raises:
        DatasetError: all that were tried were refused.
    """
    by_size = sorted(cases, key=_bytes_of)
    middle = len(by_size) // 2
    reasons = []
    for case in [*by_size[middle:], *by_size[:middle]][:_TRIES]:
        outcomes = _timed(segmenter, case)
        if all(outcome.done for outcome, _ in outcomes):
            seconds = [when for _, when in outcomes]
            each = (seconds[-1] - seconds[0]) / (len(seconds) - 1)
            return Cost(
                case.case_id, load_s, each, (peak_rss_bytes() or 0) / (1 << 20), segmenter.threads or usable_cpus()
            )
        reasons.append(outcomes[0][0].reason)
    raise DatasetError(f"none of the cases that were tried could be measured: {'; '.join(reasons) or 'there is none'}")


def divide(cases: int, node: Node, wall_s: float, cost: Cost | None = None, threads: int | None = None) -> Division:
    """Divide a folder for machines of a size and a wall time.

    A part of average size fills half of the wall time, and every place on a machine gets four parts at least.

    Args:
        cases: how many.
        node: the machines.
        wall_s: the longest that a part may run, in seconds.
        cost: of one case, where it was measured.
        threads: for one part; by default as many as were measured with, or four.

    Raises:
        DatasetError: one case alone takes longer than the wall time, or does not fit into a machine.
    """
    threads = min(threads or (cost.threads if cost else 0) or 4, node.cores)
    memory = 4096.0 if cost is None else cost.memory_mb * _MEMORY_MARGIN
    memory_mb = MEMORY_STEP_MB * math.ceil(memory / MEMORY_STEP_MB)
    at_once = min(node.cores // threads, int(node.memory_mb // memory_mb))
    if at_once < 1:
        raise DatasetError(f"a part needs {memory_mb} MB, a machine of {node.memory_mb:.0f} MB found")
    shards = _PARTS_FOR_EACH_WORKER * at_once * node.count
    if cost is not None:
        room = _FILLED * wall_s - cost.load_s
        if room < cost.case_s:
            raise DatasetError(
                f"a case takes {cost.case_s:.1f} s and loading the model {cost.load_s:.1f} s, expected a wall time "
                "of more than twice that"
            )
        shards = max(shards, math.ceil(cases * cost.case_s / room))
    shards = max(1, min(shards, cases))
    shard_s = None if cost is None else cost.load_s + cases / shards * cost.case_s
    return Division(shards, threads, memory_mb, at_once, shard_s)


def _look_at_headers(case: CaseFiles, raw: bool) -> None:
    headers = {path: read_header(path) for path in {source.path for source in case.images.values()}}
    if raw or any(source.channel is not None for source in case.images.values()):
        return
    volumes = {}
    for modality, source in case.images.items():
        image = headers[source.path]
        if len(image.shape) != 3:
            raise CaseError(
                f"{source.path}: {image.shape[3]} channels found, expected one 3D image", code="channel-count"
            )
        nothing = np.broadcast_to(np.uint8(0), image.shape)
        volumes[modality] = Volume(str(source.path), nothing, image.grid, image.header)
    on_one_grid(case.case_id, volumes)


def _bytes_of(case: CaseFiles) -> int:
    return sum(path.stat().st_size for path in case.paths if path.exists())


def _timed(segmenter: Segmenter, case: CaseFiles) -> list[tuple[CaseOutcome, float]]:
    def copies() -> Iterator[CaseFiles]:
        return (replace(case, case_id=f"{case.case_id}-{number}") for number in range(_REPEATS))

    with TemporaryDirectory(prefix="eenet-plan-") as output:
        done = segment_each(segmenter, copies(), Path(output), FolderSettings())
        return [(outcome, time.monotonic()) for outcome in done]
