"""How exactly series are registered whose transforms are known: raw phantoms, moved, thickened and cut to slabs.

A series is moved by its header: voxels stay as they are, nothing is interpolated, and the truth is exact.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_bench.inputs.json_lines import append_row, read_rows
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.errors import CaseError, DatasetError
from eenet_runtime.files.nifti import Volume, read_volume
from eenet_runtime.folders.tables import format_table
from eenet_runtime.heads.doubt import find_doubts
from eenet_runtime.heads.figures import HeadFigures
from eenet_runtime.heads.pairs import pair_figures
from eenet_runtime.heads.registration import register
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import Modality

SEED: Final = 0
BELIEVED_MM: Final = 2.0
"""No voxel of the brain may lie farther off unless the case is refused or warned about."""
_MOVING: Final = (Modality.T1, Modality.T2, Modality.FLAIR)
_POINTS_MM: Final = 4.0
_THICK_MM: Final = 5.0

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class TransformKind:
    """What is done to the moving series of a pair.

    Attributes:
        name: for tables.
        degrees: smallest and largest rotation about a random axis.
        shift_mm: smallest and largest translation, in a random direction.
        slab_mm: smallest and largest thickness that is left of it; None for all.
        thick: whether slices are averaged to about 5 mm.
        stranger: the next phantom's series of this name is taken instead: another patient's, so there is no truth.
    """

    name: str
    degrees: tuple[float, float] = (0.0, 0.0)
    shift_mm: tuple[float, float] = (0.0, 0.0)
    slab_mm: tuple[float, float] | None = None
    thick: bool = False
    stranger: Modality | None = None


KINDS: Final = (
    TransformKind("as scanned"),
    TransformKind("far", degrees=(25.0, 60.0), shift_mm=(20.0, 80.0)),
    TransformKind("far, 5 mm slices", degrees=(5.0, 60.0), shift_mm=(0.0, 80.0), thick=True),
    TransformKind("slab of 45 to 66 mm", degrees=(0.0, 15.0), shift_mm=(0.0, 20.0), slab_mm=(45.0, 66.0)),
    TransformKind("slab of 33 to 45 mm", degrees=(0.0, 15.0), shift_mm=(0.0, 20.0), slab_mm=(33.0, 45.0)),
    *(TransformKind(f"another patient's {name.value}", stranger=name) for name in _MOVING),
)


@dataclass(frozen=True)
class TransformRow:
    """One registration with a known result.

    Attributes:
        case_id, kind, moving: which.
        degrees, shift_mm: how the headers differ from the truth: its rotation, and the way of the brain's middle.
        slab_mm: thickness of the moving series, slice distance times slices; None where it is whole.
        mean_mm, largest_mm: error over the voxels of the brain that both series show; None where nothing was found, or
            there is no truth.
        rules: of the doubts that spoke, with their severity.
        figures: of the registration.
        reason: why there is none; empty otherwise.
    """

    case_id: str
    kind: str
    moving: str
    degrees: float = 0.0
    shift_mm: float = 0.0
    slab_mm: float | None = None
    mean_mm: float | None = None
    largest_mm: float | None = None
    rules: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    reason: str = ""

    @property
    def is_missed(self) -> bool:
        """Whether a voxel lies too far off, or a series is another patient's, and nobody says so."""
        return self.is_off and not self.rules

    @property
    def is_off(self) -> bool:
        """Whether somebody should say something."""
        return not self.reason and (self.largest_mm is None or not self.largest_mm <= BELIEVED_MM)


def study_transforms(
    cases: Sequence[CaseFiles],
    truth: Path,
    lines: Path,
    threads: int | None = None,
    on_row: Callable[[TransformRow], None] = lambda row: None,
) -> list[TransformRow]:
    """Register a series of each phantom to its T1ce once for each kind; the series take turns.

    Args:
        cases: raw phantoms.
        truth: the folder beside them with a folder for each.
        lines: file of JSON lines; rows that are there are kept.
        threads: of a registration.
        on_row: told of every new row.

    Raises:
        CaseError: a phantom that cannot be read.
        DatasetError: a phantom without its truth.
    """
    rows = {(row.case_id, row.kind): row for row in read_rows(lines, TransformRow)}
    for index, files in enumerate(cases):
        due = [kind for kind in KINDS if (files.case_id, kind.name) not in rows]
        if not due:
            continue
        described = _truth_of(truth, files.case_id)
        t1ce = read_volume(files.images[Modality.T1CE].path)
        points = _brain_points(truth / files.case_id / f"{files.case_id}_t1ce_brain.nii.gz")
        for kind in due:
            if kind.stranger is not None:
                row = _strangers(files, cases[(index + 1) % len(cases)], kind, kind.stranger, t1ce, threads)
            else:
                moving = _moving_of(described, index + KINDS.index(kind), kind)
                matrix = np.array(described[moving.value]["t1ce_to_series"])
                row = _row(files, kind, moving, t1ce, points, matrix, threads)
            rows[row.case_id, row.kind] = row
            append_row(lines, row)
            on_row(row)
    return list(rows.values())


