"""NIfTI files as BraTS writes them, with the same bytes for the same voxels."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.files.atomic import write_atomically

COMPRESSION_LEVEL: Final = 3
"""Noise hardly compresses: level 9 is five times slower and saves a few per cent."""


def nifti_bytes(data: NDArray[np.int16] | NDArray[np.uint8], affine: NDArray[np.float64]) -> bytes:
    """A compressed NIfTI-1 file: qform and sform codes 1, millimetres, no name and no date in the gzip header.

    Args:
        data: 3D, or 4D with channels last; stored as it is.
        affine: voxel to world in mm, shape (4, 4).
    """
    image = nib.Nifti1Image(data, affine, dtype=data.dtype)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=COMPRESSION_LEVEL, mtime=0) as stream:
        stream.write(image.to_bytes())
    return buffer.getvalue()


def write_nifti(path: Path, data: NDArray[np.int16] | NDArray[np.uint8], affine: NDArray[np.float64]) -> None:
    """Write `nifti_bytes` to `path`, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    write_atomically(path, nifti_bytes(data, affine))
