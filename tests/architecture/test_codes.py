"""No case is refused without a code that docs/refusals.md explains. Found by walking over the sources."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from eenet_runtime.cases.content_checks.rules import RULES as CHECKS
from eenet_runtime.codes import CODES, SECTIONS, Effect
from eenet_runtime.errors import BackendError, CaseError, CaseTimeoutError, ResultPathError
from eenet_runtime.heads.doubt import RULES as DOUBTS
from tests.architecture.refusals_table import PAGE, page
from tests.places import ROOT

SOURCES = [
    path
    for room in ("runtime/eenet_runtime", "train", "export", "benchmarks")
    for path in sorted((ROOT / room).rglob("*.py"))
]
PASSED_ON = {".code", ".rule"}
"""Endings of expressions that hand a code on: of another error or reason, or the rule of a finding."""
OF_EARLIER_RELEASES = {"unknown"}


def refusing_classes(trees: dict[Path, ast.Module]) -> set[str]:
    """`CaseError` and every class below it, by name."""
    parents = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {"CaseError"}
    while more := {name for name, bases in parents.items() if bases & found} - found:
        found |= more
    return found


def calls(trees: dict[Path, ast.Module], names: set[str]) -> Iterator[tuple[Path, ast.Call]]:
    """Every call of one of these names."""
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                function = node.func
                name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
                if name in names:
                    yield path, node


def problem(code: ast.expr | None) -> str | None:
    """What is wrong with the expression that gives a code; None for nothing."""
    if code is None:
        return "no code"
    if isinstance(code, ast.Constant):
        return None if code.value in CODES else f"{code.value!r} is not in eenet_runtime/codes.py"
    return None if any(ast.unparse(code).endswith(end) for end in PASSED_ON) else f"{ast.unparse(code)}: what is it?"


def code_of(call: ast.Call, place: int | None) -> ast.expr | None:
    """The expression of a call's code, which it has by its name or in a place."""
    named = next((keyword.value for keyword in call.keywords if keyword.arg == "code"), None)
    return call.args[place] if named is None and place is not None and len(call.args) > place else named


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def test_every_case_error_that_is_raised_anywhere_names_a_known_code() -> None:
    found = list(calls(TREES, refusing_classes(TREES)))
    assert len(found) > 80
    wrong = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {said}"
        for path, call in found
        if (said := problem(code_of(call, None)))
    ]
    assert wrong == []


@pytest.mark.parametrize(("name", "place"), [("Reason", 0), ("RefusedCase", 2)])
def test_every_reason_and_every_refused_case_names_a_known_code(name: str, place: int) -> None:
    # DICOM's roles have reasons of another kind.
    others = {
        path for path, tree in TREES.items() if any(isinstance(n, ast.ClassDef) and n.name == name for n in tree.body)
    }
    known = ROOT / "runtime/eenet_runtime/cases/discovery.py"
    found = [(path, call) for path, call in calls(TREES, {name}) if call.args and path not in others - {known}]
    assert len(found) > 5
    wrong = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {said}"
        for path, call in found
        if (said := problem(code_of(call, place)))
    ]
    assert wrong == []


def test_the_rules_of_checks_and_doubts_are_codes() -> None:
    rules = {*CHECKS, *DOUBTS}
    assert rules <= set(CODES)
    assert {CODES[rule].effect for rule in rules} == {Effect.EITHER}


def test_the_codes_of_engines_and_result_names_are_known() -> None:
    assert CODES[BackendError.code].effect is Effect.REFUSES
    assert CODES[ResultPathError.code].effect is Effect.REFUSES


def test_no_code_is_explained_that_nothing_gives() -> None:
    words = {
        node.value
        for path, tree in TREES.items()
        if path.name != "codes.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(CODES) - words - OF_EARLIER_RELEASES == set()


def test_a_code_stands_in_one_section_and_is_a_word_for_a_spreadsheet() -> None:
    assert len(CODES) == sum(map(len, SECTIONS.values()))
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code) for code in CODES)


def test_the_page_of_refusals_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "docs/refusals.md is out of date: python -m tests.architecture.refusals_table"
    )


@pytest.mark.parametrize("kind", [CaseError, CaseTimeoutError])
def test_a_refusal_keeps_its_code_on_the_way_between_processes(kind: type[CaseError]) -> None:
    carried = pickle.loads(pickle.dumps(kind("a.nii: odd", code="time-limit")))
    assert (type(carried), str(carried), carried.code) == (kind, "a.nii: odd", "time-limit")


def test_the_walk_finds_an_error_without_a_code() -> None:
    tree = {Path("x.py"): ast.parse("class Own(CaseError): pass\nraise Own('a')\nraise CaseError('b', code='c')")}
    said = [problem(code_of(call, None)) for _, call in calls(tree, refusing_classes(tree))]
    assert said == ["no code", "'c' is not in eenet_runtime/codes.py"]
