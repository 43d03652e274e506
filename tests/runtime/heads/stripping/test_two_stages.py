"""The steps around the networks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eenet_runtime.bundle.strip_manifest import StripPreprocessing
from eenet_runtime.errors import CaseError
from eenet_runtime.heads.stripping.two_stages import TwoStages, _nearest, _prepared, _sampled, brain_box
from tests.strip_stand_in import ball

FIGURES = StripPreprocessing()


@given(st.integers(1, 300), st.integers(1, 300))
def test_sampling_takes_the_voxel_that_the_middle_of_the_new_one_lies_in(size: int, edge: int) -> None:
    places = _nearest(size, edge)
    exact = np.floor((2 * np.arange(edge) + 1) * size / (2 * edge))
    assert places.min() >= 0
    assert places.max() <= size - 1
    assert np.abs(places - exact).max() <= 1  # single precision, as the original computes
    assert (places == exact).mean() > 0.9


def test_mean_and_deviation_are_those_of_the_sampled_head_not_of_its_source() -> None:
    head = np.random.default_rng(0).normal(100, 30, (20, 31, 17)).astype(np.float32)
    taken = [_nearest(size, 48) for size in head.shape]
    limits = (np.float32(40), np.float32(160))
    seen = _sampled(_prepared(head, limits, FIGURES, taken), taken)
    assert seen.shape == (48, 48, 48)
    assert seen.mean() == pytest.approx(0.449, abs=1e-5)
    assert seen.std(ddof=1) == pytest.approx(0.226, abs=1e-5)


def test_the_box_is_a_tenth_larger_on_every_side_and_ends_at_the_head() -> None:
    found = np.zeros((64, 64, 64), np.bool_)
    found[20:40, 0:30, 30:50] = True
    assert brain_box(found, (128, 64, 64), FIGURES, "head") == (slice(36, 84), slice(0, 33), slice(28, 52))


def test_only_the_largest_piece_makes_the_box() -> None:
    found = np.zeros((64, 64, 64), np.bool_)
    found[20:40, 20:40, 20:40] = True
    found[55:64, 55:64, 55:64] = True
    assert brain_box(found, (64, 64, 64), FIGURES, "head")[0] == slice(18, 42)


@pytest.mark.parametrize("head", [np.full((20, 20, 20), 7, np.float32), np.zeros((20, 20, 20), np.float32)])
def test_a_head_of_one_value_is_refused(head: np.ndarray) -> None:
    stages = TwoStages(lambda values: values, lambda values: values, 32, 32, FIGURES)
    with pytest.raises(CaseError, match=r"^somebody: nothing but one value found, expected a head$"):
        stages.brain_probability(head, "somebody")


def test_a_head_without_a_brain_is_refused() -> None:
    stages = TwoStages(lambda values: values - 100, lambda values: values, 32, 32, FIGURES)
    with pytest.raises(CaseError, match=r"^somebody: no brain was found"):
        stages.brain_probability(ball((20, 20, 20), 6).astype(np.float32), "somebody")
