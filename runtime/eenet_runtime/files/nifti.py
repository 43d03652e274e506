"""Reading NIfTI files with suspicion, and writing masks on the grid of an input.

A file is read once, from its first byte to its last: the header, then exactly the voxels that it announces, then the
end, where a gzip stream has its checksum. nibabel stops once it has the voxels, and a damaged file would pass.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError
from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.files.input_file import DEFAULT_LIMITS, InputFile, ReadLimits, open_input
from eenet_runtime.files.nifti_header import (
    NIFTI1_BYTES,
    NIFTI2_BYTES,
    ImageHeader,
    check_against_file,
    header_version,
    parse_header,
)
from eenet_runtime.files.orientation_forms import find_contradiction, let_sform_rule
from eenet_runtime.volumes.grid import Grid

_NIFTI_SUFFIXES: Final = (".nii.gz", ".nii")
_PAIR_NAME: Final = re.compile(r"(?P<stem>.+)\.(?P<suffix>hdr|img)(?P<packed>\.gz)?", re.IGNORECASE | re.DOTALL)
_OTHER_HALF: Final = {"hdr": "img", "img": "hdr"}
FASTEST_LEVEL: Final = 1
"""Of ISA-L: half the size of zlib's first level on a mask, in a tenth of its time (docs/decisions/0020)."""


@dataclass(frozen=True)
class Volume:
    """One image as it lies in its file.

    Attributes:
        source: the file's path, for messages and reports.
        data: voxels in stored axis order, (X, Y, Z) or (X, Y, Z, channels), the first axis the fastest in memory.
            In the stored dtype and this machine's byte order; where the header has a slope and an intercept, scaled
            to float32, or float64 where float32 would merge stored values. Those of a file are read-only.
        grid: shape and affine of the first three axes.
        header: the NIfTI header, needed to write a mask on the same grid.
        sha256: of the file's bytes as they lie on disk, taken while they were read; of a pair, of the header's
            bytes and then the image's. Empty for an image that came from no file.
        file_bytes: how many bytes those are.
    """

    source: str
    data: NDArray[np.generic]
    grid: Grid
    header: nib.Nifti1Header
    sha256: str = ""
    file_bytes: int = 0


def is_nifti_name(path: Path) -> bool:
    """Whether the file's name ends like a NIfTI file's."""
    return path.name.lower().endswith(_NIFTI_SUFFIXES)


def nifti_stem(path: Path) -> str:
    """The file's name without .nii or .nii.gz."""
    for suffix in _NIFTI_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def read_volume(path: Path, limits: ReadLimits = DEFAULT_LIMITS) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file completely, with its checksum; or a pair, given its .hdr or its .img.

    Any number of threads may read at a time; decompression, hashing and reading let go of the interpreter's lock.

    Args:
        path: the file; a link is followed.
        limits: what it may cost.

    Raises:
        CaseError: the file is missing, no regular file, truncated, damaged, over a limit or not NIfTI; its voxels
            are not real numbers; it has fewer than three axes; its affine is unusable; it changed while it was read.
    """
    digest = hashlib.sha256()
    first, *second = files_of_image(path)
    with open_input(first, limits, digest) as file:
        image = _read_header(file, limits, bool(second))
        if not second:
            data = _read_voxels(file, image, image.header.sizeof_hdr, limits)
        file.finish()
        size = file.size
    for image_path in second:
        with open_input(image_path, limits, digest) as file:
            data = _read_voxels(file, image, 0, limits)
            file.finish()
            size += file.size
    return Volume(str(path), data, image.grid, image.header, digest.hexdigest(), size)


def read_header(path: Path, limits: ReadLimits = DEFAULT_LIMITS) -> ImageHeader:
    """Look at a file's header without reading its voxels: quick, and no proof that they are there or whole.

    Raises:
        CaseError: as `read_volume`, as far as the header and the sizes of the files tell.
    """
    first, *second = files_of_image(path)
    with open_input(first, limits) as file:
        image = _read_header(file, limits, bool(second))
        if not second:
            check_against_file(image, file.size, file.compressed, file.path, limits)
    for image_path in second:
        with open_input(image_path, limits) as file:
            check_against_file(image, file.size, file.compressed, file.path, limits)
    return image


def sha256_of_image(path: Path, limits: ReadLimits = DEFAULT_LIMITS) -> str:
    """What `Volume.sha256` is for this file, without a look at what is in it.

    Raises:
        CaseError: the file is missing, no regular file, too large or not readable, or it changed while it was read.
    """
    digest = hashlib.sha256()
    for part in files_of_image(path):
        with open_input(part, limits, digest) as file:
            file.finish()
    return digest.hexdigest()


def hash_or_none(path: Path) -> str | None:
    """A regular file's SHA-256; None for what is none, as a pipe, and for a file that cannot be read."""
    try:
        return sha256_of_image(path)
    except CaseError:
        return None


