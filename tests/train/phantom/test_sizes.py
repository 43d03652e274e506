"""Tumour sizes and kinds, as drawn (thousands of plans cost nothing) and as grown."""

from __future__ import annotations

import numpy as np
import pytest

from eenet_runtime.volumes.labels import Label, Region
from eenet_train.phantom.settings import TumourSettings
from eenet_train.phantom.tumour import TumourPlan, plan_tumours


@pytest.fixture(scope="module")
def plans() -> list[TumourPlan]:
    return [plan_tumours(np.random.default_rng((11, index)), TumourSettings()) for index in range(3000)]


def test_median_volumes_are_those_of_patients(plans: list[TumourPlan]) -> None:
    core = np.array([sum(plan.core_ml) for plan in plans])
    share = np.array([plan.enhancing_share for plan in plans])
    enhancing = (core * share)[share > 0]
    # 54, 15 and 12 ml in patients; low-grade cases, whose core is all non-enhancing, lift the last one.
    assert 45 < np.median([plan.oedema_ml for plan in plans]) < 60
    assert 13 < np.median(enhancing) < 17
    assert 10 < np.median(core * (1 - share)) < 15


def test_volumes_spread_but_stay_within_tenfold(plans: list[TumourPlan]) -> None:
    oedema = np.array([plan.oedema_ml for plan in plans])
    assert oedema.min() > 0.59 * 5.4  # low-grade cases have 60 % of it
    assert oedema.max() <= 190
    assert np.percentile(oedema, 95) / np.percentile(oedema, 5) > 8
    assert max(sum(plan.core_ml) for plan in plans) <= 131


def test_about_one_case_in_seven_has_no_enhancement(plans: list[TumourPlan]) -> None:
    share = np.mean([plan.enhancing_share == 0 for plan in plans])
    assert abs(share - 0.15) < 0.03  # four standard errors of 3000 draws


def test_cases_have_one_to_three_tumours_the_largest_first(plans: list[TumourPlan]) -> None:
    assert {len(plan.core_ml) for plan in plans} == {1, 2, 3}
    assert all(list(plan.core_ml) == sorted(plan.core_ml, reverse=True) for plan in plans)


def test_settings_decide_about_low_grade_and_numbers() -> None:
    never = TumourSettings(low_grade=0.0, counts=(0.0, 1.0, 0.0))
    always = TumourSettings(low_grade=1.0)
    for index in range(50):
        plan = plan_tumours(np.random.default_rng(index), never)
        assert plan.enhancing_share > 0
        assert len(plan.core_ml) == 2
        assert plan_tumours(np.random.default_rng(index), always).enhancing_share == 0


@pytest.mark.slow
def test_grown_volumes_are_the_planned_ones_within_the_stated_ranges() -> None:
    pytest.importorskip("nilearn", reason="phantoms need the template that nilearn brings")
    from eenet_train.phantom.generate import make_phantom

    for index in range(3):
        labels = make_phantom(23, index).labels
        millilitres = {label: int((labels == label).sum()) / 1000 for label in Label}
        assert 3 < millilitres[Label.ED] < 195
        assert 1 < int(Region.TC.mask(labels).sum()) / 1000 < 145
        assert millilitres[Label.NCR] > 0
