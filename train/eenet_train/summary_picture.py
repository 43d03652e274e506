"""The picture of several runs: learning curves on the left, the Dice of every case by region on the right.

Drawn with Pillow alone, at twice the size and then reduced, which smooths the lines.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eenet_runtime.labels import Region

RUN_COLOURS: Final = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (140, 110, 60),
    (90, 90, 90),
)
"""After M. Okabe and K. Ito, "Color Universal Design" (2008): told apart with any colour vision. The last two are ours
in place of yellow and black, which are hard to see here."""

_SCALE: Final = 2
_WIDTH: Final = 1120
_HEIGHT: Final = 460
_TOP: Final = 48
_BOTTOM: Final = 400
_CURVES: Final = (70, 620)
_BOXES: Final = (700, 1090)
_INK: Final = (40, 40, 40)
_GRID: Final = (222, 222, 222)
_LEGEND_ROWS: Final = 10
_NAME_LENGTH: Final = 28
_DICE_TICKS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Curve:
    """What is drawn of a run.

    Attributes:
        name: for the legend.
        points: steps and mean Dice, in order of the steps.
        cases: Dice of each case, for each region.
    """

    name: str
    points: tuple[tuple[int, float], ...]
    cases: Mapping[Region, tuple[float, ...]]


@dataclass(frozen=True)
class BoxPlot:
    """A sample in five numbers: quartiles by linear interpolation, whiskers to the last value within 1.5 times the
    distance of the quartiles (J. W. Tukey, "Exploratory Data Analysis", 1977).
    """

    low: float
    lower: float
    median: float
    upper: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> BoxPlot:
        """The box of one value or more."""
        lower, median, upper = (float(q) for q in np.percentile(values, [25, 50, 75]))
        reach = 1.5 * (upper - lower)
        return cls(
            min(value for value in values if value >= lower - reach),
            lower,
            median,
            upper,
            max(value for value in values if value <= upper + reach),
        )


def draw_summary(curves: Sequence[Curve]) -> bytes:
    """Draw the picture.

    Args:
        curves: the runs, in the order of the legend.

    Returns:
        The bytes of a PNG; the same runs give the same picture.
    """
    canvas = Image.new("RGB", (_WIDTH * _SCALE, _HEIGHT * _SCALE), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    _draw_curves(draw, curves)
    _draw_cases(draw, curves)
    _draw_legend(draw, curves)
    stream = io.BytesIO()
    canvas.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS).save(stream, format="PNG", compress_level=6)
    return stream.getvalue()


def nice_ticks(largest: float) -> list[int]:
    """Round whole numbers from 0 to `largest`, five at most beside the 0."""
    if largest < 1:
        return [0]
    magnitude = 10 ** (len(str(int(largest))) - 1)
    step = next(size for size in (magnitude // 4, magnitude // 2, magnitude, 2 * magnitude) if largest <= 5 * size)
    return list(range(0, int(largest) + 1, step))


def _y(dice: float) -> float:
    return _BOTTOM - min(max(dice, 0.0), 1.0) * (_BOTTOM - _TOP)


def _line(
    draw: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], colour: tuple[int, ...], width: float
) -> None:
    scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
    draw.line(scaled, fill=colour, width=round(width * _SCALE), joint="curve")


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, colour: tuple[int, ...], radius: float) -> None:
    draw.circle((x * _SCALE, y * _SCALE), radius * _SCALE, fill=colour)


def _text(draw: ImageDraw.ImageDraw, x: float, y: float, text: str, anchor: str, size: int = 13) -> None:
    font = ImageFont.load_default(size=size * _SCALE)
    draw.text((x * _SCALE, y * _SCALE), text, fill=_INK, font=font, anchor=anchor)


def _draw_frame(draw: ImageDraw.ImageDraw, left: float, right: float, title: str, bottom_label: str) -> None:
    """Dice from 0 to 1 upwards, a title and the label of the other axis."""
    for tick in _DICE_TICKS:
        _line(draw, [(left, _y(tick)), (right, _y(tick))], _GRID, 1)
        _text(draw, left - 8, _y(tick), f"{tick:.1f}", "rm")
    _line(draw, [(left, _TOP), (left, _BOTTOM), (right, _BOTTOM)], _INK, 1)
    _text(draw, left, 14, title, "lt", 15)
    _text(draw, (left + right) / 2, _BOTTOM + 34, bottom_label, "mt")
    _text(draw, left - 34, _TOP - 14, "Dice", "lm")


def _draw_curves(draw: ImageDraw.ImageDraw, curves: Sequence[Curve]) -> None:
    left, right = _CURVES
    _draw_frame(draw, left, right, "Mean validation Dice of ET, TC and WT", "steps (samples read)")
    last = max((steps for curve in curves for steps, _ in curve.points), default=0)
    for tick in nice_ticks(last):
        x = left + (right - left) * tick / max(last, 1)
        _line(draw, [(x, _BOTTOM), (x, _BOTTOM + 5)], _INK, 1)
        _text(draw, x, _BOTTOM + 9, f"{tick:,}", "mt")
    for index, curve in enumerate(curves):
        colour = _colour(index)
        points = [(left + (right - left) * steps / max(last, 1), _y(dice)) for steps, dice in curve.points]
        if len(points) > 1:
            _line(draw, points, colour, 2)
        for x, y in points:
            _dot(draw, x, y, colour, 2.5)


def _draw_cases(draw: ImageDraw.ImageDraw, curves: Sequence[Curve]) -> None:
    left, right = _BOXES
    count = sum(len(curve.cases[Region.WT]) for curve in curves)
    _draw_frame(draw, left, right, f"Dice of {count} validation cases at the best epochs", "region")
    for place, region in enumerate(Region):
        centre = left + (right - left) * (place + 0.5) / len(Region)
        _text(draw, centre, _BOTTOM + 9, region.value, "mt")
        values = [(dice, _colour(index)) for index, curve in enumerate(curves) for dice in curve.cases[region]]
        if values:
            _draw_box(draw, centre - 28, BoxPlot.of([dice for dice, _ in values]))
        for number, (dice, colour) in enumerate(values):
            # Steps of the golden ratio spread the points evenly, the same way each time.
            _dot(draw, centre + 12 + 34 * (number * 0.618034 % 1), _y(dice), colour, 2.5)


def _draw_box(draw: ImageDraw.ImageDraw, x: float, box: BoxPlot) -> None:
    half = 18
    _line(draw, [(x, _y(box.low)), (x, _y(box.high))], _INK, 1)
    for dice in (box.low, box.high):
        _line(draw, [(x - half / 2, _y(dice)), (x + half / 2, _y(dice))], _INK, 1)
    corners = tuple(value * _SCALE for value in (x - half, _y(box.upper), x + half, _y(box.lower)))
    draw.rectangle(corners, fill=(236, 236, 236), outline=_INK, width=_SCALE)
    _line(draw, [(x - half, _y(box.median)), (x + half, _y(box.median))], _INK, 2.5)


def _draw_legend(draw: ImageDraw.ImageDraw, curves: Sequence[Curve]) -> None:
    """Names of the runs in the lower right corner of the curves, where learning curves seldom go."""
    names = [_short(curve.name) for curve in curves[:_LEGEND_ROWS]]
    if len(curves) > _LEGEND_ROWS:
        names.append(f"and {len(curves) - _LEGEND_ROWS} more")
    y = _BOTTOM - 14 - 17 * (len(names) - 1)
    width = max(draw.textlength(name, font=ImageFont.load_default(size=12 * _SCALE)) for name in names) / _SCALE
    x = _CURVES[1] - width - 30
    frame = (x - 8, y - 12, _CURVES[1] - 2, _BOTTOM - 3)
    draw.rectangle(tuple(value * _SCALE for value in frame), fill=(255, 255, 255), outline=_GRID, width=_SCALE)
    for index, name in enumerate(names):
        if index < min(len(curves), _LEGEND_ROWS):
            _line(draw, [(x, y), (x + 16, y)], _colour(index), 3)
        _text(draw, x + 22, y, name, "lm", 12)
        y += 17


def _colour(index: int) -> tuple[int, int, int]:
    return RUN_COLOURS[index % len(RUN_COLOURS)]


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"…{name[1 - _NAME_LENGTH :]}"
