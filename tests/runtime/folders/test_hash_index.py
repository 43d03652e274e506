"""`--trust-timestamps`: what looks as it did is believed; by default everything is hashed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from eenet_runtime.files.nifti import sha256_of_image
from eenet_runtime.folders.folder import FolderSettings, segment_folder
from eenet_runtime.folders.hash_index import HashIndex
from eenet_runtime.folders.outcomes import FolderRun, Status
from eenet_runtime.folders.shards import Shard
from eenet_runtime.segmenter.segmenter import Segmenter
from tests.synthetic import Head, write_case

HASHING = FolderSettings(preview=False)
TRUSTING = replace(HASHING, trust_timestamps=True)
WHOLE = Shard()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that a run hashes to find out whether a case is finished."""
    names: list[str] = []
    really = sha256_of_image

    def noted(path: Path) -> str:
        names.append(path.name)
        return really(path)

    monkeypatch.setattr("eenet_runtime.files.nifti.sha256_of_image", noted)
    return names


def statuses(run: FolderRun) -> list[Status]:
    return [outcome.status for outcome in run.outcomes]


def test_a_restart_hashes_nothing_that_looks_as_it_did(
    segmenter: Segmenter, head: Head, tmp_path: Path, hashed: list[str]
) -> None:
    cases, output = tmp_path / "in", tmp_path / "out"
    write_case(cases, "A", head)
    segment_folder(segmenter, cases, output, TRUSTING)
    assert statuses(segment_folder(segmenter, cases, output, TRUSTING)) == [Status.DONE_BEFORE]
    assert hashed == []


def test_by_default_everything_is_hashed(segmenter: Segmenter, head: Head, tmp_path: Path, hashed: list[str]) -> None:
    cases, output = tmp_path / "in", tmp_path / "out"
    write_case(cases, "A", head)
    segment_folder(segmenter, cases, output, HASHING)
    assert not list(output.glob(".*"))
    segment_folder(segmenter, cases, output, HASHING)
    assert sorted(hashed) == ["A.nii.gz", *(f"A_{word}.nii.gz" for word in ("flair", "seg", "t1", "t1ce", "t2"))]


def test_a_first_restart_without_an_index_hashes_once_and_then_no_more(
    segmenter: Segmenter, head: Head, tmp_path: Path, hashed: list[str]
) -> None:
    cases, output = tmp_path / "in", tmp_path / "out"
    write_case(cases, "A", head, label=False)
    segment_folder(segmenter, cases, output, HASHING)
    segment_folder(segmenter, cases, output, TRUSTING)
    assert len(hashed) == 5
    segment_folder(segmenter, cases, output, TRUSTING)
    assert len(hashed) == 5


def test_a_file_with_another_time_is_hashed_and_one_with_other_bytes_computed_again(
    segmenter: Segmenter, head: Head, tmp_path: Path, hashed: list[str]
) -> None:
    cases, output = tmp_path / "in", tmp_path / "out"
    write_case(cases, "A", head)
    segment_folder(segmenter, cases, output, TRUSTING)
    os.utime(cases / "A" / "A_t2.nii.gz")
    assert statuses(segment_folder(segmenter, cases, output, TRUSTING)) == [Status.DONE_BEFORE]
    assert hashed == ["A_t2.nii.gz"]
    (output / "A.nii.gz").write_bytes((output / "A.nii.gz").read_bytes()[:-1])
    assert statuses(segment_folder(segmenter, cases, output, TRUSTING)) == [Status.DONE]


def test_the_trade_is_that_a_change_whose_time_is_set_back_is_not_seen(
    segmenter: Segmenter, head: Head, tmp_path: Path
) -> None:
    # Stated in docs/running.md: this is what a full hash is for.
    cases, output = tmp_path / "in", tmp_path / "out"
    write_case(cases, "A", head)
    segment_folder(segmenter, cases, output, TRUSTING)
    mask = output / "A.nii.gz"
    before = mask.stat()
    with mask.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\xff")
    os.utime(mask, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert statuses(segment_folder(segmenter, cases, output, TRUSTING)) == [Status.DONE_BEFORE]
    assert statuses(segment_folder(segmenter, cases, output, HASHING)) == [Status.DONE]


def test_half_a_line_of_a_killed_run_and_nonsense_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"a")
    with HashIndex(tmp_path, WHOLE) as index:
        known = index.sha256(path)
    (written,) = tmp_path.glob(".eenet-run-index-*")
    with written.open("a") as stream:
        stream.write('{"a": 1}\n[1]\n["/x", "y", [["z", 1, 2]]]\n["/half')
    with HashIndex(tmp_path, WHOLE) as index:
        assert index.sha256(path) == known
        other = tmp_path / "b.nii.gz"
        other.write_bytes(b"b")
        assert index.sha256(other) is not None
    assert len([line for line in written.read_text().splitlines() if "nii.gz" in line]) == 2


def test_parts_read_the_indexes_of_all_and_write_their_own(tmp_path: Path, hashed: list[str]) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"a")
    with HashIndex(tmp_path, Shard(1, 2)) as index:
        index.sha256(path)
    with HashIndex(tmp_path, Shard(2, 3)) as index:
        index.sha256(path)
    assert hashed == ["a.nii.gz"]
    assert len(list(tmp_path.glob(".eenet-run-index-*"))) == 2


def test_of_a_pair_both_halves_are_looked_at(tmp_path: Path, hashed: list[str]) -> None:
    header, voxels = tmp_path / "a.hdr", tmp_path / "a.img"
    header.write_bytes(b"h")
    voxels.write_bytes(b"v")
    with HashIndex(tmp_path, WHOLE) as index:
        first = index.sha256(header)
        voxels.write_bytes(b"w2")
        assert index.sha256(header) != first
    assert hashed == ["a.hdr", "a.hdr"]


def test_a_file_that_cannot_be_read_has_no_hash_and_is_not_remembered(tmp_path: Path) -> None:
    with HashIndex(tmp_path, WHOLE) as index:
        assert index.sha256(tmp_path / "gone.nii.gz") is None
        (tmp_path / "gone.nii.gz").write_bytes(b"there")
        assert index.sha256(tmp_path / "gone.nii.gz") is not None
