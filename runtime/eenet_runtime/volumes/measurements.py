"""What is measured of a mask: volumes, and the two diameters by which neuro-oncology follows enhancing tumour.

Diameters follow P. Y. Wen et al., "Updated response assessment criteria for high-grade gliomas: RANO working group"
(J Clin Oncol 2010; 28:1963) and, for what is the same there, "RANO 2.0" (J Clin Oncol 2023; 41:5187): the longest
diameter of an enhancing lesion in an axial slice, and the longest at right angles to it in that slice. What the papers
leave to the eye is stated here, so that two runs agree; a reader may draw other lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.boxes import bounding_box, is_empty
from eenet_runtime.volumes.components import CORNERS, components
from eenet_runtime.volumes.diameters import FlatLesion
from eenet_runtime.volumes.grid import Grid, grid_in_network_axes, part_of_grid, to_network_axes
from eenet_runtime.volumes.labels import Label, Region

MEASURABLE_MM: Final = 10.0
"""Both diameters of a measurable lesion (Wen 2010)."""
THICK_MM: Final = 5.0
"""Above it, both must be twice the slices' thickness (Wen 2010)."""
_MEASURED_CLASSES: Final = (Label.NCR, Label.ED, Label.ET)

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Lesion:
    """The diameters of one enhancing lesion, in the slice where the first is longest.

    Attributes:
        longest_mm: the longest straight line between two points of the enhancing outline that stays inside the lesion.
        perpendicular_mm: the longest at right angles that crosses it and stays inside; 0 where there is none.
        longest, perpendicular: the ends of each, world millimetres (RAS).
        slices: in how many slices of the measuring plane it enhances.
        measurable: by the criteria, see `measure`.
    """

    longest_mm: float
    perpendicular_mm: float
    longest: tuple[Point, Point]
    perpendicular: tuple[Point, Point]
    slices: int
    measurable: bool

    @property
    def product_mm2(self) -> float:
        """Of the two diameters."""
        return self.longest_mm * self.perpendicular_mm


@dataclass(frozen=True)
class Measurements:
    """What `measure` found.

    Attributes:
        volumes_ml: by name: NCR, ED, ET, and the sums TC and WT.
        lesions: the enhancing lesions that may be measurable, the one with the largest product first; of smaller ones
            only the largest, where no other is there; empty where nothing enhances.
        tilt_degrees: angle between the plane in which diameters lie and the patient's axial plane.
    """

    volumes_ml: Mapping[str, float]
    lesions: tuple[Lesion, ...]
    tilt_degrees: float

    @property
    def largest(self) -> Lesion | None:
        """The lesion with the largest product; None where nothing enhances."""
        return self.lesions[0] if self.lesions else None

    @property
    def measurable(self) -> tuple[Lesion, ...]:
        """The lesions that are large enough to be followed."""
        return tuple(lesion for lesion in self.lesions if lesion.measurable)

    @property
    def sum_of_products_mm2(self) -> float:
        """Of all measurable lesions. The criteria follow a few chosen ones; which, is a reader's choice."""
        return sum((lesion.product_mm2 for lesion in self.measurable), 0.0)

    @property
    def empty(self) -> bool:
        """Whether there is no tumour at all."""
        return not self.volumes_ml[Region.WT.value]

    def as_json(self) -> dict[str, Any]:
        """For a report: plain numbers, millilitres and millimetres to three digits behind the point."""
        return {
            "volumes_ml": {name: round(volume, 3) for name, volume in self.volumes_ml.items()},
            "lesions": [
                {
                    "longest_mm": round(lesion.longest_mm, 3),
                    "perpendicular_mm": round(lesion.perpendicular_mm, 3),
                    "product_mm2": round(lesion.product_mm2, 3),
                    "measurable": lesion.measurable,
                    "longest": [[round(value, 3) for value in end] for end in lesion.longest],
                    "perpendicular": [[round(value, 3) for value in end] for end in lesion.perpendicular],
                }
                for lesion in self.lesions
            ],
            "sum_of_products_mm2": round(self.sum_of_products_mm2, 3),
            "plane_tilt_degrees": round(self.tilt_degrees, 2),
        }


