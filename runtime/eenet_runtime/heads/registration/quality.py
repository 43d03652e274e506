"""Figures that tell whether a registration can be believed.

The level of the similarity tells little: another patient's series may reach 1.20, a good T2 1.196. Its peak does: on
images of one head it is sharp, on images that do not belong together it is flat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.heads.registration.histogram import Level, Samples
from eenet_runtime.heads.registration.pyramid import is_head
from eenet_runtime.heads.registration.rigid import Parameters

SHARPNESS_STEP_MM: Final = 6.0
"""How far each parameter is moved from the optimum."""

SAME_PLACE_MM: Final = 6.0
"""Starts that end no farther apart agree."""


@dataclass(frozen=True)
class RegistrationQuality:
    """Figures of one registration.

    Attributes:
        nmi: normalised mutual information at the optimum, 1 (nothing in common) to 2.
        sharpness: the smallest loss of it when one of the six parameters moves by 6 mm (`rigid.RADIUS_MM`) either way.
        mean_sharpness: the mean of the twelve losses.
        consensus: how many starts ended within 6 mm of the one that was followed to the end, itself included.
        starts: how many starts were refined.
        overlap: share of the fixed image's field of view that lies in the moving one's.
        covered_mm: extent of the head's part that lies in both, along the axis of either image where it is smallest.
    """

    nmi: float
    sharpness: float
    mean_sharpness: float
    consensus: int
    starts: int
    overlap: float
    covered_mm: float


def losses_around(similarity: Callable[[Parameters], float], optimum: Parameters) -> NDArray[np.float64]:
    """What the similarity loses when each parameter moves, (12,)."""
    here = similarity(optimum)
    moves = np.concatenate([np.eye(6), -np.eye(6)]) * SHARPNESS_STEP_MM
    return np.array([here - similarity(optimum + move) for move in moves])


def covered_mm(samples: Samples, fixed: Level, moving: Level, fixed_to_moving: NDArray[np.float64]) -> float:
    """`RegistrationQuality.covered_mm`, from samples of the fixed image."""
    points = samples.points_mm[:, is_head(samples)].astype(np.float64) + samples.centre_mm[:, np.newaxis]
    to_moving = (moving.to_voxels @ fixed_to_moving)[:3]
    in_moving = to_moving[:, :3] @ points + to_moving[:, 3:]
    size = np.array(moving.voxels.shape)[:, np.newaxis]
    common = ((in_moving >= 0) & (in_moving <= size - 1)).all(axis=0)
    if not common.any():
        return 0.0
    in_fixed = (fixed.to_voxels[:3, :3] @ points)[:, common]
    spacings = (_spacing(moving), _spacing(fixed))
    extents = [
        np.ptp(place, axis=1) * spacing
        for place, spacing in zip((in_moving[:, common], in_fixed), spacings, strict=True)
    ]
    return float(np.min(extents))


def count_near(distances_mm: Sequence[float]) -> int:
    """How many ends of starts lie at the place that distances are measured from."""
    return sum(distance <= SAME_PLACE_MM for distance in distances_mm)


def _spacing(level: Level) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(level.affine[:3, :3], axis=0))
