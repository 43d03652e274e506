"""The shared library behind this package, by ctypes: its functions, their types, and what they return.

A C interface instead of a Python extension module: building needs a compiler and nothing of Python's, one wheel serves
every Python version, and ctypes releases the GIL during each call. Only this file knows the library's functions.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MESSAGE_BYTES: Final = 512
_MAX_AXES: Final = 5

_ERRORS: Final[dict[int, type[Exception]]] = {
    1: ValueError,
    2: MemoryError,
    3: FloatingPointError,
    4: OSError,
}
"""What `eenet_*` functions return, api.cpp's `Status`, as exceptions; anything else is a bug."""


@dataclass(frozen=True)
class CpuFeatures:
    """What this processor, and the operating system on it, can run."""

    avx2: bool
    fma: bool
    avx512f: bool


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded library. Loaded at the first use, not at import.

    Raises:
        ImportError: the library is not where the package was installed.
    """
    path = Path(__file__).with_name("libeenet_native.so")
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise ImportError(f"{path}: cannot be loaded ({error}); install the package anew") from error
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    message = [text, size]
    for name, result, arguments in (
        ("eenet_cpu_features", ctypes.c_int, []),
        ("eenet_instruction_set", text, [ctypes.c_int]),
        ("eenet_weight", text, [ctypes.c_int, pointer, pointer]),
        ("eenet_engine_new", ctypes.c_int, [pointer, pointer, ctypes.c_int, text, pointer, *message]),
        ("eenet_engine_delete", None, [pointer]),
        ("eenet_engine_memory", ctypes.c_size_t, [pointer]),
        ("eenet_engine_instructions", text, [pointer]),
        (
            "eenet_joint_histogram",
            ctypes.c_int,
            [pointer, pointer, size, size, size, pointer, pointer, pointer, pointer, pointer, *message],
        ),
        ("eenet_encode", ctypes.c_int, [pointer, pointer, pointer, *message]),
        ("eenet_decode", ctypes.c_int, [pointer, pointer, pointer, pointer, *message]),
    ):
        function = getattr(loaded, name)
        function.restype = result
        function.argtypes = arguments
    return loaded


class Message:
    """Room for the text of an error, and the exception that it becomes."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(_MESSAGE_BYTES)

    @property
    def arguments(self) -> tuple[ctypes.Array[ctypes.c_char], ctypes.c_size_t]:
        """The last two arguments of a function that can fail."""
        return self._buffer, ctypes.c_size_t(_MESSAGE_BYTES)

    def check(self, status: int) -> None:
        """Raise what a status says; 0 is fine.

        Raises:
            ValueError, MemoryError, FloatingPointError, OSError: as the function's documentation says.
            RuntimeError: a bug in the library.
        """
        if status:
            raise _ERRORS.get(status, RuntimeError)(self._buffer.value.decode("utf-8", "replace"))


def cpu_features() -> CpuFeatures:
    """What this processor can run; all False on one that is not x86-64."""
    bits = library().eenet_cpu_features()
    return CpuFeatures(avx2=bool(bits & 1), fma=bool(bits & 2), avx512f=bool(bits & 4))


def instruction_sets() -> tuple[str, ...]:
    """The kernels that this processor can run, best first: of "avx512", "avx2" and, always, "scalar"."""
    names: list[str] = []
    while name := library().eenet_instruction_set(len(names)):
        names.append(name.decode())
    return tuple(names)


def expected_weights() -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of the 3D network, in ONNX' layout; they do not depend on the geometry."""
    shape = (ctypes.c_int * _MAX_AXES)()
    axes = ctypes.c_int()
    weights: dict[str, tuple[int, ...]] = {}
    while name := library().eenet_weight(len(weights), shape, ctypes.byref(axes)):
        weights[name.decode()] = tuple(shape[: axes.value])
    return weights
