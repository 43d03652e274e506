"""The loss against NumPy, and at the ends where it must not break."""

from __future__ import annotations

import numpy as np
import pytest

from eenet_runtime.volumes.labels import Region
from eenet_train.recipe.recipe import LossName

pytestmark = pytest.mark.tf

LABELS = np.random.default_rng(0).integers(0, 4, (1, 4, 5, 6)).astype(np.uint8)
ONE_HOT = np.eye(4, dtype=np.float32)[LABELS]


def _probabilities() -> np.ndarray:
    values = np.random.default_rng(1).random((1, 4, 5, 6, 4)).astype(np.float32)
    return np.asarray(values / values.sum(axis=-1, keepdims=True))


def test_cross_entropy_is_the_mean_surprise_at_the_truth() -> None:
    from eenet_train.recipe.losses import cross_entropy

    expected = -np.log(np.take_along_axis(_probabilities(), LABELS[..., None].astype(int), axis=-1)).mean()
    assert float(cross_entropy(LABELS, np.log(_probabilities()))[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("region", list(Region))
def test_soft_dice_of_a_region_is_twice_the_overlap_over_the_sizes(region: Region) -> None:
    from eenet_train.recipe.losses import soft_dice

    predicted = _probabilities()[..., list(region.labels)].sum(axis=-1)
    truth = np.isin(LABELS, list(region.labels))
    expected = (2 * predicted[truth].sum() + 1) / (predicted.sum() + truth.sum() + 1)
    assert float(soft_dice(LABELS, _probabilities(), region)[0]) == pytest.approx(expected, rel=1e-5)


def test_class_numbers_and_whole_shares_give_the_same_loss() -> None:
    from eenet_train.recipe.losses import RegionLoss

    loss = RegionLoss()
    assert float(loss(LABELS, _probabilities())) == pytest.approx(float(loss(ONE_HOT, _probabilities())), rel=1e-6)


def test_a_perfect_prediction_costs_nothing_also_where_regions_are_empty() -> None:
    from eenet_train.recipe.losses import RegionLoss

    assert float(RegionLoss()(LABELS, ONE_HOT)) == pytest.approx(0, abs=1e-5)
    nothing = np.zeros_like(LABELS)
    assert float(RegionLoss()(nothing, np.eye(4, dtype=np.float32)[nothing])) == pytest.approx(0, abs=1e-5)


def test_shares_are_served_best_by_the_same_shares() -> None:
    from eenet_train.recipe.losses import soft_dice

    shares = _probabilities()
    best = float(soft_dice(shares, shares, Region.WT)[0])
    assert best == pytest.approx(1.0, abs=1e-5)
    assert float(soft_dice(shares, np.round(shares), Region.WT)[0]) < best


def test_an_empty_region_costs_more_with_every_voxel_predicted_in_it() -> None:
    from eenet_train.recipe.losses import soft_dice

    nothing = np.zeros((1, 4, 5, 6), np.uint8)
    few, many = (np.eye(4, dtype=np.float32)[(np.arange(120) < count).reshape(1, 4, 5, 6) * 3] for count in (1, 60))
    dice = [float(soft_dice(nothing, values, Region.ET)[0]) for values in (few, many)]
    assert dice == pytest.approx([1 / 2, 1 / 61])


def test_focal_loss_without_focus_is_the_cross_entropy() -> None:
    from eenet_train.recipe.losses import cross_entropy, focal_loss

    plain = float(cross_entropy(LABELS, np.log(_probabilities()))[0])
    assert float(focal_loss(LABELS, np.log(_probabilities()), gamma=0.0)[0]) == pytest.approx(plain, rel=1e-6)


def test_focal_loss_of_one_class_is_its_formula() -> None:
    from eenet_train.recipe.losses import focal_loss

    true = np.take_along_axis(_probabilities(), LABELS[..., None].astype(np.intp), axis=-1)
    expected = np.mean(-((1 - true) ** 2) * np.log(true))
    assert float(focal_loss(LABELS, np.log(_probabilities()))[0]) == pytest.approx(expected, rel=1e-5)


def test_generalised_dice_weighs_classes_by_the_inverse_square_of_their_size() -> None:
    from eenet_train.recipe.losses import generalised_dice_loss

    predicted, overlap, sizes = _probabilities(), 0.0, 0.0
    for label in range(4):
        truth = np.equal(LABELS, label)
        weight = 1 / truth.sum() ** 2
        overlap += weight * predicted[..., label][truth].sum()
        sizes += weight * (predicted[..., label].sum() + truth.sum())
    assert float(generalised_dice_loss(LABELS, predicted)[0]) == pytest.approx(1 - 2 * overlap / sizes, rel=1e-5)


@pytest.mark.parametrize("name", list(LossName))
def test_every_loss_is_least_for_the_truth_and_survives_being_saved(name: LossName) -> None:
    import keras

    from eenet_train.recipe.losses import build_loss

    loss = build_loss(name)
    assert float(loss(LABELS, ONE_HOT)) == pytest.approx(0, abs=1e-4)
    assert float(loss(LABELS, _probabilities())) > 0.1
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert float(again(LABELS, _probabilities())) == float(loss(LABELS, _probabilities()))


def test_a_batch_costs_what_its_volumes_cost_one_by_one() -> None:
    from eenet_train.recipe.losses import cross_entropy, soft_dice_loss

    labels = np.concatenate([LABELS, np.zeros_like(LABELS)])
    probabilities = np.concatenate([_probabilities(), _probabilities()[:, ::-1]])
    for loss, predicted in ((cross_entropy, np.log(probabilities)), (soft_dice_loss, probabilities)):
        together = np.asarray(loss(labels, predicted))
        singles = [float(loss(labels[i : i + 1], predicted[i : i + 1])[0]) for i in range(2)]
        assert together == pytest.approx(singles, rel=1e-6)


def test_certainty_in_the_wrong_class_is_finite_with_a_finite_gradient() -> None:
    import tensorflow as tf

    from eenet_train.recipe.losses import RegionLoss

    wrong = tf.constant(np.roll(ONE_HOT, 1, axis=-1))
    with tf.GradientTape() as tape:
        tape.watch(wrong)
        loss = RegionLoss()(LABELS, wrong)
    assert np.isfinite(float(loss))
    assert np.isfinite(np.asarray(tape.gradient(loss, wrong))).all()


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("name", list(LossName))
def test_every_name_is_the_sum_of_its_two_losses(name: LossName, from_logits: bool) -> None:
    from eenet_train.recipe.losses import build_loss, cross_entropy, focal_loss, generalised_dice_loss, soft_dice_loss

    predicted = _probabilities()
    surprise, overlap = {
        LossName.DICE_CROSS_ENTROPY: (cross_entropy, soft_dice_loss),
        LossName.DICE_FOCAL: (focal_loss, soft_dice_loss),
        LossName.GENERALISED_DICE: (cross_entropy, generalised_dice_loss),
    }[name]
    expected = float(surprise(LABELS, np.log(predicted))[0]) + float(overlap(LABELS, predicted)[0])
    # Logits are logarithms of probabilities up to a constant.
    given = np.log(predicted) + np.float32(3) if from_logits else predicted
    assert float(build_loss(name, from_logits=from_logits)(LABELS, given)) == pytest.approx(expected, rel=1e-5)


def test_the_four_losses_differ_where_they_are_compared() -> None:
    from eenet_train.recipe.losses import cross_entropy, focal_loss, generalised_dice_loss, soft_dice_loss

    logs = np.log(_probabilities())
    assert abs(float(cross_entropy(LABELS, logs)[0]) - float(focal_loss(LABELS, logs)[0])) > 0.1
    dice = float(soft_dice_loss(LABELS, _probabilities())[0])
    assert abs(dice - float(generalised_dice_loss(LABELS, _probabilities())[0])) > 0.01


def test_generalised_dice_of_an_absent_class_is_finite_and_costs_what_is_predicted_of_it() -> None:
    from eenet_train.recipe.losses import generalised_dice_loss

    without_et = np.where(LABELS == 3, 0, LABELS)
    assert float(generalised_dice_loss(without_et, np.eye(4, dtype=np.float32)[without_et])[0]) == pytest.approx(0)
    false_alarm = np.eye(4, dtype=np.float32)[LABELS]
    assert 0.5 < float(generalised_dice_loss(without_et, false_alarm)[0]) <= 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", list(LossName))
def test_a_network_that_is_wholly_sure_of_the_background_still_has_a_gradient(name: LossName, dtype: str) -> None:
    import tensorflow as tf

    from eenet_train.recipe.losses import build_loss

    # So sure that the softmax of every other class is exactly 0 in float32.
    sure = np.zeros((*LABELS.shape, 4), np.float32)
    sure[..., 0] = 200.0
    assert not tf.nn.softmax(sure)[..., 1:].numpy().any()
    logits = tf.constant(sure, dtype=dtype)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = build_loss(name, from_logits=True)(LABELS, tf.cast(logits, "float32"))
    gradient = np.asarray(tf.cast(tape.gradient(loss, logits), "float32"))
    assert np.isfinite(float(loss))
    assert np.isfinite(gradient).all()
    for label in (1, 2, 3):
        voxels = label == LABELS
        assert (gradient[voxels][:, label] < 0).all()  # a step against it raises the true class
        assert (gradient[voxels][:, 0] > 0).all()  # and lowers the background


def test_logits_and_their_probabilities_cost_the_same() -> None:
    from eenet_train.recipe.losses import build_loss

    logits = np.log(_probabilities()) * np.float32(2) - np.float32(5)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    for name in LossName:
        expected = float(build_loss(name)(LABELS, probabilities))
        assert float(build_loss(name, from_logits=True)(LABELS, logits)) == pytest.approx(expected, rel=1e-5)
