"""The measure: normalised mutual information of samples of a fixed image with a moving one.

C. Studholme, D. L. G. Hill, D. J. Hawkes, Pattern Recognition 32 (1999) 71-86: (H(fixed) + H(moving)) / H(both),
between 1 (nothing in common) and 2. Counts come from the compiled extension, or, ten times more slowly, from NumPy
by the same float32 and integer operations: the same bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import BackendError

BINS: Final = 32
ONE: Final = 256
"""What one sample adds to the counts, shared between two neighbouring bins of the moving image."""

LARGEST: Final = 255
"""Of a level's grey values."""

_TO_BINS: Final = np.float32((BINS - 1) / LARGEST)
_SAMPLES_AT_A_TIME: Final = 16384
"""In NumPy: what one step makes of them stays in the second cache."""

Engine = Literal["native", "numpy"]


@dataclass(frozen=True)
class Samples:
    """Places in the fixed image, and what is there.

    Attributes:
        points_mm: float32 (3, samples), relative to `centre_mm`: far from the world's origin float32 is coarse.
        bins: uint8 (samples,), in [0, 32).
        centre_mm: float64 (3,), in the fixed image's world.
    """

    points_mm: NDArray[np.float32]
    bins: NDArray[np.uint8]
    centre_mm: NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """An image at one resolution, in 8 bits.

    Attributes:
        voxels: uint8 (X, Y, Z), C-contiguous, at least two along each axis.
        affine: float64 (4, 4), voxel indices to world millimetres.
    """

    voxels: NDArray[np.uint8]
    affine: NDArray[np.float64]

    @cached_property
    def to_voxels(self) -> NDArray[np.float64]:
        """World millimetres to voxel indices, (4, 4)."""
        return np.asarray(np.linalg.inv(self.affine), np.float64)


Counts = NDArray[np.uint32]
_Counter = Callable[
    [NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32], slice], tuple[Counts, int]
]


class JointHistogram:
    """Samples of a fixed image and a moving level: how well do they agree under a transform?

    Args:
        samples, moving: what is compared.
        engine: who counts.
        helper: threads to count a part of the samples in; without, the caller counts all. The result is the same.
        parts: how many parts there are then.
    """

    def __init__(
        self, samples: Samples, moving: Level, engine: Engine, helper: Executor | None = None, parts: int = 1
    ) -> None:
        self._samples = samples
        self._moving = moving
        self._counter: _Counter = load_native().joint_histogram if engine == "native" else count_in_numpy
        self._helper = helper
        edges = np.linspace(0, samples.bins.size, parts + 1).astype(int)
        self._parts = [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]

    def count(self, fixed_to_moving: NDArray[np.float64]) -> tuple[Counts, float]:
        """The counts under a transform, (32, 32), and the share of the samples that fell into the moving image."""
        matrix = self._moving.to_voxels @ fixed_to_moving
        # Samples are kept relative to their centre.
        matrix[:3, 3] += matrix[:3, :3] @ self._samples.centre_mm
        to_voxels = np.ascontiguousarray(matrix[:3], np.float32)
        first, *others = self._parts
        waiting = [self._helper.submit(self._count, to_voxels, part) for part in others] if self._helper else []
        counts, inside = self._count(to_voxels, first)
        for part in waiting:
            more = part.result()
            counts += more[0]
            inside += more[1]
        return counts, inside / max(self._samples.bins.size, 1)

    def _count(self, to_voxels: NDArray[np.float32], part: slice) -> tuple[Counts, int]:
        return self._counter(self._samples.points_mm, self._samples.bins, self._moving.voxels, to_voxels, part)


def normalised_mutual_information(counts: Counts) -> float:
    """Of joint counts, (32, 32); 1 where there are none, or where both images are constant: nothing in common."""
    values = np.concatenate([counts.ravel(), counts.sum(axis=0), counts.sum(axis=1)]).astype(np.float64)
    parts = values * np.log(np.maximum(values, 1.0))
    joint, fixed_and_moving = float(parts[: counts.size].sum()), float(parts[counts.size :].sum())
    total = float(values[: counts.size].sum())
    if total == 0:
        return 1.0
    # Each entropy times the total: total * log(total) - the sum of count * log(count).
    whole = total * float(np.log(total))
    joint_entropy = whole - joint
    return (2 * whole - fixed_and_moving) / joint_entropy if joint_entropy > 1e-9 * whole else 1.0


