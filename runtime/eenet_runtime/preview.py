"""A picture of a mask: three planes through the lesion, over T1ce and FLAIR, for a quick look and nothing more."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eenet_runtime.grid import network_spacing_mm, to_network_axes
from eenet_runtime.labels import Label, Modality, Region
from eenet_runtime.panels import draw_letters, outline
from eenet_runtime.segmenter import Segmentation

COLOURS: Final = {Label.NCR: (90, 160, 255), Label.ED: (90, 220, 110), Label.ET: (255, 80, 80)}
"""Outline colours: blue for necrotic and non-enhancing core, green for oedema, red for enhancing tumour."""

_PIXELS_PER_MM: Final = 1.6
_SHOWN: Final = (Modality.T1CE, Modality.FLAIR)
_GAP: Final = 6
_HEADER: Final = 46
_FOOTER: Final = 26
_TEXT: Final = (235, 235, 235)
_DIM: Final = (150, 150, 150)


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
        cut = np.take(volume, index, axis=self.axis)
        # Cutting leaves (L, S) or (P, S) for the upright planes: put S on the rows, top of the head first.
        upright: NDArray[np.generic] = cut if self.axis == 2 else cut.T[::-1]
        return upright

    def pixel_size_mm(self, spacing: tuple[float, float, float]) -> tuple[float, float]:
        """Height and width of one voxel in the picture."""
        rest = [size for axis, size in enumerate(spacing) if axis != self.axis]
        return (rest[0], rest[1]) if self.axis == 2 else (rest[1], rest[0])


PLANES: Final = (
    Plane("axial", 2, ("R", "L", "A", "P")),
    Plane("coronal", 0, ("R", "L", "S", "I")),
    Plane("sagittal", 1, ("A", "P", "S", "I")),
)


def render_preview(segmentation: Segmentation) -> bytes:
    """Draw the preview.

    Returns:
        The bytes of a PNG; the same segmentation gives the same picture.
    """
    grid = segmentation.images.grid
    labels = to_network_axes(segmentation.labels, grid)
    spacing = network_spacing_mm(grid)
    reference = to_network_axes(segmentation.images.reference.data, grid)
    centre = _lesion_centre(labels) or _head_centre(reference)
    rows = [
        [_panel(image, labels, plane, centre[plane.axis], spacing) for plane in PLANES]
        for image in (to_network_axes(segmentation.images.volumes[name].data, grid) for name in _SHOWN)
    ]
    return _compose(rows, segmentation)


def _lesion_centre(labels: NDArray[np.uint8]) -> tuple[int, int, int] | None:
    """For each axis the slice that cuts most of the tumour, None without a tumour."""
    tumour = labels != Label.BACKGROUND
    if not tumour.any():
        return None
    areas = [tumour.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    return int(areas[0].argmax()), int(areas[1].argmax()), int(areas[2].argmax())


def _head_centre(image: NDArray[np.generic]) -> tuple[int, int, int]:
    filled = [np.flatnonzero((image != 0).any(axis=tuple(o for o in range(3) if o != axis))) for axis in range(3)]
    middle = [int(index[index.size // 2]) if index.size else 0 for index in filled]
    return middle[0], middle[1], middle[2]


def _panel(
    image: NDArray[np.generic],
    labels: NDArray[np.uint8],
    plane: Plane,
    index: int,
    spacing: tuple[float, float, float],
) -> Image.Image:
    """One slice in grey with the outlines of the classes."""
    low, high = _window(image)
    grey = np.clip((plane.slice_of(image, index).astype(np.float32) - low) / (high - low), 0, 1) * 255
    height_mm, width_mm = plane.pixel_size_mm(spacing)
    rows, columns = grey.shape
    size = (max(1, round(columns * width_mm * _PIXELS_PER_MM)), max(1, round(rows * height_mm * _PIXELS_PER_MM)))
    panel = Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    mask = Image.fromarray(np.ascontiguousarray(plane.slice_of(labels, index)).astype(np.uint8))
    pixels = np.array(panel)
    enlarged = np.asarray(mask.resize(size, Image.Resampling.NEAREST))
    for label, colour in COLOURS.items():
        pixels[outline(enlarged == label)] = colour
    panel = Image.fromarray(pixels)
    draw_letters(panel, plane.letters, size=13, margins=(4, 3), colour=_DIM)
    return panel


def _window(image: NDArray[np.generic]) -> tuple[float, float]:
    """Grey levels from the 1st to the 99.5th percentile of the head."""
    head = image[image != 0]
    if head.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(head[:: max(1, head.size // 200_000)], [1, 99.5])
    return min(float(low), 0.0), float(high) if high > low else float(low) + 1.0


def _compose(rows: list[list[Image.Image]], segmentation: Segmentation) -> bytes:
    widths = [max(row[column].width for row in rows) for column in range(len(PLANES))]
    heights = [max(panel.height for panel in row) for row in rows]
    width = sum(widths) + _GAP * (len(widths) + 1)
    height = _HEADER + sum(heights) + _GAP * len(heights) + _FOOTER
    canvas = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(canvas)
    _draw_header(draw, segmentation, width)
    y = _HEADER
    for name, row, row_height in zip(_SHOWN, rows, heights, strict=True):
        x = _GAP
        for panel, column_width in zip(row, widths, strict=True):
            canvas.paste(panel, (x + (column_width - panel.width) // 2, y + (row_height - panel.height) // 2))
            x += column_width + _GAP
        draw.text((_GAP + 2, y + 2), name.value.upper(), fill=_TEXT, font=ImageFont.load_default(size=13))
        y += row_height + _GAP
    _draw_footer(draw, y, width)
    stream = io.BytesIO()
    canvas.save(stream, format="PNG", optimize=False, compress_level=3)
    return stream.getvalue()


def _draw_header(draw: ImageDraw.ImageDraw, segmentation: Segmentation, width: int) -> None:
    volumes = "   ".join(f"{region.value} {segmentation.volumes_ml[region]:.1f} ml" for region in Region)
    draw.text((_GAP, 4), segmentation.case_id, fill=_TEXT, font=ImageFont.load_default(size=16))
    draw.text((_GAP, 25), volumes, fill=_TEXT, font=ImageFont.load_default(size=14))
    draw.text((width - _GAP, 4), "NOT FOR DIAGNOSIS", fill=(255, 190, 60), font=ImageFont.load_default(16), anchor="ra")
    x = width - _GAP
    for label, colour in reversed(COLOURS.items()):
        draw.text((x, 25), label.name, fill=colour, font=ImageFont.load_default(size=14), anchor="ra")
        x -= 44


def _draw_footer(draw: ImageDraw.ImageDraw, y: int, width: int) -> None:
    length = round(50 * _PIXELS_PER_MM)
    right, base = width - _GAP, y + 8
    draw.line([(right - length, base), (right, base)], fill=_TEXT, width=2)
    font = ImageFont.load_default(size=13)
    draw.text((right - length - 6, base), "50 mm", fill=_TEXT, font=font, anchor="rm")
    draw.text((_GAP, base), "radiological view: the patient's right is on the left", fill=_DIM, font=font, anchor="lm")