def _truth_of(truth: Path, case_id: str) -> dict[str, Any]:
    path = truth / case_id / "truth.json"
    try:
        series = json.loads(path.read_bytes())["series"]
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{path}: no truth found ({error}), expected that of a raw phantom") from error
    assert isinstance(series, dict)
    return series


def _moving_of(described: dict[str, Any], turn: int, kind: TransformKind) -> Modality:
    """The series whose turn it is; where a slab is to be cut, one that is none yet."""
    ordered = [_MOVING[(turn + offset) % len(_MOVING)] for offset in range(len(_MOVING))]
    whole = [name for name in ordered if described[name.value]["slab_mm"] is None]
    return (whole or ordered)[0] if kind.slab_mm else ordered[0]


def _row(
    files: CaseFiles,
    kind: TransformKind,
    moving: Modality,
    t1ce: Volume,
    points: Matrix,
    t1ce_to_series: Matrix,
    threads: int | None,
) -> TransformRow:
    # Drawn for each case by its name: neither order nor number of the others matters.
    rng = np.random.default_rng([SEED, zlib.crc32(f"{files.case_id} {kind.name}".encode())])
    series = read_volume(files.images[moving].path)
    if kind.thick:
        series = _thickened(series)
    if kind.slab_mm is not None:
        series = _slab(series, _move(t1ce_to_series, points), float(rng.uniform(*kind.slab_mm)), rng)
    motion = _motion(kind, series.grid, rng)
    truth = motion @ t1ce_to_series
    series = replace(series, grid=Grid(series.grid.shape, motion @ series.grid.affine))
    middle = points.mean(axis=0)
    row = TransformRow(
        files.case_id,
        kind.name,
        moving.value,
        degrees=float(np.degrees(np.arccos(np.clip((np.trace(truth[:3, :3]) - 1) / 2, -1, 1)))),
        shift_mm=float(np.linalg.norm(_move(truth, middle[np.newaxis])[0] - middle)),
        slab_mm=_thickness(series.grid) if kind.slab_mm is not None else None,
    )
    shown = points[_inside(series.grid, _move(truth, points))]
    return _registered(row, t1ce, series, moving, truth, shown, threads)


def _strangers(
    files: CaseFiles, others: CaseFiles, kind: TransformKind, moving: Modality, t1ce: Volume, threads: int | None
) -> TransformRow:
    row = TransformRow(files.case_id, kind.name, moving.value)
    return _registered(row, t1ce, read_volume(others.images[moving].path), moving, None, None, threads)


def _registered(
    row: TransformRow,
    t1ce: Volume,
    series: Volume,
    moving: Modality,
    truth: Matrix | None,
    points: Matrix | None,
    threads: int | None,
) -> TransformRow:
    """The row with what the registration found, and its error at some points where the truth is known."""
    try:
        found = register(t1ce, series, threads=threads)
    except CaseError as error:
        return replace(row, reason=str(error))
    figures = HeadFigures(
        {Modality.T1CE: t1ce.source, moving: series.source}, pairs=(pair_figures(Modality.T1CE, moving, found),)
    )
    row = replace(
        row,
        rules={finding.rule: finding.severity.value for finding in find_doubts(figures)},
        figures=figures.as_json()["pairs"][0],
    )
    if truth is None or points is None:
        return row
    apart = np.linalg.norm(_move(found.fixed_to_moving, points) - _move(truth, points), axis=1)
    return replace(row, mean_mm=float(apart.mean()), largest_mm=float(apart.max()))


def _brain_points(path: Path) -> Matrix:
    """Middles of brain voxels, (N, 3), about every 4 mm, in the world of the grid."""
    brain = read_volume(path)
    steps = [max(1, round(_POINTS_MM / size)) for size in brain.grid.spacing_mm]
    indices = np.argwhere(np.asarray(brain.data[tuple(slice(None, None, step) for step in steps)])) * steps
    return _move(brain.grid.affine, indices)


def _move(matrix: NDArray[Any], points: NDArray[Any]) -> Matrix:
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3], np.float64)


