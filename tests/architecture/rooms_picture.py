"""Draw docs/architecture.svg: the rooms, their folders in layers, and who imports whom.

    python -m tests.architecture.rooms_picture

Everything comes from the repository itself: layers from the contracts in pyproject.toml, arrows from the import graph,
words from each folder's docstring. An arrow is drawn only where no chain of other arrows says the same.
"""

from __future__ import annotations

import ast
import tomllib
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from pathlib import Path
from textwrap import wrap
from typing import Final

import grimp

from tests.places import ROOT

PICTURE: Final = ROOT / "docs" / "architecture.svg"
ROOMS: Final = ("eenet_bench", "eenet_export", "eenet_train", "eenet_gateway", "eenet_runtime")
"""As they may import one another: none knows those to its left; the gateway and training do not know each other."""

COLUMN: Final = 360
GAP: Final = 34
HEADER: Final = 56
BOX: Final = 66
ROW: Final = BOX + 20
LINES: Final = 3
LETTERS_PER_PIXEL: Final = 1 / 6.2
MOST_IN_A_ROW: Final = 3
EVERYBODYS: Final = ("codes", "errors", "log", "printable", "_version")
"""At the bottom of the runtime, for all to use: arrows to them would say nothing and hide the rest."""

STYLE: Final = """
  text { font-family: sans-serif; fill: #1d2733 }
  .room { font-size: 17px; font-weight: bold }
  .name { font-size: 14px; font-weight: bold }
  .words { font-size: 11px; fill: #4a5563 }
  .column { fill: #f3f5f8 }
  .box { fill: #ffffff; stroke: #8a97a6 }
  .arrow { fill: none; stroke: #2f6f9f; stroke-width: 1.4; marker-end: url(#head) }
  .door { fill: none; stroke: #b3541e; stroke-width: 3; marker-end: url(#door) }
"""


@dataclass(frozen=True)
class Box:
    """One folder or file of a room, in pixels from the picture's top left corner."""

    name: str
    words: str
    left: float
    top: float
    width: float


def draw() -> str:
    """The picture as SVG; the same text for the same repository."""
    rows_of = {room: _rows(layers) for room, layers in layers_by_room().items()}
    columns = [_place(room, rows_of[room], GAP + index * (COLUMN + GAP)) for index, room in enumerate(ROOMS)]
    rows = max(len(rows_of[room]) for room in ROOMS)
    width, height = GAP + len(ROOMS) * (COLUMN + GAP), HEADER + rows * ROW + 2 * GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<style>{STYLE}</style>",
        "<defs>",
        *(
            f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="{size}" markerHeight="{size}" '
            f'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{colour}"/></marker>'
            for name, size, colour in (("head", 6, "#2f6f9f"), ("door", 4, "#b3541e"))
        ),
        "</defs>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for index, (room, boxes) in enumerate(zip(ROOMS, columns, strict=True)):
        left = GAP + index * (COLUMN + GAP)
        parts += _column(room, boxes, left, height)
        if index + 1 < len(ROOMS):
            parts.append(f'<path class="door" d="M{left + COLUMN} {GAP + 22} h{GAP - 2}"/>')
    return "\n".join([*parts, "</svg>", ""])


def edges_between_folders(room: str) -> set[tuple[str, str]]:
    """(importer, imported) among the folders and files at the top of a room, each once."""
    graph = grimp.build_graph(room, exclude_type_checking_imports=True)
    children = sorted(graph.find_children(room))
    for child in children:
        if graph.find_children(child):
            graph.squash_module(child)
    return {
        (child.split(".")[1], imported.split(".")[1])
        for child in children
        for imported in graph.find_modules_directly_imported_by(child)
        if imported in children and imported != child
    }


