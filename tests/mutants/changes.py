"""Every small change that is tried on a source file: where it is, and what would stand there instead.

Changed are comparisons, conditions, `and`/`or`, arithmetic, numbers, defaults, `min`/`max`, `any`/`all`; removed are
statements that only call something, `+=` and its like, and `raise`. Left alone is what no test should pin: messages
(f-strings, what is raised or logged), docstrings, annotations, decorators, assertions (they speak to the type checker),
help texts, and in files that draw the numbers, which say where a pixel lies.
"""

from __future__ import annotations

import ast
import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_COMPARISONS: Final = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_ARITHMETIC: Final = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}
_NAMES: Final = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}
_SPEAKING_CALLS: Final = {"debug", "info", "warning", "error", "exception", "critical", "echo", "print", "warn"}
_DECLARING_CALLS: Final = {"Option", "Argument", "Typer", "TypeVar", "NewType", "getLogger"}
_UNPINNED_KEYWORDS: Final = {"help", "strict", "description", "indent"}
_DRAWING: Final = re.compile(
    r"(?:^|/)(?:pictures|pages)/|/(?:preview|preview_sheet|panels)\.py$|_(?:plots|pictures|page)\.py$"
)


@dataclass(frozen=True)
class Change:
    """One change to one file.

    Attributes:
        file: path below the root of the repository, with slashes.
        line: number of the line in which it begins, from 1.
        text: that line, without the space around it.
        what: the change in words, such as "`<` becomes `<=`".
        start, stop: the bytes of the file that are replaced.
        instead: what stands there afterwards.
    """

    file: str
    line: int
    text: str
    what: str
    start: int
    stop: int
    instead: str

    def apply(self, source: bytes) -> bytes:
        """The file's bytes with the change."""
        return source[: self.start] + self.instead.encode() + source[self.stop :]


def changes_in(root: Path, file: str) -> list[Change]:
    """Every change that is tried on a file, in the order of the text; none in an `__init__.py` that only re-exports."""
    source = (root / file).read_bytes()
    tree = ast.parse(source)
    if file.endswith("__init__.py") and not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body):
        return []
    finder = _Finder(file, source)
    finder.visit(tree)
    return sorted(finder.found, key=lambda change: (change.start, change.stop, change.what))


class _Finder(ast.NodeVisitor):
    def __init__(self, file: str, source: bytes) -> None:
        self.found: list[Change] = []
        self._file = file
        self._source = source
        self._lines = source.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))
        self._numbers_count = not _DRAWING.search(file)

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _add(self, start: int, stop: int, instead: str, what: str) -> None:
        line = bisect.bisect_right(self._starts, start)
        text = self._lines[line - 1].decode().strip()
        self.found.append(Change(self._file, line, text, what, start, stop, instead))

    def _replace(self, node: ast.expr | ast.stmt, instead: str, what: str) -> None:
        self._add(*self._span(node), instead, what)

    def _replace_between(self, left: ast.expr, right: ast.expr, old: str, new: str) -> None:
        """Exchange the operator that stands between two operands."""
        start, stop = self._span(left)[1], self._span(right)[0]
        pattern = re.escape(old).replace(r"\ ", r"\s+")
        match = re.search(pattern.encode(), self._source[start:stop])
        if match is not None:
            self._add(start + match.start(), start + match.end(), new, f"`{old}` becomes `{new}`")

    def _negate(self, test: ast.expr) -> None:
        start, stop = self._span(test)
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            word = re.match(rb"not\s+", self._source[start:])
            self._add(start, start + len(word[0]) if word else stop, "", "`not` is removed")
            self.visit(test.operand)
        else:
            self._add(start, stop, f"not ({self._source[start:stop].decode()})", "the condition is negated")
            self.visit(test)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
            self._replace_between(left, right, *_COMPARISONS[type(operator)])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in _ARITHMETIC and not (_is_text(node.left) or _is_text(node.right)):
            self._replace_between(node.left, node.right, *_ARITHMETIC[type(node.op)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._replace_between(left, right, old, new)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._negate(node)
        elif isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            # A number below zero is one number: `-1` is the last of something, and -2 often means the same.
            if isinstance(value := node.operand.value, int) and self._numbers_count:
                self._replace(node, str(1 - value), f"`-{value}` becomes `{1 - value}`")
            elif isinstance(value, float):
                self.visit(node.operand)
        else:
            self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if re.search(r"TYPE_CHECKING|__name__", ast.unparse(node.test)):
            return
        self._negate(node.test)
        for statement in [*node.body, *node.orelse]:
            self.visit(statement)

    def visit_While(self, node: ast.While) -> None:
        if isinstance(node.test, ast.Constant):
            self.generic_visit(node)
            return
        self._negate(node.test)
        for statement in [*node.body, *node.orelse]:
            self.visit(statement)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negate(node.test)
        self.visit(node.body)
        self.visit(node.orelse)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self.visit(node.iter)
        for test in node.ifs:
            self._negate(test)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool | str | bytes | complex) or not isinstance(value, int | float):
            return
        if not self._numbers_count:
            return
        if isinstance(value, int):
            self._replace(node, str(value + 1), f"`{value}` becomes `{value + 1}`")
        if value not in (0, 1) or isinstance(value, float):
            twice = value * 2 if value else 1.0
            self._replace(node, repr(twice), f"`{value!r}` becomes `{twice!r}`")

    def visit_Call(self, node: ast.Call) -> None:
        name = _called(node)
        if name in _DECLARING_CALLS or name in _SPEAKING_CALLS:
            return
        if name in _NAMES:
            stop = self._span(node.func)[1]
            self._add(stop - len(name), stop, _NAMES[name], f"`{name}` becomes `{_NAMES[name]}`")
        self.visit(node.func)
        for argument in node.args:
            self.visit(argument)
        for keyword in node.keywords:
            if keyword.arg not in _UNPINNED_KEYWORDS:
                self.visit(keyword.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            if _called(node.value) in _SPEAKING_CALLS:
                return
            self._replace(node, "pass", "the statement is removed")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._replace(node, "pass", "the statement is removed")
        self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._replace(node, "pass", "the `raise` is removed")

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._default(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self._default(default)
        for statement in node.body:
            self.visit(statement)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            self.visit(statement)

    def _default(self, node: ast.expr) -> None:
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            self._replace(node, str(not node.value), f"the default `{node.value}` becomes `{not node.value}`")
        else:
            self.visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """A message."""

    def visit_Assert(self, node: ast.Assert) -> None:
        """For the type checker."""


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def all_changes(root: Path, files: Iterator[str]) -> list[Change]:
    """The changes of several files."""
    return [change for file in files for change in changes_in(root, file)]
