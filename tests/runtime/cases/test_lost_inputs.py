"""Nothing that has a case's name vanishes from a search: it is refused by name, as what it is, and the others go on."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import DatasetError
from eenet_runtime.volumes.labels import Modality
from tests.lost_inputs import ERRORS, LOST, as_another_user, fail, lose
from tests.runtime.cases.test_discovery import the_refusal, touch, touch_case
from tests.synthetic import write_dataset_json


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A good case, and one that a test does something to."""
    for name in ("good", "odd"):
        touch_case(tmp_path / "in" / name, name)
    return tmp_path / "in"


def odd_one(inbox: Path, allow_missing: tuple[Modality, ...] = ()) -> str:
    """Why the odd case is refused; the good one must be found."""
    found = find_cases(inbox, allow_missing)
    assert [case.case_id for case in found.cases] == ["good"]
    assert [case.case_id for case in found.refused] == ["odd"]
    return the_refusal(found)


@pytest.mark.parametrize("allow_missing", [(), (Modality.FLAIR,)])
@pytest.mark.parametrize("what", LOST)
def test_an_image_that_is_no_file_refuses_its_case_by_name(
    inbox: Path, what: str, allow_missing: tuple[Modality, ...]
) -> None:
    # An image that was allowed to be missing is not missing where its name stands: something went wrong with it.
    flair = inbox / "odd" / "odd_flair.nii.gz"
    said = lose(flair, what)
    assert odd_one(inbox, allow_missing) == f"{flair}: {said}"


@pytest.mark.parametrize("number", ERRORS)
def test_an_image_that_the_system_does_not_give_refuses_its_case(
    inbox: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, "stat", "odd_flair.nii.gz", number)
    reason = odd_one(inbox, (Modality.FLAIR,))
    assert reason == f"{inbox / 'odd' / 'odd_flair.nii.gz'}: cannot be read ({os.strerror(number)})"


@pytest.mark.parametrize("number", ERRORS)
def test_a_folder_that_the_system_does_not_list_is_a_refused_case(
    inbox: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, "scandir", "odd", number)
    assert odd_one(inbox) == f"{inbox / 'odd'}: the folder cannot be read ({os.strerror(number)})"


