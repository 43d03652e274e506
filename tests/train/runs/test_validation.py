"""Validation: Dice of whole volumes against the most frequent class of each voxel."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.volumes.labels import Label
from eenet_train.data.data import FULL, PreparedCase
from eenet_train.runs.run_folder import RegionScores
from eenet_train.runs.validation import CaseScores, mean_scores, region_scores, validate

SHAPE = (8, 8, 6)


class _Reader:
    """Stands for a network: reads the class out of the first image."""

    def __init__(self) -> None:
        self.seen: list[NDArray[np.float32]] = []

    def predict_on_batch(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.seen.append(batch)
        classes: NDArray[np.float32] = np.eye(4, dtype=np.float32)[batch[..., 0].astype(int)]
        return classes


def _case(folder: Path, case_id: str, predicted: NDArray[np.uint8], fractions: NDArray[np.uint8]) -> PreparedCase:
    case = PreparedCase(case_id, folder / f"{case_id}.volume.npy", folder / f"{case_id}.target.npy")
    np.save(case.volume_path, np.repeat(predicted[..., None], 4, axis=-1).astype(np.float16))
    np.save(case.target_path, fractions)
    return case


@pytest.fixture
def labels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8)


def _whole(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.eye(4, dtype=np.uint8)[labels] * np.uint8(FULL)


def test_a_network_that_is_right_scores_1_and_one_that_sees_nothing_0(
    tmp_path: Path, labels: NDArray[np.uint8]
) -> None:
    cases = [
        _case(tmp_path, "right", labels, _whole(labels)),
        _case(tmp_path, "blind", np.zeros_like(labels), _whole(labels)),
    ]
    network = _Reader()
    assert validate(network, cases) == (
        CaseScores("right", RegionScores(1.0, 1.0, 1.0)),
        CaseScores("blind", RegionScores(0.0, 0.0, 0.0)),
    )
    assert [(batch.shape, batch.dtype.name) for batch in network.seen] == [((1, *SHAPE, 4), "float32")] * 2


def test_the_truth_of_a_voxel_is_its_most_frequent_class_the_lower_of_equals(tmp_path: Path) -> None:
    predicted = np.full(SHAPE, Label.ED, dtype=np.uint8)
    fractions = np.zeros((*SHAPE, 4), dtype=np.uint8)
    fractions[..., Label.BACKGROUND], fractions[..., Label.ED], fractions[..., Label.ET] = 75, 90, 90
    (scores,) = validate(_Reader(), [_case(tmp_path, "A", predicted, fractions)])
    assert scores.dice == RegionScores(1.0, 1.0, 1.0)  # ET is empty in both


def test_scores_are_those_of_the_nested_regions() -> None:
    truth = np.array([0, 1, 2, 3, 3, 0], dtype=np.uint8)
    predicted = np.array([0, 3, 2, 3, 2, 1], dtype=np.uint8)
    scores = region_scores(truth, predicted)
    expected = {"ET": 2 * 1 / (2 + 2), "TC": 2 * 2 / (3 + 3), "WT": 2 * 4 / (4 + 5)}
    assert asdict(scores) == pytest.approx(expected)


def test_the_mean_is_taken_for_each_region_apart() -> None:
    scores = [CaseScores("A", RegionScores(0.0, 0.5, 1.0)), CaseScores("B", RegionScores(1.0, 0.7, 0.8))]
    assert asdict(mean_scores(scores)) == pytest.approx({"ET": 0.5, "TC": 0.6, "WT": 0.9})