def measure(labels: NDArray[np.uint8], grid: Grid) -> Measurements:
    """Measure a mask.

    A lesion is a connected piece (26 neighbours) of the tumour core with enhancing tumour in it. Diameters lie in the
    plane of the grid's own voxels that is nearest to axial; nothing is resampled. Lines end at the outline of enhancing
    tumour and may run through necrotic core and through whatever the lesion encloses in the slice: a ring is measured
    from outside to outside, necrosis included. A resection cavity is no class of the network; one that a rim encloses
    counts like necrosis, though the criteria leave cavities out.

    A lesion is measurable if both diameters are at least 10 mm, it enhances in two slices or more, and, where the
    longest side of a voxel is above 5 mm, both are twice that side.

    Args:
        labels: uint8 network classes, in the stored order of `grid`.
        grid: where they lie.
    """
    volumes = {label.name: int(np.count_nonzero(labels == label)) * grid.voxel_ml for label in _MEASURED_CLASSES}
    for region in (Region.TC, Region.WT):
        volumes[region.value] = sum(volumes[label.name] for label in region.labels)
    turned, turned_grid = to_network_axes(labels, grid), grid_in_network_axes(grid)
    box = bounding_box(turned)
    lesions: list[Lesion] = []
    if not is_empty(box):
        lesions = _lesions(turned[box], part_of_grid(turned_grid, box))
    return Measurements(volumes, tuple(lesions), _tilt_degrees(turned_grid))


def _lesions(labels: NDArray[np.uint8], grid: Grid) -> list[Lesion]:
    """In network axes: slices lie along the third."""
    numbered, _ = components(Region.TC.mask(labels), CORNERS)
    enhancing = labels == Label.ET
    places = np.argwhere(enhancing)
    if not len(places):
        return []
    numbers = numbered[enhancing].astype(np.intp)
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    pieces = np.split(places[order], starts[1:])
    plane = _plane_mm(grid)
    spans = [_span_mm(piece, plane) for piece in pieces]
    wanted = [index for index, span in enumerate(spans) if span >= MEASURABLE_MM]
    if not wanted:
        wanted = [int(np.argmax([len(piece) for piece in pieces]))]
    found = [
        _measured(numbered, enhancing, int(numbers[order[starts[index]]]), pieces[index], grid) for index in wanted
    ]
    return sorted(found, key=lambda lesion: -lesion.product_mm2)


def _measured(
    numbered: NDArray[np.unsignedinteger[Any]],
    enhancing: NDArray[np.bool_],
    number: int,
    places: NDArray[np.intp],
    grid: Grid,
) -> Lesion:
    plane = _plane_mm(grid)
    lesion = numbered == number
    window = bounding_box(lesion)[:2]
    corner = [part.start for part in window]
    levels = np.unique(places[:, 2])
    flats = {}
    for level in levels:
        body = lesion[(*window, level)]
        flats[int(level)] = FlatLesion(enhancing[(*window, level)] & body, body, plane)
    longest_mm, at, ends = 0.0, int(levels[0]), np.zeros((2, 2))
    for level, bound in sorted(((level, flat.bound_mm) for level, flat in flats.items()), key=lambda pair: -pair[1]):
        if bound <= longest_mm:
            break
        found = flats[level].longest(longest_mm)
        if found is not None:
            (longest_mm, ends), at = found, level
    perpendicular_mm, across = flats[at].across(ends)
    thick = max(grid.spacing_mm)
    least = max(MEASURABLE_MM, 2 * thick if thick > THICK_MM else 0.0)
    return Lesion(
        longest_mm,
        perpendicular_mm,
        _in_world(ends + corner, at, grid),
        _in_world(across + corner, at, grid),
        len(levels),
        min(longest_mm, perpendicular_mm) >= least and len(levels) > 1,
    )


def _plane_mm(grid: Grid) -> NDArray[np.float64]:
    """Steps along the first two axes in a right-angled frame of their plane, as columns; the axes need not be so."""
    axes = grid.affine[:3, :2]
    steps = np.linalg.qr(axes)[1]
    return np.asarray(steps)


def _span_mm(places: NDArray[np.intp], plane: NDArray[np.float64]) -> float:
    """No line in the plane between two of these voxels, seen from outside to outside, is longer."""
    corner = np.ptp(places[:, :2], axis=0) + 1.0
    return float(max(np.linalg.norm(plane @ corner), np.linalg.norm(plane @ (corner * [1, -1]))))


def _in_world(ends: NDArray[np.float64], level: int, grid: Grid) -> tuple[Point, Point]:
    first, second = (grid.affine @ [row, column, level, 1.0] for row, column in ends.tolist())
    return tuple(map(float, first[:3])), tuple(map(float, second[:3]))  # type: ignore[return-value]


def _tilt_degrees(grid: Grid) -> float:
    normal = np.cross(grid.affine[:3, 0], grid.affine[:3, 1])
    return float(np.degrees(np.arccos(min(1.0, abs(normal[2]) / np.linalg.norm(normal)))))
