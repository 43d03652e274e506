"""What can be chosen about raw phantoms: motion, grids, coverage."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from eenet_train.phantom.settings import HARD, STANDARD, Difficulty, PhantomSettings


class Orientation(enum.StrEnum):
    """The plane of a series' slices."""

    AXIAL = "axial"
    SAGITTAL = "sagittal"
    CORONAL = "coronal"


@dataclass(frozen=True)
class Range:
    """Limits between which a number is drawn evenly; both the same: that number."""

    low: float
    high: float


@dataclass(frozen=True)
class Displacement:
    """A rigid displacement about the middle of the brain: turned about any axis, shifted along any direction.

    Attributes:
        degrees: by how much it is turned.
        mm: by how much the middle of the brain is shifted.
    """

    degrees: Range
    mm: Range


STILL: Final = Displacement(Range(0.0, 0.0), Range(0.0, 0.0))


@dataclass(frozen=True)
class Plan:
    """How one series is taken. What is None is drawn.

    Attributes:
        orientation: plane of the slices.
        in_plane_mm: edge of a pixel.
        spacing_mm: distance between the middles of two slices.
        thickness_mm: full width at half height of the slice profile; less than the spacing leaves gaps. None: a
            3D series has no gaps, a 2D one is drawn.
        tilt_degrees: angle between the slices and the scanner's plane, about a drawn axis.
        slab_mm: thickness of what is covered; None covers the whole brain.
        is_3d: slices without a profile, and a phase-encoded third axis.
    """

    orientation: Orientation | None = None
    in_plane_mm: float | None = None
    spacing_mm: float | None = None
    thickness_mm: float | None = None
    tilt_degrees: float | None = None
    slab_mm: float | None = None
    is_3d: bool | None = None


@dataclass(frozen=True)
class RawSettings:
    """Everything that can be chosen; the defaults are what the command line makes.

    Attributes:
        phantom: tumours and contrast, as for phantoms without a skull; thick slices are this module's own.
        voxel_mm: edge of the phantom's own voxels: 1, 2 or 4; what is coarser than 1 is for tests. Pixels and slices
            of the series grow with it.
        motion: how the head moves between the T1ce and each other series; the headers do not know.
        turn: by how much more the header of each other series is wrong, as if it had another frame of reference.
        slab_chance: chance that T2 or FLAIR, each, covers a slab only.
        slab_mm: thickness of such a slab.
        slice_mm: distance of the slices of 2D series.
        tilt_degrees: largest angle between slices and the scanner's planes.
        shading: largest standard deviation of the logarithm of the coils' shading.
    """

    phantom: PhantomSettings = field(default_factory=PhantomSettings)
    voxel_mm: int = 1
    motion: Displacement = Displacement(Range(0.0, 10.0), Range(0.0, 18.0))
    turn: Displacement = STILL
    slab_chance: float = 0.15
    slab_mm: Range = Range(33.0, 100.0)
    slice_mm: Range = Range(3.0, 6.0)
    tilt_degrees: float = 20.0
    shading: float = 0.15

    def __post_init__(self) -> None:
        if self.voxel_mm not in (1, 2, 4):
            raise ValueError(f"voxel_mm is {self.voxel_mm}, expected 1, 2 or 4")


RAW: Final = RawSettings()
SMALL: Final = RawSettings(voxel_mm=4)
"""For tests: a head in a fraction of a second."""


class RawSize(enum.StrEnum):
    """Sizes of raw phantoms by name."""

    FULL = "full"
    SMALL = "small"

    @property
    def voxel_mm(self) -> int:
        """Edge of the phantom's own voxels."""
        return {RawSize.FULL: 1, RawSize.SMALL: 4}[self]


def kind_of(settings: RawSettings) -> str:
    """What a phantom's name says about its settings: nothing, `Hard`, `Small`, or `Own` for all others."""
    names = {
        RawSettings(STANDARD): "",
        RawSettings(HARD): "Hard",
        RawSettings(STANDARD, voxel_mm=4): "Small",
        RawSettings(HARD, voxel_mm=4): "HardSmall",
    }
    return names.get(settings, "Own")


def raw_settings(difficulty: Difficulty, size: RawSize, turn: tuple[float, float]) -> RawSettings:
    """The settings that the command line's words stand for.

    Args:
        difficulty: tumours and contrast.
        size: of the voxels.
        turn: largest error of the headers, degrees and mm; it is drawn between nothing and this.
    """
    degrees, mm = turn
    return RawSettings(difficulty.settings, size.voxel_mm, turn=Displacement(Range(0.0, degrees), Range(0.0, mm)))
