"""Lines, dots and words of a chart, drawn with Pillow alone at twice the size and then reduced: that smooths them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from eenet_runtime.pictures.colours import INK

SCALE: Final = 2
"""Pixels of the canvas for one of the finished picture."""


def new_canvas(width: int, height: int) -> Image.Image:
    """A white canvas for a picture of `width` x `height` pixels."""
    return Image.new("RGB", (width * SCALE, height * SCALE), (255, 255, 255))


def as_png(canvas: Image.Image) -> bytes:
    """The finished picture; the same drawing gives the same bytes."""
    stream = io.BytesIO()
    size = (canvas.width // SCALE, canvas.height // SCALE)
    canvas.resize(size, Image.Resampling.LANCZOS).save(stream, format="PNG", compress_level=6)
    return stream.getvalue()


def nice_ticks(largest: float) -> list[int]:
    """Round whole numbers from 0 to `largest`, five at most beside the 0."""
    if largest < 1:
        return [0]
    magnitude = 10 ** (len(str(int(largest))) - 1)
    step = next(size for size in (magnitude // 4, magnitude // 2, magnitude, 2 * magnitude) if largest <= 5 * size)
    return list(range(0, int(largest) + 1, step))


def line(
    draw: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], colour: tuple[int, ...], width: float
) -> None:
    """A line through points, in units of the finished picture."""
    scaled = [(x * SCALE, y * SCALE) for x, y in points]
    draw.line(scaled, fill=colour, width=round(width * SCALE), joint="curve")


def dot(draw: ImageDraw.ImageDraw, x: float, y: float, colour: tuple[int, ...], radius: float) -> None:
    """A filled circle."""
    draw.circle((x * SCALE, y * SCALE), radius * SCALE, fill=colour)


def text(draw: ImageDraw.ImageDraw, x: float, y: float, words: str, anchor: str, size: int = 13) -> None:
    """A line of text, placed by Pillow's `anchor`."""
    font = ImageFont.load_default(size=size * SCALE)
    draw.text((x * SCALE, y * SCALE), words, fill=INK, font=font, anchor=anchor)
