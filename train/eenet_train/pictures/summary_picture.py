"""The picture of several runs: learning curves on the left, the Dice of every case by region on the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from PIL import ImageDraw, ImageFont

from eenet_runtime.pictures.box_plot import BoxPlot
from eenet_runtime.pictures.colours import GRID, INK, RUN_COLOURS
from eenet_runtime.pictures.drawing import SCALE, as_png, dot, line, new_canvas, nice_ticks, text
from eenet_runtime.volumes.labels import Region

_WIDTH: Final = 1120
_HEIGHT: Final = 460
_TOP: Final = 48
_BOTTOM: Final = 400
_CURVES: Final = (70, 620)
_BOXES: Final = (700, 1090)
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


def draw_summary(curves: Sequence[Curve]) -> bytes:
    """Draw the picture.

    Args:
        curves: the runs, in the order of the legend.

    Returns:
        The bytes of a PNG; the same runs give the same picture.
    """
    canvas = new_canvas(_WIDTH, _HEIGHT)
    draw = ImageDraw.Draw(canvas)
    _draw_curves(draw, curves)
    _draw_cases(draw, curves)
    _draw_legend(draw, curves)
    return as_png(canvas)


def _y(dice: float) -> float:
    return _BOTTOM - min(max(dice, 0.0), 1.0) * (_BOTTOM - _TOP)


def _draw_frame(draw: ImageDraw.ImageDraw, left: float, right: float, title: str, bottom_label: str) -> None:
    """Dice from 0 to 1 upwards, a title and the label of the other axis."""
    for tick in _DICE_TICKS:
        line(draw, [(left, _y(tick)), (right, _y(tick))], GRID, 1)
        text(draw, left - 8, _y(tick), f"{tick:.1f}", "rm")
    line(draw, [(left, _TOP), (left, _BOTTOM), (right, _BOTTOM)], INK, 1)
    text(draw, left, 14, title, "lt", 15)
    text(draw, (left + right) / 2, _BOTTOM + 34, bottom_label, "mt")
    text(draw, left - 34, _TOP - 14, "Dice", "lm")


def _draw_curves(draw: ImageDraw.ImageDraw, curves: Sequence[Curve]) -> None:
    left, right = _CURVES
    _draw_frame(draw, left, right, "Mean validation Dice of ET, TC and WT", "steps (samples read)")
    last = max((steps for curve in curves for steps, _ in curve.points), default=0)
    for tick in nice_ticks(last):
        x = left + (right - left) * tick / max(last, 1)
        line(draw, [(x, _BOTTOM), (x, _BOTTOM + 5)], INK, 1)
        text(draw, x, _BOTTOM + 9, f"{tick:,}", "mt")
    for index, curve in enumerate(curves):
        colour = _colour(index)
        points = [(left + (right - left) * steps / max(last, 1), _y(dice)) for steps, dice in curve.points]
        if len(points) > 1:
            line(draw, points, colour, 2)
        for x, y in points:
            dot(draw, x, y, colour, 2.5)


def _draw_cases(draw: ImageDraw.ImageDraw, curves: Sequence[Curve]) -> None:
    left, right = _BOXES
    count = sum(len(curve.cases[Region.WT]) for curve in curves)
    _draw_frame(draw, left, right, f"Dice of {count} validation cases at the best epochs", "region")
    for place, region in enumerate(Region):
        centre = left + (right - left) * (place + 0.5) / len(Region)
        text(draw, centre, _BOTTOM + 9, region.value, "mt")
        values = [(dice, _colour(index)) for index, curve in enumerate(curves) for dice in curve.cases[region]]
        if values:
            _draw_box(draw, centre - 28, BoxPlot.from_values([dice for dice, _ in values]))
        for number, (dice, colour) in enumerate(values):
            # Steps of the golden ratio spread the points evenly, the same way each time.
            dot(draw, centre + 12 + 34 * (number * 0.618034 % 1), _y(dice), colour, 2.5)


def _draw_box(draw: ImageDraw.ImageDraw, x: float, box: BoxPlot) -> None:
    half = 18
    line(draw, [(x, _y(box.low)), (x, _y(box.high))], INK, 1)
    for dice in (box.low, box.high):
        line(draw, [(x - half / 2, _y(dice)), (x + half / 2, _y(dice))], INK, 1)
    corners = tuple(value * SCALE for value in (x - half, _y(box.upper), x + half, _y(box.lower)))
    draw.rectangle(corners, fill=(236, 236, 236), outline=INK, width=SCALE)
    line(draw, [(x - half, _y(box.median)), (x + half, _y(box.median))], INK, 2.5)


def _draw_legend(draw: ImageDraw.ImageDraw, curves: Sequence[Curve]) -> None:
    """Names of the runs in the lower right corner of the curves, where learning curves seldom go."""
    names = [_short(curve.name) for curve in curves[:_LEGEND_ROWS]]
    if len(curves) > _LEGEND_ROWS:
        names.append(f"and {len(curves) - _LEGEND_ROWS} more")
    y = _BOTTOM - 14 - 17 * (len(names) - 1)
    width = max(draw.textlength(name, font=ImageFont.load_default(size=12 * SCALE)) for name in names) / SCALE
    x = _CURVES[1] - width - 30
    frame = (x - 8, y - 12, _CURVES[1] - 2, _BOTTOM - 3)
    draw.rectangle(tuple(value * SCALE for value in frame), fill=(255, 255, 255), outline=GRID, width=SCALE)
    for index, name in enumerate(names):
        if index < min(len(curves), _LEGEND_ROWS):
            line(draw, [(x, y), (x + 16, y)], _colour(index), 3)
        text(draw, x + 22, y, name, "lm", 12)
        y += 17


def _colour(index: int) -> tuple[int, int, int]:
    return RUN_COLOURS[index % len(RUN_COLOURS)]


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"…{name[1 - _NAME_LENGTH :]}"
