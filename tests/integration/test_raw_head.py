"""Four real series as the scanner made them, against another group's registered and stripped version of the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import read_volume
from eenet_runtime.heads.registration import register
from eenet_runtime.heads.target import nearest_labels
from eenet_runtime.segmenter.raw_settings import RawSettings
from eenet_runtime.segmenter.segmentation import Segmentation
from eenet_runtime.segmenter.segmenter import Segmenter
from tests.places import ROOT
from tests.real_heads import real_heads

pytestmark = [pytest.mark.real, pytest.mark.slow]
CASE = "TCGA-FG-6692"


@pytest.fixture(scope="module")
def series() -> dict[str, Path]:
    """The four files."""
    folder = real_heads() / "with-skull" / CASE
    return {name: folder / f"{CASE}_{name}.nii.gz" for name in ("t1", "t1ce", "t2", "flair")}


@pytest.fixture(scope="module")
def segmenter() -> Iterator[Segmenter]:
    """The demo model, for raw heads."""
    with Segmenter(ROOT / "models" / "eenet-fast-phantom", raw=True) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def result(segmenter: Segmenter, series: dict[str, Path]) -> Segmentation:
    """The case, segmented."""
    return segmenter.segment(series, case_id=CASE)


def test_the_mask_lies_on_the_t1ce_and_nothing_is_suspected(result: Segmentation, series: dict[str, Path]) -> None:
    t1ce = read_volume(series["t1ce"])
    assert result.reference.grid.matches(t1ce.grid)
    assert result.labels.shape == t1ce.data.shape
    assert result.suspicions == ()
    assert [finding.rule for finding in result.findings] == ["coarse-voxels"]


def test_brain_and_tumour_agree_with_another_groups(result: Segmentation) -> None:
    head = result.head
    assert head is not None
    ours = next(volume for name, volume in result.images.volumes.items() if name == "t1ce")
    atlas = read_volume(real_heads() / "stripped" / CASE / f"{CASE}_t1ce.nii.gz")
    to_atlas = register(ours, atlas).fixed_to_moving
    brain = nearest_labels((atlas.data != 0).astype(np.uint8), atlas.grid, ours.grid, to_atlas) > 0
    assert _dice(brain, head.brain) >= 0.965
    label = read_volume(real_heads() / "labels" / f"{CASE}_fused.nii.gz")
    truth = nearest_labels(
        label.data.astype(np.uint8), label.grid, head.reference.grid, to_atlas @ head.reference_to_pose
    )
    assert _dice(result.labels > 0, truth > 0) >= 0.70


def test_the_same_files_give_the_same_mask(segmenter: Segmenter, result: Segmentation, series: dict[str, Path]) -> None:
    again = segmenter.segment(series, case_id=CASE)
    assert again.labels.tobytes() == result.labels.tobytes()
    assert again.raw is not None
    assert result.raw is not None
    assert again.raw["t1ce_to_series"] == result.raw["t1ce_to_series"]


def test_another_patients_flair_refuses_the_case(segmenter: Segmenter, series: dict[str, Path]) -> None:
    other = real_heads() / "with-skull" / "OpenMS-long-01-visit1" / "OpenMS-long-01-visit1_flair.nii.gz"
    with pytest.raises(CaseError, match="do not lock into each other"):
        segmenter.segment({**series, "flair": other}, case_id=CASE)


def test_a_stripped_series_among_others_refuses_the_case(segmenter: Segmenter, series: dict[str, Path]) -> None:
    stripped = real_heads() / "stripped" / CASE / f"{CASE}_t2.nii.gz"
    with pytest.raises(CaseError, match="t2 skull-stripped, t1 and t1ce and flair not"):
        segmenter.segment({**series, "t2": stripped}, case_id=CASE)


def test_heads_that_came_ready_go_the_old_way(segmenter: Segmenter) -> None:
    (files,) = (case for case in find_cases(real_heads() / "stripped").cases if case.case_id == CASE)
    result = segmenter.segment(files)
    assert result.head is None
    assert result.raw == {"way": "as given"}
    assert "the series came stripped and on one grid: nothing was registered or stripped" in result.warnings
    with Segmenter(ROOT / "models" / "eenet-fast-phantom") as plain:
        np.testing.assert_array_equal(plain.segment(files).labels, result.labels)


def test_two_sources_of_a_brain_mask_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="brain_mask and stripped given"):
        RawSettings(brain_mask=Path("mask.nii.gz"), stripped=True)


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))