def test_a_folder_whose_listing_breaks_off_is_a_refused_case(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Half of a list would be half of a case.
    scandir = os.scandir

    class Broken:
        def __init__(self, path: Any) -> None:
            self._entries = scandir(path)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            yield_one = next(self._entries)

            def entries() -> Iterator[os.DirEntry[str]]:
                yield yield_one
                raise OSError(errno.EIO, os.strerror(errno.EIO))

            return entries()

        def __exit__(self, *_: object) -> None:
            self._entries.close()

    monkeypatch.setattr(os, "scandir", lambda path: Broken(path) if Path(path).name == "odd" else scandir(path))
    assert odd_one(inbox) == f"{inbox / 'odd'}: the folder cannot be read (Input/output error)"


@pytest.mark.parametrize("number", ERRORS)
def test_a_folder_that_cannot_be_read_itself_is_an_error_of_one_line(
    inbox: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, "scandir", "in", number)
    with pytest.raises(DatasetError, match=rf"in: the folder cannot be read \({os.strerror(number)}\)$"):
        find_cases(inbox)


@pytest.mark.parametrize("mode", [0o000, 0o644, 0o311])
def test_a_case_that_permissions_keep_back_is_refused_and_the_others_are_found(mode: int) -> None:
    with tempfile.TemporaryDirectory() as name:  # a folder of pytest's own is closed to everybody else
        inbox = Path(name)
        inbox.chmod(0o755)
        for case in ("good", "odd"):
            touch_case(inbox / case, case)
        (inbox / "odd" / "below").mkdir()
        (inbox / "odd").chmod(mode)
        with as_another_user():
            found = find_cases(inbox)
        (inbox / "odd").chmod(0o755)
    assert [case.case_id for case in found.cases] == ["good"]
    assert {case.case_id for case in found.refused} == ({"odd", "below"} if mode == 0o644 else {"odd"})
    reason = next(case.reason for case in found.refused if case.case_id == "odd")
    assert "cannot be read (Permission denied)" in reason
    if mode == 0o644:  # the names can be listed, and nothing more
        assert "odd_flair.nii.gz, odd_t1.nii.gz, odd_t1ce.nii.gz, odd_t2.nii.gz" in reason


def test_one_refusal_tells_everything_that_is_wrong_with_a_case(inbox: Path) -> None:
    folder = inbox / "odd"
    for word in ("t1", "t1ce"):
        lose(folder / f"odd_{word}.nii.gz", "a link without a target")
    lose(folder / "odd_t2.nii.gz", "a pipe")
    (folder / "odd_flair.nii.gz").unlink()
    assert odd_one(inbox).split("; ") == [
        f"{folder}: odd_t1.nii.gz, odd_t1ce.nii.gz: {LOST['a link without a target'][1]}",
        f"{folder / 'odd_t2.nii.gz'}: {LOST['a pipe'][1]}",
        f"{folder}: flair missing for case odd",
        "found only odd_t1.nii.gz, odd_t1ce.nii.gz, odd_t2.nii.gz",
    ]


def test_folders_named_like_files_are_one_refusal_that_tells_of_all(inbox: Path) -> None:
    for word in ("t1", "t1ce", "t2", "flair"):
        lose(inbox / "odd" / f"odd_{word}.nii.gz", "a folder")
    names = "odd_flair.nii.gz, odd_t1.nii.gz, odd_t1ce.nii.gz, odd_t2.nii.gz"
    assert odd_one(inbox) == f"{inbox / 'odd'}: {names}: a folder found, expected a regular file"


def test_a_folder_whose_name_ends_like_a_files_and_stands_for_no_image_is_searched(tmp_path: Path) -> None:
    touch_case(tmp_path / "Patient 7.nii", "A")
    touch_case(tmp_path, "B")
    found = find_cases(tmp_path)
    assert [case.case_id for case in found.cases] == ["A", "B"]
    assert found.ignored == ()


@pytest.mark.parametrize("what", LOST)
@pytest.mark.parametrize("described", [True, False])
def test_a_4d_image_that_is_no_file_refuses_its_case(tmp_path: Path, what: str, described: bool) -> None:
    touch(tmp_path, "imagesTr/BRATS_001.nii.gz", "imagesTr/BRATS_002.nii.gz")
    if described:
        write_dataset_json(tmp_path, "msd")
    said = lose(tmp_path / "imagesTr" / "BRATS_002.nii.gz", what)
    found = find_cases(tmp_path)
    assert [case.case_id for case in found.cases] == ["BRATS_001"]
    assert the_refusal(found) == f"{tmp_path / 'imagesTr' / 'BRATS_002.nii.gz'}: {said}"


@pytest.mark.parametrize("what", LOST)
def test_a_numbered_channel_that_is_no_file_refuses_its_case(tmp_path: Path, what: str) -> None:
    touch(tmp_path, *(f"imagesTr/A_{channel:04d}.nii.gz" for channel in range(4)))
    write_dataset_json(tmp_path, "nnunet")
    said = lose(tmp_path / "imagesTr" / "A_0003.nii.gz", what)
    found = find_cases(tmp_path, (Modality.FLAIR,))
    assert the_refusal(found) == f"{tmp_path / 'imagesTr' / 'A_0003.nii.gz'}: {said}"


@pytest.mark.parametrize("what", LOST)
def test_a_dataset_json_that_is_no_file_is_not_replaced_by_a_guess(tmp_path: Path, what: str) -> None:
    # Without one the Decathlon's order of channels counts for its names; this one may have said another.
    touch(tmp_path, "imagesTr/BRATS_001.nii.gz")
    said = lose(write_dataset_json(tmp_path, "msd"), what)
    assert the_refusal(find_cases(tmp_path)) == f"{tmp_path / 'dataset.json'}: {said}"


def test_a_dataset_json_that_the_system_does_not_give_is_not_replaced_by_a_guess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "imagesTr/BRATS_001.nii.gz")
    write_dataset_json(tmp_path, "msd")
    fail(monkeypatch, "stat", "dataset.json", errno.ESTALE)
    assert "dataset.json: cannot be read (Stale file handle)" in the_refusal(find_cases(tmp_path))


@pytest.mark.parametrize("what", LOST)
@pytest.mark.parametrize("layout", ["named", "described"])
def test_a_label_that_is_no_file_stays_with_its_case_to_be_told(tmp_path: Path, what: str, layout: str) -> None:
    if layout == "named":
        touch_case(tmp_path, "A", "seg")
        label = tmp_path / "A_seg.nii.gz"
    else:
        touch(tmp_path, "imagesTr/BRATS_001.nii.gz", "labelsTr/BRATS_001.nii.gz")
        label = tmp_path / "labelsTr" / "BRATS_001.nii.gz"
    lose(label, what)
    (case,) = find_cases(tmp_path).cases
    assert case.label == label


@pytest.mark.parametrize("name", ["A", "W39_1998.09.19"])
def test_a_link_without_a_target_that_may_have_been_a_folder_of_cases_is_refused(tmp_path: Path, name: str) -> None:
    touch_case(tmp_path, "good")
    (tmp_path / name).symlink_to(tmp_path / ".unmounted" / name)
    (tmp_path / "notes.txt").symlink_to(tmp_path / ".unmounted" / "notes.txt")
    found = find_cases(tmp_path)
    assert [case.case_id for case in found.cases] == ["good"]
    assert the_refusal(found) == f"{tmp_path / name}: a link without a target found, expected a folder of cases"


def test_folders_that_lie_deeper_than_python_calls_itself_are_searched(tmp_path: Path) -> None:
    folders = [tmp_path / "d"]
    for _ in range(sys.getrecursionlimit() + 50):
        folders.append(folders[-1] / "d")
    for folder in folders:
        folder.mkdir()
    touch_case(folders[-1], "deep")
    found = find_cases(tmp_path)
    assert [case.case_id for case in found.cases] == ["deep"]
    for path in folders[-1].iterdir():
        path.unlink()
    for folder in reversed(folders):  # pytest calls itself
        folder.rmdir()
