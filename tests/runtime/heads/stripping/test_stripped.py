"""Which heads were stripped before they came here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eenet_export.strip.synthetic_head import draw_head
from eenet_runtime.files.nifti import Volume, read_volume
from eenet_runtime.heads.stripping import looks_stripped
from tests.places import EXAMPLES
from tests.real_heads import real_heads
from tests.runtime.heads.stripping.test_stripper import head_volume, volume

HEAD = draw_head((96, 112, 112), 2.0)


def of(data: np.ndarray) -> Volume:
    return replace(head_volume(HEAD), data=data)


def test_a_head_with_its_skull_and_noise_about_it_is_not_stripped() -> None:
    assert not looks_stripped(of(HEAD.image))


@pytest.mark.parametrize("background", [0.0, -3.5])
def test_a_brain_on_an_exact_background_is_stripped(background: float) -> None:
    assert looks_stripped(of(np.where(HEAD.brain, HEAD.image, background).astype(np.float32)))


@pytest.mark.parametrize("below", [0.1, 0.15])
def test_a_scanner_that_sets_air_and_bone_to_zero_does_not_strip(below: float) -> None:
    assert not looks_stripped(of(np.where(HEAD.image < below, 0, HEAD.image).astype(np.float32)))


def test_a_slab_of_a_head_that_was_set_to_zero_is_not_stripped_though_it_is_small() -> None:
    zeroed = np.where(HEAD.image < 0.15, 0, HEAD.image)[:, :, 60:85].astype(np.float32)
    assert not looks_stripped(of(zeroed))


def test_a_brain_whose_background_is_noise_is_not_believed() -> None:
    noise = np.abs(np.random.default_rng(0).normal(0, 0.02, HEAD.image.shape))
    assert not looks_stripped(of(np.where(HEAD.brain, HEAD.image, noise).astype(np.float32)))


@pytest.mark.parametrize("data", [np.zeros((30, 30, 30)), np.full((30, 30, 30), np.nan), np.ones((30, 30, 30, 2))])
def test_what_shows_nothing_is_not_stripped(data: np.ndarray) -> None:
    assert not looks_stripped(volume(data.astype(np.float32), np.eye(4)))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/*_t*.nii.gz")), ids=lambda path: path.name)
def test_phantoms_are_stripped(path: object) -> None:
    assert looks_stripped(read_volume(path))  # type: ignore[arg-type]


@pytest.mark.real
def test_real_heads_are_told_apart_in_every_contrast() -> None:
    folder = real_heads()
    for path in sorted(folder.glob("stripped/*/*.nii.gz")):
        assert looks_stripped(read_volume(path)), path.name
    for path in sorted(folder.glob("with-skull/*/*.nii.gz")):
        image = read_volume(path)
        assert not looks_stripped(image), path.name
        data = image.data.astype(np.float64)
        bright = float(np.quantile(data[data > 0], 0.95))
        for share in (0.08, 0.15, 0.25):
            zeroed = replace(image, data=np.where(data < share * bright, 0, data))
            assert not looks_stripped(zeroed), (path.name, share)