def count_in_numpy(
    points_mm: NDArray[np.float32],
    bins: NDArray[np.uint8],
    moving: NDArray[np.uint8],
    to_voxels: NDArray[np.float32],
    part: slice = slice(None),
) -> tuple[Counts, int]:
    """What `eenet_native.joint_histogram` does, with the same arguments and the same result."""
    counts = np.zeros(BINS * (BINS + 1), np.int64)
    inside = 0
    begin, end, _ = part.indices(bins.size)
    for first in range(begin, end, _SAMPLES_AT_A_TIME):
        piece = slice(first, min(first + _SAMPLES_AT_A_TIME, end))
        x, y, z = points_mm[:, piece]
        u, v, w = (row[0] * x + row[1] * y + row[2] * z + row[3] for row in to_voxels)
        nx, ny, nz = moving.shape
        # NaN is not inside.
        within = (u >= 0) & (v >= 0) & (w >= 0) & (u < nx - 1) & (v < ny - 1) & (w < nz - 1)
        values = _TO_BINS * trilinear(moving, u[within], v[within], w[within])
        lower = values.astype(np.int64)
        upper_share = ((values - lower.astype(np.float32)) * np.float32(ONE) + np.float32(0.5)).astype(np.int64)
        pairs = bins[piece][within].astype(np.int64) * (BINS + 1) + lower
        # Weights below 2**53 stay whole numbers in float64.
        counts += np.bincount(pairs, ONE - upper_share, counts.size).astype(np.int64)
        counts += np.bincount(pairs + 1, upper_share, counts.size + 1)[: counts.size].astype(np.int64)
        inside += values.size
    return counts.reshape(BINS, BINS + 1)[:, :BINS].astype(np.uint32), inside


def trilinear(
    voxels: NDArray[np.uint8], u: NDArray[np.float32], v: NDArray[np.float32], w: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Interpolate a C-contiguous volume at voxel indices that are each in [0, size - 1).

    Order and precision of the operations are the compiled kernel's.
    """
    a, b, c = u.astype(np.intp), v.astype(np.intp), w.astype(np.intp)
    along_x, along_y, along_z = (place - index.astype(np.float32) for place, index in ((u, a), (v, b), (w, c)))
    next_y = voxels.shape[2]
    next_x = next_y * voxels.shape[1]
    corner = a * next_x + b * next_y + c
    flat = voxels.reshape(-1)

    def on_edge(offset: int) -> NDArray[np.float32]:
        first = flat[corner + offset].astype(np.float32)
        edge: NDArray[np.float32] = first + along_z * (flat[corner + (offset + 1)].astype(np.float32) - first)
        return edge

    def on_side(offset: int) -> NDArray[np.float32]:
        first = on_edge(offset)
        side: NDArray[np.float32] = first + along_y * (on_edge(offset + next_y) - first)
        return side

    first = on_side(0)
    values: NDArray[np.float32] = first + along_x * (on_side(next_x) - first)
    return values


def choose_engine(engine: Literal["auto", "native", "numpy"]) -> Engine:
    """Who counts: the extension where it is installed and new enough, else NumPy.

    Raises:
        BackendError: `native` was asked for by name and is not there.
    """
    if engine != "auto":
        if engine == "native":
            load_native()
        return engine
    try:
        load_native()
    except BackendError:
        return "numpy"
    return "native"


def load_native() -> ModuleType:
    """The extension.

    Raises:
        BackendError: it is not installed, cannot be loaded, or is of a time before registration.
    """
    try:
        import eenet_native
    except ImportError as error:
        raise BackendError(f"eenet_native cannot be used for registration ({error})") from error
    if not hasattr(eenet_native, "joint_histogram"):
        raise BackendError("the eenet_native that is installed is too old to register images; install it anew")
    module: ModuleType = eenet_native
    return module
