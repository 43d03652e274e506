"""Training data: prepared once, fractions that add up, samples that depend on their arguments only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eenet_runtime.errors import TrainingError
from eenet_runtime.labels import Label
from eenet_runtime.placement import place_box
from eenet_train.data import PreparedCase, label_fractions, prepare_dataset, split_cases, training_sample
from tests.synthetic import TINY_2MM, make_head, write_case


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedCase, ...]:
    folder = tmp_path_factory.mktemp("data")
    for name in ("A", "B", "C"):
        head = make_head()
        write_case(folder / "cases", name, head.with_affine(head.affine + np.diag([0, 0, 0, 0])))
    return prepare_dataset(folder / "cases", folder / "cache", TINY_2MM)


def test_the_fractions_of_a_voxel_add_up_and_are_means_of_eight_voxels() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (128, 128, 48)).astype(np.uint8)
    placement = place_box((slice(0, 128), slice(0, 128), slice(0, 48)), labels.shape, (1.0, 1.0, 1.0), TINY_2MM)
    fractions = label_fractions(labels, placement)
    assert (fractions.sum(axis=-1, dtype=int) == 255).all()
    means = (labels == Label.ET).reshape(64, 2, 64, 2, 24, 2).mean(axis=(1, 3, 5))
    assert np.abs(fractions[..., Label.ET] / 255 - means).max() <= 1 / 255


def test_a_prepared_case_is_not_prepared_again(prepared: tuple[PreparedCase, ...]) -> None:
    folder = prepared[0].volume_path.parents[1]
    before = {path: path.stat().st_mtime_ns for path in (folder / "cache").iterdir()}
    again = prepare_dataset(folder / "cases", folder / "cache", TINY_2MM)
    assert again == prepared
    assert {path: path.stat().st_mtime_ns for path in (folder / "cache").iterdir()} == before


def test_a_sample_depends_on_its_arguments_only(prepared: tuple[PreparedCase, ...]) -> None:
    first, second = (training_sample(prepared, (32, 32), seed=3, step=5) for _ in range(2))
    assert np.array_equal(first.volume, second.volume)
    assert np.array_equal(first.target, second.target)
    assert first.volume.shape == (32, 32, 24, 4)
    assert np.allclose(first.target.sum(axis=-1), 1)
    other = training_sample(prepared, (32, 32), seed=3, step=6)
    assert not np.array_equal(first.volume, other.volume)


def test_the_background_of_a_sample_stays_zero(prepared: tuple[PreparedCase, ...]) -> None:
    for step in range(6):
        sample = training_sample(prepared, (64, 64), seed=0, step=step)
        outside = (sample.volume == 0).all(axis=-1)
        assert outside.mean() > 0.3
        assert (sample.target[outside][:, Label.BACKGROUND] == 1).all()


def test_a_split_is_reproducible_and_disjoint(prepared: tuple[PreparedCase, ...]) -> None:
    training, held_out = split_cases(prepared, 1, seed=4)
    assert (training, held_out) == split_cases(prepared, 1, seed=4)
    assert sorted(case.case_id for case in (*training, *held_out)) == ["A", "B", "C"]
    with pytest.raises(TrainingError, match="at least one must be left"):
        split_cases(prepared, 3, seed=4)


def test_cases_without_labels_cannot_be_trained_on(tmp_path: Path) -> None:
    write_case(tmp_path / "cases", "A", make_head(), label=False)
    with pytest.raises(TrainingError, match="1 cases found, none with a label"):
        prepare_dataset(tmp_path / "cases", tmp_path / "cache", TINY_2MM)
