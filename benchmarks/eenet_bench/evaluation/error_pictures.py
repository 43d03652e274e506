"""Pictures of the worst cases: three planes through the largest error, with the outlines of truth and prediction."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cc3d
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eenet_bench.evaluation.evaluate import CaseEvaluation, read_mask_and_truth
from eenet_bench.evaluation.truth import TrueLabel, find_truth
from eenet_runtime.cases.preprocessing import read_case
from eenet_runtime.errors import CaseError
from eenet_runtime.pictures.colours import PREDICTION_COLOUR, TRUTH_COLOUR
from eenet_runtime.pictures.panels import PLANES, Plane, draw_letters, enlarged, enlarged_classes, outline
from eenet_runtime.volumes.grid import network_spacing_mm, to_network_axes
from eenet_runtime.volumes.labels import LabelScheme, Modality, Region

_WINDOW_MM: Final = 140.0
_PIXELS_PER_MM: Final = 2.2
_GAP: Final = 4
_NO_IMAGE: Final = 40
_LETTER: Final = (200, 200, 200)
_UNDERLAY: Final = {Region.ET: Modality.T1CE, Region.TC: Modality.T1CE, Region.WT: Modality.FLAIR}
"""The image in which a region's edge is best seen."""


@dataclass(frozen=True)
class ErrorPicture:
    """One case on the page.

    Attributes:
        case_id: the case.
        region: the region that is outlined, the one with the case's lowest Dice.
        caption: its figures, and where the planes lie.
        alt: what the picture shows, for those who cannot see it.
        png: the picture's bytes.
    """

    case_id: str
    region: Region
    caption: str
    alt: str
    png: bytes


def worst_case_pictures(
    predictions: Path,
    truth: Path,
    results: Sequence[CaseEvaluation],
    *,
    scheme: LabelScheme | None = None,
    count: int = 4,
) -> list[ErrorPicture]:
    """Draw the cases of the lowest mean Dice over ET, TC and WT, the lowest first; a case without an error is left out.

    Args:
        predictions, truth, scheme: as for `evaluate_folder`.
        results: what it returned for them.
        count: how many cases to draw at most.

    Raises:
        DatasetError: a folder is missing, or `truth` holds no label.
    """
    labels = {label.case_id: label for label in find_truth(truth).labels}
    done = [result for result in results if not result.reason and result.case_id in labels]
    pictures = []
    for result in sorted(done, key=_mean_dice)[:count]:
        region = min(Region, key=lambda region: result.regions[region.value].dice)
        if result.regions[region.value].dice < 1:
            try:
                pictures.append(_picture(predictions, labels[result.case_id], result, region, scheme))
            except CaseError:
                # The case could be read a moment ago. A page without its picture is better than no page.
                continue
    return pictures


