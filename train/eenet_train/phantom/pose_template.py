"""Makes the template that raw heads are turned by: `python -m eenet_train.phantom.pose_template FILE`.

The file is part of the runtime (`eenet_runtime/heads/template`), which has no nilearn; it lies there uncompressed, so
that no library's compression decides its bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.files.atomic import write_atomically
from eenet_train.phantom.template import ANTERIOR_COMMISSURE_RAS, load_t1

_BLOCK: Final = 2


def pose_template_bytes() -> bytes:
    """The bytes of `mni152_brain_2mm.nii`: uint8, RAS axes, world origin at the anterior commissure.

    Raises:
        EENetError: nilearn is not installed.
    """
    t1 = load_t1()
    sizes = [size // _BLOCK for size in t1.shape]
    whole = t1[: sizes[0] * _BLOCK, : sizes[1] * _BLOCK, : sizes[2] * _BLOCK].astype(np.float64)
    means = whole.reshape(sizes[0], _BLOCK, sizes[1], _BLOCK, sizes[2], _BLOCK).mean(axis=(1, 3, 5))
    values = np.floor(means / means.max() * 255 + 0.5).astype(np.uint8)
    filled = np.argwhere(values)
    low, high = filled.min(axis=0), filled.max(axis=0) + 1
    crop = values[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    affine = np.diag([_BLOCK, _BLOCK, _BLOCK, 1.0])
    affine[:3, 3] = low * _BLOCK + (_BLOCK - 1) / 2 - np.array(ANTERIOR_COMMISSURE_RAS)
    return _nifti(crop, affine)


def _nifti(values: NDArray[np.uint8], affine: NDArray[np.float64]) -> bytes:
    image = nib.Nifti1Image(values, affine, dtype=np.uint8)
    image.set_qform(affine, code=4)
    image.set_sform(affine, code=4)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"brain of ICBM152 2009a, 2 mm; see NOTICE.md"
    return bytes(image.to_bytes())


if __name__ == "__main__":
    write_atomically(Path(sys.argv[1]), pose_template_bytes())
