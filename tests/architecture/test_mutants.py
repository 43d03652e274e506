"""The mutation test: which changes it makes, which tests it asks, and that it leaves no trace."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest

from tests.mutants.__main__ import EQUIVALENTS, Result, draw, known_equivalents, report
from tests.mutants.changes import Change, all_changes, changes_in
from tests.mutants.covering import ROOMS, Imports, files_of
from tests.mutants.trial import Tree, Trial
from tests.places import ROOT

SOURCE = '''\
"""A docstring with 3 numbers."""
LIMIT: Final = 3


@dataclass(frozen=True)
class Thing:
    size: int = 0
    flag: bool = False


def decide(values, most=2.5):
    """Raise above 7."""
    assert len(values) > 1
    if not values or max(values) > most:
        raise ValueError(f"{len(values) + 1} values found, expected {7 + 1}")
    log.info("seen", 12)
    values.sort()
    total = 0
    total += values[0] * 2 - 1
    return total if any(v in (4, 5) for v in values if v is not None) else values[-1]
'''


@pytest.fixture
def found(tmp_path: Path) -> list[Change]:
    """The changes that are tried on `SOURCE`."""
    (tmp_path / "room.py").write_text(SOURCE)
    return changes_in(tmp_path, "room.py")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (2, "`3` becomes `4`"),
        (2, "`3` becomes `6`"),
        (7, "`0` becomes `1`"),
        (8, "the default `False` becomes `True`"),
        (11, "`2.5` becomes `5.0`"),
        (14, "the condition is negated"),
        (14, "`not` is removed"),
        (14, "`or` becomes `and`"),
        (14, "`max` becomes `min`"),
        (14, "`>` becomes `>=`"),
        (15, "the `raise` is removed"),
        (17, "the statement is removed"),
        (19, "the statement is removed"),
        (19, "`*` becomes `/`"),
        (19, "`-` becomes `+`"),
        (20, "`any` becomes `all`"),
        (20, "`-1` becomes `0`"),
        (20, "`in` becomes `not in`"),
        (20, "`is not` becomes `is`"),
        (20, "the condition is negated"),
    ],
)
def test_every_kind_of_change_is_made(found: list[Change], line: int, what: str) -> None:
    assert (line, what) in [(change.line, change.what) for change in found]


@pytest.mark.parametrize("line", [1, 5, 12, 13, 16])
def test_docstrings_decorators_assertions_and_the_log_are_left_alone(found: list[Change], line: int) -> None:
    assert line not in [change.line for change in found]


def test_nothing_in_a_message_is_changed(found: list[Change]) -> None:
    assert [change.what for change in found if change.line == 15] == ["the `raise` is removed"]


def test_every_change_is_another_program_that_python_reads(found: list[Change]) -> None:
    source = SOURCE.encode()
    programs = {ast.dump(ast.parse(change.apply(source))) for change in found}
    assert len(programs) == len(found)
    assert ast.dump(ast.parse(source)) not in programs


def test_where_something_is_drawn_numbers_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "chart.py").write_text("width = 3 if wide > 4 else 5\n")
    assert [change.what for change in changes_in(tmp_path, "pages/chart.py")] == [
        "the condition is negated",
        "`>` becomes `>=`",
    ]


def test_a_seed_draws_the_same_changes_again_and_another_seed_others() -> None:
    changes = all_changes(ROOT, files_of(ROOT, "runtime"))
    assert len(changes) > 2000
    assert draw(changes, 30, seed=1) == draw(changes, 30, seed=1)
    assert draw(changes, 30, seed=1) != draw(changes, 30, seed=2)
    assert len(set(draw(changes, 30, seed=1))) == 30


@pytest.fixture(scope="module")
def imports() -> Imports:
    """Who imports whom in this repository."""
    return Imports(ROOT)


@pytest.mark.parametrize(
    ("file", "first"),
    [
        ("runtime/eenet_runtime/volumes/placement.py", "tests/runtime/volumes/test_placement.py"),
        ("train/eenet_train/recipe/losses.py", "tests/train/recipe/test_losses.py"),
        ("benchmarks/eenet_bench/evaluation/metrics.py", "tests/benchmarks/evaluation/test_metrics.py"),
    ],
)
def test_a_files_own_test_is_asked_first(imports: Imports, file: str, first: str) -> None:
    tests = imports.tests_of(file)
    assert tests[0] == first
    assert all(test.startswith(f"tests/{file.split('/')[0]}/") for test in tests)


def test_every_file_of_every_room_has_tests(imports: Imports) -> None:
    alone = [
        file
        for room in ROOMS
        for file in files_of(ROOT, room)
        if file not in ("benchmarks/eenet_bench/peers/monai_way.py",)  # needs MONAI, which no test installs
        if changes_in(ROOT, file) and not imports.tests_of(file)
    ]
    assert alone == []


def small_repository(folder: Path) -> Tree:
    """A tree of one function and one test that knows half of it."""
    for name, text in {
        "runtime/room.py": "def halve(value):\n    return value // 2\n\n\ndef other(value):\n    return 1 + value\n",
        "tests/test_room.py": "from room import halve\n\n\ndef test_half():\n    assert halve(5) == 2\n",
        "pyproject.toml": '[tool.pytest.ini_options]\nmarkers = ["slow", "gpu"]\n',
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return Tree(folder)


def verdict_on(tree: Tree, change: Change | None) -> str:
    trial = Trial(tree, ["tests/test_room.py"], change)
    trial.start()
    while (verdict := trial.poll()) is None:
        time.sleep(0.01)
    return verdict[0]


def test_a_change_is_noticed_or_survives_and_the_file_is_as_it_was(tmp_path: Path) -> None:
    tree = small_repository(tmp_path / "tree")
    before = (tree.root / "runtime" / "room.py").read_bytes()
    verdicts = {change.what: verdict_on(tree, change) for change in changes_in(tree.root, "runtime/room.py")}
    assert verdicts == {
        "`//` becomes `*`": "killed",
        "`2` becomes `3`": "killed",
        "`2` becomes `4`": "killed",
        "`+` becomes `-`": "survived",
        "`1` becomes `2`": "survived",
    }
    assert (tree.root / "runtime" / "room.py").read_bytes() == before
    assert verdict_on(tree, None) == "survived"


def test_a_change_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.mutants.trial.STALL_S", 2.0)
    tree = small_repository(tmp_path / "tree")
    endless = Change("runtime/room.py", 2, "", "never returns", 17, 17, "\n    while True: pass")
    assert verdict_on(tree, endless) == "timed out"


def test_what_nobody_can_notice_does_not_count() -> None:
    change = Change("runtime/eenet_runtime/errors.py", 1, "x", "`<` becomes `<=`", 0, 1, "y")
    verdicts = ["killed", "killed", "timed out", "survived", "equivalent"]
    page = report([Result(change, verdict, "", 0.0) for verdict in verdicts], {change.file: b"x = 1\n"})
    assert "| runtime | 2 | 1 | 1 | 0 | 0 | 1 |" in page
    assert "Noticed: 3 of 4 (75.0 %)" in page
    assert "-x = 1" in page
    assert "+y = 1" in page


def test_every_known_equivalent_is_a_change_that_is_made() -> None:
    made = {
        (change.file, change.text, change.what) for room in ROOMS for change in all_changes(ROOT, files_of(ROOT, room))
    }
    assert EQUIVALENTS.is_file()
    assert sorted(set(known_equivalents()) - made) == []
