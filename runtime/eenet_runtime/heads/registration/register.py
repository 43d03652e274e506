"""One image of a head is aligned with another of the same head: from many starts at 8 mm to one result at 1 mm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.registration.histogram import (
    Engine,
    JointHistogram,
    Samples,
    choose_engine,
    normalised_mutual_information,
)
from eenet_runtime.heads.registration.pyramid import Pyramid, build_pyramid, sample
from eenet_runtime.heads.registration.quality import (
    RegistrationQuality,
    count_near,
    covered_mm,
    losses_around,
)
from eenet_runtime.heads.registration.rigid import Parameters, distance_mm, rigid_matrix
from eenet_runtime.heads.registration.search import Optimum, maximise
from eenet_runtime.heads.registration.starts import least_overlap, starting_points
from eenet_runtime.machine.parallel import map_in_threads
from eenet_runtime.machine.threads import usable_cpus

REFINED_STARTS: Final = 12
"""At 8 mm, the best of all starts."""

FOLLOWED_STARTS: Final = 3
"""At 4 mm, at most, the best different ends of those."""

_DIFFERENT_MM: Final = 3.0
"""Ends of starts that lie nearer to each other are followed once."""


@dataclass(frozen=True)
class Registration:
    """A rigid transform and how far to believe it.

    Attributes:
        fixed_to_moving: float64 (4, 4), world millimetres of the fixed image to those of the moving one.
        quality: figures that tell a failure.
        engine: what counted, `native` or `numpy`.
        seconds: what it took.
    """

    fixed_to_moving: NDArray[np.float64]
    quality: RegistrationQuality
    engine: str
    seconds: float


def register(
    fixed: Volume,
    moving: Volume,
    *,
    threads: int | None = None,
    engine: Literal["auto", "native", "numpy"] = "auto",
    finest_mm: Literal[4, 2, 1] = 1,
) -> Registration:
    """Find the rigid transform under which two images of one head agree best.

    The same bits for any number of threads, and for either engine. A pair that does not belong together gives a
    transform, too: `RegistrationQuality` tells.

    Args:
        fixed, moving: three axes each, on any grids; contrasts may differ.
        threads: by default as many as this process may use.
        engine: `native` counts in compiled code, `numpy` ten times more slowly; `auto` takes the first if it is there.
        finest_mm: where to stop; 4 is a third of the work and off by about a millimetre.

    Raises:
        RegistrationError: an image that cannot be registered at all: not three axes, constant, not finite.
        BackendError: the engine asked for is not installed.
    """
    begin = time.perf_counter()
    counter = choose_engine(engine)
    count = threads or usable_cpus()
    pyramids = map_in_threads(lambda image: build_pyramid(image, finest_mm), (fixed, moving), count)
    with _helper(count) as helper:
        matrix, quality = _Pair(pyramids[0], pyramids[1], counter, count, helper).align(finest_mm)
    return Registration(matrix, quality, counter, time.perf_counter() - begin)


@contextmanager
def _helper(threads: int) -> Iterator[Executor | None]:
    """Threads beside the caller's."""
    if threads == 1:
        yield None
        return
    with ThreadPoolExecutor(threads - 1) as helper:
        yield helper


class _Pair:
    def __init__(self, fixed: Pyramid, moving: Pyramid, engine: Engine, threads: int, helper: Executor | None) -> None:
        self._fixed = fixed
        self._moving = moving
        self._engine: Engine = engine
        self._threads = threads
        self._helper = helper
        self._centre = fixed.mass_centre_mm
        self._least_overlap = least_overlap(fixed, moving)
        self._samples: dict[int, Samples] = {}

    def align(self, finest_mm: int) -> tuple[NDArray[np.float64], RegistrationQuality]:
        ends = self._refine_starts()
        followed = self._different(ends)
        finished = map_in_threads(lambda end: self._search(4, end, 3.0, 0.2), followed, self._threads)
        best = max(range(len(finished)), key=lambda index: finished[index].value)
        result = finished[best]
        if finest_mm <= 2:
            result = self._search(2, result, 1.5, 0.04, self._helper)
        if finest_mm <= 1:
            result = self._search(1, result, 0.5, 0.02, self._helper)
        matrix = self._matrix(result.parameters)
        chosen = self._matrix(followed[best].parameters)
        distances = [distance_mm(self._matrix(end.parameters), chosen, self._centre) for end in ends]
        return matrix, self._quality(result.parameters, max(2, finest_mm), count_near(distances), len(ends))

    def _refine_starts(self) -> list[Optimum]:
        """The best starts at 8 mm, each in a thread of its own, best end first."""
        starts = starting_points(self._fixed, self._moving)
        similarity = _Similarity(self, 8, self._least_overlap)
        values = map_in_threads(similarity, starts, self._threads)
        order = sorted(range(len(starts)), key=lambda index: -values[index])[:REFINED_STARTS]
        ends = map_in_threads(
            lambda index: maximise(similarity, starts[index], step=8.0, tolerance=0.8), order, self._threads
        )
        return sorted(ends, key=lambda end: -end.value)

    def _different(self, ends: list[Optimum]) -> list[Optimum]:
        chosen: list[Optimum] = []
        for end in ends:
            matrix = self._matrix(end.parameters)
            distances = [distance_mm(matrix, self._matrix(other.parameters), self._centre) for other in chosen]
            if all(distance > _DIFFERENT_MM for distance in distances):
                chosen.append(end)
        return chosen[:FOLLOWED_STARTS]

    def _search(
        self, level: int, start: Optimum, step: float, tolerance: float, helper: Executor | None = None
    ) -> Optimum:
        similarity = _Similarity(self, level, self._least_overlap, helper)
        return maximise(similarity, start.parameters, step=step, tolerance=tolerance)

    def _quality(self, optimum: Parameters, level: int, consensus: int, starts: int) -> RegistrationQuality:
        similarity = _Similarity(self, level, 0.0, self._helper)
        losses = losses_around(similarity, optimum)
        matrix = self._matrix(optimum)
        return RegistrationQuality(
            nmi=similarity(optimum),
            sharpness=float(losses.min()),
            mean_sharpness=float(losses.mean()),
            consensus=consensus,
            starts=starts,
            overlap=similarity.histogram.count(matrix)[1],
            covered_mm=covered_mm(self.samples(level), self._fixed.levels[level], self._moving.levels[level], matrix),
        )

    def _matrix(self, parameters: Parameters) -> NDArray[np.float64]:
        return rigid_matrix(parameters, self._centre)

    def samples(self, level: int) -> Samples:
        if level not in self._samples:
            self._samples[level] = sample(self._fixed.levels[level], level, self._centre, seed=level)
        return self._samples[level]

    def histogram(self, level: int, helper: Executor | None) -> JointHistogram:
        parts = self._threads if helper else 1
        return JointHistogram(self.samples(level), self._moving.levels[level], self._engine, helper, parts)


class _Similarity:
    """The objective at one level; where too little overlaps, below every similarity, and rising with the overlap."""

    def __init__(self, pair: _Pair, level: int, least_overlap: float, helper: Executor | None = None) -> None:
        self.histogram = pair.histogram(level, helper)
        self._matrix = pair._matrix
        self._least_overlap = least_overlap

    def __call__(self, parameters: Parameters) -> float:
        counts, overlap = self.histogram.count(self._matrix(parameters))
        if overlap < self._least_overlap:
            return overlap - 1.0
        return normalised_mutual_information(counts)
