"""Reading NIfTI files with suspicion, and writing masks on the grid of an input.

nibabel parses the headers. The bytes are fetched here, because nibabel stops reading a gzip stream once it has the
voxels and so never sees the checksum at its end: a damaged file would pass.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import logging
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
from nibabel import imageglobals
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, ImageDataError
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError
from eenet_runtime.files import write_atomically
from eenet_runtime.grid import Grid, check_affine

MAX_FILE_BYTES: Final = 2 * 1024**3
"""Largest uncompressed file that is read. A BraTS volume has 18 MB; this bounds what a gzip bomb can cost."""

_CHUNK_BYTES: Final = 1 << 22
_GZIP_MAGIC: Final = b"\x1f\x8b"
_NIFTI_SUFFIXES: Final = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Volume:
    """One image as it lies in its file.

    Attributes:
        source: the file's path, for messages and reports.
        data: voxels in stored axis order, (X, Y, Z) or (X, Y, Z, channels); scaled by the header's slope and
            intercept where it has them, otherwise in the stored dtype.
        grid: shape and affine of the first three axes.
        header: the NIfTI header, needed to write a mask on the same grid.
    """

    source: str
    data: NDArray[np.generic]
    grid: Grid
    header: nib.Nifti1Header


def is_nifti_name(path: Path) -> bool:
    """Whether the file's name ends like a NIfTI file's."""
    return path.name.lower().endswith(_NIFTI_SUFFIXES)


def nifti_stem(path: Path) -> str:
    """The file's name without .nii or .nii.gz."""
    for suffix in _NIFTI_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def read_volume(path: Path) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file completely, with its checksum.

    Raises:
        CaseError: the file is missing, truncated, damaged, too large or not NIfTI; its voxels are not real numbers;
            it has fewer than three axes; its affine is unusable.
    """
    image = _parse(_read_bytes(path), path)
    if not (np.issubdtype(image.get_data_dtype(), np.integer) or np.issubdtype(image.get_data_dtype(), np.floating)):
        raise CaseError(f"{path}: voxels of type {image.get_data_dtype()} found, expected integers or real numbers")
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (3, 4):
        raise CaseError(
            f"{path}: an array of {' x '.join(map(str, image.shape)) or 'no'} voxels found, expected a volume"
        )
    affine = np.asarray(image.affine, dtype=np.float64)
    check_affine(affine, str(path))
    try:
        # A slope or intercept out of this world gives infinite voxels, which normalisation refuses by name.
        with np.errstate(all="ignore"):
            data = np.asanyarray(image.dataobj).reshape(shape)
    except (OSError, ValueError, ImageDataError) as error:
        raise CaseError(f"{path}: fewer voxels found than its header announces ({_first_line(error)})") from error
    return Volume(str(path), data, Grid((shape[0], shape[1], shape[2]), affine), image.header)


def write_labels(path: Path, labels: NDArray[np.uint8], like: Volume) -> None:
    """Write a label volume on the grid of an input, gzip-compressed, all or nothing.

    Args:
        path: final name, `.nii.gz`.
        labels: uint8 (X, Y, Z) in the stored axis order of `like`, file values (not network classes).
        like: the volume whose shape, affine, qform, sform, units and intent of space the mask takes over.

    Raises:
        OutputError: the file cannot be written.
    """
    if labels.shape != like.grid.shape or labels.dtype != np.uint8:
        raise ValueError(f"labels are {labels.dtype} {labels.shape}, the grid is uint8 {like.grid.shape}")
    write_atomically(path, labels_to_bytes(labels, like))


def labels_to_bytes(labels: NDArray[np.uint8], like: Volume) -> bytes:
    """The bytes of the file that `write_labels` writes; the same input gives the same bytes."""
    header = like.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(labels.shape)
    header.set_slope_inter(1, 0)
    # Display range and free text of the MRI say nothing about a mask, and free text may name the patient.
    header["cal_min"] = header["cal_max"] = 0
    for field in ("descrip", "aux_file", "db_name", "data_type", "intent_name"):
        if field in header:
            header[field] = b""
    header.set_intent("label")
    header.extensions.clear()
    image_class = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    image = image_class(labels, None, header)
    _copy_transforms(header, image.header)
    # Level 1 is as small as level 6 within a few per cent on label volumes; mtime=0 keeps the bytes reproducible.
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def _copy_transforms(source: nib.Nifti1Header, target: nib.Nifti1Header) -> None:
    """Copy qform, sform and voxel sizes field by field: recomputing a quaternion would move its last digits."""
    fields = ["qform_code", "sform_code", "pixdim", "xyzt_units"]
    fields += ["quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"]
    for field in [*fields, "srow_x", "srow_y", "srow_z"]:
        target[field] = source[field]


def _read_bytes(path: Path) -> bytes:
    """The file's uncompressed bytes; a gzip stream is read to its end, so its length and checksum are verified."""
    try:
        with path.open("rb") as stream:
            compressed = stream.read(2) == _GZIP_MAGIC
            stream.seek(0)
            reader = gzip.GzipFile(fileobj=stream) if compressed else stream
            content = bytearray()
            # In pieces: one read of the largest size allowed would reserve that much memory for a small file.
            while len(content) <= MAX_FILE_BYTES and (piece := reader.read(_CHUNK_BYTES)):
                content += piece
    except FileNotFoundError as error:
        raise CaseError(f"{path}: file not found") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CaseError(f"{path}: damaged or truncated gzip stream ({_first_line(error)})") from error
    except OSError as error:
        raise CaseError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(content) > MAX_FILE_BYTES:
        raise CaseError(f"{path}: more than {MAX_FILE_BYTES // 1024**2} MiB uncompressed, expected a head MRI")
    return bytes(content)


def _parse(content: bytes, path: Path) -> nib.Nifti1Image:
    magic1, magic2 = content[344:348], content[4:12]
    if magic1 in (b"n+1\0", b"ni1\0"):
        image_class = nib.Nifti1Image
    elif magic2.startswith((b"n+2\0", b"ni2\0")):
        image_class = nib.Nifti2Image
    else:
        raise CaseError(f"{path}: not a NIfTI file (it starts with {content[:8]!r})")
    if magic1 == b"ni1\0" or magic2.startswith(b"ni2\0"):
        raise CaseError(f"{path}: a .hdr/.img pair found, expected a single .nii or .nii.gz file")
    try:
        with _quiet_nibabel():
            image = image_class.from_stream(io.BytesIO(content))
    except (HeaderDataError, ImageDataError, ImageFileError, ValueError, OverflowError) as error:
        raise CaseError(f"{path}: unusable NIfTI header ({_first_line(error)})") from error
    if min(image.shape, default=0) < 1:
        raise CaseError(f"{path}: a shape of {image.shape} found in its header, expected a volume")
    offset, first = int(image.dataobj.offset), int(image.header.single_vox_offset)
    if offset < first:
        raise CaseError(f"{path}: voxels from byte {offset} on announced, inside the header; expected {first} or more")
    expected = math.prod(image.shape) * int(image.get_data_dtype().itemsize)
    found = max(len(content) - offset, 0)
    if found < expected:
        raise CaseError(f"{path}: {found} bytes of voxels found, its header announces {expected}: truncated")
    return image


@contextlib.contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """Keep nibabel from printing to stderr what it mends in a header; what it cannot mend it raises as well."""
    logger = imageglobals.logger

    def drop(record: logging.LogRecord) -> bool:
        return False

    logger.addFilter(drop)
    try:
        yield
    finally:
        logger.removeFilter(drop)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
