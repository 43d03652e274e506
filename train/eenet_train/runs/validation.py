"""How well a network segments whole volumes it was not trained on: Dice per region on the network's own grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.dice import dice_by_region
from eenet_runtime.volumes.labels import Region
from eenet_train.data.data import PreparedCase
from eenet_train.pictures.sample_pictures import SampleCase
from eenet_train.runs.run_folder import RegionScores


@dataclass(frozen=True)
class CaseScores:
    """Dice of one case."""

    case_id: str
    dice: RegionScores


def region_scores(truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> RegionScores:
    """Dice of the three regions between two label volumes of network classes."""
    scores = dice_by_region(predicted, truth)
    return RegionScores(scores[Region.ET], scores[Region.TC], scores[Region.WT])


def validate(
    model: Any, cases: Sequence[PreparedCase], show: Callable[[SampleCase], None] | None = None
) -> tuple[CaseScores, ...]:
    """Segment whole volumes and compare.

    Args:
        model: a network at the geometry of the cases, (1, H, W, D, 4) to probabilities.
        cases: prepared cases; the most frequent class of a voxel is its truth, the lower one of equals.
        show: is given each case with its truth and the network's labels.

    Returns:
        Scores in the order of the cases.
    """
    scores = []
    for case in cases:
        volume = case.volume().astype(np.float32)
        predicted = np.asarray(model.predict_on_batch(volume[None]))[0].argmax(axis=-1).astype(np.uint8)
        truth = case.target().argmax(axis=-1).astype(np.uint8)
        scores.append(CaseScores(case.case_id, region_scores(truth, predicted)))
        if show is not None:
            show(SampleCase(case.case_id, volume, truth, predicted))
    return tuple(scores)


def mean_scores(scores: Sequence[CaseScores]) -> RegionScores:
    """Mean over the cases, for each region; `scores` must not be empty."""
    return RegionScores(*(float(np.mean([getattr(score.dice, region) for score in scores])) for region in Region))
