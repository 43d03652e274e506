"""A picture of a mask: three planes through the largest lesion, over T1ce and FLAIR, for a quick look and nothing more.

What is written in it is ours: volumes, the model, the engine, what the checks suspect, and the case's name where the
caller gives one. No text of a header, no file name and no warning that might hold one gets there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cc3d
import numpy as np
from numpy.typing import NDArray

from eenet_runtime._version import __version__
from eenet_runtime.cases.missing_modality import missing_warnings
from eenet_runtime.pictures.panels import PLANES, Plane, border, enlarged, enlarged_classes, grey_levels
from eenet_runtime.pictures.region_lines import region_lines
from eenet_runtime.results.preview_sheet import BRAIN_LINE, Cell, SheetText, compose
from eenet_runtime.segmenter.preprocessor import PreprocessedCase
from eenet_runtime.segmenter.segmentation import Segmentation
from eenet_runtime.volumes.boxes import Box, bounding_box, is_empty, union, whole
from eenet_runtime.volumes.grid import Grid, network_spacing_mm, to_network_axes
from eenet_runtime.volumes.labels import Label, Modality, Region

_SHOWN: Final = {Modality.T1CE: "T1ce", Modality.FLAIR: "FLAIR"}
_ALL_SHOWN: Final = {Modality.T1: "T1", Modality.T1CE: "T1ce", Modality.T2: "T2", Modality.FLAIR: "FLAIR"}
"""Of a raw case: whether the series lie on each other can only be seen where all are shown."""
_LONGEST_SIDE: Final = 360
"""Pixels of the longest side of the head; `_LONGEST_SIDE_OF_FOUR` where four contrasts stand beside each other."""
_LONGEST_SIDE_OF_FOUR: Final = 300
_MOST_PIXELS_PER_MM: Final = 64.0
_MARGIN_MM: Final = 6.0
_LINE_WIDTH: Final = 2
_DASH: Final = 6
_SAMPLES: Final = 100
"""Voxels along an axis that are looked at to find the head and its grey levels; a picture needs no more."""
_OBLIQUE: Final = 0.02
"""Sine of the angle (1.1 degrees) from which an axis is said to be oblique."""

_SIDES: Final = ("RL", "AP", "SI")
"""Where the world's axes point, and where they come from."""

Triple = tuple[int, int, int]


def render_preview(segmentation: Segmentation, *, case_id: str = "") -> bytes:
    """Draw the preview of a segmentation.

    Args:
        segmentation: what to show.
        case_id: the name to write on it; by default none.

    Returns:
        The bytes of a PNG; the same arguments give the same bytes.
    """
    made = segmentation.provenance
    suspected = [finding for finding in segmentation.findings if finding.is_suspicion]
    counts = {"suspicion": len(suspected), "notice": len(segmentation.warnings) - len(suspected)}
    counted = " and ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in counts.items() if count)
    note = f"{made.bundle_name}, {made.backend}, {made.precision}{f'; {counted}: see the report' if counted else ''}"
    images = segmentation.images
    alerts = [f"suspicion: {words}" for words in dict.fromkeys(finding.in_short for finding in suspected)]
    alerts += [f"notice: {warning}" for warning in missing_warnings(images.missing)]
    head = segmentation.head
    if head is not None:
        from eenet_runtime.heads.target import inverse, nearest_labels

        reference, to_reference = head.reference.grid, inverse(head.reference_to_pose)
        return draw_preview(
            nearest_labels(segmentation.labels, reference, images.grid, to_reference),
            head.greys,
            images.grid,
            segmentation.volumes_ml,
            title=case_id,
            alerts=alerts,
            note=note,
            raw=RawView(head.brain, to_reference),
        )
    return draw_preview(
        segmentation.labels,
        {modality: volume.data for modality, volume in images.volumes.items()},
        images.grid,
        segmentation.volumes_ml,
        title=case_id,
        alerts=alerts,
        note=note,
    )


def render_brain(case: PreprocessedCase) -> bytes:
    """Draw the preview of a case for which no network was run: its contrasts, and the border of the brain mask.

    Returns:
        The bytes of a PNG; the same case gives the same bytes.
    """
    alerts = [f"suspicion: {finding.in_short}" for finding in case.findings if finding.is_suspicion]
    alerts += [f"notice: {words}" for words in missing_warnings(case.images.missing)]
    labels, raw = np.zeros(case.images.grid.shape, np.uint8), None
    images: Mapping[Modality, NDArray[np.generic]] = {name: v.data for name, v in case.images.volumes.items()}
    if case.head is not None:
        from eenet_runtime.heads.target import inverse

        images, raw = case.head.greys, RawView(case.head.brain, inverse(case.head.reference_to_pose))
    note = f"registered and stripped by eenet {__version__}, no model"
    found = list(dict.fromkeys(alerts))
    return draw_preview(labels, images, case.images.grid, {}, title=case.case_id, alerts=found, note=note, raw=raw)


