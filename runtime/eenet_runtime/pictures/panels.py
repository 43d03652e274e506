"""What the pictures of a slice share: planes, grey levels, outlines, and letters that say where the sides point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont


@dataclass(frozen=True)
class Plane:
    """One anatomical plane of a volume in network axes (P, L, S).

    Attributes:
        name: axial, coronal or sagittal.
        axis: the axis that the plane cuts.
        letters: where left, right, top and bottom of the picture point to.
    """

    name: str
    axis: int
    letters: tuple[str, str, str, str]

    def slice_of(self, volume: NDArray[np.generic], index: int) -> NDArray[np.generic]:
        """The plane as rows and columns of a picture: radiological, head up, nose to the left in sagittal."""
        cut = volume[(slice(None),) * self.axis + (index,)]
        # Cutting leaves (L, S) or (P, S) for the upright planes: put S on the rows, top of the head first.
        return cut if self.axis == 2 else cut.T[::-1]

    def pixel_size_mm(self, spacing: tuple[float, float, float]) -> tuple[float, float]:
        """Height and width of one voxel in the picture."""
        rest = [size for axis, size in enumerate(spacing) if axis != self.axis]
        return (rest[0], rest[1]) if self.axis == 2 else (rest[1], rest[0])


PLANES: Final = (
    Plane("axial", 2, ("R", "L", "A", "P")),
    Plane("coronal", 0, ("R", "L", "S", "I")),
    Plane("sagittal", 1, ("A", "P", "S", "I")),
)


def grey_levels(cut: NDArray[np.generic], window: tuple[float, float]) -> NDArray[np.uint8]:
    """A slice of an image as it shall be seen.

    Args:
        cut: any dtype, (rows, columns). Where it is exactly 0 is outside of the head and black, also where an image has
            negative values: in z-scored images 0 is a grey level of the head too.
        window: the values that are black and white.

    Returns:
        uint8 (rows, columns).
    """
    low, high = window
    values = cut.astype(np.float32)
    return np.where(values == 0, 0, np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def enlarged(levels: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Grey levels as a picture of a width and a height in pixels, smoothed."""
    return Image.fromarray(np.ascontiguousarray(levels)).resize(size, Image.Resampling.BICUBIC)


def enlarged_classes(classes: NDArray[np.generic], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Whole numbers up to 255 on a grid of a width and a height in pixels, (height, width): nothing is smoothed."""
    small = Image.fromarray(np.ascontiguousarray(classes).astype(np.uint8))
    return np.asarray(small.resize(size, Image.Resampling.NEAREST))


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


def border(mask: NDArray[np.bool_], width: int = 1) -> NDArray[np.bool_]:
    """Pixels outside a mask that reach it in `width` steps or fewer: a line that covers nothing of what it encloses.

    Args:
        mask: bool (rows, columns); a mask that runs into the edge has no line there.
        width: of the line, in pixels, at least 1.

    Returns:
        Bool (rows, columns).
    """
    grown = mask
    for _ in range(width):
        padded = np.pad(grown, 1)
        grown = grown | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown & ~mask


def draw_letters(
    panel: Image.Image,
    letters: tuple[str, str, str, str],
    *,
    size: int,
    margins: tuple[int, int],
    colour: tuple[int, int, int] | int,
) -> None:
    """Write a letter at the middle of each side of a picture, in place.

    Args:
        panel: an RGB or a grey picture.
        letters: what left, right, top and bottom point to.
        size: of the letters, in pixels.
        margins: pixels between the letters and the sides: left and right, then top and bottom.
        colour: RGB, or a grey level.
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
