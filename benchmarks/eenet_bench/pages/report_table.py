"""A table of a report, once for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of plain text.

    Attributes:
        title: what it shows.
        header: names of the columns.
        rows: cells; the first of each row is its name.
        note: what a reader must know; empty where nothing.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def markdown_table(table: Table) -> list[str]:
    """A table in Markdown, with its note."""
    cells = [list(table.header), ["---"] * len(table.header), *(list(row) for row in table.rows)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return [*lines, *(["", table.note] if table.note else [])]
