"""A mask's outlines over the axial slices of an image, one colour picture for each: to be scrolled by people.

The planes are the image's own that are nearest to axial, a few of them left out; nothing is resampled but the pixels,
which are made square. What is written in a picture is ours and says nothing of a patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eenet_runtime.pictures.colours import REGION_COLOURS_ON_GREY
from eenet_runtime.pictures.panels import PLANES, draw_letters, enlarged, enlarged_classes, grey_levels
from eenet_runtime.pictures.region_lines import REGIONS, region_lines
from eenet_runtime.volumes.boxes import Box, bounding_box, is_empty, union, whole
from eenet_runtime.volumes.grid import Grid, grid_in_network_axes, part_of_grid, to_network_axes

_STEP_MM: Final = 2.0
"""Between slices, where the image's own are nearer to each other."""
_MOST_SLICES: Final = 96
"""More than a head has at that distance; a neck may."""
_MOST_PIXELS: Final = 256
_LEAST_PIXELS: Final = 128
"""Of the longest side."""
_LEAST_WIDTH: Final = 192
"""Of a picture: the words must fit."""
_MARGIN_MM: Final = 6.0
_STRIP: Final = 34
_DASH: Final = 3
_TEXT: Final = 200
_SAMPLE: Final = 4
"""Every so many voxels along an axis are looked at to find the head and its grey levels."""
_WINDOW_PERCENTILES: Final = (1.0, 99.8)


@dataclass(frozen=True)
class SlicePictures:
    """Pictures of parallel slices.

    Attributes:
        pixels: uint8 (slices, rows, columns, 3), from the lowest slice to the highest.
        image: rows and columns of a picture that show the slice; below them is a strip of words.
        grid: of the pixels, strip and all: (columns, rows, slices), the affine to world millimetres (RAS); rows run to
            the back, columns to the patient's left.
        window: the image's values that are black and white.
    """

    pixels: NDArray[np.uint8]
    image: tuple[slice, slice]
    grid: Grid
    window: tuple[float, float]


