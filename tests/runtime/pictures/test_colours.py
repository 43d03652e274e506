"""Colours, and what is drawn with them: one place for all rooms."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from eenet_runtime.pictures.colours import BLUE, RUN_COLOURS, VERMILION, css
from eenet_runtime.pictures.panels import enlarged_classes, grey_levels
from tests.places import ROOT


def test_css_writes_a_colour_as_pages_need_it() -> None:
    assert (css(VERMILION), css(BLUE), css((0, 0, 9))) == ("#d55e00", "#0072b2", "#000009")


def test_no_two_runs_have_one_colour() -> None:
    assert len(set(RUN_COLOURS)) == len(RUN_COLOURS) == 8


def test_zero_is_black_whatever_the_window_and_the_rest_follows_it() -> None:
    cut = np.array([[0.0, -2.0, -1.0], [1.0, 2.0, 99.0]])
    assert grey_levels(cut, (-2.0, 2.0)).tolist() == [[0, 0, 63], [191, 255, 255]]


def test_classes_are_enlarged_without_new_values() -> None:
    classes = np.array([[0, 3], [1, 2]])
    assert enlarged_classes(classes, (4, 2)).tolist() == [[0, 0, 3, 3], [1, 1, 2, 2]]


@pytest.mark.parametrize("room", ["train/eenet_train", "benchmarks/eenet_bench", "export/eenet_export"])
def test_other_rooms_write_no_colour_that_has_a_name(room: str) -> None:
    named = re.compile("|".join(css(colour) for colour in RUN_COLOURS[:6]))
    files = list((ROOT / room).rglob("*.py"))
    assert len(files) > 5
    assert [path.name for path in files if named.search(path.read_text(encoding="utf-8"))] == []


def test_importing_the_runtime_imports_no_pillow() -> None:
    code = "import sys, eenet_runtime; sys.exit(any(name.partition('.')[0] == 'PIL' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
