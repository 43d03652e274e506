"""A drop folder: nothing is taken before it is complete and has settled, nothing is taken twice without a change."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.errors import CaseError
from eenet_runtime.folders.folder import FolderSettings, segment_folder
from eenet_runtime.folders.outcomes import CaseOutcome, Status
from eenet_runtime.folders.stopping import StopRequest
from eenet_runtime.folders.watch import DropFolder, WatchSettings, watch_cases
from eenet_runtime.segmenter.segmenter import ComputedCase, PreparedCase, Segmenter
from eenet_runtime.volumes.labels import Modality
from tests.synthetic import Head, write_case

SETTLE = 10.0


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def drop(inbox: Path) -> DropFolder:
    return DropFolder(inbox, SETTLE)


def taken(drop: DropFolder, now: float) -> list[str]:
    return [case.case_id for case in drop.look(now)[0]]


def write_files(folder: Path, case_id: str, words: tuple[str, ...] = ("t1", "t1ce", "t2", "flair")) -> None:
    (folder / case_id).mkdir(exist_ok=True)
    for word in words:
        (folder / case_id / f"{case_id}_{word}.nii.gz").write_bytes(b"content")


def test_a_case_is_taken_once_when_its_files_have_not_changed_for_a_while(inbox: Path, drop: DropFolder) -> None:
    write_files(inbox, "A")
    assert taken(drop, 0.0) == []
    assert taken(drop, 9.9) == []
    assert taken(drop, 10.0) == ["A"]
    assert taken(drop, 11.0) == []
    assert taken(drop, 1000.0) == []


def test_a_file_that_grows_starts_the_wait_anew(inbox: Path, drop: DropFolder) -> None:
    write_files(inbox, "A")
    assert taken(drop, 0.0) == []
    with (inbox / "A" / "A_t2.nii.gz").open("ab") as stream:
        stream.write(b" and more")
    assert taken(drop, 8.0) == []
    assert taken(drop, 17.0) == []
    assert taken(drop, 18.0) == ["A"]


def test_a_file_of_the_same_size_and_time_under_the_same_name_is_a_change_too(inbox: Path, drop: DropFolder) -> None:
    write_files(inbox, "A")
    taken(drop, 0.0)
    path = inbox / "A" / "A_t2.nii.gz"
    status = path.stat()
    other = inbox / "A" / ".upload"
    other.write_bytes(b"CONTENT")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    assert taken(drop, 10.0) == []
    assert taken(drop, 20.0) == ["A"]


def test_an_incomplete_case_is_told_once_and_taken_when_it_is_complete(inbox: Path, drop: DropFolder) -> None:
    write_files(inbox, "A", ("t1", "t1ce", "flair"))
    assert drop.look(0.0) == ([], True)
    ready, pending = drop.look(10.0)
    assert "t2 missing" in getattr(ready[0], "reason", "")
    assert not pending
    assert taken(drop, 20.0) == []
    write_files(inbox, "A", ("t2",))
    assert drop.look(21.0) == ([], True)
    (case,) = drop.look(31.0)[0]
    assert isinstance(case, CaseFiles)


def test_uploads_under_temporary_names_are_not_seen(inbox: Path, drop: DropFolder) -> None:
    write_files(inbox, "A")
    (inbox / "A" / "A_t2.nii.gz").rename(inbox / "A" / ".A_t2.nii.gz.xK3f")
    (inbox / "B").mkdir()
    (inbox / "B" / "B_t1.nii.gz.part").write_bytes(b"half")
    taken(drop, 0.0)
    (case,) = drop.look(10.0)[0]
    assert "t2 missing" in getattr(case, "reason", "")
    (inbox / "A" / ".A_t2.nii.gz.xK3f").rename(inbox / "A" / "A_t2.nii.gz")
    assert taken(drop, 20.0) == []
    assert taken(drop, 30.0) == ["A"]


def test_a_case_is_taken_again_when_its_files_change_and_only_then(inbox: Path, drop: DropFolder) -> None:
    write_files(inbox, "A")
    taken(drop, 0.0)
    assert taken(drop, 10.0) == ["A"]
    assert taken(drop, 100.0) == []
    (inbox / "A" / "A_t1.nii.gz").write_bytes(b"corrected")
    assert taken(drop, 101.0) == []
    assert taken(drop, 111.0) == ["A"]


def test_files_that_vanish_are_forgotten_and_may_come_back(inbox: Path, drop: DropFolder) -> None:
    write_files(inbox, "A")
    write_files(inbox, "B")
    taken(drop, 0.0)
    for path in (inbox / "A").iterdir():
        path.unlink()
    assert taken(drop, 10.0) == ["B"]
    write_files(inbox, "A")
    assert taken(drop, 11.0) == []
    assert taken(drop, 21.0) == ["A"]


def test_a_folder_that_is_away_for_a_while_does_no_harm(inbox: Path, drop: DropFolder) -> None:
    write_files(inbox, "A")
    taken(drop, 0.0)
    inbox.rename(inbox.with_name("away"))
    assert drop.look(5.0) == ([], False)
    inbox.with_name("away").rename(inbox)
    taken(drop, 6.0)
    assert taken(drop, 16.0) == ["A"]


@dataclass
class Clock:
    """A clock that runs while somebody waits for it."""

    now: float = 0.0
    waits: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now


class FastStop(StopRequest):
    """Waiting moves the clock on instead of sleeping."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, seconds: float) -> bool:
        self._clock.now += seconds
        self._clock.waits.append(seconds)
        return self.requested


