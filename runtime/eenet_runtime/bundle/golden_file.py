"""Reading the arrays of a golden case, `golden.npz`: within limits, and nothing is unpickled."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import BundleError
from eenet_runtime.files.atomic import read_limited

GOLDEN_NAME: Final = "golden.npz"

MAX_FILE_BYTES: Final = 8 << 20
MAX_ARRAY_BYTES: Final = 64 << 20
"""Beyond these a file is refused before it is read, or before it is unpacked; a real one is far smaller."""


def read_golden_file(path: Path) -> bytes:
    """The bytes of a golden case.

    Raises:
        BundleError: it cannot be read, or is larger than `MAX_FILE_BYTES`.
    """
    too_large = f"more than {MAX_FILE_BYTES} bytes found, a golden case has less than {MAX_FILE_BYTES}"
    return read_limited(path, MAX_FILE_BYTES, too_large)


_UNREADABLE: Final = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy and zipfile raise on damaged archives."""


def unpack_arrays(content: bytes, source: str) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file; nothing is unpickled, and nothing is unpacked that would be too large.

    Raises:
        BundleError: not such a file, or a larger one than a golden case is.
    """
    if len(content) > MAX_FILE_BYTES:
        raise BundleError(f"{source}: {len(content)} bytes found, a golden case has less than {MAX_FILE_BYTES}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MAX_ARRAY_BYTES:
            raise BundleError(f"{source}: {unpacked} bytes unpacked, a golden case has less than {MAX_ARRAY_BYTES}")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except _UNREADABLE as error:
        raise BundleError(f"{source}: not a golden case ({error}); copy the bundle again") from error


def array_of(
    arrays: Mapping[str, NDArray[Any]], name: str, dtype: Any, shape: tuple[int | None, ...], source: str
) -> NDArray[Any]:
    """One array of the file, with the type and shape that it must have; None fits any length.

    Raises:
        BundleError: it is missing or another.
    """
    if name not in arrays:
        raise BundleError(f"{source}: array {name} is missing, expected a file made by eenet-export")
    array = arrays[name]
    fits = len(array.shape) == len(shape) and all(
        wanted is None or wanted == found for wanted, found in zip(shape, array.shape, strict=False)
    )
    if array.dtype != np.dtype(dtype) or not fits:
        raise BundleError(
            f"{source}: array {name} is {array.dtype} {array.shape}, this geometry expects {np.dtype(dtype)} {shape}"
        )
    return array
