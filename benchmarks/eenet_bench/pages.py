"""HTML pages that need no other file: style, frame and tables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from eenet_bench.report_table import Table

_STYLE: Final = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 2rem auto; max-width: 76rem;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.87rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { background: #f3f3f3; } th:first-child, td:first-child { text-align: left; }
td.long { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 18rem; }
p.note { color: #555; font-size: 0.87rem; }
.plots { display: flex; flex-wrap: wrap; gap: 0.8rem; }
svg { border: 1px solid #ddd; } svg text { font: 11px system-ui, sans-serif; fill: #333; }
svg text.title { font-size: 13px; font-weight: 600; } svg .grid { stroke: #e4e4e4; }
"""
_LONG: Final = 60
"""Cells longer than this are wrapped."""


def as_page(title: str, sections: Sequence[str], more_style: str = "") -> str:
    """A page of sections that are HTML already, with rules of its own after the common ones."""
    body = "\n".join(section for section in sections if section)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{more_style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def html_table(table: Table) -> str:
    """A table with its note; every cell is escaped."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    body = "\n".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in table.rows)
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    lines = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="scroll"><table>\n{lines}</table></div>{note}'


def _cell(text: str) -> str:
    return f'<td class="long">{escape(text)}</td>' if len(text) > _LONG else f"<td>{escape(text)}</td>"
