"""What a NIfTI header says, checked for sense before anything is reserved for its voxels. nibabel parses it."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from eenet_runtime.errors import CaseError
from eenet_runtime.files.input_file import ReadLimits
from eenet_runtime.volumes.grid import Grid, check_affine

NIFTI1_BYTES: Final = 348
NIFTI2_BYTES: Final = 540
HIGHEST_GZIP_RATIO: Final = 1032
"""Deflate writes at least two bits for 258 bytes."""

_MAGICS: Final = {(1, b"n+1\0"): False, (1, b"ni1\0"): True, (2, b"n+2\0"): False, (2, b"ni2\0"): True}
_FINE_STEPS: Final = 4
"""Between two neighbouring stored values float32 must have so many steps."""
_MENDED: Final = logging.CRITICAL + 1
_XFORM_CODES: Final = range(6)


@dataclass(frozen=True)
class ImageHeader:
    """What a NIfTI header says of its image.

    Attributes:
        source: the file's path, for messages.
        header: nibabel's header, as that of a single file.
        shape: voxels by axis, three or four axes.
        dtype: the stored type, with its byte order: integers or real numbers of 1 to 8 bytes.
        offset: byte of the first voxel, in the file that holds the voxels.
        grid: shape and affine of the first three axes.
        is_pair: whether the voxels lie in an .img file of their own.
    """

    source: str
    header: nib.Nifti1Header
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int
    grid: Grid
    is_pair: bool

    @property
    def voxel_bytes(self) -> int:
        """Bytes of the voxels, as stored."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def scaling(self) -> tuple[float, float] | None:
        """Slope and intercept that turn stored into real values; None where they change nothing.

        A slope that is 0 or not finite means no scaling (NIfTI-1 standard, "scl_slope"; the last is nibabel's reading).
        """
        slope, intercept = self.header.get_slope_inter()
        return None if slope is None or (slope, intercept) == (1.0, 0.0) else (slope, intercept)

    @property
    def data_dtype(self) -> np.dtype[np.generic]:
        """The type of the voxels once they are read, in this machine's byte order.

        Scaled integers are float32 where that is enough, as NIfTI-1 holds slope and intercept. It is not only smaller:
        a writer that took the intercept from the stored value of 0 meant exactly 0 there, which float32 arithmetic
        gives back and float64 does not; and background is what is exactly 0. But neighbouring stored values must stay
        well apart, which those of 8 and 16 bits do unless the intercept is huge.
        """
        native = self.dtype.newbyteorder("=")
        if self.scaling is None:
            return native
        slope, intercept = self.scaling
        if native.kind in "iu" and not isinstance(self.header, nib.Nifti2Header):
            reach = 2.0 ** (8 * native.itemsize) * abs(slope) + abs(intercept)
            with np.errstate(all="ignore"):
                if _FINE_STEPS * np.spacing(np.float32(reach)) <= abs(slope):
                    return np.dtype(np.float32)
        return np.dtype(np.float64)

    @property
    def data_bytes(self) -> int:
        """Bytes of the voxels once they are read."""
        return math.prod(self.shape) * self.data_dtype.itemsize


def header_version(start: bytes) -> int:
    """1 or 2 by the magic word in the first 348 bytes, 0 if they are no NIfTI header."""
    if (1, start[344:348]) in _MAGICS:
        return 1
    return 2 if (2, start[4:8]) in _MAGICS else 0


def parse_header(block: bytes, path: Path, limits: ReadLimits) -> ImageHeader:
    """Parse a header and check every field that says where, how many and what the voxels are.

    Args:
        block: exactly the header, 348 or 540 bytes, of a version that `header_version` knows.
        path: the file, for messages.
        limits: the largest image.

    Raises:
        CaseError: a field without sense, an image that is no volume of real numbers or too large, an affine that
            gives no orientation.
    """
    version = header_version(block)
    header_class = nib.Nifti1Header if version == 1 else nib.Nifti2Header
    is_pair = _MAGICS[version, block[344:348] if version == 1 else block[4:8]]
    try:
        # Numbers out of this world are the header's, not ours: each is checked below.
        with np.errstate(all="ignore"):
            header = header_class(block, check=False)
            _check_orientation_fields(header, path)
            bits = int(header["bitpix"])
            header.check_fix(logger=logging.Logger("unheard", _MENDED), error_level=logging.ERROR)
            shape = tuple(int(size) for size in header.get_data_shape())
            dtype = np.dtype(header.get_data_dtype())
            affine = np.asarray(header.get_best_affine(), dtype=np.float64)
            header.get_slope_inter()
            offset = _voxel_offset(header, is_pair, path, limits)
    except (HeaderDataError, WrapStructError, ValueError, OverflowError) as error:
        raise CaseError(f"{path}: unusable NIfTI header ({_first_line(error)})", code="bad-header") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise CaseError(
            f"{path}: voxels of type {_type_name(dtype)} found, expected integers or real numbers", code="voxel-type"
        )
    if bits not in (0, 8 * dtype.itemsize):
        raise CaseError(
            f"{path}: {bits} bits a voxel announced for voxels of type {dtype.name}: a damaged header",
            code="bad-header",
        )
    shape = _checked_shape(shape, path, limits)
    check_affine(affine, str(path))
    if is_pair:
        header["magic"], header["vox_offset"] = header.single_magic, 0
    grid = Grid((shape[0], shape[1], shape[2]), affine)
    image = ImageHeader(str(path), header, shape, dtype, offset, grid, is_pair)
    if max(image.voxel_bytes, image.data_bytes) > limits.voxel_bytes:
        raise CaseError(
            f"{path}: {' x '.join(map(str, shape))} voxels of {image.data_dtype.name} announced, expected a head MRI "
            f"of at most {limits.voxel_bytes} bytes",
            code="too-large",
        )
    return image


