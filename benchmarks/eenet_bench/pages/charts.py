"""Charts for the pages on performance, drawn with the lines and dots of `eenet_runtime.pictures.drawing`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from PIL import ImageDraw

from eenet_runtime.pictures.colours import GRID, INK, RUN_COLOURS
from eenet_runtime.pictures.drawing import SCALE, as_png, dot, line, new_canvas, text

_WIDTH: Final = 760
_LEFT, _RIGHT, _TOP = 84, 736, 44
_HEIGHT: Final = 420
_BOTTOM: Final = 352
_NAMES: Final = 190
_BAR: Final = 22


@dataclass(frozen=True)
class Bar:
    """One bar: its name, the lengths of its parts by name (the same for every bar), and what stands behind it."""

    name: str
    parts: Mapping[str, float]
    note: str = ""


@dataclass(frozen=True)
class Series:
    """Points of one colour.

    Attributes:
        name: for the legend.
        points: (x, y), positive.
        joined: whether a line goes through them.
        labels: words beside points; empty or one for each.
    """

    name: str
    points: Sequence[tuple[float, float]]
    joined: bool = True
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Axis:
    """An axis: its title, and whether it is logarithmic."""

    title: str
    logarithmic: bool = False


def draw_bars(title: str, bars: Sequence[Bar]) -> bytes:
    """Horizontal bars of stacked parts, one below the other, with a legend. The bytes of a PNG."""
    height = _TOP + 34 * len(bars) + 44
    canvas = new_canvas(_WIDTH, height)
    draw = ImageDraw.Draw(canvas)
    longest = max(sum(bar.parts.values()) for bar in bars)
    right = _RIGHT - 60
    text(draw, 12, 12, title, "lt", 15)
    for row, bar in enumerate(bars):
        y, x = _TOP + 34 * row, float(_NAMES)
        text(draw, _NAMES - 8, y + _BAR / 2, bar.name, "rm")
        for index, length in enumerate(bar.parts.values()):
            width = (right - _NAMES) * length / longest
            _box(draw, (x, y, x + width, y + _BAR), RUN_COLOURS[index])
            x += width
        text(draw, x + 8, y + _BAR / 2, bar.note, "lm")
    for index, name in enumerate(bars[0].parts):
        x, y = _NAMES + 170 * index, height - 32
        _box(draw, (x, y, x + 12, y + 12), RUN_COLOURS[index])
        text(draw, x + 18, y + 6, name, "lm")
    return as_png(canvas)


def draw_points(title: str, across: Axis, up: Axis, series: Sequence[Series]) -> bytes:
    """Points and lines over two axes, with a legend. Linear axes begin at 0. The bytes of a PNG."""
    canvas = new_canvas(_WIDTH, _HEIGHT)
    draw = ImageDraw.Draw(canvas)
    every = [point for one in series for point in one.points]
    x_ticks = _ticks([x for x, _ in every], across.logarithmic)
    y_ticks = _ticks([y for _, y in every], up.logarithmic)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (_RIGHT - _LEFT) * _share(x, x_ticks, across.logarithmic),
            _BOTTOM - (_BOTTOM - _TOP) * _share(y, y_ticks, up.logarithmic),
        )

    for tick in y_ticks:
        _, y = place(x_ticks[0], tick)
        line(draw, [(_LEFT, y), (_RIGHT, y)], GRID, 1)
        text(draw, _LEFT - 8, y, f"{tick:g}", "rm")
    for tick in x_ticks:
        text(draw, place(tick, y_ticks[0])[0], _BOTTOM + 9, f"{tick:g}", "mt")
    line(draw, [(_LEFT, _TOP), (_LEFT, _BOTTOM), (_RIGHT, _BOTTOM)], INK, 1)
    text(draw, 12, 12, f"{title}; up: {up.title}", "lt", 15)
    text(draw, (_LEFT + _RIGHT) / 2, _BOTTOM + 30, across.title, "mt")
    legend = float(_LEFT)
    for index, one in enumerate(series):
        _draw_series(draw, one, [place(*point) for point in one.points], RUN_COLOURS[index % len(RUN_COLOURS)])
        x, legend = legend, legend + 44 + 7 * len(one.name)
        dot(draw, x + 4, _HEIGHT - 14, RUN_COLOURS[index % len(RUN_COLOURS)], 4)
        text(draw, x + 14, _HEIGHT - 14, one.name, "lm")
    return as_png(canvas)


def _draw_series(
    draw: ImageDraw.ImageDraw, series: Series, placed: list[tuple[float, float]], colour: tuple[int, ...]
) -> None:
    if series.joined and len(placed) > 1:
        line(draw, placed, colour, 2)
    for index, (x, y) in enumerate(placed):
        if not series.joined or len(placed) < 12:
            dot(draw, x, y, colour, 3)
        if series.labels:
            text(draw, x + 6, y - 4, series.labels[index], "lb", 11)


def _ticks(values: Sequence[float], logarithmic: bool) -> list[float]:
    """Round numbers that hold all values between the first and the last."""
    if logarithmic:
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        return [10.0**power for power in range(low, max(high, low + 1) + 1)]
    largest = max(values)
    power = 10.0 ** math.floor(math.log10(largest))
    step = next(size * power for size in (0.2, 0.5, 1.0, 2.0) if largest <= 5 * size * power or size == 2.0)
    return [step * number for number in range(math.ceil(largest / step) + 1)]


def _share(value: float, ticks: Sequence[float], logarithmic: bool) -> float:
    low, high = ticks[0], ticks[-1]
    if logarithmic:
        low, high, value = math.log10(low), math.log10(high), math.log10(value)
    return (value - low) / (high - low)


def _box(draw: ImageDraw.ImageDraw, corners: tuple[float, float, float, float], colour: tuple[int, ...]) -> None:
    draw.rectangle([corner * SCALE for corner in corners], fill=colour)
