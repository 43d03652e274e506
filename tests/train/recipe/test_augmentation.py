"""Random changes of samples: what they may change and what they must leave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eenet_train.recipe.augmentation import augment, rotation
from eenet_train.recipe.recipe import EENET, Augmentation

SHAPE = (20, 24, 12)
EVERYTHING = Augmentation(
    flip=1,
    rotation_degrees=10,
    zoom=0.1,
    affine_chance=1,
    scale=0.1,
    shift=0.1,
    gamma=0.3,
    gamma_chance=1,
    noise=0.1,
    noise_chance=1,
    blur_voxels=1.0,
    blur_chance=1,
    bias=0.2,
    bias_chance=1,
)


def _sample() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    volume = np.zeros((*SHAPE, 4), dtype=np.float32)
    volume[3:17, 4:20, 2:10] = rng.normal(size=(14, 16, 8, 4))
    labels = np.zeros(SHAPE, dtype=np.intp)
    labels[6:12, 6:12, 4:8] = 2
    labels[8:10, 8:10, 5:7] = 3
    return volume, np.eye(4, dtype=np.float32)[labels]


@given(seed=st.integers(0, 1000))
def test_the_background_stays_exactly_zero_and_shares_add_up_to_one(seed: int) -> None:
    volume, target = _sample()
    changed, truth = augment(volume, target, replace(EVERYTHING, affine_chance=0), np.random.default_rng(seed))
    assert np.array_equal(changed != 0, volume[:, ::-1] != 0)
    assert changed.dtype == truth.dtype == np.float32
    turned, truth = augment(volume, target, EVERYTHING, np.random.default_rng(seed))
    assert np.abs(truth.sum(axis=-1) - 1).max() < 1e-5
    assert truth.min() >= 0
    assert np.isfinite(turned).all()


def test_the_arguments_are_not_changed() -> None:
    volume, target = _sample()
    before = volume.copy(), target.copy()
    augment(volume, target, EVERYTHING, np.random.default_rng(0))
    assert np.array_equal(volume, before[0])
    assert np.array_equal(target, before[1])


def test_nothing_changes_where_everything_is_off() -> None:
    volume, target = _sample()
    changed, truth = augment(volume, target, Augmentation(), np.random.default_rng(0))
    assert np.array_equal(changed, volume)
    assert np.array_equal(truth, target)


def test_the_same_generator_gives_the_same_sample() -> None:
    volume, target = _sample()
    first, again = (augment(volume, target, EENET.augmentation, np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])


def test_a_flip_is_left_to_right_for_images_and_truth() -> None:
    volume, target = _sample()
    changed, truth = augment(volume, target, Augmentation(flip=1), np.random.default_rng(0))
    assert np.array_equal(changed, volume[:, ::-1])
    assert np.array_equal(truth, target[:, ::-1])


def test_a_rotation_moves_images_and_truth_alike() -> None:
    # The image of each modality is the truth itself, so that after any turn it must still be.
    _, target = _sample()
    settings = Augmentation(rotation_degrees=20, zoom=0.2, affine_chance=1)
    for seed in range(5):
        volume = np.repeat(target[..., 3:], 4, axis=-1)
        changed, truth = augment(volume, target, settings, np.random.default_rng(seed))
        assert np.abs(changed[..., 0] - truth[..., 3]).max() < 1e-5
        assert not np.array_equal(truth, target)


def test_a_quarter_turn_is_exact() -> None:
    quarter = rotation(np.array([0.0, 0.0, np.pi / 2]))
    assert quarter @ np.array([1, 0, 0]) == pytest.approx([0, 1, 0], abs=1e-12)
    assert np.linalg.det(rotation(np.array([0.3, -0.2, 0.7]))) == pytest.approx(1)


@pytest.mark.parametrize(
    "settings",
    [
        Augmentation(scale=0.2),
        Augmentation(shift=0.2),
        Augmentation(gamma=0.5, gamma_chance=1),
        Augmentation(noise=0.3, noise_chance=1),
        Augmentation(blur_voxels=1.0, blur_chance=1),
        Augmentation(bias=0.5, bias_chance=1),
        Augmentation(drop_modality=1),
    ],
    ids=["scale", "shift", "gamma", "noise", "blur", "bias", "drop"],
)
def test_each_change_of_intensities_changes_images_only(settings: Augmentation) -> None:
    volume, target = _sample()
    changed, truth = augment(volume, target, settings, np.random.default_rng(1))
    assert np.array_equal(truth, target)
    assert not np.array_equal(changed, volume)


def test_a_dropped_modality_is_blank_and_the_others_stay() -> None:
    volume, target = _sample()
    changed, _ = augment(volume, target, Augmentation(drop_modality=1), np.random.default_rng(1))
    same = [bool(np.array_equal(changed[..., m], volume[..., m])) for m in range(4)]
    blank = [not changed[..., m].any() for m in range(4)]
    assert sum(blank) == 1
    assert [not b for b in blank] == same


def test_gamma_keeps_the_order_and_the_extremes_of_a_modality() -> None:
    volume, target = _sample()
    changed, _ = augment(volume, target, Augmentation(gamma=0.5, gamma_chance=1), np.random.default_rng(1))
    inside = volume[..., 0] != 0
    before, after = volume[..., 0][inside], changed[..., 0][inside]
    assert np.all(np.diff(after[np.argsort(before)]) >= -1e-5)
    assert (after.min(), after.max()) == pytest.approx((before.min(), before.max()), abs=1e-5)


def test_a_blur_of_a_flat_head_leaves_it_flat() -> None:
    volume, target = _sample()
    flat = np.where(volume != 0, np.float32(2), np.float32(0))
    changed, _ = augment(flat, target, Augmentation(blur_voxels=1.5, blur_chance=1), np.random.default_rng(1))
    assert np.abs(changed - flat).max() < 1e-4


def test_an_empty_modality_stays_empty() -> None:
    volume, target = _sample()
    volume[..., 2] = 0
    changed, _ = augment(volume, target, replace(EVERYTHING, affine_chance=0), np.random.default_rng(1))
    assert not changed[..., 2].any()
