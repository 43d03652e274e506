"""Real series as scanners made them: no truth is known, but loops close and other people's heads show."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from eenet_runtime.files.nifti import Volume, read_volume
from eenet_runtime.heads.registration import Registration, register
from eenet_runtime.heads.registration.rigid import distance_mm
from tests.real_heads import real_heads

pytestmark = [pytest.mark.real, pytest.mark.slow]

GLIOMA = "TCGA-FG-6692"
VISITS = ("OpenMS-long-01-visit1", "OpenMS-long-01-visit2")


@functools.cache
def series(case: str, name: str) -> Volume:
    return read_volume(real_heads() / "with-skull" / case / f"{case}_{name}.nii.gz")


@functools.cache
def pair(fixed: tuple[str, str], moving: tuple[str, str]) -> Registration:
    pytest.importorskip("eenet_native", reason="with NumPy a pair takes half a minute")
    return register(series(*fixed), series(*moving))


def apart_mm(first: Registration, *then: Registration, fixed: tuple[str, str]) -> float:
    """Between one transform and others in turn."""
    way = functools.reduce(lambda done, step: step.fixed_to_moving @ done, then, np.eye(4))
    grid = series(*fixed).grid
    middle = grid.affine @ np.append((np.array(grid.shape) - 1) / 2, 1)
    return distance_mm(first.fixed_to_moving, way, middle[:3])


@pytest.mark.parametrize("name", ["t1", "t2", "flair"])
def test_series_of_one_patient_have_a_sharp_peak_that_all_starts_find(name: str) -> None:
    quality = pair((GLIOMA, "t1ce"), (GLIOMA, name)).quality
    assert quality.sharpness > 0.02
    assert quality.consensus >= 4


@pytest.mark.parametrize("name", ["t2", "flair"])
def test_the_loop_over_the_t1_closes(name: str) -> None:
    t1ce, t1, other = (GLIOMA, "t1ce"), (GLIOMA, "t1"), (GLIOMA, name)
    assert apart_mm(pair(t1ce, other), pair(t1ce, t1), pair(t1, other), fixed=t1ce) < 1.0


@pytest.mark.parametrize("name", ["t2", "flair"])
def test_two_visits_are_one_head(name: str) -> None:
    quality = pair((VISITS[0], "t1"), (VISITS[1], name)).quality
    assert quality.sharpness > 0.02


@pytest.mark.parametrize("name", ["t1", "t2", "flair"])
def test_another_patients_series_has_a_flat_peak(name: str) -> None:
    for visit in VISITS:
        assert pair((GLIOMA, "t1ce"), (visit, name)).quality.sharpness < 0.012
