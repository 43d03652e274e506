"""What the pictures of a slice share: the outline of a mask, and the letters that say where its sides point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont


def outline(mask: NDArray[np.bool_], width: int = 1) -> NDArray[np.bool_]:
    """Pixels of a mask that reach its outside in `width` steps over pixel sides or fewer.

    Args:
        mask: bool (rows, columns); what lies beyond its edge counts as outside.
        width: of the line, in pixels, at least 1.

    Returns:
        Bool (rows, columns).
    """
    inner = mask
    for _ in range(width):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def draw_letters(
    panel: Image.Image,
    letters: tuple[str, str, str, str],
    *,
    size: int,
    margins: tuple[int, int],
    colour: tuple[int, int, int],
) -> None:
    """Write a letter at the middle of each side of a picture, in place.

    Args:
        panel: an RGB picture.
        letters: what left, right, top and bottom point to.
        size: of the letters, in pixels.
        margins: pixels between the letters and the sides: left and right, then top and bottom.
        colour: RGB.
    """
    draw = ImageDraw.Draw(panel)
    font = ImageFont.load_default(size=size)
    left, right, top, bottom = letters
    across, along = margins
    width, height = panel.size
    draw.text((across, height / 2), left, fill=colour, font=font, anchor="lm")
    draw.text((width - across, height / 2), right, fill=colour, font=font, anchor="rm")
    draw.text((width / 2, along), top, fill=colour, font=font, anchor="mt")
    draw.text((width / 2, height - along), bottom, fill=colour, font=font, anchor="mb")
