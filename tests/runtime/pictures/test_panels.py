"""What the pictures of a slice share: outlines as wide as asked for, and letters on the sides they belong to."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from eenet_runtime.pictures.panels import PLANES, border, draw_letters, outline

COLOUR = (200, 100, 50)


def _mask(*rows: str) -> NDArray[np.bool_]:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def _lettered(*letters: str, size: int = 12, margins: tuple[int, int] = (4, 3)) -> NDArray[np.bool_]:
    """Where a black panel of 60 rows and 90 columns is no longer black."""
    panel = Image.new("RGB", (90, 60))
    left, right, top, bottom = letters
    draw_letters(panel, (left, right, top, bottom), size=size, margins=margins, colour=COLOUR)
    drawn: NDArray[np.bool_] = np.asarray(panel).max(axis=-1) > 0
    return drawn


def test_an_outline_is_the_rim_of_a_mask_and_neither_its_inside_nor_its_outside() -> None:
    mask = _mask(".......", ".#####.", ".#####.", ".#####.", ".......")
    assert np.array_equal(outline(mask), _mask(".......", ".#####.", ".#...#.", ".#####.", "......."))


def test_an_outline_may_be_wider() -> None:
    mask = np.zeros((11, 11), np.bool_)
    mask[1:10, 1:10] = True
    inside = np.zeros_like(mask)
    inside[3:8, 3:8] = True
    assert np.array_equal(outline(mask, width=2), mask & ~inside)


def test_pixels_that_meet_the_outside_at_a_corner_only_belong_to_the_second_ring() -> None:
    mask = np.ones((9, 9), np.bool_)
    mask[:4, :4] = False
    assert not outline(mask)[4, 4]
    assert outline(mask, width=2)[4, 4]


def test_the_edge_of_the_picture_counts_as_outside() -> None:
    assert np.array_equal(outline(np.ones((3, 4), np.bool_)), _mask("####", "#..#", "####"))


@pytest.mark.parametrize("fill", [True, False])
def test_nothing_and_a_single_pixel_have_the_outline_that_they_are(fill: bool) -> None:
    mask = np.zeros((3, 3), np.bool_)
    mask[1, 1] = fill
    assert np.array_equal(outline(mask), mask)


def test_the_mask_itself_is_left_as_it_was() -> None:
    mask = np.ones((4, 4), np.bool_)
    outline(mask, width=2)
    assert mask.all()


def test_letters_stand_at_their_sides_within_the_margins() -> None:
    for place in range(4):
        letters = [""] * 4
        letters[place] = "H"
        rows, columns = np.nonzero(_lettered(*letters, margins=(6, 5)))
        assert rows.size
        if place < 2:
            assert abs(rows.mean() - 29.5) < 2
            distance = columns.min() if place == 0 else 89 - columns.max()
            assert distance == pytest.approx(6, abs=2)
        else:
            assert abs(columns.mean() - 44.5) < 2
            distance = rows.min() if place == 2 else 59 - rows.max()
            assert distance == pytest.approx(5, abs=2)


def test_letters_grow_with_their_size_and_have_their_colour() -> None:
    heights = [np.ptp(np.nonzero(_lettered("H", "", "", "", size=size))[0]) + 1 for size in (12, 24)]
    assert heights[1] == pytest.approx(2 * heights[0], abs=2)
    panel = Image.new("RGB", (90, 60))
    draw_letters(panel, ("H", "", "", ""), size=24, margins=(4, 3), colour=COLOUR)
    assert (np.asarray(panel) == COLOUR).all(axis=-1).any()


def test_a_border_lies_around_a_mask_and_covers_nothing_of_it() -> None:
    mask = _mask(".......", ".......", "..##...", "..##...", ".......", ".......")
    assert np.array_equal(border(mask), _mask(".......", "..##...", ".#..#..", ".#..#..", "..##...", "......."))
    assert np.array_equal(
        border(mask, width=2), _mask("..##...", ".####..", "##..##.", "##..##.", ".####..", "..##...")
    )


def test_a_mask_that_runs_into_the_edge_has_no_border_there() -> None:
    assert not border(np.ones((3, 4), np.bool_)).any()
    assert np.array_equal(border(_mask("##..", "##..")), _mask("..#.", "..#."))


def test_planes_are_radiological() -> None:
    volume = np.zeros((3, 4, 5), np.uint8)  # To the back, to the left, to the top.
    volume[0, 3, 4] = 1
    spacing = (1.0, 2.0, 3.0)
    for plane, index, place, size in zip(PLANES, (4, 0, 3), ((0, 3), (0, 3), (0, 0)), (1, 2, 3), strict=True):
        picture = plane.slice_of(volume, index)
        assert tuple(np.argwhere(picture)[0]) == place, plane.name
        assert plane.pixel_size_mm(spacing) == {1: (1, 2), 2: (3, 2), 3: (3, 1)}[size]


def test_the_letters_say_where_the_sides_point() -> None:
    ends = {"A": (0, 0), "P": (0, -1), "R": (1, 0), "L": (1, -1), "I": (2, 0), "S": (2, -1)}
    for plane in PLANES:
        for letter, side in zip(plane.letters, ("left", "right", "top", "bottom"), strict=True):
            axis, end = ends[letter]
            volume = np.zeros((5, 6, 7), np.uint8)
            np.moveaxis(volume, axis, 0)[end] = 1
            picture = plane.slice_of(volume, 2)
            edges = {"left": picture[:, 0], "right": picture[:, -1], "top": picture[0], "bottom": picture[-1]}
            assert edges[side].all(), (plane.name, letter)
            assert np.count_nonzero(picture) == edges[side].size