def draw_slices(
    data: NDArray[np.generic],
    labels: NDArray[np.uint8],
    grid: Grid,
    notice: str,
    brain: NDArray[np.bool_] | None = None,
) -> SlicePictures:
    """Draw the slices of the head, with the outlines of the regions where the mask has them.

    Args:
        data: an image, any numbers, in the stored order of `grid`.
        labels: uint8 network classes, the same.
        grid: where both lie.
        notice: written under every slice.
        brain: where the brain is, if that is known: then grey levels go from its 1st to its 99.8th percentile; else
            from those of the inner half, along each axis, of what is brighter than the mean.
    """
    image, mask = to_network_axes(data, grid), to_network_axes(labels, grid)
    turned = grid_in_network_axes(grid)
    head = _head_box(image)
    window = _window(image, head, None if brain is None else to_network_axes(brain, grid))
    box = _shown(head, bounding_box(mask), turned)
    part, spacing = part_of_grid(turned, box), turned.spacing_mm
    rows, columns = _size(part)
    width = max(columns, _LEAST_WIDTH)
    left = (width - columns) // 2
    step = max(1, round(_STEP_MM / spacing[2]), -(-part.shape[2] // _MOST_SLICES))
    levels = range(0, part.shape[2], step)
    strip = _strip(width, notice)
    pixels = np.zeros((len(levels), rows + _STRIP, width, 3), np.uint8)
    place = (slice(0, rows), slice(left, left + columns))
    for picture, level in zip(pixels, levels, strict=True):
        cut = grey_levels(PLANES[0].slice_of(image[box], level), window)
        picture[place] = _slice_picture(cut, PLANES[0].slice_of(mask[box], level), (columns, rows))
        picture[rows:] = strip
    return SlicePictures(pixels, place, _pixel_grid(part, rows, columns, left, step, pixels.shape), window)


def _slice_picture(grey: NDArray[np.uint8], classes: NDArray[np.generic], size: tuple[int, int]) -> NDArray[np.uint8]:
    picture = enlarged(grey, size)
    draw_letters(picture, PLANES[0].letters, size=12, margins=(2, 2), colour=_TEXT)
    shown = np.asarray(picture)[..., None].repeat(3, axis=2)
    if not classes.any():
        return shown
    lines = region_lines(enlarged_classes(classes, size), 1, _DASH)
    colours = np.array([(0, 0, 0), *(REGION_COLOURS_ON_GREY[region] for region in REGIONS)], np.uint8)
    return np.where(lines[..., None] > 0, colours[lines], shown)


def _strip(width: int, notice: str) -> NDArray[np.uint8]:
    """Under the slice: what the colours mean, and the notice."""
    strip = Image.new("RGB", (width, _STRIP))
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size=11)
    grey = (_TEXT, _TEXT, _TEXT)
    x = 4.0
    for region in reversed(REGIONS):
        draw.rectangle((x, 4, x + 8, 12), fill=REGION_COLOURS_ON_GREY[region])
        draw.text((x + 13, 2), region.value, fill=grey, font=font)
        x += font.getlength(region.value) + 25
    draw.text((4, 18), notice, fill=grey, font=font)
    return np.asarray(strip)


def _size(part: Grid) -> tuple[int, int]:
    """Rows and columns of square pixels for a slice; the smaller side of a voxel is a pixel, or a few are."""
    height_mm, width_mm = (count * size for count, size in zip(part.shape[:2], part.spacing_mm[:2], strict=True))
    longest_mm = max(height_mm, width_mm)
    per_mm = 1 / min(part.spacing_mm[:2])
    per_mm *= max(1, int(np.ceil(_LEAST_PIXELS / (longest_mm * per_mm))))
    per_mm = min(per_mm, _MOST_PIXELS / longest_mm)
    return max(1, round(height_mm * per_mm)), max(1, round(width_mm * per_mm))


def _pixel_grid(part: Grid, rows: int, columns: int, left: int, step: int, shape: tuple[int, ...]) -> Grid:
    """Where the pixels lie: columns, rows and slices of the pictures, of which the slice's own begin at `left`."""
    per_row, per_column = part.shape[0] / rows, part.shape[1] / columns
    # From (column, row, slice) of a picture to voxels along the network's axes, centre to centre.
    to_voxels = np.array(
        [
            [0, per_row, 0, per_row / 2 - 0.5],
            [per_column, 0, 0, (0.5 - left) * per_column - 0.5],
            [0, 0, step, 0],
            [0, 0, 0, 1],
        ]
    )
    return Grid((shape[2], shape[1], shape[0]), part.affine @ to_voxels)


def _shown(head: Box, lesion: Box, turned: Grid) -> Box:
    """The head and the lesion with a margin."""
    box = union([part for part in (head, lesion) if not is_empty(part)])
    margins = [round(_MARGIN_MM / size) for size in turned.spacing_mm[:2]] + [0]
    first, second, third = (
        slice(max(0, part.start - margin), min(length, part.stop + margin))
        for part, margin, length in zip(box, margins, turned.shape, strict=True)
    )
    return first, second, third


def _head_box(image: NDArray[np.generic]) -> Box:
    """The box of what is brighter than the mean: in a stripped image the brain, else the head, in air or in noise.

    The whole image where nothing is.
    """
    steps = [max(1, min(_SAMPLE, size // 16)) for size in image.shape]
    sample = image[tuple(slice(None, None, step) for step in steps)].astype(np.float32)
    found = bounding_box(sample > sample.mean())
    if is_empty(found):
        return whole(image.shape)
    first, second, third = (
        slice(max(0, (part.start - 1) * step + 1), min(size, part.stop * step))
        for part, step, size in zip(found, steps, image.shape, strict=True)
    )
    return first, second, third


def _window(image: NDArray[np.generic], head: Box, brain: NDArray[np.bool_] | None) -> tuple[float, float]:
    if brain is not None and brain.any():
        values = image[brain]
    else:
        inner = tuple(
            slice(part.start + (part.stop - part.start) // 4, part.stop - (part.stop - part.start) // 4)
            for part in head
        )
        values = image[inner]
        values = values[values != 0]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(level) for level in np.percentile(values.astype(np.float32), _WINDOW_PERCENTILES))
    return low, high if high > low else low + 1.0
