"""From a head to the probability of brain: find the brain in the whole head, then cut it out of its box.

The steps and their figures are those of deepbet 1.0.2 (MIT, Medical Machine Learning Lab, Muenster), whose
networks were trained behind them: sampling by nearest neighbours, cutting at two quantiles of the small head, mean and
deviation of what remains, a box about the largest component. Numbers are those of PyTorch to rounding, without a copy
of the head at the networks' size before it is needed: means over a sampled head are means of its source, each voxel
counted as often as it was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.bundle.strip_manifest import StripPreprocessing
from eenet_runtime.errors import CaseError
from eenet_runtime.machine.parallel import map_in_threads
from eenet_runtime.volumes.boxes import Box
from eenet_runtime.volumes.components import largest_component

_PARTS: Final = 16
"""Pieces in which a volume is sampled, whatever number of threads there are."""

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""float32 (1, 1, X, Y, Z) to the log-odds of brain, the same shape."""


@dataclass(frozen=True)
class TwoStages:
    """The two networks with their sizes.

    Attributes:
        find, cut: the networks.
        find_edge, cut_edge: voxels along each axis of what they see.
        preprocessing: the figures around them.
        threads: for sampling; by default as many as the process may use.
    """

    find: Network
    cut: Network
    find_edge: int
    cut_edge: int
    preprocessing: StripPreprocessing
    threads: int | None = None

    def brain_probability(self, head: NDArray[np.float32], source: str) -> NDArray[np.float32]:
        """Probability of brain, float32 of the head's shape; 0 outside the box that the first network finds.

        Args:
            head: float32 (X, Y, Z), axes RAS, any voxel size; finite.
            source: where it came from, for messages.

        Raises:
            CaseError: the head shows one value only, or the first network finds no brain in it.
            BackendError: a network failed.
        """
        figures = self.preprocessing
        small = _sampled(head, [_nearest(size, self.find_edge) for size in head.shape], self.threads)
        low, high = (np.float32(value) for value in np.quantile(small, (figures.low, figures.high)))
        if not high > low:
            raise CaseError(f"{source}: nothing but one value found, expected a head", code="no-contrast")
        seen = self.find(_prepared(small, (low, high), figures, None)[np.newaxis, np.newaxis])
        box = brain_box(seen[0, 0] > 0, head.shape, figures, source)
        part = head[box]
        taken = [_nearest(size, self.cut_edge) for size in part.shape]
        ready = _prepared(part, (low, high), figures, taken)
        found = self.cut(_sampled(ready, taken, self.threads)[np.newaxis, np.newaxis])[0, 0]
        probability = np.zeros(head.shape, np.float32)
        back = [_nearest(self.cut_edge, size) for size in part.shape]
        probability[box] = _sigmoid(_sampled(found, back, self.threads))
        return probability


def brain_box(found: NDArray[np.bool_], shape: Sequence[int], figures: StripPreprocessing, source: str) -> Box:
    """The box of the brain in the head, from what the first network found at its own size.

    Args:
        found: bool, the brain at the network's size.
        shape: of the head.
        figures: how the box is made.
        source: for messages.

    Raises:
        CaseError: there is no brain, or too little to say where it is.
    """
    largest = largest_component(found)
    box = []
    for axis, size in enumerate(shape):
        others = tuple(other for other in range(3) if other != axis)
        planes = np.flatnonzero(largest.mean(axis=others, dtype=np.float64) > figures.filled)
        if planes.size == 0:
            raise CaseError(
                f"{source}: no brain was found, expected a head from the vertex to the base of the skull",
                code="no-brain",
            )
        scale = size / largest.shape[axis]
        first, stop = int(planes[0]), int(planes[-1]) + 1
        centre = np.round(scale * (stop + first) / 2)
        length = np.round(scale * (stop - first) * (1 + 2 * figures.margin))
        box.append(slice(max(0, int(centre - length / 2)), min(size, int(centre + length / 2))))
    return box[0], box[1], box[2]


def _nearest(size: int, edge: int) -> NDArray[np.intp]:
    """Which of `size` voxels each of `edge` is, as PyTorch's `nearest-exact` has it, in its single precision."""
    scale = np.float32(size) / np.float32(edge)
    places = np.floor(((np.arange(edge) + 0.5) * np.float64(scale)).astype(np.float32))
    return np.minimum(places.astype(np.intp), size - 1)


def _sampled(
    values: NDArray[np.float32], taken: Sequence[NDArray[np.intp]], threads: int | None = None
) -> NDArray[np.float32]:
    """The voxels at some places of each axis, C-contiguous; a plane at a time, so that it stays in the cache."""
    planes, rows, columns = taken
    result = np.empty((planes.size, rows.size, columns.size), values.dtype)

    def fill(part: range) -> None:
        for index in part:
            if index > part.start and planes[index] == planes[index - 1]:
                result[index] = result[index - 1]
                continue
            lines = np.take(values[planes[index]], rows, axis=0)
            # Places are inside: `clip` only spares NumPy a copy of the result.
            np.take(lines, columns, axis=1, out=result[index], mode="clip")

    step = max(1, -(-planes.size // _PARTS))
    map_in_threads(
        fill, [range(first, min(first + step, planes.size)) for first in range(0, planes.size, step)], threads
    )
    return result


def _sigmoid(log_odds: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-x)), in place; beyond 80 the exponential would leave single precision."""
    np.clip(log_odds, -80, 80, out=log_odds)
    np.negative(log_odds, out=log_odds)
    np.exp(log_odds, out=log_odds)
    log_odds += 1
    return np.reciprocal(log_odds, out=log_odds)


def _prepared(
    values: NDArray[np.float32],
    limits: tuple[np.float32, np.float32],
    figures: StripPreprocessing,
    taken: Sequence[NDArray[np.intp]] | None,
) -> NDArray[np.float32]:
    """Cut at two limits and brought to a mean and a deviation.

    Args:
        values: float32 (X, Y, Z).
        limits: what becomes 0 and 1.
        figures: the mean and the deviation.
        taken: for each axis the voxels that will be sampled, by which mean and deviation are counted; None: all once.
    """
    low, high = limits
    result = values - low
    result /= high - low
    np.clip(result, 0, 1, out=result)
    counts = (
        [np.ones(size) for size in values.shape]
        if taken is None
        else [np.bincount(places, minlength=size) for places, size in zip(taken, values.shape, strict=True)]
    )
    total = float(np.prod([float(line.sum()) for line in counts]))
    mean = _weighted_sum(result, counts) / total
    result -= np.float32(mean)
    deviation = np.sqrt(_weighted_sum(np.square(result), counts) / (total - 1))
    result *= np.float32(figures.deviation / deviation) if deviation > 0 else np.float32(0)
    result += np.float32(figures.mean)
    return result


def _weighted_sum(values: NDArray[np.float32], counts: Sequence[NDArray[np.generic]]) -> float:
    """Sum over a volume, each voxel as often as the product of its axes' counts; columns in FP32, the rest in FP64."""
    lines = values @ counts[2].astype(np.float32)
    return float(counts[0].astype(np.float64) @ lines.astype(np.float64) @ counts[1].astype(np.float64))