def files_of_image(path: Path) -> tuple[Path, ...]:
    """The file itself, or, of a pair, the .hdr and then the .img; each of a pair may be compressed.

    Raises:
        CaseError: the other half of a pair is missing.
    """
    found = _PAIR_NAME.fullmatch(path.name)
    if found is None:
        return (path,)
    stem, suffix, packed = found["stem"], found["suffix"], found["packed"] or ""
    other = _OTHER_HALF[suffix.lower()]
    other = other.upper() if suffix.isupper() else other
    names = [f"{stem}.{other}{ending}" for ending in dict.fromkeys((packed, "", ".gz"))]
    beside = next((path.with_name(name) for name in names if path.with_name(name).exists()), None)
    if beside is None:
        raise CaseError(f"{path}: half of a .hdr/.img pair, expected {names[0]} beside it", code="nifti-pair")
    return (path, beside) if suffix.lower() == "hdr" else (beside, path)


def write_labels(path: Path, labels: NDArray[np.uint8], like: Volume) -> None:
    """Write a label volume on the grid of an input, gzip-compressed, all or nothing.

    Args:
        path: final name, `.nii.gz`.
        labels: uint8 (X, Y, Z) in the stored axis order of `like`, file values (not network classes).
        like: the volume whose shape, affine, qform, sform, units and intent of space the mask takes over; of two
            forms that contradict each other, the sform for both.

    Raises:
        OutputError: the file cannot be written.
    """
    if labels.shape != like.grid.shape or labels.dtype != np.uint8:
        raise ValueError(f"labels are {labels.dtype} {labels.shape}, the grid is uint8 {like.grid.shape}")
    write_atomically(path, labels_to_bytes(labels, like))


def labels_to_bytes(labels: NDArray[np.uint8], like: Volume) -> bytes:
    """The bytes of the file that `write_labels` writes; the same input gives the same bytes.

    A file has the first axis fastest: labels that lie so in memory are not copied into another order first, which
    takes ten times as long as compressing them.
    """
    header = header_like(like, labels.shape, np.uint8)
    header.set_intent("label")
    image_class = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    image = image_class(labels, None, header)
    _copy_transforms(header, image.header)
    # mtime=0 keeps the bytes reproducible.
    return igzip.compress(image.to_bytes(), FASTEST_LEVEL, mtime=0)


def image_to_bytes(data: NDArray[np.generic], grid: Grid) -> bytes:
    """The bytes of a compressed NIfTI file with these voxels on this grid; the same input gives the same bytes.

    Args:
        data: (X, Y, Z) of a type that NIfTI knows, in the stored axis order of `grid`.
        grid: written as qform and sform, in millimetres.
    """
    image = nib.Nifti1Image(data, grid.affine)
    image.set_qform(grid.affine, code=1)
    image.set_sform(grid.affine, code=1)
    image.header.set_xyzt_units("mm")
    return igzip.compress(image.to_bytes(), FASTEST_LEVEL, mtime=0)