def test_the_watch_ends_when_nothing_has_come_for_the_time_given(inbox: Path, drop: DropFolder) -> None:
    write_files(inbox, "A")
    clock = Clock()
    settings = WatchSettings(settle_s=SETTLE, poll_s=2.0, stop_after_idle_s=30.0)
    assert [case.case_id for case in watch_cases(drop, settings, FastStop(clock), clock)] == ["A"]
    assert clock.now == pytest.approx(40.0, abs=2.0)
    assert set(clock.waits) == {2.0}


def test_a_stop_ends_the_watch(inbox: Path, drop: DropFolder) -> None:
    clock = Clock()
    stop = FastStop(clock)
    watch: Iterator[object] = watch_cases(drop, WatchSettings(poll_s=1.0), stop, clock)
    stop.request()
    assert list(watch) == []


def test_cases_that_come_while_others_are_computed_are_done_and_a_corrected_one_again(
    segmenter: Segmenter, head: Head, inbox: Path, tmp_path: Path
) -> None:
    output, stop = tmp_path / "out", StopRequest()
    seen: list[tuple[str, Status]] = []

    def look(count: int, total: int | None, outcome: CaseOutcome) -> None:
        assert total is None
        seen.append((outcome.case_id, outcome.status))
        if len(seen) == 1:
            write_case(inbox, "B", head.with_image(Modality.T2, head.labels * 0), label=False)
        elif seen[-1] == ("B", Status.REFUSED):
            write_case(inbox, "B", head, label=False)
        else:
            stop.request()

    write_case(inbox, "A", head, label=False)
    guard = threading.Timer(60, stop.request)
    guard.start()
    settings = FolderSettings(preview=False, watch=WatchSettings(settle_s=0.1, poll_s=0.02))
    started = time.monotonic()
    run = segment_folder(segmenter, inbox, output, settings, look, stop)
    guard.cancel()
    assert time.monotonic() - started < 50
    assert seen == [("A", Status.DONE), ("B", Status.REFUSED), ("B", Status.DONE)]
    # Of a case that came twice the summary has the last word.
    assert [(outcome.case_id, outcome.status) for outcome in run.outcomes] == [("A", Status.DONE), ("B", Status.DONE)]
    assert run.stopped
    assert {path.name for path in output.glob("*.nii.gz")} == {"A.nii.gz", "B.nii.gz"}


def test_no_mask_of_an_earlier_version_is_left_beside_a_refusal(
    segmenter: Segmenter, head: Head, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second version comes and is refused while the first one is still computed, and is written after that.
    write_case(inbox, "A", head, label=False)
    compute, second = segmenter.compute, threading.Event()

    def slow(prepared: PreparedCase, **options: Any) -> ComputedCase:
        write_case(inbox, "A", head.with_image(Modality.T2, head.labels * 0), label=False)
        assert second.wait(30)
        return compute(prepared, **options)

    prepare = segmenter.prepare

    def noted(case: CaseFiles, **options: Any) -> PreparedCase:
        try:
            return prepare(case, **options)
        except CaseError:
            second.set()
            raise

    monkeypatch.setattr(segmenter, "compute", slow)
    monkeypatch.setattr(segmenter, "prepare", noted)
    settings = FolderSettings(preview=False, watch=WatchSettings(settle_s=0.1, poll_s=0.02, stop_after_idle_s=0.3))
    run = segment_folder(segmenter, inbox, tmp_path / "out", settings)
    assert [outcome.status for outcome in run.outcomes] == [Status.REFUSED]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"summary.json", "summary.csv"}


def test_a_watch_that_is_started_again_keeps_what_is_finished(
    segmenter: Segmenter, head: Head, inbox: Path, tmp_path: Path
) -> None:
    write_case(inbox, "A", head, label=False)
    settings = FolderSettings(preview=False, watch=WatchSettings(settle_s=0.0, poll_s=0.01, stop_after_idle_s=0.05))
    statuses = []
    for _ in range(2):
        run = segment_folder(segmenter, inbox, tmp_path / "out", settings)
        assert run.finished
        statuses += [outcome.status for outcome in run.outcomes]
    assert statuses == [Status.DONE, Status.DONE_BEFORE]