def render_error(
    image: NDArray[np.generic] | None,
    mask: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    centre: tuple[int, int, int],
) -> bytes:
    """Draw three planes side by side.

    Args:
        image: what to show underneath, None for plain grey; like the masks (P, L, S), the network's axes.
        mask, truth: the prediction and the truth of one region.
        spacing_mm: voxel size along the three axes.
        centre: voxel through which the planes go.

    Returns:
        The bytes of a PNG; the same arguments give the same picture.
    """
    grey = np.full(mask.shape, _NO_IMAGE, np.uint8) if image is None else _grey_levels(image)
    panels = [_panel(plane, (grey, mask, truth), spacing_mm, centre) for plane in PLANES]
    width = sum(panel.width for panel in panels) + _GAP * (len(panels) - 1)
    canvas = Image.new("RGB", (width, max(panel.height for panel in panels)), (255, 255, 255))
    left = 0
    for panel in panels:
        canvas.paste(panel, (left, 0))
        left += panel.width + _GAP
    stream = io.BytesIO()
    canvas.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def largest_error_centre(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[int, int, int]:
    """For each axis the slice that cuts most of the largest connected error (26 neighbours); there must be one."""
    wrong = np.ascontiguousarray(mask != truth)
    pieces = cc3d.connected_components(wrong, connectivity=26)
    largest = pieces == int(np.bincount(pieces[wrong]).argmax())
    areas = [largest.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    return int(areas[0].argmax()), int(areas[1].argmax()), int(areas[2].argmax())


def _mean_dice(result: CaseEvaluation) -> float:
    return sum(result.regions[region.value].dice for region in Region) / len(Region)


def _picture(
    predictions: Path, case: TrueLabel, result: CaseEvaluation, region: Region, scheme: LabelScheme | None
) -> ErrorPicture:
    pair = read_mask_and_truth(predictions, case, scheme)
    mask, truth = (to_network_axes(region.mask(labels), pair.grid) for labels in (pair.mask, pair.truth))
    image = _underlay(case, _UNDERLAY[region], mask.shape)
    centre = largest_error_centre(mask, truth)
    png = render_error(image, mask, truth, network_spacing_mm(pair.grid), centre)
    metrics = result.regions[region.value]
    background = "no image" if image is None else _UNDERLAY[region].value.upper()
    caption = (
        f"{region.value}: Dice {metrics.dice:.3f}, HD95 {_millimetres(metrics.pooled_hd95_mm)} pooled, "
        f"{_millimetres(metrics.directed_hd95_mm)} directed; mean Dice {_mean_dice(result):.3f}; "
        f"{background}, {', '.join(plane.name for plane in PLANES)}"
    )
    alt = (
        f"Axial, coronal and sagittal slices of case {case.case_id} through the largest error of {region.value}, "
        "with the outlines of the truth (blue) and of the prediction (orange, dashed)"
    )
    return ErrorPicture(case.case_id, region, caption, alt, png)


def _millimetres(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} mm"


def _underlay(case: TrueLabel, modality: Modality, shape: tuple[int, ...]) -> NDArray[np.generic] | None:
    """The image in network axes; None where there is none on the labels' grid."""
    if case.files is None:
        return None
    try:
        images = read_case(case.files)
    except CaseError:
        # The masks were compared without the images; a damaged image takes only the background from the picture.
        return None
    image = to_network_axes(images.volumes[modality].data, images.grid)
    return image if image.shape == shape else None


def _grey_levels(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Grey from 0 at the head's 1st percentile to 255 at its 99.5th."""
    values = np.nan_to_num(image.astype(np.float32), posinf=0, neginf=0)
    head = values[values != 0]
    low, high = np.percentile(head, [1, 99.5]) if head.size else (0.0, 1.0)
    low = min(float(low), 0.0)
    scaled = (values - low) / max(float(high) - low, 1e-6) * 255
    levels: NDArray[np.uint8] = np.clip(scaled, 0, 255).astype(np.uint8)
    return levels


def _panel(
    plane: Plane,
    volumes: tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]],
    spacing_mm: tuple[float, float, float],
    centre: tuple[int, int, int],
) -> Image.Image:
    """One plane: the part of the slice around the centre, enlarged."""
    voxels = [round(_WINDOW_MM / 2 / size) for size in spacing_mm]
    window = tuple(slice(max(0, middle - half), middle + half + 1) for middle, half in zip(centre, voxels, strict=True))
    index = centre[plane.axis] - window[plane.axis].start
    grey, mask, truth = (plane.slice_of(volume[window], index) for volume in volumes)
    height_mm, width_mm = plane.pixel_size_mm(spacing_mm)
    rows, columns = grey.shape
    size = (max(1, round(columns * width_mm * _PIXELS_PER_MM)), max(1, round(rows * height_mm * _PIXELS_PER_MM)))
    pixels = np.array(enlarged(grey.astype(np.uint8), size).convert("RGB"))
    # The second outline is dashed as well, so that neither colour nor memory is needed where the two meet.
    found, true = (outline(enlarged_classes(part, size) != 0, width=2) for part in (mask, truth))
    dashes = np.add.outer(np.arange(size[1]), np.arange(size[0])) // 5 % 2 == 0
    pixels[true] = TRUTH_COLOUR
    # Dashes leave the truth's line to be seen between them where the two meet.
    pixels[found & dashes] = PREDICTION_COLOUR
    panel = Image.fromarray(pixels)
    draw_letters(panel, plane.letters, size=12, margins=(3, 2), colour=_LETTER)
    return panel
