"""Series: files with one Series Instance UID, parted where a scanner put several images into one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Final

from eenet_runtime.dicom.frame import Frame
from eenet_runtime.dicom.geometry import StackGeometry, stack_geometry
from eenet_runtime.dicom.instance import Instance
from eenet_runtime.errors import CaseError

_MOST_VOXELS: Final = 1 << 28
_LONGEST_AXIS: Final = 2048


@dataclass(frozen=True)
class Slice:
    """A frame and the file that it lies in."""

    instance: Instance
    frame: Frame

    @property
    def name(self) -> str:
        """What a message calls it: numbers only, for names and identifiers are the patient's."""
        number = "?" if self.instance.instance_number is None else str(self.instance.instance_number)
        return f"slice {number}" if len(self.instance.frames) == 1 else f"frame {self.frame.index + 1} of file {number}"


@dataclass(frozen=True)
class Series:
    """One image of a series: the series itself, or a part of one that holds several.

    Attributes:
        slices: in no order that means anything; `geometry` has theirs.
        part, parts: which of how many images of the series, from 1.
    """

    slices: tuple[Slice, ...]
    part: int = 1
    parts: int = 1

    @property
    def first(self) -> Instance:
        """The file whose header speaks for the series."""
        return self.slices[0].instance

    @property
    def uid(self) -> str:
        """Series Instance UID."""
        return self.first.series_uid

    @property
    def label(self) -> str:
        """Its number, and the part: `5`, `5/2`; unique in most studies, and names nobody."""
        number = "?" if self.first.series_number is None else str(self.first.series_number)
        return number if self.parts == 1 else f"{number}/{self.part}"

    @property
    def source(self) -> str:
        """What messages call it."""
        return f"series {self.label}"

    @cached_property
    def geometry_or_obstacle(self) -> StackGeometry | str:
        """Where it lies, or why that cannot be told, in words that name the slice."""
        try:
            return self._geometry()
        except CaseError as error:
            return str(error)

    @property
    def geometry(self) -> StackGeometry:
        """Where it lies.

        Raises:
            CaseError: its slices are no regular stack.
        """
        found = self.geometry_or_obstacle
        if isinstance(found, str):
            raise CaseError(found, code="irregular-slices")
        return found

    def _geometry(self) -> StackGeometry:
        pixels = self.first.pixels
        rows, columns = pixels.rows, pixels.columns
        if not (0 < rows <= _LONGEST_AXIS and 0 < columns <= _LONGEST_AXIS):
            raise CaseError(
                f"{self.source}: slices of {columns} x {rows} voxels, expected at most {_LONGEST_AXIS}",
                code="irregular-slices",
            )
        if rows * columns * len(self.slices) > _MOST_VOXELS:
            raise CaseError(
                f"{self.source}: more than {_MOST_VOXELS} voxels announced, expected a head", code="irregular-slices"
            )
        frames = [piece.frame for piece in self.slices]
        return stack_geometry(frames, [piece.name for piece in self.slices], rows, columns, self.source)


def series_of(instances: Iterable[Instance]) -> tuple[Series, ...]:
    """Group files into series and part those that hold several images.

    Parted at once by what makes an image of its own: size and format of the pixels, kind of image (magnitude, phase),
    echo, b-value, time point. By acquisition, then by time, only where slices lie twice at one place: some scanners
    count the packages of one image as acquisitions.
    """
    found = []
    ordered = sorted(instances, key=lambda instance: (instance.series_uid, instance.instance_number or 0))
    for _, group in groupby(ordered, key=lambda instance: instance.series_uid):
        slices = [Slice(instance, frame) for instance in group for frame in instance.frames]
        parts = [part for image in _parted(slices, _image_of) for part in _without_repeats(image)]
        found += [Series(tuple(part), number, len(parts)) for number, part in enumerate(parts, 1)]
    return tuple(sorted(found, key=lambda series: (series.first.time, series.first.series_number or 0, series.part)))


def _image_of(piece: Slice) -> tuple[Any, ...]:
    frame = piece.frame
    return (
        _sortable(piece.instance.pixels),
        frame.image_type,
        -1 if frame.echo_number is None else frame.echo_number,
        -1.0 if frame.echo_time is None else round(frame.echo_time, 2),
        -1.0 if frame.b_value is None else frame.b_value,
        -1 if frame.temporal_position is None else frame.temporal_position,
    )


def _without_repeats(slices: list[Slice]) -> list[list[Slice]]:
    """The slices as they are if no two lie at one place; else parted so that none do, if there is a way."""
    if not _has_repeats(slices):
        return [slices]
    ways: tuple[Callable[[Slice], Any], ...] = (
        lambda piece: piece.instance.acquisition_number or 0,
        lambda piece: piece.instance.time,
    )
    for way in ways:
        parts = _parted(slices, way)
        if len(parts) > 1 and not any(_has_repeats(part) for part in parts):
            return parts
    return [slices]


def _has_repeats(slices: Sequence[Slice]) -> bool:
    places = [tuple(round(x, 2) for x in piece.frame.position) for piece in slices if piece.frame.position]
    return len(set(places)) < len(places)


def _parted(slices: Iterable[Slice], key: Callable[[Slice], Any]) -> list[list[Slice]]:
    return [list(part) for _, part in groupby(sorted(slices, key=key), key=key)]


def _sortable(pixels: object) -> tuple[Any, ...]:
    return tuple(vars(pixels).values())