def header_like(like: Volume, shape: tuple[int, ...], dtype: type[np.generic]) -> nib.Nifti1Header:
    """The header of a file that is derived from an image: its grid and units, unscaled voxels, nothing else of it.

    Where qform and sform of the image contradict each other, both say what its sform says, which is what was used: then
    every viewer shows the derived file alike.
    """
    header = like.header.copy()
    if find_contradiction(like.header) is not None:
        let_sform_rule(header)
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_slope_inter(1, 0)
    # Display range and free text of the MRI say nothing about a mask, and free text may name the patient.
    header["cal_min"] = header["cal_max"] = 0
    for field in ("descrip", "aux_file", "db_name", "data_type", "intent_name"):
        if field in header:
            header[field] = b""
    header.extensions.clear()
    return header


def _copy_transforms(source: nib.Nifti1Header, target: nib.Nifti1Header) -> None:
    """Copy qform, sform and voxel sizes field by field: recomputing a quaternion would move its last digits."""
    fields = ["qform_code", "sform_code", "pixdim", "xyzt_units"]
    fields += ["quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"]
    for field in [*fields, "srow_x", "srow_y", "srow_z"]:
        target[field] = source[field]


def _read_header(file: InputFile, limits: ReadLimits, from_pair: bool) -> ImageHeader:
    start = file.read(NIFTI1_BYTES)
    version = header_version(start)
    if version == 0:
        raise CaseError(f"{file.path}: not a NIfTI file (it starts with {start[:8]!r})", code="not-nifti")
    if version == 2:
        start += file.read(NIFTI2_BYTES - NIFTI1_BYTES)
    image = parse_header(start, file.path, limits)
    if image.is_pair and not from_pair:
        raise CaseError(
            f"{file.path}: the header of a .hdr/.img pair found, expected a single .nii or .nii.gz file",
            code="nifti-pair",
        )
    if from_pair and not image.is_pair:
        raise CaseError(
            f"{file.path}: a single NIfTI file found, expected the header of a .hdr/.img pair", code="nifti-pair"
        )
    return image


def _read_voxels(file: InputFile, image: ImageHeader, passed: int, limits: ReadLimits) -> NDArray[np.generic]:
    """The voxels, and proof that nothing but padding follows them."""
    check_against_file(image, file.size, file.compressed, file.path, limits)
    file.skip(image.offset - passed)
    try:
        # NumPy asks the system for huge pages. `bytes` has small ones, whose faults took as long as inflating.
        content = np.empty(image.voxel_bytes, np.uint8)
        count = file.read_into(content.data)
        padding = file.read(limits.padding_bytes + 1)
        if count < image.voxel_bytes:
            raise CaseError(
                f"{file.path}: {count} bytes of voxels found, its header announces {image.voxel_bytes}: truncated",
                code="truncated",
            )
        if len(padding) > limits.padding_bytes or any(padding):
            raise CaseError(
                f"{file.path}: more bytes found after the {image.voxel_bytes} bytes of voxels that its header "
                "announces, expected the end of the file",
                code="extra-bytes",
            )
        # The bytes that were read are the array: nothing is copied unless it must be swapped or scaled.
        stored = content.view(image.dtype).reshape(image.shape, order="F")
        data = _scaled(stored, image)
    except MemoryError as error:
        raise CaseError(
            f"{file.path}: too little memory for {image.voxel_bytes} bytes of voxels", code="too-little-memory"
        ) from error
    data.flags.writeable = False
    return data


def _scaled(stored: NDArray[np.generic], image: ImageHeader) -> NDArray[np.generic]:
    """Stored values in this machine's byte order, scaled if need be."""
    if image.scaling is None:
        return stored.astype(image.data_dtype, copy=False)
    scale = image.data_dtype.type
    slope, intercept = image.scaling
    # A slope or intercept out of this world gives infinite voxels, which normalisation refuses by name.
    with np.errstate(all="ignore"):
        data: NDArray[np.generic] = np.multiply(stored, scale(slope), dtype=image.data_dtype)
        np.add(data, scale(intercept), out=data)
    return data
