"""A run, its plan and a watch name what cannot be read, and do the rest."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from eenet_runtime.cases.discovery import RefusedCase
from eenet_runtime.folders.folder import FolderSettings, plan_folder, segment_folder
from eenet_runtime.folders.watch import DropFolder, WatchSettings
from eenet_runtime.results.mask_settings import MaskSettings
from eenet_runtime.results.report import read_report
from eenet_runtime.segmenter.segmenter import Segmenter
from tests.lost_inputs import LOST, NOBODY, as_another_user, fail, lose
from tests.synthetic import Head, write_case

PLAIN = FolderSettings(preview=False)
WATCH = FolderSettings(preview=False, watch=WatchSettings(settle_s=0.0, poll_s=0.01, stop_after_idle_s=0.05))


@pytest.mark.parametrize("what", LOST)
@pytest.mark.parametrize("settings", [PLAIN, WATCH], ids=["run", "watch"])
def test_an_image_that_is_no_file_is_refused_by_name_and_the_other_case_is_done(
    segmenter: Segmenter, head: Head, tmp_path: Path, what: str, settings: FolderSettings
) -> None:
    for name in ("good", "odd"):
        write_case(tmp_path / "in", name, head, label=False)
    flair = tmp_path / "in" / "odd" / "odd_flair.nii.gz"
    reason = f"{flair}: {lose(flair, what)}"
    planned = plan_folder(tmp_path / "in", tmp_path / "out", PLAIN, MaskSettings.of(segmenter))
    assert {case.case_id: (case.action, case.why) for case in planned} == {
        "good": ("compute", "no finished result"),
        "odd": ("refuse", reason),
    }
    run = segment_folder(segmenter, tmp_path / "in", tmp_path / "out", settings)
    assert {outcome.case_id: outcome.reason for outcome in run.outcomes} == {"good": "", "odd": reason}
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["good.nii.gz"]


@pytest.mark.parametrize("what", LOST)
@pytest.mark.parametrize("settings", [PLAIN, WATCH], ids=["run", "watch"])
def test_a_label_that_is_no_file_is_a_warning_and_nobody_waits_for_it(
    segmenter: Segmenter, head: Head, tmp_path: Path, what: str, settings: FolderSettings
) -> None:
    write_case(tmp_path / "in", "A", head)
    label = tmp_path / "in" / "A" / "A_seg.nii.gz"
    said = lose(label, what)
    for _ in range(2):  # the second time a finished case is held against its label
        run = segment_folder(segmenter, tmp_path / "in", tmp_path / "out", settings)
        assert [outcome.done for outcome in run.outcomes] == [True]
    report = read_report(tmp_path / "out" / "A.json")
    assert report is not None
    assert report.warnings == (f"no Dice: {label}: {said}",)


def test_a_case_that_permissions_keep_back_is_refused_and_the_other_is_done(segmenter: Segmenter, head: Head) -> None:
    with tempfile.TemporaryDirectory() as name:  # a folder of pytest's own is closed to everybody else
        top = Path(name)
        top.chmod(0o755)
        for case in ("closed", "good"):
            write_case(top / "in", case, head, label=False)
        (top / "in" / "closed").chmod(0o644)
        (top / "out").mkdir()
        if os.geteuid() == 0:
            os.chown(top / "out", NOBODY, NOBODY)
        with as_another_user():
            for settings in (PLAIN, WATCH):
                run = segment_folder(segmenter, top / "in", top / "out", settings)
                assert {outcome.case_id: outcome.done for outcome in run.outcomes} == {"closed": False, "good": True}
                assert "cannot be read (Permission denied)" in run.failed[0].reason
        (top / "in" / "closed").chmod(0o755)


def test_a_watched_folder_that_cannot_be_read_is_told_once_and_once_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    told: list[str] = []
    drop = DropFolder(tmp_path / "in", 1.0, on_trouble=told.append)
    drop.look(0.0)
    assert told == []  # an empty folder is no trouble
    with monkeypatch.context() as patch:
        fail(patch, "scandir", "in", errno.ESTALE)
        for now in range(1, 10):
            assert drop.look(float(now)) == ([], False)
    with monkeypatch.context() as patch:
        fail(patch, "scandir", "in", errno.EACCES)
        drop.look(10.0)
    drop.look(11.0)
    drop.look(12.0)
    folder = tmp_path / "in"
    assert told == [
        f"{folder}: the folder cannot be read (Stale file handle); waiting for it",
        f"{folder}: the folder cannot be read (Permission denied); waiting for it",
        f"{folder}: can be read again",
    ]


def test_cases_that_were_done_are_not_taken_again_after_a_folder_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: Head
) -> None:
    write_case(tmp_path / "in", "A", head, label=False)
    drop = DropFolder(tmp_path / "in", 0.0, on_trouble=lambda message: None)
    assert [case.case_id for case in drop.look(0.0)[0]] == ["A"]
    with monkeypatch.context() as patch:
        fail(patch, "scandir", "in", errno.EIO)
        drop.look(1.0)
    assert drop.look(2.0) == ([], False)


def test_a_watch_tells_once_of_a_case_that_it_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: Head
) -> None:
    for name in ("A", "B"):
        write_case(tmp_path / "in", name, head, label=False)
    fail(monkeypatch, "scandir", "B", errno.EIO)
    drop = DropFolder(tmp_path / "in", 1.0)
    drop.look(0.0)
    good, bad = drop.look(1.0)[0]
    assert good.case_id == "A"
    assert bad == RefusedCase(
        "B", f"{tmp_path / 'in' / 'B'}: the folder cannot be read (Input/output error)", "unreadable-folder"
    )
    assert drop.look(2.0) == drop.look(300.0) == ([], False)
