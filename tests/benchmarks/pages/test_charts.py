"""Charts of the pages on performance."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from eenet_bench.pages.charts import Axis, Bar, Series, draw_bars, draw_points
from eenet_runtime.pictures.colours import RUN_COLOURS


def pixels_of(png: bytes, colour: tuple[int, ...]) -> int:
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    return int(np.count_nonzero((picture == colour).all(axis=-1)))


def test_a_bar_of_twice_the_length_has_twice_the_colour() -> None:
    def drawn(length: float) -> int:
        bars = [Bar("long", {"a": 0.0, "b": 10.0}), Bar("short", {"a": length, "b": 0.0})]
        return pixels_of(draw_bars("t", bars), RUN_COLOURS[0])

    legend = drawn(0.0)
    assert 1.9 < (drawn(8.0) - legend) / (drawn(4.0) - legend) < 2.1


def test_points_of_every_series_are_drawn_and_the_same_data_give_the_same_picture() -> None:
    series = [
        Series("one", [(1, 10), (100, 2000)]),
        Series("two", [(5, 300), (8, 200)], joined=False, labels=["300", "200"]),
    ]
    pictures = [draw_points("t", Axis("x", True), Axis("y", True), series) for _ in range(2)]
    assert pictures[0] == pictures[1]
    assert all(pixels_of(pictures[0], RUN_COLOURS[index]) > 5 for index in range(2))


def test_linear_axes_hold_all_points() -> None:
    for largest in (0.003, 0.7, 1.0, 4.424, 99.0, 101.0):
        assert draw_points("t", Axis("x"), Axis("y"), [Series("one", [(largest, largest)])])[:4] == b"\x89PNG"


def test_a_bar_has_its_note_behind_it() -> None:
    bare, noted = (draw_bars("t", [Bar("one", {"a": 5.0}, note)]) for note in ("", "12.3 s"))
    changed = np.any(
        [np.asarray(Image.open(io.BytesIO(bare))) != np.asarray(Image.open(io.BytesIO(noted)))], axis=(0, -1)
    )
    rows, columns = np.nonzero(changed)
    assert 20 < columns.max() - columns.min() < 80
    assert 5 < rows.max() - rows.min() < 20
