"""Box plots as SVG: a few lines instead of a plotting library, and a page that needs no other file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from eenet_bench.pages.pages import svg_head
from eenet_runtime.pictures.box_plot import BoxPlot

_WIDTH: Final = 330
_HEIGHT: Final = 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 30, 30
_BOX: Final = 46
_LOG_TICKS: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 400)


@dataclass(frozen=True)
class Group:
    """The points of one box.

    Attributes:
        name: what stands below it.
        colour: of the box's edge and the points, as CSS has it.
        points: name and value of each.
    """

    name: str
    colour: str
    points: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Axis:
    """The vertical axis.

    Attributes:
        ticks: values with a label, ascending; the first and the last are its ends.
        logarithmic: positions follow log(1 + value), so that one distance of 373 mm does not press all others flat.
        digits: decimals of the labels.
    """

    ticks: tuple[float, ...]
    logarithmic: bool = False
    digits: int = 1

    def y(self, value: float) -> float:
        """Pixels from the top of the picture."""
        low, high, at = (self._scaled(number) for number in (self.ticks[0], self.ticks[-1], value))
        return _HEIGHT - _BOTTOM - (at - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def _scaled(self, value: float) -> float:
        return math.log1p(value) if self.logarithmic else value


def distance_axis(values: Sequence[float]) -> Axis:
    """A logarithmic axis from 0 that holds all values (from 0 to 400)."""
    last = next((index for index, tick in enumerate(_LOG_TICKS) if tick >= max(values)), len(_LOG_TICKS) - 1)
    return Axis(tuple(float(tick) for tick in _LOG_TICKS[: max(last, 1) + 1]), logarithmic=True, digits=0)


def share_axis(values: Sequence[float]) -> Axis:
    """A linear axis that ends at 1: from 0, or from nearer to 1 where all values lie within a hundredth of it."""
    reach = 1.0
    if min(values) > 0.99:
        reach = next(step for step in (1e-5, 1e-4, 1e-3, 1e-2) if min(values) >= 1 - step)
    return Axis(tuple(1 - reach + reach * part / 5 for part in range(6)), digits=max(1, round(1 - math.log10(reach))))


def box_plot(title: str, axis: Axis, groups: Sequence[Group]) -> str:
    """Boxes from the lower to the upper quartile with the median, and every point, as an `<svg>` element.

    Whiskers reach to the outermost points within 1.5 times the box's height from it (Tukey). A point's name and value
    show when the pointer rests on it. All names are escaped.
    """
    summary = "; ".join(_in_words(group, axis) for group in groups)
    parts = svg_head(title, f"Box plot of {title}. {summary}", _WIDTH, _HEIGHT)
    for tick in axis.ticks:
        y = axis.y(tick)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.{axis.digits}f}</text>')
    step = (_WIDTH - _LEFT - _RIGHT) / len(groups)
    for number, group in enumerate(groups):
        parts += _box(group, axis, _LEFT + step * (number + 0.5))
    return "\n".join([*parts, "</svg>"])


def _in_words(group: Group, axis: Axis) -> str:
    numbers = BoxPlot.from_values([value for _, value in group.points])
    shown = (numbers.median, numbers.lower, numbers.upper)
    median, lower, upper = (f"{value:.{axis.digits + 2}f}" for value in shown)
    return f"{group.name}: median {median}, quartiles {lower} and {upper}"


def _box(group: Group, axis: Axis, x: float) -> list[str]:
    numbers = BoxPlot.from_values([value for _, value in group.points])
    # There may be no point between a quartile and its whisker's end; the whisker then has no length.
    bottom, top = min(numbers.low, numbers.lower), max(numbers.high, numbers.upper)
    left, right = x - _BOX / 2, x + _BOX / 2
    box_top, box_bottom, median = axis.y(numbers.upper), axis.y(numbers.lower), axis.y(numbers.median)
    line = f'stroke="{group.colour}"'
    parts = [
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{axis.y(top):.1f}" y2="{box_top:.1f}" {line}/>',
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{box_bottom:.1f}" y2="{axis.y(bottom):.1f}" {line}/>',
        f'<rect x="{left:.1f}" y="{box_top:.1f}" width="{_BOX}" height="{box_bottom - box_top:.1f}" '
        f'fill="{group.colour}" fill-opacity="0.15" {line}/>',
        f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{median:.1f}" y2="{median:.1f}" {line} stroke-width="3"/>',
        f'<text x="{x:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(group.name)}</text>',
    ]
    for number, (name, value) in enumerate(group.points):
        # Steps of the golden ratio spread the points evenly over the box's width, and always in the same way.
        across = left + _BOX * (0.1 + 0.8 * (number * 0.618034 % 1))
        label = escape(f"{name}: {value:.{axis.digits + 3}f}")
        parts.append(
            f'<circle cx="{across:.1f}" cy="{axis.y(value):.1f}" r="2.6" fill="{group.colour}" fill-opacity="0.75">'
            f"<title>{label}</title></circle>"
        )
    return parts