def check_against_file(image: ImageHeader, size: int, compressed: bool, path: Path, limits: ReadLimits) -> None:
    """Hold what a header announces against the size of the file that should hold it, before anything is reserved.

    Args:
        image: the header.
        size: bytes on disk.
        compressed: whether they are a gzip stream.
        path: the file with the voxels, for messages.
        limits: how far a large image may be compressed.

    Raises:
        CaseError: the file cannot hold these voxels, holds more, or is compressed as no image is.
    """
    expected = image.voxel_bytes
    if not compressed:
        found = max(size - image.offset, 0)
        if found < expected:
            raise CaseError(
                f"{path}: {found} bytes of voxels found, its header announces {expected}: truncated", code="truncated"
            )
        if found > expected + limits.padding_bytes:
            raise CaseError(
                f"{path}: {found} bytes of voxels found, its header announces only {expected}", code="extra-bytes"
            )
        return
    if expected > size * HIGHEST_GZIP_RATIO:
        raise CaseError(
            f"{path}: {size} bytes of gzip found, its header announces {expected} of voxels: truncated",
            code="truncated",
        )
    if image.data_bytes > max(limits.small_bytes, size * limits.ratio):
        raise CaseError(
            f"{path}: {size} bytes of gzip that announce {image.data_bytes} bytes of voxels, expected at most "
            f"{limits.ratio} for each byte",
            code="gzip-ratio",
        )
    # Deflate never grows by more than a few bytes in 16 KiB; a file that does consists of empty members.
    if size > 1.01 * (image.offset + expected) + limits.header_bytes:
        raise CaseError(
            f"{path}: {size} bytes of gzip found for {expected} bytes of voxels, expected fewer", code="gzip-ratio"
        )


def _check_orientation_fields(header: nib.Nifti1Header, path: Path) -> None:
    """Refuse what nibabel would mend by a guess: a wrong guess here mirrors or stretches the head."""
    for name in ("qform_code", "sform_code"):
        if int(header[name]) not in _XFORM_CODES:
            raise CaseError(
                f"{path}: {name} {int(header[name])} found, expected 0 to {_XFORM_CODES[-1]}", code="bad-header"
            )
    if int(header["sform_code"]) > 0:
        return  # then neither voxel sizes nor handedness are used
    sizes = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not np.isfinite(sizes).all() or (sizes == 0).any():
        raise CaseError(
            f"{path}: voxel sizes of {', '.join(f'{s:g}' for s in sizes)} mm found, expected three sizes",
            code="bad-header",
        )
    if int(header["qform_code"]) > 0 and float(header["pixdim"][0]) not in (-1.0, 0.0, 1.0):
        raise CaseError(
            f"{path}: handedness {float(header['pixdim'][0]):g} found in pixdim[0], expected 1 or -1", code="bad-header"
        )


def _voxel_offset(header: nib.Nifti1Header, is_pair: bool, path: Path, limits: ReadLimits) -> int:
    found = float(header["vox_offset"])
    least = 0 if is_pair else int(header.single_vox_offset)
    if not least <= found <= limits.header_bytes or found != int(found):
        raise CaseError(
            f"{path}: voxels from byte {found:g} on announced, expected a whole number from {least} to "
            f"{limits.header_bytes}",
            code="bad-header",
        )
    return int(found)


def _checked_shape(shape: tuple[int, ...], path: Path, limits: ReadLimits) -> tuple[int, ...]:
    """The shape without trailing axes of one voxel, beyond the third."""
    text = " x ".join(map(str, shape)) or "no"
    if min(shape, default=0) < 1:
        raise CaseError(f"{path}: a shape of {text} voxels found in its header, expected a volume", code="bad-header")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (3, 4):
        raise CaseError(f"{path}: an array of {text} voxels found, expected a volume", code="bad-header")
    if max(shape) > limits.axis or math.prod(shape) > limits.voxels:
        raise CaseError(
            f"{path}: {text} voxels announced, expected a head MRI: at most {limits.axis} along an axis "
            f"and {limits.voxels} in all",
            code="too-large",
        )
    return shape


def _type_name(dtype: np.dtype[np.generic]) -> str:
    return "RGB" if dtype.names else dtype.name


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
