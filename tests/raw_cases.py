"""Raw cases in miniature: four series of a ball with a marked inside, each on its own grid, moved against the T1ce.

The strip bundle of `tests.strip_stand_in` finds the ball. Registration of such voxels tells little, and takes seconds:
`header_registration` stands in for it where it does not matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np

from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.registration import Registration, RegistrationQuality
from eenet_runtime.volumes.labels import Modality

_CONTRASTS: Final = {
    Modality.T1: (100.0, 40.0, 70.0),
    Modality.T1CE: (100.0, 45.0, 150.0),
    Modality.T2: (80.0, 170.0, 130.0),
    Modality.FLAIR: (90.0, 30.0, 140.0),
}
"""Signals of the ball, of what lies in its middle, and of a lesion on one side."""
_SPACING_MM: Final = {
    Modality.T1: (5.0, 5.0, 6.0),
    Modality.T1CE: (5.0, 5.0, 5.0),
    Modality.T2: (5.0, 4.5, 7.0),
    Modality.FLAIR: (4.5, 5.0, 6.0),
}
_RADIUS_MM: Final = 65.0


def write_raw_case(folder: Path, case_id: str, seed: int) -> Path:
    """Write `<folder>/<case>/<case>_<modality>.nii.gz`; cases of two seeds differ."""
    case = folder / case_id
    case.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    lesion = rng.uniform(-30, 30, 3)
    for modality, spacing in _SPACING_MM.items():
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = rng.uniform(-90, -86, 3)
        shape = [int(2 * 88 / size) for size in spacing]
        places = np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
        ball, middle, spot = _CONTRASTS[modality]
        radii = np.linalg.norm(places * (1.0, 0.85, 1.1), axis=1)
        values = np.where(radii < _RADIUS_MM, ball, 2.0)
        values[np.linalg.norm(places * (1.6, 0.8, 1.0), axis=1) < 25] = middle
        values[np.linalg.norm(places - lesion, axis=1) < 14] = spot
        data = (values + rng.normal(0, 2, len(values))).clip(0).reshape(shape).astype(np.int16)
        nib.save(nib.Nifti1Image(data, affine), case / f"{case_id}_{modality.value}.nii.gz")
    return case


def header_registration(fixed: Volume, moving: Volume, **options: object) -> Registration:
    """Believe the headers: a stand-in for `register`, with the figures of a pair that locks into itself."""
    return Registration(np.eye(4), RegistrationQuality(1.3, 0.08, 0.1, 12, 12, 0.95, 150.0), "native", 0.0)
