"""Every file that a docstring, a comment or a page of the documentation names is there."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import ROOT

PACKAGES = ("runtime", "train", "export", "benchmarks", "tests")
NAMED = re.compile(r"[\w./-]*\w\.(?:md|py|cpp|hpp|toml|sh)\b")
DECISION = re.compile(r"docs/decisions/\d{4}\b(?!-)")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)")
OF_OTHER_PROJECTS = frozenset({"brats_metrics.py", "docs/ExternalData.md", "Privacy.md"})
WRITTEN_BY_COMMANDS = frozenset({"gpu.md", "results.md"})


def prose_of(source: str) -> Iterator[str]:
    """The docstrings (also those below a constant) and comments of a Python file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def missing_in(prose: str, beside: Path) -> list[str]:
    """Names of files in a text that are neither below the root, nor beside the text, nor the end of a path of ours."""
    missing = []
    for name in NAMED.findall(prose):
        known = (ROOT / name).exists() or (beside / name).exists() or name in OF_OTHER_PROJECTS | WRITTEN_BY_COMMANDS
        # "losses.py" for train/eenet_train/recipe/losses.py; a name with a folder needs its folders to be right.
        if not known and not any(path == name or path.endswith("/" + name) for path in OURS):
            missing.append(name)
    for number in DECISION.findall(prose):
        if not list((ROOT / number).parent.glob(f"{Path(number).name}-*.md")):
            missing.append(number)
    return missing


def our_files() -> frozenset[str]:
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name in (*PACKAGES, "docs", ".ci")]
    inner = (path for folder in folders for path in folder.rglob("*") if "build" not in path.parts)
    return frozenset(path.relative_to(ROOT).as_posix() for path in (*inner, *ROOT.iterdir()) if path.is_file())


OURS = our_files()
SOURCES = sorted(name for name in OURS if name.endswith(".py"))
PAGES = sorted(name for name in OURS if name.endswith(".md"))


@pytest.mark.parametrize("room", PACKAGES)
def test_every_file_that_a_docstring_or_a_comment_names_is_there(room: str) -> None:
    sources = [name for name in SOURCES if name.startswith(f"{room}/")]
    assert len(sources) > 20
    missing = [
        f"{name}: {named}"
        for name in sources
        for prose in prose_of((ROOT / name).read_text())
        for named in missing_in(prose, (ROOT / name).parent)
    ]
    assert missing == []


def test_every_link_of_a_page_leads_somewhere() -> None:
    assert len(PAGES) > 40
    missing = [
        f"{name}: {target}"
        for name in PAGES
        for target in LINK.findall((ROOT / name).read_text())
        if target and not ((ROOT / name).parent / target).exists()
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("prose", "missing"),
    [
        ("as in docs/data.md, step 1", []),
        ("see losses.py", []),
        ("written from of_nobody.md alone", ["of_nobody.md"]),
        ("see docs/decisions/0004", []),
        ("see docs/decisions/9999", ["docs/decisions/9999"]),
        ("test_of_nobody.py has the real one", ["test_of_nobody.py"]),
        ("recipe/of_nobody/losses.py", ["recipe/of_nobody/losses.py"]),
    ],
)
def test_a_name_without_a_file_is_found(prose: str, missing: list[str]) -> None:
    assert missing_in(prose, ROOT) == missing
