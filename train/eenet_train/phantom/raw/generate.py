"""One raw phantom from a seed and an index: four series in memory, and the truth about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.files.nifti import Volume
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Label, Modality
from eenet_train.phantom.fields import Float3D
from eenet_train.phantom.raw.acquire import digitise, sample, shade, window_of
from eenet_train.phantom.raw.geometry import (
    Matrix,
    about,
    inverse,
    move,
    random_direction,
    random_displacement,
    rotation_about,
)
from eenet_train.phantom.raw.protocol import Taken, take
from eenet_train.phantom.raw.scene import Scene, make_scene
from eenet_train.phantom.raw.settings import RAW, Plan, RawSettings, kind_of

_ORIGIN = np.zeros(3)


@dataclass(frozen=True)
class Series:
    """One series and the truth about it.

    Attributes:
        stored: int16 as in the file; a value is `stored * slope + intercept`.
        slope, intercept: the header's.
        taken: orientation, spacing, coverage; its `grid` is where the scanner's header would put it, `grid` of this
            class what the file says.
        grid: of the file.
        brain: voxels of which at least half is brain, bool, on `grid`.
        labels: network class that most of each voxel is, uint8, on `grid`.
        t1ce_to_series: T1ce's world to this series' world, mm, RAS; identity for the T1ce itself.
        phantom_to_series: the phantom's own world to this series' world.
        brain_covered: share of the brain that lies in the field of view.
        motion: the part of `t1ce_to_series` that is the head's motion in the scanner; the rest is the header's `turn`.
    """

    stored: NDArray[np.int16]
    slope: float
    intercept: float
    taken: Taken
    grid: Grid
    brain: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    t1ce_to_series: Matrix
    phantom_to_series: Matrix
    brain_covered: float
    motion: Matrix

    def header(self) -> nib.Nifti1Header:
        """qform and sform of the grid with code 1 (the scanner's), millimetres, slope and intercept."""
        header = nib.Nifti1Header()
        header.set_data_dtype(np.int16)
        header.set_data_shape(self.grid.shape)
        header.set_qform(self.grid.affine, code=1)
        header.set_sform(self.grid.affine, code=1)
        header.set_xyzt_units("mm")
        header["scl_slope"], header["scl_inter"] = self.slope, self.intercept
        return header

    def volume(self, source: str) -> Volume:
        """The series as `eenet_runtime.files.nifti.read_volume` would return it from its file."""
        data: NDArray[np.generic] = np.asfortranarray(self.stored)
        if (self.slope, self.intercept) != (1.0, 0.0):
            data = np.multiply(data, np.float32(self.slope), dtype=np.float32) + np.float32(self.intercept)
        return Volume(source, data, self.grid, self.header())


@dataclass(frozen=True)
class RawPhantom:
    """Four series of one head.

    Attributes:
        case_id: a name that tells seed and index.
        series: for each modality.
        grid: the phantom's own: axes to the left, to the back and up, its world's origin in the middle of the brain.
        brain: bool on `grid`.
        labels: network classes on `grid`, uint8.
        tissue: what each voxel around the brain mostly is (`raw.anatomy.Tissue`), uint8 on `grid`.
    """

    case_id: str
    series: dict[Modality, Series]
    grid: Grid
    brain: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    tissue: NDArray[np.uint8]

    def volume(self, modality: Modality) -> Volume:
        """One series as a reader returns it."""
        return self.series[modality].volume(f"{self.case_id}_{modality.value}")

    @property
    def volumes(self) -> dict[Modality, Volume]:
        """The four series as a reader returns them."""
        return {modality: self.volume(modality) for modality in self.series}


def raw_case_id(seed: int, index: int, settings: RawSettings = RAW) -> str:
    """`PhantomRaw_<seed>_<index>`; `PhantomRawSmall_...`, `PhantomRawHard_...`, others `PhantomRawOwn_...`."""
    return f"PhantomRaw{kind_of(settings)}_{seed:04d}_{index:04d}"


def make_raw_phantom(
    seed: int, index: int, settings: RawSettings = RAW, plans: Mapping[Modality, Plan] | None = None
) -> RawPhantom:
    """Make one raw phantom; it depends on the arguments only.

    Args:
        seed: of the whole set, 0 or above.
        index: number of the case in the set, 0 or above.
        settings: kind of phantom, motion, limits of the grids.
        plans: what is fixed about single series, for tests.

    Raises:
        EENetError: nilearn, which brings the template, is not installed.
        ValueError: a negative seed or index.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed {seed} and index {index} must not be negative")
    # One stream for each step, and none that phantoms without a skull use: another person under the same seed.
    streams = [np.random.default_rng(stream) for stream in np.random.SeedSequence((seed, index, 1)).spawn(10)]
    scene = make_scene(streams[:5], settings)
    mover, *scanners = streams[5:]
    middle, moves = _moves(mover, settings)
    series = {}
    for modality, rng, (pose, motion, turn) in zip(CHANNEL_ORDER, scanners, moves, strict=True):
        plan = (plans or {}).get(modality, Plan())
        series[modality] = _scan(rng, modality, scene, settings, plan, pose, motion, turn, middle)
    return RawPhantom(raw_case_id(seed, index, settings), series, scene.grid, scene.brain, scene.labels, scene.tissue)


def _moves(
    rng: np.random.Generator, settings: RawSettings
) -> tuple[NDArray[np.float64], list[tuple[Matrix, Matrix, Matrix]]]:
    """Where the middle of the brain lies in the scanner, and for each series the head's pose during the T1ce, its
    motion since, and the error of the header's frame."""
    middle = rng.uniform((-8, -25, -30), (8, 25, 30))
    pose = about(_ORIGIN, rotation_about(random_direction(rng), float(rng.uniform(0, 6))), middle)
    moves = []
    for modality in CHANNEL_ORDER:
        motion = random_displacement(rng, settings.motion, middle)
        turn = random_displacement(rng, settings.turn, move(motion, middle))
        if modality is Modality.T1CE:
            motion, turn = np.eye(4), np.eye(4)
        moves.append((pose, motion, turn))
    return middle, moves


def _scan(
    rng: np.random.Generator,
    modality: Modality,
    scene: Scene,
    settings: RawSettings,
    plan: Plan,
    pose: Matrix,
    motion: Matrix,
    turn: Matrix,
    middle: NDArray[np.float64],
) -> Series:
    """Place a series on the head where it lies now, and take it."""
    to_scanner = motion @ pose
    taken = take(
        rng,
        modality,
        plan,
        settings,
        head=move(to_scanner, scene.head_points),
        brain=move(to_scanner, scene.brain_points),
        target=move(to_scanner, _middle(scene)),
    )
    grid = Grid(taken.grid.shape, (turn @ taken.grid.affine).astype(np.float32).astype(np.float64))
    phantom_to_series = turn @ to_scanner
    series_to_phantom = inverse(phantom_to_series)

    def sampled(image: Float3D, points: NDArray[np.float64]) -> Float3D:
        """The image on the series' grid, 0 away from the points of the scene where it is not 0."""
        out = np.zeros(grid.shape, dtype=np.float32)
        window, part = window_of(move(phantom_to_series, points), grid)
        if min(part.shape) > 0:
            out[window] = sample(image, scene.grid, part, series_to_phantom, taken.slice_axis, taken.thickness_mm)
        return out

    signal = sampled(scene.signals[modality], scene.head_points)
    strength = float(rng.uniform(0.3, 1.0)) * settings.shading
    to_middle = taken.grid.affine.copy()
    to_middle[:3, 3] -= move(motion, middle)
    signal *= shade(rng, grid.shape, to_middle, strength)
    low, high = settings.phantom.scanner.noise
    noise = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    brightness = float(np.exp(rng.uniform(*np.log(settings.phantom.scanner.brightness))))
    stored, slope, intercept = digitise(rng, signal, noise, brightness)
    brain, labels = _truth(scene, sampled)
    inside = move(inverse(grid.affine) @ phantom_to_series, scene.brain_points)
    covered = ((inside > -0.5) & (inside < np.array(grid.shape) - 0.5)).all(axis=1)
    return Series(
        stored=stored,
        slope=slope,
        intercept=intercept,
        taken=taken,
        grid=grid,
        brain=brain,
        labels=labels,
        t1ce_to_series=turn @ motion,
        phantom_to_series=phantom_to_series,
        brain_covered=float(covered.mean()),
        motion=motion,
    )


def _middle(scene: Scene) -> NDArray[np.float64]:
    """The middle of the tumours; of the brain where there is none."""
    points = scene.lesion_points if len(scene.lesion_points) else scene.brain_points
    return np.asarray(points.mean(axis=0))


def _truth(
    scene: Scene, sampled: Callable[[Float3D, NDArray[np.float64]], Float3D]
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Brain mask and labels on a series' grid, by shares of its voxels: they see the same slice as the image."""
    brain = sampled(scene.brain.astype(np.float32), scene.brain_points) >= 0.5
    labels = np.full(brain.shape, np.uint8(Label.BACKGROUND))
    if not len(scene.lesion_points):
        return brain, labels
    most = total = np.zeros(brain.shape, dtype=np.float32)
    for label in (Label.NCR, Label.ED, Label.ET):
        share = sampled((scene.labels == label).astype(np.float32), scene.lesion_points)
        labels[share > most] = label
        most, total = np.maximum(most, share), total + share
    # Background counts as one class: it wins where its share is the largest.
    labels[most <= 1 - total] = Label.BACKGROUND
    return brain | (labels > 0), labels