def _inside(grid: Grid, points: Matrix) -> NDArray[np.bool_]:
    places = _move(np.linalg.inv(grid.affine), points)
    return np.asarray(((places >= -0.5) & (places <= np.array(grid.shape) - 0.5)).all(axis=1))


def _slice_axis(grid: Grid) -> int:
    """The axis of the longest voxels; of isotropic ones that of the fewest."""
    spacing = np.array(grid.spacing_mm)
    longest = np.flatnonzero(spacing > 0.95 * spacing.max())
    return int(longest[np.argmin(np.array(grid.shape)[longest])])


def _thickness(grid: Grid) -> float:
    axis = _slice_axis(grid)
    return float(grid.shape[axis] * grid.spacing_mm[axis])


def _thickened(series: Volume) -> Volume:
    """Slices averaged, as many as make about 5 mm."""
    axis = _slice_axis(series.grid)
    block = max(1, round(_THICK_MM / series.grid.spacing_mm[axis]))
    count = series.grid.shape[axis] // block
    kept = np.take(np.asarray(series.data, np.float32), range(count * block), axis=axis)
    shape = [*kept.shape]
    shape[axis : axis + 1] = [count, block]
    data = kept.reshape(shape).mean(axis=axis + 1)
    steps = np.eye(4)
    steps[axis, axis], steps[axis, 3] = block, (block - 1) / 2
    return _with(series, data, steps)


def _slab(series: Volume, brain: Matrix, thickness_mm: float, rng: np.random.Generator) -> Volume:
    """The slices of a random part of the brain."""
    axis, size = _slice_axis(series.grid), series.grid.shape
    count = min(size[axis], max(3, round(thickness_mm / series.grid.spacing_mm[axis])))
    places = _move(np.linalg.inv(series.grid.affine), brain)[:, axis]
    # All of it within the brain, as far as the brain is as thick.
    lowest, highest = max(0, round(places.min())), min(size[axis], round(places.max())) - count
    first = int(np.clip(rng.integers(lowest, max(lowest, highest) + 1), 0, size[axis] - count))
    data = np.take(series.data, range(first, first + count), axis=axis)
    start = np.eye(4)
    start[axis, 3] = first
    return _with(series, data, start)


def _with(series: Volume, data: NDArray[Any], new_to_old: Matrix) -> Volume:
    """Other voxels, whose indices lead to the old ones by a matrix."""
    x, y, z = data.shape
    return replace(series, data=data, grid=Grid((x, y, z), series.grid.affine @ new_to_old))


def _motion(kind: TransformKind, grid: Grid, rng: np.random.Generator) -> Matrix:
    """A random motion about the middle of the field of view."""
    axis, direction = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    angle, length = np.radians(rng.uniform(*kind.degrees)), rng.uniform(*kind.shift_mm)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    centre = _move(grid.affine, (np.array([grid.shape]) - 1) / 2)[0]
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = centre - rotation @ centre + direction * length
    return matrix


def transform_tables(rows: Sequence[TransformRow]) -> str:
    """The study as text: errors by kind, and every pair that is wrong (a voxel beyond 2 mm, a stranger) in silence."""
    table = []
    for kind in dict.fromkeys(row.kind for row in rows):
        of_kind = [row for row in rows if row.kind == kind and not row.reason]
        refused = sum("certain" in row.rules.values() for row in of_kind)
        warned = sum(bool(row.rules) for row in of_kind) - refused
        errors = [(row.mean_mm, row.largest_mm) for row in of_kind if row.mean_mm is not None and row.largest_mm]
        means, largest = zip(*errors, strict=True) if errors else ((), ())
        shown = [f"{value:.2f}" for value in (np.mean(means), max(means), max(largest))] if errors else ["-"] * 3
        sharp = [row.figures["sharpness"] for row in of_kind]
        shown += [f"{value:.4f}" for value in (min(sharp), max(sharp))] if sharp else ["-"] * 2
        off = sum(row.is_off for row in of_kind)
        silent = sum(row.is_missed for row in of_kind)
        table.append([kind, str(len(of_kind)), *shown, *map(str, (refused, warned, off, silent))])
    head = ["kind", "pairs", "mean mm", "worst mean", "worst voxel", "flattest peak", "sharpest"]
    head += ["refused", "warned", "wrong", "wrong and silent"]
    lines = [format_table(head, table)]
    lines += [
        f"{row.case_id} {row.kind} ({row.moving}): wrong"
        + ("" if row.largest_mm is None else f" by {row.largest_mm:.1f} mm")
        + ", nothing said"
        for row in rows
        if row.is_missed
    ]
    return "\n".join(lines)
