"""Samples: they depend on their numbers only, and every case has its turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.volumes.labels import Label
from eenet_train.data import samples
from eenet_train.data.data import FULL, PreparedCase
from eenet_train.data.samples import centred_sample, training_sample
from eenet_train.recipe.recipe import Augmentation

SHAPE = (64, 64, 24)
VARIED = Augmentation(flip=0.5, scale=0.1, shift=0.1)


def test_a_sample_depends_on_its_arguments_only(drawn: tuple[PreparedCase, ...]) -> None:
    first = training_sample(drawn, (32, 32), VARIED, seed=3, index=5)
    np.random.seed(1)  # the global state must not matter
    training_sample(drawn, (32, 32), VARIED, seed=3, index=4)
    second = training_sample(drawn, (32, 32), VARIED, seed=3, index=5)
    assert np.array_equal(first.volume, second.volume)
    assert np.array_equal(first.target, second.target)
    assert first.volume.shape == first.target.shape == (32, 32, 24, 4)
    assert (first.volume.dtype.name, first.target.dtype.name) == ("float32", "float32")
    assert np.allclose(first.target.sum(axis=-1), 1, atol=1e-6)
    for seed, step in ((3, 6), (4, 5)):
        other = training_sample(drawn, (32, 32), VARIED, seed=seed, index=step)
        assert not np.array_equal(first.volume, other.volume)


def _source(cases: tuple[PreparedCase, ...], target: NDArray[np.float32]) -> tuple[PreparedCase, bool]:
    """The case that a sample of full size came from, and whether it is flipped."""
    for case in cases:
        whole = case.target().astype(np.float32) / FULL
        for flipped in (False, True):
            if np.array_equal(target, whole[:, ::-1] if flipped else whole):
                return case, flipped
    raise AssertionError("the sample is no case, flipped or not")


def test_every_case_comes_once_before_any_comes_again(drawn: tuple[PreparedCase, ...]) -> None:
    laps = []
    for lap in range(3):
        samples = [training_sample(drawn, SHAPE[:2], VARIED, seed=1, index=5 * lap + step) for step in range(5)]
        laps.append([_source(drawn, sample.target)[0].case_id for sample in samples])
        assert sorted(laps[-1]) == ["C0", "C1", "C2", "C3", "C4"]
    assert laps[0] != laps[1]


def test_images_and_target_are_flipped_together_and_only_their_intensities_vary(
    drawn: tuple[PreparedCase, ...],
) -> None:
    flips = []
    for step in range(12):
        sample = training_sample(drawn, SHAPE[:2], VARIED, seed=2, index=step)
        case, flipped = _source(drawn, sample.target)
        flips.append(flipped)
        original = case.volume().astype(np.float32)
        original = original[:, ::-1] if flipped else original
        for channel in range(4):
            before, after = original[..., channel], sample.volume[..., channel]
            head = before != 0
            assert (after[~head] == 0).all()
            scale, shift = np.polyfit(before[head], after[head], 1)
            assert abs(scale - 1) <= VARIED.scale
            assert abs(shift) <= VARIED.shift
            assert np.allclose(after[head], scale * before[head] + shift, atol=1e-5)
    assert 0 < sum(flips) < len(flips)


def test_most_crops_hold_tumour(drawn: tuple[PreparedCase, ...]) -> None:
    def holds_tumour(step: int) -> bool:
        target = training_sample(drawn, (32, 32), VARIED, seed=0, index=step).target
        return bool((target[..., 1:] > 0.5).any())

    # Of crops that lie anywhere about a third hold some of this tumour (measured with a share of 0).
    assert np.mean([holds_tumour(step) for step in range(100)]) > samples.TUMOUR_SHARE - 0.05


def test_a_centred_sample_holds_the_tumour_and_nothing_is_changed(drawn: tuple[PreparedCase, ...]) -> None:
    sample = centred_sample(drawn[0], (32, 32))
    target = drawn[0].target()[:, :, :].astype(np.float32) / np.float32(FULL)
    assert sample.target[..., 1:].sum() == pytest.approx(target[..., 1:].sum())
    # The tumour's middle, (42.5, 12.5), cannot be the crop's middle: the crop stays inside the volume.
    assert np.array_equal(sample.target, target[26:58, 0:32])
    assert np.array_equal(sample.volume, drawn[0].volume()[26:58, 0:32].astype(np.float32))


def _one_case(folder: Path, target: NDArray[np.uint8]) -> PreparedCase:
    case = PreparedCase("one", folder / "volume.npy", folder / "target.npy")
    np.save(case.volume_path, np.zeros((*target.shape[:3], 4), np.float16))
    np.save(case.target_path, target)
    return case


def _with_share(share: int) -> NDArray[np.uint8]:
    """All background, but for one voxel that is oedema by a share of `FULL`."""
    target = np.zeros((*SHAPE, 4), dtype=np.uint8)
    target[..., Label.BACKGROUND] = FULL
    target[10, 20, 5] = (FULL - share) * np.eye(4, dtype=np.uint8)[Label.BACKGROUND]
    target[10, 20, 5, Label.ED] = share
    return target


@pytest.mark.parametrize(("share", "found"), [(FULL // 2, False), (FULL // 2 + 1, True)])
def test_a_voxel_is_tumour_from_more_than_half_on(tmp_path: Path, share: int, found: bool) -> None:
    sample = centred_sample(_one_case(tmp_path, _with_share(share)), (16, 16))
    # Around the voxel, or around the middle of a volume without a tumour, where it is not in the crop.
    assert bool(sample.target[..., Label.ED].any()) is found


def test_crops_lie_about_the_tumour_up_to_a_quarter_of_their_size_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "TUMOUR_SHARE", 1.0)
    target = np.zeros((*SHAPE, 4), dtype=np.uint8)
    target[32, 30, 5, Label.ET] = FULL
    rng = np.random.default_rng(0)
    corners = np.array([samples._random_corner(target, (32, 16), rng) for _ in range(400)])
    # The crop's middle is its voxel number 16 of 32, and 8 of 16.
    assert set(corners[:, 0] + 16 - 32) == set(range(-8, 9))
    assert set(corners[:, 1] + 8 - 30) == set(range(-4, 5))
