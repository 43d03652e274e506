"""The picture of one run's losses: on the training samples and on crops of the held-out cases, by samples read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PIL import ImageDraw

from eenet_runtime.pictures.colours import GRID, INK, RUN_COLOURS
from eenet_runtime.pictures.drawing import as_png, dot, line, new_canvas, nice_ticks, text

_WIDTH: Final = 640
_HEIGHT: Final = 400
_LEFT: Final = 64
_RIGHT: Final = 620
_TOP: Final = 44
_BOTTOM: Final = 344

Points = Sequence[tuple[int, float]]


def draw_losses(title: str, training: Points, held_out: Points) -> bytes:
    """Draw both losses.

    Args:
        title: what was trained.
        training, held_out: samples read and mean loss, in order; `held_out` may be empty.

    Returns:
        The bytes of a PNG.
    """
    canvas = new_canvas(_WIDTH, _HEIGHT)
    draw = ImageDraw.Draw(canvas)
    last = max((steps for steps, _ in [*training, *held_out]), default=1)
    top = loss_ceiling([loss for _, loss in [*training, *held_out]])

    def place(steps: int, loss: float) -> tuple[float, float]:
        return _LEFT + (_RIGHT - _LEFT) * steps / last, _BOTTOM - min(loss / top, 1.0) * (_BOTTOM - _TOP)

    for part in range(5):
        y = place(0, top * part / 4)[1]
        line(draw, [(_LEFT, y), (_RIGHT, y)], GRID, 1)
        text(draw, _LEFT - 8, y, f"{top * part / 4:.3g}", "rm")
    for tick in nice_ticks(last):
        text(draw, place(tick, 0)[0], _BOTTOM + 9, f"{tick:,}", "mt")
    line(draw, [(_LEFT, _TOP), (_LEFT, _BOTTOM), (_RIGHT, _BOTTOM)], INK, 1)
    text(draw, _LEFT, 12, title, "lt", 15)
    text(draw, (_LEFT + _RIGHT) / 2, _BOTTOM + 34, "steps (samples read)", "mt")
    for index, (name, points) in enumerate((("training samples", training), ("held-out cases", held_out))):
        placed = [place(*point) for point in points]
        if len(placed) > 1:
            line(draw, placed, RUN_COLOURS[index], 2)
        for x, y in placed:
            dot(draw, x, y, RUN_COLOURS[index], 2.5)
        if points:
            text(draw, _RIGHT - 4, _TOP + 6 + 18 * index, name, "rt")
            dot(draw, _RIGHT - 124, _TOP + 14 + 18 * index, RUN_COLOURS[index], 4)
    return as_png(canvas)


def loss_ceiling(losses: Sequence[float]) -> float:
    """Upper end of the axis: the smallest of 1, 2, 4, 8 and 10 times a power of ten that no loss exceeds."""
    largest = max([loss for loss in losses if loss > 0], default=1.0)
    power = 10.0
    while power / 10 >= largest:
        power /= 10
    while power < largest:
        power *= 10
    return next(power * share for share in (0.1, 0.2, 0.4, 0.8, 1.0) if power * share >= largest)
