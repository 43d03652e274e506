"""Parts of a folder: each case in exactly one, whatever else is there, and no part disturbs another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eenet_runtime.errors import DatasetError
from eenet_runtime.folders.folder import FolderSettings, segment_folder
from eenet_runtime.folders.shards import Shard
from eenet_runtime.folders.summary import gather_summary
from eenet_runtime.segmenter.segmenter import Segmenter
from tests.synthetic import Head, write_case

PARTS_OF_FOUR = [3, 1, 1, 3, 2, 1]


@given(case_id=st.text(min_size=1), count=st.integers(1, 20))
def test_every_case_is_in_exactly_one_part(case_id: str, count: int) -> None:
    holders = [index for index in range(1, count + 1) if Shard(index, count).holds(case_id)]
    assert len(holders) == 1


def test_parts_are_of_similar_size_and_never_change() -> None:
    names = [f"BraTS20_Training_{number:03d}" for number in range(1, 370)]
    sizes = [sum(Shard(index, 8).holds(name) for name in names) for index in range(1, 9)]
    assert sum(sizes) == 369
    assert min(sizes) >= 30
    assert max(sizes) <= 62
    # Written down, so that a later release cannot move cases between the parts of an array that is running.
    assert [next(i for i in range(1, 5) if Shard(i, 4).holds(name)) for name in names[:6]] == PARTS_OF_FOUR


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "1", "a/b", "1/2/3", "-1/2", "1.5/2", ""])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DatasetError, match="expected i/n with 1 <= i <= n"):
        Shard.parse(text)


def test_parts_share_an_output_folder_and_together_do_every_case(
    segmenter: Segmenter, head: Head, tmp_path: Path
) -> None:
    names = [f"Case_{number}" for number in range(7)]
    for name in names:
        write_case(tmp_path / "in", name, head, label=False)
    (tmp_path / "in" / "Case_2" / "Case_2_t2.nii.gz").unlink()
    output = tmp_path / "out"
    runs = []
    for index in (2, 3, 1):
        settings = FolderSettings(preview=False, shard=Shard(index, 3))
        runs.append(segment_folder(segmenter, tmp_path / "in", output, settings))
    dealt_with = [outcome.case_id for run in runs for outcome in run.outcomes]
    assert sorted(dealt_with) == names
    assert {path.name for path in output.glob("*.nii.gz")} == {f"{name}.nii.gz" for name in names if name != "Case_2"}
    for index in (1, 2, 3):
        summary = json.loads((output / f"summary-{index}-of-3.json").read_text())
        assert summary["shard"] == f"{index}/3"
        assert summary["finished"]
    assert not (output / "summary.json").exists()
    gathered = gather_summary(output)
    assert [outcome.case_id for outcome in gathered.outcomes] == names
    (refused,) = gathered.failed
    assert "t2 missing" in refused.reason


def test_a_part_removes_what_a_killed_run_of_its_own_left_and_nothing_of_the_others(
    segmenter: Segmenter, head: Head, tmp_path: Path
) -> None:
    names = [f"Case_{number}" for number in range(4)]
    for name in names:
        write_case(tmp_path / "in", name, head, label=False)
    mine = Shard(1, 2)
    own = [name for name in names if mine.holds(name)]
    others = [name for name in names if not mine.holds(name)]
    assert own
    assert others
    output = tmp_path / "out"
    output.mkdir()
    kept = {f".eenet-0123abcd.{name}{suffix}" for name in others for suffix in (".nii.gz", "_probabilities.nii.gz")}
    kept |= {".eenet-0123abcd.summary-2-of-2.json", ".eenet-0123abcd..writable-4567cdef"}
    removed = {f".eenet-0123abcd.{name}{suffix}" for name in own for suffix in (".json", ".png", ".nii.gz")}
    removed |= {".eenet-0123abcd.summary-1-of-2.csv", ".eenet-0123abcd.index.html"}
    for name in kept | removed:
        (output / name).write_bytes(b"half")
    segment_folder(segmenter, tmp_path / "in", output, FolderSettings(preview=False, shard=mine))
    assert {path.name for path in output.glob(".*")} == kept
    segment_folder(segmenter, tmp_path / "in", output, FolderSettings(preview=False))
    assert not list(output.glob(".*"))


def test_a_part_without_cases_is_a_run_that_did_nothing(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    write_case(tmp_path / "in", "A", head, label=False)
    empty = next(Shard(index, 50) for index in range(1, 51) if not Shard(index, 50).holds("A"))
    run = segment_folder(segmenter, tmp_path / "in", tmp_path / "out", FolderSettings(shard=empty))
    assert run.outcomes == []
    assert run.finished
