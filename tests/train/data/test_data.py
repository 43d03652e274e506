"""Training data: prepared once, fractions that add up, splits that leave something to train on."""

from __future__ import annotations

import errno
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError, OutputError, TrainingError
from eenet_runtime.volumes.labels import Label, Modality
from eenet_runtime.volumes.placement import place_box
from eenet_train.data.data import (
    FULL,
    PreparedCase,
    label_fractions,
    prepare_dataset,
    prepare_training_case,
)
from eenet_train.data.split import split_cases
from tests.lost_inputs import LOST, lose
from tests.synthetic import TINY, TINY_2MM, Head, case_files, make_head, write_case

SHAPE = (64, 64, 24)


def _files_of(cache: Path) -> dict[str, int]:
    """Every file with the time of its last change."""
    return {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedCase, ...]:
    """Three real cases at 2 mm, in `cases` and `cache` of one folder."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("A", "B", "C"):
        write_case(folder / "cases", name, make_head())
    return prepare_dataset(folder / "cases", folder / "cache", TINY_2MM).cases


def test_at_2_mm_the_fractions_are_the_exact_means_of_eight_voxels_rounded_down() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (128, 128, 48)).astype(np.uint8)
    placement = place_box((slice(0, 128), slice(0, 128), slice(0, 48)), labels.shape, (1.0, 1.0, 1.0), TINY_2MM)
    fractions = label_fractions(labels, placement)
    for label in (Label.NCR, Label.ED, Label.ET):
        count = (labels == label).reshape(64, 2, 64, 2, 24, 2).sum(axis=(1, 3, 5))
        assert np.array_equal(fractions[..., label], count * FULL // 8)
    assert (fractions.sum(axis=-1, dtype=int) == FULL).all()


def test_at_1_mm_the_fractions_are_the_labels(head: Head) -> None:
    placement = place_box((slice(0, 46), slice(0, 54), slice(0, 22)), head.shape, (1.0, 1.0, 1.0), TINY)  # type: ignore[arg-type]
    fractions = label_fractions(head.labels, placement)
    assert set(np.unique(fractions)) == {0, FULL}
    assert [int((fractions[..., label] == FULL).sum()) for label in list(Label)[1:]] == [
        int((head.labels == label).sum()) for label in list(Label)[1:]
    ]


def test_a_prepared_case_holds_images_and_fractions_on_the_networks_grid(prepared: tuple[PreparedCase, ...]) -> None:
    assert [case.case_id for case in prepared] == ["A", "B", "C"]
    volume, target = prepared[0].volume(), prepared[0].target()
    assert volume.shape == target.shape == (*SHAPE, 4)
    assert (volume.dtype.name, target.dtype.name) == ("float16", "uint8")
    assert (target.sum(axis=-1, dtype=int) == FULL).all()
    assert (target[..., 1:] > 0).any(axis=(0, 1, 2)).all()


def test_a_prepared_case_is_not_prepared_again(prepared: tuple[PreparedCase, ...]) -> None:
    folder = prepared[0].volume_path.parents[1]
    before = _files_of(folder / "cache")
    assert prepare_dataset(folder / "cases", folder / "cache", TINY_2MM).cases == prepared
    assert _files_of(folder / "cache") == before


def test_the_cache_knows_a_case_by_its_content_not_by_its_name(tmp_path: Path, head: Head) -> None:
    first = prepare_training_case(case_files(tmp_path / "a", "one", head), tmp_path, TINY_2MM)
    moved = prepare_training_case(case_files(tmp_path / "b", "two", head), tmp_path, TINY_2MM)
    assert moved.case_id == "two"
    assert (moved.volume_path, moved.target_path) == (first.volume_path, first.target_path)


def test_other_voxels_labels_or_geometry_are_another_entry(tmp_path: Path, head: Head) -> None:
    brighter = head.with_image(Modality.T2, head.images[Modality.T2] * 2)
    relabelled = replace(head, labels=np.where(head.labels == Label.ET, Label.ED, head.labels).astype(np.uint8))
    cases = [case_files(tmp_path / str(index), "x", each) for index, each in enumerate((head, brighter, relabelled))]
    entries = [prepare_training_case(files, tmp_path, TINY_2MM).target_path for files in cases]
    entries.append(prepare_training_case(cases[0], tmp_path, TINY).target_path)
    assert len(set(entries)) == 4


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_preparation_leaves_nothing_half_written_and_can_be_repeated(
    tmp_path: Path, head: Head, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    files, cache = case_files(tmp_path / "data", "A", head), tmp_path / "cache"
    cache.mkdir()

    def save_half(stream: object, array: NDArray[np.generic]) -> None:
        if array.dtype == np.uint8:  # the targets, which come after the images
            stream.write(array.tobytes()[:100])  # type: ignore[attr-defined]
            raise interruption
        save(stream, array)  # type: ignore[arg-type]

    save = np.save
    monkeypatch.setattr(np, "save", save_half)
    with pytest.raises((KeyboardInterrupt, OutputError)):
        prepare_training_case(files, cache, TINY_2MM)
    assert [path.name.split(".", 1)[1] for path in cache.iterdir()] == ["volume.npy"]
    monkeypatch.undo()
    assert prepare_training_case(files, cache, TINY_2MM).target().shape == (*SHAPE, 4)


def test_progress_is_reported_for_every_case(prepared: tuple[PreparedCase, ...]) -> None:
    folder = prepared[0].volume_path.parents[1]
    seen: list[tuple[int, int]] = []
    prepare_dataset(folder / "cases", folder / "cache", TINY_2MM, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_all_unusable_cases_are_told_of_at_once_and_the_good_ones_are_kept(tmp_path: Path, head: Head) -> None:
    cases, cache = tmp_path / "cases", tmp_path / "cache"
    for name in "ABCDE":
        write_case(cases, name, head)
    (cases / "B" / "B_t2.nii.gz").unlink()
    (cases / "C" / "C_t1.nii.gz").write_text("no image")
    write_case(cases, "D", replace(head, labels=np.full_like(head.labels, 0)).with_image(Modality.T1, head.labels * 0))
    with pytest.raises(TrainingError) as refusal:
        prepare_dataset(cases, cache, TINY_2MM)
    message = str(refusal.value)
    assert message.startswith(f"{cases}: 3 cases cannot be used: ")
    assert "t2 missing for case B" in message
    assert "C_t1.nii.gz" in message
    assert "D_t1" not in message
    assert "; and 1 more; 'eenet-train check " in message
    assert "\n" not in message
    assert len(list(cache.glob("*.target.npy"))) == 1  # A and E have the same content


def test_a_file_that_vanishes_is_the_cases_fault_not_a_crash(tmp_path: Path, head: Head) -> None:
    files = case_files(tmp_path, "A", head)
    assert files.label is not None
    files.label.unlink()
    with pytest.raises(CaseError, match=r"A_seg\.nii\.gz: file not found"):
        prepare_training_case(files, tmp_path, TINY_2MM)


def test_cases_without_labels_cannot_be_trained_on(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path / "cases", "A", head, label=False)
    with pytest.raises(TrainingError, match="1 cases found, none with a label"):
        prepare_dataset(tmp_path / "cases", tmp_path / "cache", TINY_2MM)


def test_cases_without_labels_are_passed_over_beside_others(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path / "cases", "A", head, label=False)
    write_case(tmp_path / "cases", "B", head)
    dataset = prepare_dataset(tmp_path / "cases", tmp_path / "cache", TINY_2MM)
    assert [case.case_id for case in dataset.cases] == ["B"]


def test_too_few_cases_are_refused_before_any_is_prepared(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path / "cases", "A", head)
    with pytest.raises(TrainingError, match="1 validation cases asked for among 1 cases"):
        prepare_dataset(tmp_path / "cases", tmp_path / "cache", TINY_2MM, validation=1)
    assert not (tmp_path / "cache").exists()


def test_bad_cases_are_left_out_where_that_is_wanted_each_with_its_reason(tmp_path: Path, head: Head) -> None:
    cases = tmp_path / "cases"
    for name in "ABC":
        write_case(cases, name, head)
    (cases / "B" / "B_t2.nii.gz").unlink()
    write_case(cases, "C", replace(head, labels=np.zeros_like(head.labels)))
    dataset = prepare_dataset(cases, tmp_path / "cache", TINY_2MM, skip_bad=True)
    assert [case.case_id for case in dataset.cases] == ["A"]
    assert [case.case_id for case in dataset.skipped] == ["B", "C"]
    assert "t2 missing for case B" in dataset.skipped[0].reason
    assert "C_seg.nii.gz: no tumour voxel found" in dataset.skipped[1].reason


def test_healthy_heads_are_trained_on_where_that_is_wanted_and_refused_again_where_it_is_not(
    tmp_path: Path, head: Head
) -> None:
    cases, cache = tmp_path / "cases", tmp_path / "cache"
    write_case(cases, "A", head)
    write_case(cases, "B", replace(head, labels=np.zeros_like(head.labels)))
    dataset = prepare_dataset(cases, cache, TINY_2MM, healthy_cases=True)
    assert [case.case_id for case in dataset.cases] == ["A", "B"]
    assert dataset.cases[1].tumour_voxels() == 0
    with pytest.raises(TrainingError, match=r"B_seg\.nii\.gz: no tumour voxel found"):
        prepare_dataset(cases, cache, TINY_2MM)  # though the cache holds it now


def test_too_few_good_cases_are_refused_too(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path / "cases", "A", head)
    write_case(tmp_path / "cases", "B", replace(head, labels=np.zeros_like(head.labels)))
    with pytest.raises(TrainingError, match="1 validation cases asked for among 1 cases"):
        prepare_dataset(tmp_path / "cases", tmp_path / "cache", TINY_2MM, validation=1, skip_bad=True)


def test_the_size_of_a_tumour_counts_shares_of_voxels(drawn: tuple[PreparedCase, ...]) -> None:
    target = drawn[0].target()
    assert drawn[0].tumour_voxels() == pytest.approx((target[..., 1:] / FULL).sum())


def test_a_split_is_reproducible_disjoint_and_complete(drawn: tuple[PreparedCase, ...]) -> None:
    training, held_out = split_cases(drawn, 2, seed=4)
    assert (training, held_out) == split_cases(drawn, 2, seed=4)
    assert len(held_out) == 2
    assert sorted(case.case_id for case in (*training, *held_out)) == ["C0", "C1", "C2", "C3", "C4"]
    assert len({split_cases(drawn, 2, seed=seed)[1] for seed in range(10)}) > 1
    assert split_cases(drawn, 0, seed=4) == (drawn, ())


@pytest.mark.parametrize("validation", [-1, 5, 6])
def test_a_split_that_leaves_nothing_to_train_on_is_refused(drawn: tuple[PreparedCase, ...], validation: int) -> None:
    with pytest.raises(TrainingError, match=f"{validation} validation cases asked for among 5 cases"):
        split_cases(drawn, validation, seed=0)


@pytest.mark.parametrize("word", ["flair", "seg"])
@pytest.mark.parametrize("what", LOST)
def test_a_file_that_is_no_file_refuses_its_case_by_name(tmp_path: Path, what: str, word: str) -> None:
    # Without its label the case would be passed over in silence, and without its image it would not exist.
    for name in ("A", "B"):
        write_case(tmp_path / "cases", name, make_head())
    path = tmp_path / "cases" / "B" / f"B_{word}.nii.gz"
    said = lose(path, what)
    with pytest.raises(TrainingError, match=re.escape(f"1 case cannot be used: {path}: {said}")):
        prepare_dataset(tmp_path / "cases", tmp_path / "cache", TINY_2MM)
    dataset = prepare_dataset(tmp_path / "cases", tmp_path / "cache", TINY_2MM, skip_bad=True)
    assert [case.case_id for case in dataset.cases] == ["A"]
    assert [case.case_id for case in dataset.skipped] == ["B"]
