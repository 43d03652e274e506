"""The two orientations that a NIfTI header may hold, qform and sform, and whether they say one thing.

Where both have a code, the sform is used, as nibabel and most viewers do; some viewers take the qform. A quaternion
holds a rotation, voxel sizes and a place, no shear: what it leaves of an affine registration is no contradiction
(NIfTI-1 standard, "orientation and location in space", methods 2 and 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from eenet_runtime.volumes.grid import GRID_TOLERANCE, Grid, corner_distance_mm

FORMS_TOLERANCE_MM: Final = 1.0
"""Distance of a corner voxel's two places up to which the forms agree. A quaternion in float32 near half a turn places
the corners of a head right to 0.2 mm."""
SIZES_TOLERANCE: Final = 1.25
"""Factor between the voxel sizes of both forms up to which an affine registration may have changed them."""
_SHOWN_DEGREES: Final = 0.3


@dataclass(frozen=True)
class Contradiction:
    """Two forms of one header that place its voxels differently.

    Attributes:
        words: what differs, for a message.
        to_qform: float64 (4, 4), from the sform's world to the qform's; NaN where the qform gives no orientation.
    """

    words: str
    to_qform: NDArray[np.float64]


def find_contradiction(header: nib.Nifti1Header) -> Contradiction | None:
    """Hold the qform of a header against its sform.

    Shear, and voxel sizes within `SIZES_TOLERANCE`, are the sform's own; rotation, handedness and place must agree to
    `FORMS_TOLERANCE_MM` at the corners, whether a registration kept the first voxel's place or the centre's.

    Returns:
        None where they agree, or where a code of 0 says that only one of them holds.
    """
    if int(header["qform_code"]) <= 0 or int(header["sform_code"]) <= 0:
        return None
    sform = np.asarray(header.get_sform(), dtype=np.float64)
    qform = _qform(header)
    if qform is None:
        return Contradiction("the qform gives no orientation", np.full((4, 4), np.nan))
    if np.abs(qform - sform).max() <= GRID_TOLERANCE:  # the common case, without a decomposition
        return None
    size = header.get_data_shape()
    shape = (int(size[0]), int(size[1]), int(size[2]))
    turn, stretch = _polar(sform)
    turn_of_qform, _ = _polar(qform)
    unstretched = qform.copy()
    unstretched[:3, :3] = turn_of_qform @ stretch
    centre = np.array([*((length - 1) / 2 for length in shape), 1.0])
    centred = unstretched.copy()
    centred[:3, 3] += (qform @ centre - unstretched @ centre)[:3]
    used = Grid(shape, sform)
    apart = min(corner_distance_mm(Grid(shape, placed), used) for placed in (unstretched, centred))
    sizes = np.linalg.norm(qform[:3, :3], axis=0) / np.linalg.norm(sform[:3, :3], axis=0)
    odd_sizes = bool((np.maximum(sizes, 1 / sizes) > SIZES_TOLERANCE).any())
    if apart <= FORMS_TOLERANCE_MM and not odd_sizes:
        return None
    relative = turn_of_qform @ turn.T
    shift = float(np.linalg.norm((qform @ centre - sform @ centre)[:3]))
    words = _in_words(relative, shift, odd_sizes, corner_distance_mm(Grid(shape, qform), used))
    return Contradiction(words, qform @ np.linalg.inv(sform))


def qform_grid(header: nib.Nifti1Header, shape: tuple[int, int, int]) -> Grid | None:
    """The grid that the qform gives where the sform is used instead; None where there is no such other grid."""
    if int(header["qform_code"]) <= 0 or int(header["sform_code"]) <= 0:
        return None
    qform = _qform(header)
    return None if qform is None else Grid(shape, qform)


def let_sform_rule(header: nib.Nifti1Header) -> None:
    """Write the sform into the qform, too, as far as a quaternion holds it, with the sform's code."""
    header.set_qform(header.get_sform(), code=int(header["sform_code"]), strip_shears=True)


def _qform(header: nib.Nifti1Header) -> NDArray[np.float64] | None:
    """None where the quaternion or the voxel sizes are no such thing."""
    try:
        with np.errstate(all="ignore"):
            qform = np.asarray(header.get_qform(), dtype=np.float64)
    except (ValueError, HeaderDataError):
        return None
    usable = np.isfinite(qform).all() and (np.linalg.norm(qform[:3, :3], axis=0) > 0).all()
    return qform if usable else None


def _polar(affine: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 3 x 3 part as a rotation (mirrored or not) times a stretch of the voxel axes.

    Voxel sizes are set aside first, or the rotation of long voxels that are sheared would lean to their long side.
    """
    columns = affine[:3, :3]
    sizes = np.linalg.norm(columns, axis=0)
    left, _, right = np.linalg.svd(columns / sizes)
    turn = left @ right
    return turn, turn.T @ columns


def _in_words(relative: NDArray[np.float64], shift: float, odd_sizes: bool, apart: float) -> str:
    """What the qform does to the sform's world: `relative` is its rotation, `shift` in mm at the centre."""
    found = []
    if np.linalg.det(relative) < 0:
        found.append("mirrored")
    else:
        degrees = math.degrees(math.acos(min(1.0, max(-1.0, (float(np.trace(relative)) - 1) / 2))))
        found += [f"turned by {degrees:.3g} degrees"] if degrees > _SHOWN_DEGREES else []
    if shift > FORMS_TOLERANCE_MM:
        found.append(f"shifted by {shift:.3g} mm")
    if odd_sizes:
        found.append("with other voxel sizes")
    return f"{', '.join(found) or 'moved'}, corners up to {apart:.3g} mm apart"