@dataclass(frozen=True)
class RawView:
    """What the preview of a raw case shows besides: all contrasts as they were before the strip, and the brain mask.

    Attributes:
        brain: bool, the brain mask on the grid of the images.
        to_reference: float64 (4, 4), from the world of that grid to the T1ce's own, for the place that is written.
    """

    brain: NDArray[np.bool_]
    to_reference: NDArray[np.float64]


def draw_preview(
    labels: NDArray[np.uint8],
    images: Mapping[Modality, NDArray[np.generic]],
    grid: Grid,
    volumes_ml: Mapping[Region, float],
    *,
    title: str = "",
    alerts: Sequence[str] = (),
    note: str = "",
    raw: RawView | None = None,
) -> bytes:
    """Draw three planes through the largest lesion, or through the middle of the head where the mask is empty.

    Each plane is the slice that cuts most of the largest connected component (26 neighbours) of the whole tumour, its
    core counted twice and its enhancing part three times. Lines run just outside of the regions, so that they cover
    nothing of what they enclose; where two run together they take turns. Voxels keep their proportions, and the
    lines follow the mask's own edges: nothing is smoothed.

    Args:
        labels: uint8 network classes, stored axis order of `grid`.
        images: T1ce and FLAIR on the same grid; one that is missing or holds only zeros is named as not given.
        grid: where they lie.
        volumes_ml: of the three regions; empty where nothing was segmented.
        title: written at the top.
        alerts: short lines that nobody should overlook, written under the legend; an empty mask adds one.
        note: written at the foot.
        raw: of a raw case; then all four contrasts are shown, one beside the other, with the brain mask's border.

    Returns:
        The bytes of a PNG, about 1000 pixels wide; the same arguments give the same bytes.
    """
    mask = to_network_axes(labels, grid)
    names = _SHOWN if raw is None else _ALL_SHOWN
    brain = None if raw is None else to_network_axes(raw.brain, grid)
    shown = {name: to_network_axes(images[name], grid) if name in images else None for name in names}
    longest = _LONGEST_SIDE if raw is None else _LONGEST_SIDE_OF_FOUR
    there = [image for image in shown.values() if image is not None]
    view = _choose_view(mask, there, network_spacing_mm(grid), longest)
    rows, titles = [], []
    for name, image in shown.items():
        window = None if image is None else _window(image)
        titles.append(names[name] if window else f"{names[name]} not given")
        rows.append([_cell(plane, image if window else None, window or (0, 1), mask, view, brain) for plane in PLANES])
    columns = [plane.name for plane in PLANES]
    alerts = [*alerts, *([] if mask.any() or not volumes_ml else ["notice: no tumour found, the mask is empty"])]
    notes = [*_orientation(grid, view.centre, np.eye(4) if raw is None else raw.to_reference), note]
    if raw is not None:
        # A contrast in each column: an eye that goes along a row sees whether they lie on each other.
        rows, columns, titles = [list(row) for row in zip(*rows, strict=True)], titles, columns
    text = SheetText(volumes_ml, columns, titles, title, alerts, notes, raw is not None)
    return compose(rows, text, view.pixels_per_mm)


@dataclass(frozen=True)
class _View:
    """Which voxels are shown, and how large.

    Attributes:
        box: the part of the volume that the panels show, network axes.
        centre: voxel in which the planes meet.
        spacing: voxel size along the three axes, in millimetres.
        pixels_per_mm: of all panels.
    """

    box: Box
    centre: Triple
    spacing: tuple[float, float, float]
    pixels_per_mm: float


def _choose_view(
    mask: NDArray[np.uint8],
    images: list[NDArray[np.generic]],
    spacing: tuple[float, float, float],
    longest_side: int,
) -> _View:
    lesion = bounding_box(mask)
    # Around the head where the background is 0; a picture of a noisy background shows all of it.
    found = [part for part in (lesion, *map(_head_box, images)) if not is_empty(part)]
    everything = whole(mask.shape)
    box = _with_margin(union(found or [everything]), spacing, mask.shape)
    centre = _middle(box) if is_empty(lesion) else _lesion_centre(mask, lesion)
    longest = max((part.stop - part.start) * size for part, size in zip(box, spacing, strict=True))
    return _View(box, centre, spacing, min(longest_side / longest, _MOST_PIXELS_PER_MM))


