"""Pictures of what the network sees, should find and finds: a look at a training while it runs.

For a case: T1ce above FLAIR, in an axial, a coronal and a sagittal slice, each with the outlines of the truth beside
those of the prediction. Drawn with Pillow alone; the same arrays give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eenet_runtime.files.atomic import make_output_folder, write_atomically
from eenet_runtime.pictures.colours import CLASS_COLOURS_ON_GREY
from eenet_runtime.pictures.panels import PLANES, Plane, enlarged, grey_levels, outline
from eenet_runtime.volumes.dice import dice_by_region
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Label, Modality, Region

_SHOWN: Final = (Modality.T1CE, Modality.FLAIR)
_PANEL: Final = 192
"""Pixels that the longer side of an axial slice is enlarged to, as far as whole pixels allow."""
_GAP: Final = 6
_HEADER: Final = 64
_FOOTER: Final = 24
_UNSAFE: Final = re.compile(r"[^\w.-]")
"""What not every file system takes in a name."""
_TEXT: Final = (235, 235, 235)
_DIM: Final = (150, 150, 150)


@dataclass(frozen=True)
class SampleCase:
    """One case, segmented, on the network's grid.

    Attributes:
        case_id: its name.
        volume: z-scored images, any float dtype (H, W, D, 4) in `CHANNEL_ORDER`, 0 outside the head.
        truth, predicted: network classes, uint8 (H, W, D).

    Raises:
        ValueError: arrays of other shapes.
    """

    case_id: str
    volume: NDArray[np.floating]
    truth: NDArray[np.uint8]
    predicted: NDArray[np.uint8]

    def __post_init__(self) -> None:
        expected = (*self.truth.shape, len(CHANNEL_ORDER))
        if self.truth.ndim != 3 or self.predicted.shape != self.truth.shape or self.volume.shape != expected:
            shapes = f"{self.volume.shape}, {self.truth.shape} and {self.predicted.shape}"
            raise ValueError(f"case {self.case_id}: shapes {shapes} found, expected (H, W, D, 4) and twice (H, W, D)")


def sample_picture(case: SampleCase) -> Image.Image:
    """Draw a case.

    Each plane is cut where the truth shows most tumour; the prediction decides where the truth has none, and the
    middle where neither has any.

    Returns:
        An RGB picture: for each plane a column with the truth and one with the prediction, for each modality a row;
        above them the Dice of the three regions.
    """
    centre = _centre(case)
    zoom = max(1, round(_PANEL / max(case.truth.shape[:2])))
    rows = []
    for modality in _SHOWN:
        image = np.asarray(case.volume[..., CHANNEL_ORDER.index(modality)], dtype=np.float32)
        window = _window(image)
        rows.append(
            [
                _panel(image, window, labels, plane, centre[plane.axis], zoom)
                for plane in PLANES
                for labels in (case.truth, case.predicted)
            ]
        )
    return _compose(case, rows)


def write_sample_pictures(folder: Path, epoch: int, cases: Iterable[SampleCase]) -> tuple[Path, ...]:
    """Write `epoch-0012-CASE.png` for each case; a picture that is there already is replaced.

    Args:
        folder: made if it is missing.
        epoch: counted from 1.
        cases: what to draw.

    Returns:
        The files, in the order of the cases.

    Raises:
        OutputError: a file cannot be written.
    """
    make_output_folder(folder)
    paths = []
    for case in cases:
        stream = io.BytesIO()
        sample_picture(case).save(stream, format="PNG", optimize=False, compress_level=3)
        path = folder / f"epoch-{epoch:04d}-{_UNSAFE.sub('_', case.case_id)}.png"
        write_atomically(path, stream.getvalue())
        paths.append(path)
    return tuple(paths)


def _centre(case: SampleCase) -> tuple[int, int, int]:
    """For each axis the slice with most tumour, or the middle one."""
    for labels in (case.truth, case.predicted):
        tumour = labels != Label.BACKGROUND
        if tumour.any():
            areas = [tumour.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
            return int(areas[0].argmax()), int(areas[1].argmax()), int(areas[2].argmax())
    height, width, depth = case.truth.shape
    return height // 2, width // 2, depth // 2


def _window(image: NDArray[np.float32]) -> tuple[float, float]:
    """Grey levels from the 1st to the 99.5th percentile of the head."""
    head = image[image != 0]
    if head.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(head, [1, 99.5])
    return float(low), float(high) if high > low else float(low) + 1.0


def _panel(
    image: NDArray[np.float32],
    window: tuple[float, float],
    labels: NDArray[np.uint8],
    plane: Plane,
    index: int,
    zoom: int,
) -> Image.Image:
    """One slice in grey with the outlines of the classes."""
    grey = grey_levels(plane.slice_of(image, index), window)
    pixels = np.array(enlarged(grey, (grey.shape[1] * zoom, grey.shape[0] * zoom)).convert("RGB"))
    classes = plane.slice_of(labels, index).repeat(zoom, axis=0).repeat(zoom, axis=1)
    for label, colour in CLASS_COLOURS_ON_GREY.items():
        pixels[outline(classes == label)] = colour
    return Image.fromarray(pixels)


def _compose(case: SampleCase, rows: list[list[Image.Image]]) -> Image.Image:
    widths = [panel.width for panel in rows[0]]
    heights = [max(panel.height for panel in row) for row in rows]
    size = (sum(widths) + _GAP * (len(widths) + 1), _HEADER + sum(heights) + _GAP * len(heights) + _FOOTER)
    canvas = Image.new("RGB", size)
    draw = ImageDraw.Draw(canvas)
    _draw_header(draw, case, size[0])
    font = ImageFont.load_default(size=12)
    x = _GAP
    for column, width in enumerate(widths):
        title = f"{PLANES[column // 2].name}, {'prediction' if column % 2 else 'truth'}"
        draw.text((x, _HEADER - 4), title, fill=_DIM, font=font, anchor="ls")
        y = _HEADER
        for modality, row, height in zip(_SHOWN, rows, heights, strict=True):
            canvas.paste(row[column], (x, y + (height - row[column].height) // 2))
            if column == 0:
                draw.text((x + 3, y + 3), modality.value.upper(), fill=_TEXT, font=font)
            y += height + _GAP
        x += width + _GAP
    view = "radiological view: the patient's right is on the left, the front at the top or on the left"
    draw.text((_GAP, size[1] - _FOOTER / 2), view, fill=_DIM, font=font, anchor="lm")
    return canvas


def _draw_header(draw: ImageDraw.ImageDraw, case: SampleCase, width: int) -> None:
    scores = dice_by_region(case.predicted, case.truth)
    text = "   ".join(f"{region.value} {scores[region]:.3f}" for region in Region)
    font = ImageFont.load_default(size=14)
    draw.text((_GAP, 4), case.case_id, fill=_TEXT, font=ImageFont.load_default(size=16))
    draw.text((_GAP, 26), f"Dice   {text}", fill=_TEXT, font=font)
    x = width - _GAP
    for label, colour in reversed(CLASS_COLOURS_ON_GREY.items()):
        draw.text((x, 26), label.name, fill=colour, font=font, anchor="ra")
        x -= 44
