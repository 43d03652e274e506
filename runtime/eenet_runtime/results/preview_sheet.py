"""Putting a preview together: panels in rows and columns, what is written around them, and the PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from unicodedata import combining, normalize

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eenet_runtime.pictures.colours import REGION_COLOURS_ON_GREY
from eenet_runtime.pictures.panels import draw_letters
from eenet_runtime.pictures.region_lines import REGIONS
from eenet_runtime.printable import printable
from eenet_runtime.volumes.labels import Region

_NAMES: Final = {Region.ET: "enhancing tumour", Region.TC: "tumour core", Region.WT: "whole tumour"}
_AMBER: Final = (255, 190, 60)
_PINK: Final = (240, 150, 210)
_LINE_COLOURS: Final = (*(REGION_COLOURS_ON_GREY[region] for region in REGIONS), _AMBER, _PINK)
_AMBER_LINE: Final = len(REGIONS) + 1
BRAIN_LINE: Final = len(REGIONS) + 2
"""Of a cell's lines: the border of the brain mask."""
_GREYS: Final = 128
"""Grey levels in the file: more are not seen, and cost a bit for each pixel."""

_GAP: Final = 8
_LEAST_WIDTH: Final = 780
_LEAST_CELL: Final = 160
_LETTER_ROOM: Final = 20
"""Around each panel, so that no letter and no line lies over the other."""
_HEADER: Final = 80
_FOOTER: Final = 70
_LINE: Final = 19
_TEXT: Final = 235
_DIM: Final = 165
_BAR_LENGTHS_MM: Final = (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1)
_LONGEST_BAR: Final = 130


@dataclass(frozen=True)
class Cell:
    """One panel.

    Attributes:
        grey: uint8 (rows, columns), as it shall be seen.
        lines: uint8 (rows, columns): 0 where the grey shows, otherwise 1 + the index of a region of `REGIONS`, or
            `BRAIN_LINE`.
        letters: where left, right, top and bottom point to.
    """

    grey: NDArray[np.uint8]
    lines: NDArray[np.uint8]
    letters: tuple[str, str, str, str]


@dataclass(frozen=True)
class SheetText:
    """What is written around the panels.

    Attributes:
        volumes_ml: for the legend, of the regions that are shown.
        columns: titles of the columns.
        rows: titles of the rows.
        title: at the top, such as the case's name; may be empty.
        alerts: lines under the legend, marked.
        notes: lines at the foot.
        brain: whether the brain mask is drawn, for the legend.
    """

    volumes_ml: Mapping[Region, float]
    columns: Sequence[str]
    rows: Sequence[str]
    title: str
    alerts: Sequence[str]
    notes: Sequence[str]
    brain: bool = False


def compose(rows: Sequence[Sequence[Cell]], text: SheetText, pixels_per_mm: float) -> bytes:
    """Put the panels on one sheet.

    Args:
        rows: the panels, row by row; all rows have as many.
        text: what to write.
        pixels_per_mm: of every panel, for the scale bar.

    Returns:
        The bytes of a PNG with a palette; the same arguments give the same bytes.
    """
    room = 2 * _LETTER_ROOM
    widths = [max(_LEAST_CELL, *(row[column].grey.shape[1] + room for row in rows)) for column in range(len(rows[0]))]
    heights = [max(_LEAST_CELL, *(cell.grey.shape[0] + room for cell in row)) for row in rows]
    inner = sum(widths) + _GAP * (len(widths) - 1)
    width = max(_LEAST_WIDTH, inner + 2 * _GAP)
    header = _HEADER + _LINE * len(text.alerts)
    height = header + sum(heights) + _GAP * len(heights) + _FOOTER
    sheet = _Sheet(Image.new("L", (width, height)), np.zeros((height, width), np.uint8))
    _draw_header(sheet, text, width)
    left = (width - inner) // 2
    y = header
    for row, row_height, title in zip(rows, heights, text.rows, strict=True):
        x = left
        for cell, cell_width in zip(row, widths, strict=True):
            _draw_cell(sheet, cell, (x, y, cell_width, row_height))
            x += cell_width + _GAP
        sheet.write((left + 4, y + 4), title, size=15)
        y += row_height + _GAP
    x = left
    for title, cell_width in zip(text.columns, widths, strict=True):
        sheet.write((x + cell_width / 2, header - 5), title, size=13, grey=_DIM, anchor="ms")
        x += cell_width + _GAP
    _draw_footer(sheet, text, (_GAP + 2, y, width - _GAP), pixels_per_mm)
    return sheet.to_png()


