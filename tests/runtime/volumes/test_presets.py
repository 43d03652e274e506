"""Geometries that work, and the reason why others cannot."""

from __future__ import annotations

import pytest

from eenet_runtime.errors import GeometryError
from eenet_runtime.volumes.presets import PRESETS, GeometryPreset, preset_by_name


def test_the_three_presets_are_those_of_the_paper_the_code_and_ours() -> None:
    assert {name: (preset.shape, preset.spacing_mm, preset.depth_strides) for name, preset in PRESETS.items()} == {
        "eenet-144": ((192, 160, 144), 1.0, (3, 4, 4)),
        "eenet-108": ((192, 160, 108), 1.0, (3, 4, 3)),
        "eenet-fast": ((96, 96, 72), 2.0, (3, 4, 2)),
    }


@pytest.mark.parametrize(
    ("shape", "spacing", "strides", "reason"),
    [
        ((96, 80, 72), 2.0, (3, 4, 2), "W = 80 is not a multiple of 32 .* try 96"),
        ((100, 96, 72), 2.0, (3, 4, 2), "H = 100 is not a multiple of 32 .* try 128"),
        ((192, 160, 108), 1.0, (3, 4, 4), "D = 108 .* need D = 144"),
        ((192, 160, 0), 1.0, (3, 4, 4), "expected three positive sizes"),
        ((192, 160, 144), 1.0, (3, 4, 0), "expected three positive integers"),
        ((192, 160, 144), 0.0, (3, 4, 4), "expected a positive number"),
        ((192, 160, 144), float("nan"), (3, 4, 4), "expected a positive number"),
    ],
)
def test_an_impossible_geometry_is_refused_with_the_reason(
    shape: tuple[int, int, int], spacing: float, strides: tuple[int, int, int], reason: str
) -> None:
    with pytest.raises(GeometryError, match=reason):
        GeometryPreset("wrong", shape, spacing, strides)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(GeometryError, match="eenet-144, eenet-108, eenet-fast"):
        preset_by_name("eenet-200")
