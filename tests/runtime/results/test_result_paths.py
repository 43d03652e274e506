"""Names of results that cannot be had: that is one case's trouble, and the others are done."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from eenet_runtime.errors import CaseError, OutputError, ResultPathError
from eenet_runtime.files import atomic
from eenet_runtime.folders.folder import FolderSettings, plan_folder, segment_folder
from eenet_runtime.results.mask_settings import MaskSettings
from eenet_runtime.results.result_files import OutputSettings, ResultPaths, segment_to_files
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import Modality
from tests.synthetic import Head, case_files, write_case

PLAIN = FolderSettings(preview=False)


def run_with(segmenter: Segmenter, folder: Path, settings: FolderSettings = PLAIN) -> dict[str, str]:
    """Reasons by case; the plan must say the same of what it can see."""
    run = segment_folder(segmenter, folder / "in", folder / "out", settings)
    return {outcome.case_id: outcome.reason for outcome in run.outcomes}


@pytest.mark.parametrize("length", [233, 236, 243])
def test_a_name_that_is_too_long_for_its_results_refuses_that_case_only(
    segmenter: Segmenter, head: Head, tmp_path: Path, length: int
) -> None:
    # 255 bytes are what most file systems take; `.nii.gz` and 16 bytes of a temporary name come on top. Folders of
    # their own, with short file names: the case's name is the folder's.
    name = "L" * length
    for case in (name, "short"):
        write_case(tmp_path / "in", "x", head, label=False)
        folder = (tmp_path / "in" / "x").rename(tmp_path / "in" / case)
        for path in list(folder.iterdir()):
            path.rename(folder / path.name.removeprefix("x_"))
    planned = plan_folder(tmp_path / "in", tmp_path / "out", PLAIN, MaskSettings.of(segmenter))
    assert {case.case_id: case.action for case in planned} == {name: "refuse", "short": "compute"}
    assert not (tmp_path / "out").exists()
    reasons = run_with(segmenter, tmp_path)
    assert reasons["short"] == ""
    assert reasons[name].endswith("this name of a result is too long for its file system; rename the case")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"short{suffix}" for suffix in (".nii.gz", ".json")),
        "summary.json",
        "summary.csv",
    }


def test_maps_that_nobody_asked_for_may_have_too_long_a_name(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    name = "L" * 230
    (tmp_path / "out").mkdir()
    paths = ResultPaths.in_folder(tmp_path / "out", name)
    files = case_files(tmp_path / "in", "A", head)
    segment_to_files(segmenter, files, paths, preview=False)
    assert paths.mask.exists()
    with pytest.raises(ResultPathError, match="too long"):
        segment_to_files(segmenter, files, paths, preview=False, probabilities=True)


@pytest.mark.parametrize("which", ["A.nii.gz", "A.json"])
def test_a_folder_that_stands_where_a_result_should_go_refuses_that_case_only(
    segmenter: Segmenter, head: Head, tmp_path: Path, which: str
) -> None:
    for case in ("A", "B"):
        write_case(tmp_path / "in", case, head, label=False)
    (tmp_path / "out" / which / "kept").mkdir(parents=True)
    planned = plan_folder(tmp_path / "in", tmp_path / "out", PLAIN, MaskSettings.of(segmenter))
    assert {case.case_id: case.action for case in planned} == {"A": "refuse", "B": "compute"}
    reasons = run_with(segmenter, tmp_path)
    assert reasons["A"].startswith(f"{tmp_path / 'out' / which}: a folder stands where a result should go")
    assert reasons["B"] == ""
    assert (tmp_path / "out" / which / "kept").is_dir()


def test_an_earlier_result_that_may_only_be_read_is_replaced(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    files = case_files(tmp_path / "in", "A", head)
    (tmp_path / "out").mkdir()
    paths = ResultPaths.in_folder(tmp_path / "out", "A")
    for path in (paths.mask, paths.report):
        path.write_bytes(b"of an earlier run")
        path.chmod(0o444)
    segment_to_files(segmenter, files, paths, preview=False)
    assert paths.mask.read_bytes() != b"of an earlier run"


@pytest.mark.parametrize("good", [True, False])
def test_an_earlier_result_that_cannot_be_removed_is_told_and_the_other_case_is_done(
    segmenter: Segmenter, head: Head, tmp_path: Path, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another user's in a folder with the sticky bit, or one that was made immutable.
    write_case(tmp_path / "in", "A", head if good else head.with_image(Modality.T2, head.labels * 0), label=False)
    write_case(tmp_path / "in", "B", head, label=False)
    (tmp_path / "out").mkdir()
    old = tmp_path / "out" / "A.nii.gz"
    old.write_bytes(b"of an earlier run")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == old:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    reasons = run_with(segmenter, tmp_path)
    assert reasons["A"].endswith(f"{old}: of an earlier run, cannot be removed (Operation not permitted)")
    assert reasons["B"] == ""


@pytest.mark.parametrize(
    ("number", "of_the_case"),
    [(errno.EILSEQ, True), (errno.EPERM, True), (errno.ENOSPC, False), (errno.EIO, False), (errno.EROFS, False)],
)
def test_an_error_of_one_name_is_that_cases_and_an_error_of_the_disk_ends_the_run(
    segmenter: Segmenter, head: Head, tmp_path: Path, number: int, of_the_case: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for case in ("A", "B"):
        write_case(tmp_path / "in", case, head, label=False)
    flush = atomic._flush_to_disk

    def failing(path: Path) -> None:
        if path.name.endswith(".A.nii.gz"):
            raise OSError(number, os.strerror(number), str(path))
        flush(path)

    monkeypatch.setattr(atomic, "_flush_to_disk", failing)
    if of_the_case:
        reasons = run_with(segmenter, tmp_path)
        assert reasons["A"] == f"{tmp_path / 'out' / 'A.nii.gz'}: cannot be written ({os.strerror(number)})"
        assert reasons["B"] == ""
    else:
        with pytest.raises(OutputError, match=os.strerror(number)) as caught:
            run_with(segmenter, tmp_path)
        assert not isinstance(caught.value, ResultPathError)
    assert not list((tmp_path / "out").glob("*A.nii.gz"))


def test_a_folder_that_takes_no_file_any_more_ends_the_run(
    segmenter: Segmenter, head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(tmp_path / "in", "A", head, label=False)
    finish = segmenter.finish

    def close_the_folder(computed: object) -> object:
        result = finish(computed)  # type: ignore[arg-type]
        (tmp_path / "out").rename(tmp_path / "gone")
        return result

    monkeypatch.setattr(segmenter, "finish", close_the_folder)
    with pytest.raises(OutputError, match="No such file or directory"):
        run_with(segmenter, tmp_path)


def test_what_is_written_by_default_is_a_mask_a_picture_and_a_report() -> None:
    assert OutputSettings() == OutputSettings(scheme=None, preview=True, probabilities=False)
    assert FolderSettings().outputs == OutputSettings()
    assert not issubclass(ResultPathError, CaseError)  # nothing is wrong with the case
