"""One image plane: a classical file has one, a file of Enhanced MR many."""

from __future__ import annotations

from dataclasses import dataclass

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Frame:
    """Where one plane lies and how its stored values become real ones.

    Attributes:
        index: its place in its file, from 0.
        position: of the centre of its first voxel, DICOM's millimetres (LPS); None where it is missing.
        orientation: direction of a row and of a column, six cosines; None where it is missing.
        pixel_spacing: between rows and between columns, millimetres.
        slope, intercept: stored value times slope plus intercept is the real one.
        echo_time: milliseconds.
        stack: number of the stack that it belongs to, of Enhanced MR.
    """

    index: int
    position: Triple | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, float] | None
    slope: float
    intercept: float
    echo_time: float | None
    echo_number: int | None
    temporal_position: int | None
    b_value: float | None
    image_type: tuple[str, ...]
    slice_thickness: float | None = None
    stack: str = ""


def finite_triple(values: tuple[float, ...]) -> Triple | None:
    """Three numbers, or nothing."""
    return (values[0], values[1], values[2]) if len(values) == 3 else None
