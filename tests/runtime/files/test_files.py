"""Writing files: whole or not at all, and nothing left of a writer that was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from eenet_runtime.errors import OutputError
from eenet_runtime.files.atomic import is_leftover, open_for_replace, remove_leftovers, sha256_of_file, write_atomically


def test_a_write_that_fails_leaves_the_file_before_it_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_atomically(path, b"before")

    def interrupted() -> None:
        with open_for_replace(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_temporary_files_keep_the_suffix_and_are_known_as_such(tmp_path: Path) -> None:
    with open_for_replace(tmp_path / "mask.nii.gz") as temporary:
        assert temporary.name.endswith("mask.nii.gz")
        assert is_leftover(temporary)
        temporary.write_bytes(b"x")
    assert not is_leftover(tmp_path / "mask.nii.gz")


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = {".hidden", ".eenet-notes.txt", "mask.nii.gz"}
    for name in (*kept, ".eenet-0123abcd.model.keras"):
        (tmp_path / name).write_text("x")
    remove_leftovers(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == kept
    remove_leftovers(tmp_path / "missing")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomically(tmp_path / "missing" / "x", b"")


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert sha256_of_file(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