@dataclass
class _Sheet:
    """The picture while it is drawn: greys with their texts, and over them the coloured lines."""

    grey: Image.Image
    lines: NDArray[np.uint8]

    def write(
        self,
        place: tuple[float, float],
        text: str,
        *,
        size: int,
        grey: int = _TEXT,
        anchor: str = "la",
        room: float = 0,
    ) -> float:
        """Write one line; `room` is the width that it may take. Returns the width that it takes."""
        font = _font(size)
        shown = _fitted(text, font, room) if room else text
        ImageDraw.Draw(self.grey).text(place, shown, fill=grey, font=font, anchor=anchor, stroke_width=1, stroke_fill=0)
        return float(font.getlength(shown))

    def to_png(self) -> bytes:
        """The bytes of the file."""
        levels = np.asarray(self.grey).astype(np.uint16) * (_GREYS - 1) // 255
        index = np.where(self.lines > 0, self.lines + (_GREYS - 1), levels).astype(np.uint8)
        picture = Image.fromarray(index, mode="P")
        greys = [level * 255 // (_GREYS - 1) for level in range(_GREYS)]
        palette = [channel for level in greys for channel in (level, level, level)]
        picture.putpalette(palette + [channel for colour in _LINE_COLOURS for channel in colour])
        stream = io.BytesIO()
        picture.save(stream, format="PNG", compress_level=6)
        return stream.getvalue()


def _draw_cell(sheet: _Sheet, cell: Cell, box: tuple[int, int, int, int]) -> None:
    """A panel in the middle of its place, and the letters at the sides of the place."""
    x, y, width, height = box
    rows, columns = cell.grey.shape
    top, left = (height - rows) // 2, (width - columns) // 2
    place = Image.new("L", (width, height))
    place.paste(Image.fromarray(cell.grey), (left, top))
    draw_letters(place, cell.letters, size=14, margins=(4, 4), colour=_TEXT)
    sheet.grey.paste(place, (x, y))
    sheet.lines[y + top : y + top + rows, x + left : x + left + columns] = cell.lines


def _draw_header(sheet: _Sheet, text: SheetText, width: int) -> None:
    badge = "NOT FOR DIAGNOSIS"
    length = _font(15).getlength(badge)
    box = (round(width - _GAP - length - 16), 7, width - _GAP, 31)
    _frame(sheet.lines, box, _AMBER_LINE)
    sheet.write(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), badge, size=15, anchor="mm")
    sheet.write((_GAP + 2, 19), text.title, size=17, anchor="lm", room=box[0] - 3 * _GAP)
    for line, alert in enumerate(text.alerts):
        y = 68 + _LINE * line
        sheet.lines[y - 5 : y + 5, _GAP + 2 : _GAP + 12] = _AMBER_LINE
        sheet.write((_GAP + 20, y), alert, size=14, anchor="lm", room=width - 4 * _GAP)
    x = float(_GAP + 2)
    for region in (region for region in reversed(REGIONS) if region in text.volumes_ml):
        sheet.lines[46:49, round(x) : round(x) + 24] = 1 + REGIONS.index(region)
        legend = f"{region.value} {_NAMES[region]} {text.volumes_ml[region]:.1f} ml"
        x += 32 + sheet.write((x + 31, 47), legend, size=14, anchor="lm") + 22
    if text.brain:
        sheet.lines[46:49, round(x) : round(x) + 24] = BRAIN_LINE
        sheet.write((x + 31, 47), "brain mask", size=14, anchor="lm")


def _draw_footer(sheet: _Sheet, text: SheetText, box: tuple[int, int, int], pixels_per_mm: float) -> None:
    left, top, right = box
    length_mm = next((mm for mm in _BAR_LENGTHS_MM if mm * pixels_per_mm <= _LONGEST_BAR), _BAR_LENGTHS_MM[-1])
    bar = max(1, round(length_mm * pixels_per_mm))
    base = top + 10
    draw = ImageDraw.Draw(sheet.grey)
    draw.rectangle((right - bar, base - 1, right - 1, base), fill=_TEXT)
    for end in (right - bar, right - 1):
        draw.line([(end, base - 5), (end, base + 4)], fill=_TEXT)
    label = sheet.write((right - bar - 8, base), f"{length_mm:g} mm", size=14, anchor="rm")
    room = right - bar - label - 24 - left
    for line, note in enumerate(text.notes):
        y = base + _LINE * line
        sheet.write((left, y), note, size=13, grey=_DIM, anchor="lm", room=room if line == 0 else right - left)


def _frame(lines: NDArray[np.uint8], box: tuple[int, int, int, int], value: int) -> None:
    left, top, right, bottom = box
    part = lines[top:bottom, left:right]
    part[:2], part[-2:], part[:, :2], part[:, -2:] = value, value, value, value


def _fitted(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """As much of a text as there is room for."""
    shown = _drawable(text)
    if font.getlength(shown) <= room:
        return shown
    while shown and font.getlength(shown + "...") > room:
        shown = shown[:-1]
    return shown + "..."


def _drawable(text: str) -> str:
    """A text in the letters that Pillow's own font has: without accents, and spelled out where that is not enough."""
    bare = "".join(character for character in normalize("NFKD", printable(text)) if not combining(character))
    return bare.encode("ascii", "backslashreplace").decode("ascii")


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