def without_shortcuts(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The edges that no longer way through others replaces: the transitive reduction of a graph without circles."""

    def reaches(start: str, goal: str) -> bool:
        return any(end == goal or reaches(end, goal) for begin, end in edges if begin == start)

    return {
        (importer, imported)
        for importer, imported in edges
        if not any(reaches(end, imported) for begin, end in edges if begin == importer and end != imported)
    }


def layers_by_room() -> dict[str, list[list[str]]]:
    """The layers of each room, top first, from the contracts."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {
        contract["containers"][0]: [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]
        for contract in contracts
        if "containers" in contract
    }


def _rows(layers: list[list[str]]) -> list[list[str]]:
    """A layer of many neighbours takes several rows."""
    return [layer[start : start + MOST_IN_A_ROW] for layer in layers for start in range(0, len(layer), MOST_IN_A_ROW)]


def _place(room: str, rows: list[list[str]], left: float) -> list[Box]:
    boxes = []
    for row, names in enumerate(rows):
        width = (COLUMN - 2 * 12 - (len(names) - 1) * 10) / len(names)
        for index, name in enumerate(names):
            x = left + 12 + index * (width + 10)
            boxes.append(Box(name, _words(f"{room}.{name}"), x, GAP + HEADER + row * ROW, width))
    return boxes


def _words(module: str) -> str:
    """The first sentence of a module's docstring."""
    spec = find_spec(module)
    assert spec is not None, module
    assert spec.origin is not None, f"{module} has no docstring: it is no package and no module"
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""
    return " ".join(text.split("\n\n")[0].split()).split(". ")[0].rstrip(".").replace("`", "")


def _column(room: str, boxes: list[Box], left: float, height: float) -> list[str]:
    parts = [
        f'<rect class="column" x="{left}" y="{GAP / 2}" width="{COLUMN}" height="{height - GAP}" rx="8"/>',
        f'<text class="room" x="{left + 14}" y="{GAP + 14}">{room}</text>',
    ]
    for line, text in enumerate(_fitted(_words(room), COLUMN - 28, 2)):
        parts.append(f'<text class="words" x="{left + 14}" y="{GAP + 30 + 13 * line}">{escape(text)}</text>')
    by_name = {box.name: box for box in boxes}
    for importer, imported in sorted(without_shortcuts(edges_between_folders(room))):
        if imported not in EVERYBODYS:
            parts.append(_arrow(by_name[importer], by_name[imported]))
    for box in boxes:
        parts.append(
            f'<rect class="box" x="{box.left:g}" y="{box.top:g}" width="{box.width:g}" height="{BOX}" rx="5"/>'
        )
        parts.append(f'<text class="name" x="{box.left + 8:g}" y="{box.top + 17:g}">{box.name}</text>')
        for line, text in enumerate(_fitted(box.words, box.width - 14, LINES)):
            parts.append(
                f'<text class="words" x="{box.left + 8:g}" y="{box.top + 32 + 13 * line:g}">{escape(text)}</text>'
            )
    return parts


def _fitted(words: str, width: float, lines: int) -> list[str]:
    """As many lines as there are room for; what is left out is shown as such."""
    found = wrap(words, int(width * LETTERS_PER_PIXEL), break_long_words=False)
    return found if len(found) <= lines else [*found[: lines - 1], found[lines - 1].rstrip(",:;") + " ..."]


def _arrow(importer: Box, imported: Box) -> str:
    """From the bottom of the importer to the top of what it imports, behind the boxes between them."""
    start, end = importer.left + importer.width / 2, imported.left + imported.width / 2
    top, bottom = importer.top + BOX, imported.top
    if round((bottom - importer.top) / ROW) == 1:
        # Between neighbours the arrow stands upright where both boxes are above each other.
        low, high = (
            max(importer.left, imported.left),
            min(importer.left + importer.width, imported.left + imported.width),
        )
        x = (low + high) / 2
        return f'<path class="arrow" d="M{x:g} {top:g} L{x:g} {bottom:g}"/>'
    bends = f"{start:g} {top + 40:g} {end:g} {bottom - 40:g}"
    return f'<path class="arrow" d="M{start:g} {top:g} C{bends} {end:g} {bottom:g}"/>'


def main() -> None:
    """Write the picture."""
    PICTURE.write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
