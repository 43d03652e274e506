"""The steps after the network: off by default, and exactly what they say when on."""

from __future__ import annotations

import numpy as np
import pytest

from eenet_runtime.bundle import PostprocessingSettings
from eenet_runtime.labels import Label, Region
from eenet_runtime.postprocessing import clean, count_components, region_volumes_ml


def _labels() -> np.ndarray:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:8, 2:8, 2:8] = Label.ED
    labels[3:5, 3:5, 3:5] = Label.ET
    labels[8, 8, 8] = Label.ED  # touches the first by a corner
    labels[15:17, 15, 15] = Label.NCR
    return labels


def test_nothing_changes_by_default() -> None:
    labels = _labels()
    cleaning = clean(labels, 0.001, PostprocessingSettings())
    assert np.array_equal(labels, _labels())
    assert (cleaning.dropped_components, cleaning.enhancing_relabelled_ml) == (0, 0.0)


def test_voxels_that_touch_by_a_corner_are_one_component() -> None:
    assert count_components(_labels()) == 2
    assert count_components(np.zeros((4, 4, 4), np.uint8)) == 0


def test_small_components_are_dropped_and_counted() -> None:
    labels = _labels()
    cleaning = clean(labels, 0.001, PostprocessingSettings(min_tumour_ml=0.003))
    assert cleaning.dropped_components == 1
    assert cleaning.dropped_ml == pytest.approx(0.002)
    assert not labels[15:17].any()
    assert labels[8, 8, 8] == Label.ED


def test_little_enhancing_tumour_becomes_necrotic_core() -> None:
    labels = _labels()
    clean(labels, 0.001, PostprocessingSettings(min_enhancing_ml=0.009))
    assert (labels[3:5, 3:5, 3:5] == Label.NCR).all()
    kept = _labels()
    clean(kept, 0.001, PostprocessingSettings(min_enhancing_ml=0.008))
    assert np.array_equal(kept, _labels())


def test_volumes_are_those_of_the_regions() -> None:
    volumes = region_volumes_ml(_labels(), 0.001)
    assert volumes[Region.ET] == pytest.approx(0.008)
    assert volumes[Region.TC] == pytest.approx(0.010)
    assert volumes[Region.WT] == pytest.approx(0.219)
