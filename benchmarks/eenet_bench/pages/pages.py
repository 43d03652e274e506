"""HTML pages that need no other file: style, frame, tables and the head of a plot."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from eenet_bench.pages.report_table import Table

_STYLE: Final = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 2rem auto; max-width: 76rem;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.87rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.5rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { background: #f3f3f3; white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child, th.words, td.words { text-align: left; }
td.long { white-space: normal; overflow-wrap: anywhere; min-width: 18rem; }
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
    """A table with its note; every cell is escaped. Columns of words begin at the left, figures end at the right."""
    words = [_is_of_words([row[index] for row in table.rows]) for index in range(len(table.header))]
    head = "".join(
        f'<th scope="col"{_classes(words=is_words)}>{escape(cell)}</th>'
        for cell, is_words in zip(table.header, words, strict=True)
    )
    rows = [
        "".join(
            f"<td{_classes(words=is_words, long=len(cell) > _LONG)}>{escape(cell)}</td>"
            for cell, is_words in zip(row, words, strict=True)
        )
        for row in table.rows
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    lines = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="scroll"><table>\n{lines}</table></div>{note}'


def svg_head(title: str, words: str, width: int, height: int) -> list[str]:
    """Begin of an `<svg>` element: its size, what it says to those who cannot see it, and its title on top."""
    return [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(words)}">',
        f'<text x="{width / 2}" y="17" text-anchor="middle" class="title">{escape(title)}</text>',
    ]


def _is_of_words(cells: Sequence[str]) -> bool:
    return any(len(cell) > _LONG for cell in cells) or all(cell[:1].isalpha() for cell in cells)


def _classes(**wanted: bool) -> str:
    names = " ".join(name for name, is_wanted in wanted.items() if is_wanted)
    return f' class="{names}"' if names else ""
