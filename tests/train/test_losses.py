"""The loss against NumPy, and at the ends where it must not break."""

from __future__ import annotations

import numpy as np
import pytest

from eenet_runtime.labels import Region

pytestmark = pytest.mark.tf

LABELS = np.random.default_rng(0).integers(0, 4, (1, 4, 5, 6)).astype(np.uint8)
ONE_HOT = np.eye(4, dtype=np.float32)[LABELS]


def _probabilities() -> np.ndarray:
    values = np.random.default_rng(1).random((1, 4, 5, 6, 4)).astype(np.float32)
    return np.asarray(values / values.sum(axis=-1, keepdims=True))


def test_cross_entropy_is_the_mean_surprise_at_the_truth() -> None:
    from eenet_train.losses import cross_entropy

    expected = -np.log(np.take_along_axis(_probabilities(), LABELS[..., None].astype(int), axis=-1)).mean()
    assert float(cross_entropy(LABELS, _probabilities())[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("region", list(Region))
def test_soft_dice_of_a_region_is_twice_the_overlap_over_the_sizes(region: Region) -> None:
    from eenet_train.losses import soft_dice

    predicted = _probabilities()[..., list(region.labels)].sum(axis=-1)
    truth = np.isin(LABELS, list(region.labels))
    expected = (2 * predicted[truth].sum() + 1) / (predicted.sum() + truth.sum() + 1)
    assert float(soft_dice(LABELS, _probabilities(), region)[0]) == pytest.approx(expected, rel=1e-5)


def test_class_numbers_and_whole_shares_give_the_same_loss() -> None:
    from eenet_train.losses import DiceCrossEntropy

    loss = DiceCrossEntropy()
    assert float(loss(LABELS, _probabilities())) == pytest.approx(float(loss(ONE_HOT, _probabilities())), rel=1e-6)


def test_a_perfect_prediction_costs_nothing_also_where_regions_are_empty() -> None:
    from eenet_train.losses import DiceCrossEntropy

    assert float(DiceCrossEntropy()(LABELS, ONE_HOT)) == pytest.approx(0, abs=1e-5)
    nothing = np.zeros_like(LABELS)
    assert float(DiceCrossEntropy()(nothing, np.eye(4, dtype=np.float32)[nothing])) == pytest.approx(0, abs=1e-5)


def test_shares_are_served_best_by_the_same_shares() -> None:
    from eenet_train.losses import soft_dice

    shares = _probabilities()
    best = float(soft_dice(shares, shares, Region.WT)[0])
    assert best == pytest.approx(1.0, abs=1e-5)
    assert float(soft_dice(shares, np.round(shares), Region.WT)[0]) < best
