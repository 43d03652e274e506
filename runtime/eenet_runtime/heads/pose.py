"""The pose that a bundle's training had, found for a raw head by a rigid fit to a template.

The template is the ICBM152 average's brain. It is larger than most heads, so it is held against them at 0.95 of its
size: on one real head that raised the normalised mutual information from 1.251 to 1.284 and made its peak sharper. The
fit is rigid: the head is turned, never stretched. It is done for every head, also where the pose is the scanner's, for
its figures tell whether there is a head at all (docs/decisions/0043).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import Volume, read_volume
from eenet_runtime.heads.registration import register
from eenet_runtime.heads.resampling import resample_array
from eenet_runtime.volumes.boxes import bounding_box, is_empty
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.pose import Pose

__all__ = ["BRATS_SHAPE", "TEMPLATE_FILE", "Pose", "PoseFit", "brats_grid", "find_pose"]

TEMPLATE_FILE: Final = Path(__file__).with_name("template") / "mni152_brain_2mm.nii"
"""NOTICE.md beside it says where it comes from and what may be done with it."""

TEMPLATE_SCALE: Final = 0.95

SRI24_PITCH_DEGREES: Final = 12.6
"""How far heads in SRI24 are pitched against those of the ICBM152 average, about the axis to the patient's right.

Measured by affine registration of one volume to the other, 12.55 to 12.65 over three seeds. Its scale of 0.92 does not
count here: heads keep their size. The sign follows BraTS cases, which lie in SRI24 and fit the template turned back.
"""

BRATS_SHAPE: Final = (240, 240, 155)

_FIT_MM: Final = 2.0
"""The brain is laid on voxels of the template's size before the fit."""
_ROOM_MM: Final = 6.0


@dataclass(frozen=True)
class PoseFit:
    """Where a head goes, and whether to believe it.

    Attributes:
        t1ce_to_pose: float64 (4, 4), rigid, from the T1ce's world to the pose's; the identity for `native`. In the
            other poses the origin is the template's anterior commissure.
        t1ce_to_template: float64 (4, 4), the fit itself.
        nmi: normalised mutual information of the fit, 1 (nothing in common) to 2.
        sharpness: the smallest loss of it when one of the six parameters moves by 6 mm.
        consensus, starts: how many of the search's starts ended in one place, and of how many.
        scale: the size at which the template was held against the head.
        seconds: what it took.
    """

    t1ce_to_pose: NDArray[np.float64]
    t1ce_to_template: NDArray[np.float64]
    nmi: float
    sharpness: float
    consensus: int
    starts: int
    scale: float
    seconds: float


def find_pose(
    t1ce: Volume,
    mask: NDArray[np.bool_],
    grid: Grid,
    pose: Pose,
    *,
    threads: int | None = None,
    engine: Literal["auto", "native", "numpy"] = "auto",
) -> PoseFit:
    """Fit a head to the template, and say where the pose wants it.

    Args:
        t1ce: the T1ce as it is, skull and all.
        mask: bool (X, Y, Z), the brain.
        grid: where the mask lies, in the T1ce's world.
        pose: of the bundle.
        threads: by default as many as the process may use.
        engine: of the registration.

    Raises:
        CaseError: the mask is empty, or nothing of the T1ce lies in it.
        BackendError: the engine asked for is not installed.
    """
    brain = _brain(t1ce, mask, grid, threads)
    fit = register(brain, _template(), threads=threads, engine=engine, finest_mm=4)
    return PoseFit(
        t1ce_to_pose=_to_pose(pose) @ fit.fixed_to_moving if pose != Pose.NATIVE else np.eye(4),
        t1ce_to_template=fit.fixed_to_moving,
        nmi=fit.quality.nmi,
        sharpness=fit.quality.sharpness,
        consensus=fit.quality.consensus,
        starts=fit.quality.starts,
        scale=TEMPLATE_SCALE,
        seconds=fit.seconds,
    )


def brats_grid(centre_mm: NDArray[np.float64]) -> Grid:
    """A grid as BraTS lays its cases: 240 x 240 x 155 voxels of 1 mm, stored LPS.

    Args:
        centre_mm: (3,), what shall lie in its middle: the centre of the brain's box, in the pose's world. It is rounded
            to whole voxels.
    """
    signs = np.array([-1.0, -1.0, 1.0])
    affine = np.diag([*signs, 1.0])
    affine[:3, 3] = np.floor(centre_mm + 0.5) - signs * (np.array(BRATS_SHAPE) // 2)
    return Grid(BRATS_SHAPE, affine)


def _to_pose(pose: Pose) -> NDArray[np.float64]:
    """From the template's world to that of a pose."""
    matrix = np.eye(4)
    if pose == Pose.SRI24:
        angle = np.radians(SRI24_PITCH_DEGREES)
        matrix[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


@cache
def _template() -> Volume:
    """The template at `TEMPLATE_SCALE` about the anterior commissure."""
    brain = read_volume(TEMPLATE_FILE)
    # The file ends with the brain; that nothing is round it is a part of the picture.
    room = int(_ROOM_MM / _FIT_MM)
    start = np.eye(4)
    start[:3, 3] = -room
    scaled = np.diag([TEMPLATE_SCALE] * 3 + [1.0]) @ brain.grid.affine @ start
    return _image(np.pad(brain.data, room), scaled, TEMPLATE_FILE.name)


def _brain(t1ce: Volume, mask: NDArray[np.bool_], grid: Grid, threads: int | None) -> Volume:
    """The T1ce inside the mask, 0 outside, on voxels of `_FIT_MM` along the mask's axes."""
    box = bounding_box(mask)
    if is_empty(box):
        raise CaseError(f"{t1ce.source}: the brain mask is empty, expected a brain", code="no-brain")
    spacing = np.array(grid.spacing_mm)
    low = np.array([part.start for part in box]) - _ROOM_MM / spacing
    high = np.array([part.stop - 1 for part in box]) + _ROOM_MM / spacing
    x, y, z = (int(size) for size in np.ceil((high - low) * spacing / _FIT_MM) + 1)
    steps = np.diag([*(_FIT_MM / spacing), 1.0])
    steps[:3, 3] = low
    target = Grid((x, y, z), grid.affine @ steps)
    inside = resample_array(mask, grid, target, np.eye(4), threads=threads) >= 0.5
    image = resample_array(t1ce.data, t1ce.grid, target, np.eye(4), threads=threads)
    if not (image[inside] != 0).any():
        raise CaseError(f"{t1ce.source}: nothing of the image lies in the brain mask", code="no-brain")
    image[~inside] = 0
    return _image(image, target.affine, t1ce.source)


def _image(values: NDArray[np.generic], affine: NDArray[np.float64], source: str) -> Volume:
    x, y, z = values.shape
    return Volume(source, values, Grid((x, y, z), affine), nib.Nifti1Header())