def _middle(box: Box) -> Triple:
    first, second, third = ((part.start + part.stop) // 2 for part in box)
    return first, second, third


def _lesion_centre(mask: NDArray[np.uint8], box: Box) -> Triple:
    """For each axis the slice that cuts most of the largest component, which lies in the box."""
    labels = mask[box]
    pieces = cc3d.connected_components(np.ascontiguousarray(labels != Label.BACKGROUND), connectivity=26)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    # A voxel counts for each region that it belongs to, so that planes go through the core rather than past it.
    weights = np.array([sum(label in region.labels for region in Region) for label in Label])
    regions = np.where(pieces == sizes.argmax(), weights[labels], 0)
    places = []
    for axis, part in enumerate(box):
        areas = regions.sum(axis=tuple(other for other in range(3) if other != axis))
        best = np.flatnonzero(areas == areas.max())
        places.append(part.start + int(best[best.size // 2]))
    return places[0], places[1], places[2]


def _head_box(image: NDArray[np.generic]) -> Box:
    """Where an image is not 0, or a few voxels more."""
    steps = _steps(image)
    axes = [
        slice(max(0, (part.start - 1) * step + 1), min(size, part.stop * step)) if part.stop else part
        for part, step, size in zip(bounding_box(_sample(image)), steps, image.shape, strict=True)
    ]
    return axes[0], axes[1], axes[2]


def _with_margin(box: Box, spacing: tuple[float, float, float], shape: tuple[int, ...]) -> Box:
    margins = [round(_MARGIN_MM / size) for size in spacing]
    first, second, third = (
        slice(max(0, part.start - margin), min(length, part.stop + margin))
        for part, margin, length in zip(box, margins, shape, strict=True)
    )
    return first, second, third


def _sample(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Every n-th voxel along each axis, so that about `_SAMPLES` remain."""
    return image[tuple(slice(None, None, step) for step in _steps(image))]


def _steps(image: NDArray[np.generic]) -> list[int]:
    return [max(1, size // _SAMPLES) for size in image.shape]


def _window(image: NDArray[np.generic]) -> tuple[float, float] | None:
    """Grey levels from the 1st to the 99.5th percentile of the head; None for an image of zeros."""
    sample = _sample(image)
    head = sample[sample != 0]
    if head.size == 0:
        head = image[image != 0]
        if head.size == 0:
            return None
    low, high = (float(level) for level in np.percentile(head.astype(np.float32), [1, 99.5]))
    low = min(low, 0.0)
    return low, high if high > low else low + 1.0


def _cell(
    plane: Plane,
    image: NDArray[np.generic] | None,
    window: tuple[float, float],
    mask: NDArray[np.uint8],
    view: _View,
    brain: NDArray[np.bool_] | None,
) -> Cell:
    """One slice in grey, enlarged, and the lines of the regions and of the brain mask."""
    index = view.centre[plane.axis] - view.box[plane.axis].start
    labels = plane.slice_of(mask[view.box], index)
    height_mm, width_mm = plane.pixel_size_mm(view.spacing)
    rows, columns = labels.shape
    size = (
        max(1, round(columns * width_mm * view.pixels_per_mm)),
        max(1, round(rows * height_mm * view.pixels_per_mm)),
    )
    grey = np.zeros((rows, columns), np.uint8)
    if image is not None:
        grey = grey_levels(plane.slice_of(image[view.box], index), window)
    lines = region_lines(enlarged_classes(labels, size), _LINE_WIDTH, _DASH)
    if brain is not None:
        edge = border(enlarged_classes(plane.slice_of(brain[view.box], index), size) > 0)
        lines[edge & (lines == 0)] = BRAIN_LINE
    return Cell(np.asarray(enlarged(grey, size)), lines, plane.letters)


def _orientation(grid: Grid, centre: Triple, to_world: NDArray[np.float64]) -> list[str]:
    """What the letters mean, and where the planes lie in the world of the mask's file."""
    notes = "radiological convention: the patient's right is on the left of the picture"
    directions = grid.affine[:3, :3] / np.array(grid.spacing_mm)
    if np.sort(np.abs(directions), axis=0)[1].max() > _OBLIQUE:
        notes += "; the grid is oblique, letters name the nearest axes"
    lines = np.ogrid[tuple(slice(0, size) for size in grid.shape)]
    stored = [float(to_network_axes(np.broadcast_to(line, grid.shape), grid)[centre]) for line in lines]
    world = (to_world @ grid.affine @ [*stored, 1.0])[:3].tolist()
    point = ", ".join(f"{sides[value < 0]} {abs(value):.0f}" for sides, value in zip(_SIDES, world, strict=True))
    return [notes, f"the planes meet at {point} mm"]
