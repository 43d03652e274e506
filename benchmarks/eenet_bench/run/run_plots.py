"""Horizontal plots as SVG: bars of parts laid end to end, and strips of points. All names are escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from statistics import median
from typing import Final

from eenet_bench.pages.pages import svg_head
from eenet_runtime.pictures.colours import BLUE, VERMILION, css
from eenet_runtime.pictures.drawing import nice_ticks

_WIDTH: Final = 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 150, 20, 30, 26
_LINE: Final = 26
_LEGEND_LINE: Final = 16
_LEGEND_COLUMNS: Final = 4


@dataclass(frozen=True)
class Bar:
    """One bar of parts.

    Attributes:
        name: what stands beside it.
        parts: name, length and colour of each part.
    """

    name: str
    parts: Sequence[tuple[str, float, str]]


@dataclass(frozen=True)
class Strip:
    """One line of points, with their median as a tick."""

    name: str
    values: Sequence[float]


def bar_plot(title: str, bars: Sequence[Bar]) -> str:
    """Bars as an `<svg>` element, with a legend where a bar has several parts."""
    largest = max(sum(length for _, length, _ in bar.parts) for bar in bars)
    colours = {name: colour for bar in bars for name, _, colour in bar.parts}
    legend = list(colours.items()) if len(colours) > 1 else []
    lines = -(-len(legend) // _LEGEND_COLUMNS)
    frame = _Frame(title, [bar.name for bar in bars], largest, lines * _LEGEND_LINE)
    parts = []
    for number, bar in enumerate(bars):
        start = 0.0
        for name, length, colour in bar.parts:
            x, end = frame.x(start), frame.x(start + length)
            parts.append(
                f'<rect x="{x:.1f}" y="{frame.y(number) - 8:.1f}" width="{max(end - x, 0):.1f}" height="16" '
                f'fill="{colour}"><title>{escape(f"{bar.name}, {name}: {length:.1f}")}</title></rect>'
            )
            start += length
        parts.append(f'<text x="{frame.x(start) + 4:.1f}" y="{frame.y(number) + 4:.1f}">{start:.0f}</text>')
    for index, (name, colour) in enumerate(legend):
        line, column = divmod(index, _LEGEND_COLUMNS)
        x, y = _LEFT + column * 95, frame.height - 6 - (lines - 1 - line) * _LEGEND_LINE
        parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 14}" y="{y}">{escape(name)}</text>')
    words = "; ".join(f"{bar.name} {sum(length for _, length, _ in bar.parts):.1f}" for bar in bars)
    return frame.svg(parts, words)


def strip_plot(title: str, strips: Sequence[Strip]) -> str:
    """Every value as a point, and the median of each line as a tick, as an `<svg>` element."""
    largest = max(max(strip.values) for strip in strips)
    frame = _Frame(title, [strip.name for strip in strips], largest)
    parts = []
    for number, strip in enumerate(strips):
        y, middle = frame.y(number), median(strip.values)
        for index, value in enumerate(strip.values):
            # Steps of the golden ratio spread the points evenly over the line's height, and always in the same way.
            down = y - 8 + 16 * (index * 0.618034 % 1)
            parts.append(
                f'<circle cx="{frame.x(value):.1f}" cy="{down:.1f}" r="2.4" fill="{css(BLUE)}" fill-opacity="0.6">'
                f"<title>{value:.1f}</title></circle>"
            )
        x = frame.x(middle)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 10}" y2="{y + 10}" stroke="{css(VERMILION)}" stroke-width="2"/>'
        )
    return frame.svg(parts, "; ".join(f"{strip.name}: median {median(strip.values):.1f}" for strip in strips))


class _Frame:
    """A title, names on the left, and a scale from 0 that holds the largest value."""

    def __init__(self, title: str, names: Sequence[str], largest: float, legend_height: int = 0) -> None:
        self._title, self._names = title, names
        self._ticks = nice_ticks(largest * 1.08)
        self._end = max(self._ticks[-1], largest * 1.08)
        self._axis = _TOP + _LINE * len(names)
        self.height = self._axis + _BOTTOM + legend_height

    def x(self, value: float) -> float:
        return _LEFT + value / self._end * (_WIDTH - _LEFT - _RIGHT)

    def y(self, line: int) -> float:
        return _TOP + _LINE * (line + 0.5)

    def svg(self, parts: Sequence[str], words: str) -> str:
        lines = svg_head(self._title, f"{self._title}. {words}", _WIDTH, self.height)
        for tick in self._ticks:
            x = self.x(tick)
            lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{self._axis}" class="grid"/>')
            lines.append(f'<text x="{x:.1f}" y="{self._axis + 14}" text-anchor="middle">{tick:g}</text>')
        for number, name in enumerate(self._names):
            y = self.y(number) + 4
            lines.append(f'<text x="{_LEFT - 6}" y="{y}" text-anchor="end">{escape(name)}</text>')
        return "\n".join([*lines, *parts, "</svg>"])
