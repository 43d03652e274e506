"""Which test files look at a module: those of its room that import it, its own test first.

A module that no test of its room imports is reached through others: then the test files that are the fewest imports
away. What a package's `__init__.py` passes on counts as imported from where it is defined, and so does a module whose
dotted name a test writes down (`monkeypatch.setattr("eenet_train.fit.fit.build_eenet", ...)`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOMS: Final = {
    "runtime": "runtime/eenet_runtime",
    "benchmarks": "benchmarks/eenet_bench",
    "train": "train/eenet_train",
    "export": "export/eenet_export",
}
"""The rooms and their packages. The tests of a room are in the folder of its name below `tests/`."""

_DOTTED: Final = re.compile(r"eenet_\w+(?:\.\w+)+")


def files_of(root: Path, room: str) -> Iterator[str]:
    """The source files of a room, by name, below the root of the repository."""
    for path in sorted((root / ROOMS[room]).rglob("*.py")):
        yield path.relative_to(root).as_posix()


def room_of(file: str) -> str:
    """The room of a source file."""
    return file.split("/")[0]


@dataclass
class Imports:
    """Who imports whom, over the four packages and the tests.

    Attributes:
        files: the file of each module.
        importers: for each file, the files that import it.
    """

    root: Path
    files: dict[str, str] = field(default_factory=dict)
    importers: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read every file once."""
        for base in [*ROOMS.values(), "tests"]:
            for path in sorted((self.root / base).rglob("*.py")):
                parts = path.relative_to((self.root / base).parent).with_suffix("").parts
                name = ".".join(parts).removesuffix(".__init__")
                self.files[name] = path.relative_to(self.root).as_posix()
        trees = {name: ast.parse((self.root / file).read_bytes()) for name, file in self.files.items()}
        passed_on = {name: _passed_on(trees[name]) for name, file in self.files.items() if file.endswith("__init__.py")}
        for name, tree in trees.items():
            for imported in self._imported(tree, passed_on):
                self.importers.setdefault(self.files[imported], set()).add(self.files[name])

    def _imported(self, tree: ast.Module, passed_on: dict[str, dict[str, str]]) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name in self.files)
            elif isinstance(node, ast.ImportFrom) and node.module in self.files:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    origin = passed_on.get(node.module, {}).get(alias.name, node.module)
                    yield inner if inner in self.files else node.module
                    yield origin if origin in self.files else node.module
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                for dotted in _DOTTED.findall(node.value):
                    parts = dotted.split(".")
                    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
                    yield from [name for name in names if name in self.files][:1]

    def tests_of(self, file: str) -> list[str]:
        """The test files for a source file, its own first; those of any room where none of its own reaches it."""
        return self._tests_below(f"tests/{room_of(file)}/", file) or self._tests_below("tests/", file)

    def _tests_below(self, folder: str, file: str) -> list[str]:
        seen, front = {file}, {file}
        while front:
            front = {importer for reached in front for importer in self.importers.get(reached, set())} - seen
            seen |= front
            tests = [one for one in front if one.startswith(folder) and Path(one).name.startswith("test_")]
            if tests:
                return sorted(tests, key=lambda test: _distance(file, test))
        return []


def _passed_on(tree: ast.Module) -> dict[str, str]:
    """For each name that an `__init__.py` takes from another module, that module."""
    return {
        alias.asname or alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def _distance(file: str, test: str) -> tuple[bool, bool, str]:
    """Order of the tests of a file: its own, those beside it, the others."""
    source, path = Path(file), Path(test)
    own = path.stem in (f"test_{source.stem}", f"test_{source.parent.name}")
    return not own, path.parent.name != source.parent.name, test
