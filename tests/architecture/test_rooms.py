"""The house: every file in a room, every room in a layer, and a picture of it that is current."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from tests.architecture.rooms_picture import PICTURE, ROOMS, draw, edges_between_folders, without_shortcuts
from tests.places import ROOT

PARENTS = ("benchmarks", "export", "train", "runtime", "runtime")
FOLDERS = {room: ROOT / parent / room for room, parent in zip(ROOMS, PARENTS, strict=True)}
TESTS = dict(zip(ROOMS, ("benchmarks", "export", "train", "gateway", "runtime"), strict=True))
AT_THE_TOP = {"__init__.py", "cli.py"}
ALSO_AT_THE_RUNTIMES_TOP = {"codes.py", "errors.py", "log.py", "printable.py", "_version.py"}


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_of_a_package_lies_outside_a_room(room: str) -> None:
    allowed = AT_THE_TOP | (ALSO_AT_THE_RUNTIMES_TOP if room == "eenet_runtime" else set())
    assert {path.name for path in FOLDERS[room].glob("*.py")} <= allowed


@pytest.mark.parametrize("room", ROOMS)
def test_every_folder_says_in_its_docstring_what_lives_there(room: str) -> None:
    folders = [path for path in FOLDERS[room].iterdir() if path.is_dir() and any(path.glob("*.py"))]
    assert folders
    silent = [folder.name for folder in folders if not _docstring(folder / "__init__.py")]
    assert silent == []


@pytest.mark.parametrize("room", ROOMS)
def test_the_layers_inside_a_room_are_a_contract_that_leaves_nothing_out(room: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    own = [contract for contract in contracts if contract.get("containers") == [room]]
    assert [(contract["type"], contract["exhaustive"]) for contract in own] == [("layers", True)]


@pytest.mark.parametrize("room", ROOMS)
def test_tests_lie_in_the_same_folders_as_what_they_test(room: str) -> None:
    tests = ROOT / "tests" / TESTS[room]
    mirrored = {path.name for path in tests.iterdir() if path.is_dir() and any(path.glob("test_*.py"))}
    assert mirrored
    assert mirrored <= {path.name for path in FOLDERS[room].iterdir() if path.is_dir()}


def test_the_picture_of_the_rooms_is_current() -> None:
    assert PICTURE.read_text(encoding="utf-8") == draw(), (
        "docs/architecture.svg is out of date: python -m tests.architecture.rooms_picture"
    )


def test_a_folder_that_is_imported_by_its_neighbour_has_an_arrow_in_the_picture() -> None:
    assert ("heads", "cases") in without_shortcuts(edges_between_folders("eenet_runtime"))


def test_an_arrow_that_others_replace_is_not_drawn() -> None:
    assert without_shortcuts({("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"), ("a", "c")}) == {
        ("a", "b"),
        ("b", "c"),
        ("c", "d"),
    }


def _docstring(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text())) or "") if path.exists() else ""
