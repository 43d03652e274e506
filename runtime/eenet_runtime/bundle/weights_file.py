"""Reading a bundle's weights file, `weights.safetensors`, without a copy of it in memory.

The format (https://github.com/huggingface/safetensors): eight bytes with the header's length N (little-endian), N bytes
of JSON, then the raw tensors, whose offsets in the header count from the header's end. Everything the header says is
checked against the file's size before a byte of a tensor is looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import BundleError

WEIGHTS_FILE: Final = "weights.safetensors"
"""Its name in every bundle; all graphs point into it."""

DTYPES: Final[Mapping[str, str]] = {"F16": "<f2", "F32": "<f4", "I32": "<i4", "I64": "<i8"}
"""Data types of safetensors headers that weights have, in NumPy's spelling."""

_KERNELS: Final = ("kernels", "onnx")
"""What the file's metadata says where kernels lie as ONNX wants them: (out, in, ...)."""


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies in a weights file.

    Attributes:
        dtype: element type, one of `DTYPES`.
        shape: sizes of the axes, in the file's order.
        offset: first byte, from the start of the file.
        length: number of bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """Read the header of a weights file.

    Raises:
        BundleError: not a safetensors file, one that is cut off, or a data type that weights do not have.
    """
    header, start, size = _read_header(path)
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        try:
            dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            plain = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{path}: not a readable safetensors file (its entry {name} is incomplete)") from error
        if dtype not in DTYPES:
            raise BundleError(f"{path}: {name} has data type {dtype}, expected one of {', '.join(DTYPES)}")
        length = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize if plain else -1
        if length != end - begin or start + end > size:
            raise BundleError(f"{path}: {name} is cut off, or is not as long as its shape says")
        tensors[name] = StoredTensor(dtype, shape, start + begin, length)
    return tensors


def map_weights(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a bundle's weights file by name, read-only views of the mapped file.

    Kernels are (out, in, ...) and may be float16; see `eenet_train.network.weights`. Pages are read when looked at.

    Raises:
        BundleError: see `stored_tensors`; or kernels in another layout.
    """
    metadata = _read_header(path)[0].get("__metadata__")
    found = metadata.get(_KERNELS[0]) if isinstance(metadata, dict) else None
    if found != _KERNELS[1]:
        raise BundleError(f"{path}: kernels in layout {found} found, expected {_KERNELS[1]}; export the model again")
    tensors = stored_tensors(path)
    try:
        content = np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be mapped into memory ({error})") from error
    return {name: _view(content, tensor) for name, tensor in tensors.items()}


def _view(content: NDArray[np.uint8], tensor: StoredTensor) -> NDArray[Any]:
    raw = content[tensor.offset : tensor.offset + tensor.length]
    return np.asarray(raw.view(DTYPES[tensor.dtype]).reshape(tensor.shape))


def _read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The header, the first byte behind it, and the file's size."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if 8 + length > size:
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header: dict[str, Any] = dict(json.loads(stream.read(length)))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise BundleError(f"{path}: not a readable safetensors file ({error})") from error
    return header, 8 + length, size
