"""The engine: one geometry, one set of weights, memory for one case at a time."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from eenet_native._library import Message, expected_weights, library

_Float32 = NDArray[np.float32]


class Engine:
    """The 3D layers of one EENet.

    `encode` turns a volume into the image of the 2D network, `decode` the 2D network's output into labels. Each
    `encode` is followed by one `decode` or `decode_probabilities` on the same thread: the decoder works in the memory
    of the encoder's skips. Memory is allocated once, here; results are the same bits for any number of threads.

    An engine belongs to the process that made it. In a fork of that process its threads are missing: every call raises
    at once, `close` does nothing, and its memory stays what it is, shared with the other process.

    Args:
        shape: (H, W, D) of a volume; H and W multiples of 32.
        depth_strides: the three strides along depth; D is three times their product.
        weights: by name, as in a bundle's weights file and in ONNX' layout, of any floating type; copied. Names beyond
            `expected_weights` are ignored.
        threads: how many the engine may use, the caller's included.
        instructions: one of `instruction_sets()`, or "auto" for the best of them.

    Raises:
        ValueError: a geometry that cannot work, a weight that is missing, of another shape or not finite, or
            instructions that this processor does not have. Nothing has been allocated.
        MemoryError: not enough memory.
        OSError: the system gives no more threads.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        depth_strides: tuple[int, int, int],
        weights: Mapping[str, NDArray[Any]],
        *,
        threads: int,
        instructions: str = "auto",
    ) -> None:
        self._handle = ctypes.c_void_p()
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._encoded_by: int | None = None
        self._shape = _three_integers("shape", shape)
        self._depth_strides = _three_integers("depth_strides", depth_strides)
        self._threads = _int32("threads", threads)

        tensors = _checked(weights)
        pointers = (ctypes.c_void_p * len(tensors))(*(tensor.ctypes.data for tensor in tensors))
        geometry = (ctypes.c_int * 6)(*self._shape, *self._depth_strides)
        message = Message()
        message.check(
            library().eenet_engine_new(
                geometry, pointers, self._threads, instructions.encode(), ctypes.byref(self._handle), *message.arguments
            )
        )
        self._memory_bytes = int(library().eenet_engine_memory(self._handle))
        self._instructions = str(library().eenet_engine_instructions(self._handle).decode())

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, D) of a volume."""
        return self._shape

    @property
    def depth_strides(self) -> tuple[int, int, int]:
        """The three strides along depth."""
        return self._depth_strides

    @property
    def threads(self) -> int:
        """How many threads compute, the caller's included."""
        return self._threads

    @property
    def instructions(self) -> str:
        """The kernels that compute: "avx512", "avx2" or "scalar"."""
        return self._instructions

    @property
    def memory_bytes(self) -> int:
        """What the engine holds for its life: activations, transformed weights and scratch memory."""
        return self._memory_bytes

    def encode(self, volume: _Float32) -> _Float32:
        """The 3D encoder.

        Args:
            volume: (4, H, W, D) float32, C-contiguous, normalised, channels in the bundle's order. Not changed.

        Returns:
            (1, H, W, 3) float32, C-contiguous: `Slices_To_Channels/Reshape` of the canonical graph.

        Raises:
            ValueError: another shape, type or layout.
            FloatingPointError: a value of the volume, or one that the network makes of it, is not finite.
            RuntimeError: the engine is closed, or this process was forked from the one that made it.
        """
        self._refuse_in_a_fork()
        _require("volume", volume, (4, *self._shape))
        plane = np.empty((1, *self._shape[:2], 3), np.float32)
        with self._lock:
            handle = self._open_handle()
            self._encoded_by = None
            message = Message()
            message.check(library().eenet_encode(handle, volume.ctypes.data, plane.ctypes.data, *message.arguments))
            self._encoded_by = threading.get_ident()
        return plane

    def decode(self, plane: _Float32) -> NDArray[np.uint8]:
        """The 3D decoder, down to labels.

        Args:
            plane: (1, H, W, 3) float32, C-contiguous: `L1_Dec/Reshape/Transpose` of the canonical graph. Not changed.

        Returns:
            (H, W, D) uint8, the most probable class (the first of equals).

        Raises:
            ValueError: another shape, type or layout.
            FloatingPointError: a value of the plane, or one that the network makes of it, is not finite.
            RuntimeError: there was no `encode` on this thread since the last decoding, the engine is closed, or this
                process was forked from the one that made it.
        """
        labels = np.empty(self._shape, np.uint8)
        self._decode(plane, labels.ctypes.data, None)
        return labels

    def decode_probabilities(self, plane: _Float32) -> _Float32:
        """As `decode`, but the probabilities: (4, H, W, D) float32."""
        probabilities = np.empty((4, *self._shape), np.float32)
        self._decode(plane, None, probabilities.ctypes.data)
        return probabilities

    def _decode(self, plane: _Float32, labels: int | None, probabilities: int | None) -> None:
        self._refuse_in_a_fork()
        _require("plane", plane, (1, *self._shape[:2], 3))
        with self._lock:
            handle = self._open_handle()
            if self._encoded_by != threading.get_ident():
                raise RuntimeError(
                    "decode: no volume encoded on this thread since the last decoding; the decoder uses the skips up"
                )
            self._encoded_by = None
            message = Message()
            message.check(library().eenet_decode(handle, plane.ctypes.data, labels, probabilities, *message.arguments))

    def close(self) -> None:
        """Give all memory and threads back; a second time, or in a fork, does nothing."""
        if os.getpid() != self._process:
            return
        with self._lock:
            if self._handle.value:
                library().eenet_engine_delete(self._handle)
                self._handle = ctypes.c_void_p()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # The constructor may have failed before there was anything to close.
        if hasattr(self, "_lock"):
            self.close()

    def _refuse_in_a_fork(self) -> None:
        """Before any lock: a thread that is not here may have held it."""
        if os.getpid() != self._process:
            raise RuntimeError(
                f"this engine was made in process {self._process}, of which process {os.getpid()} is a fork, and its "
                "threads are not here; make one in the process that uses it"
            )

    def _open_handle(self) -> ctypes.c_void_p:
        if not self._handle.value:
            raise RuntimeError("this engine is closed")
        return self._handle


def _three_integers(name: str, values: tuple[int, int, int]) -> tuple[int, int, int]:
    if len(values) != 3:
        raise ValueError(f"{name}: {values} found, expected three integers")
    first, second, third = (_int32(name, value) for value in values)
    return first, second, third


def _int32(name: str, value: int) -> int:
    """An integer that a C int can hold: ctypes would cut a larger one off without a word."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not -(2**31) <= value < 2**31:
        raise ValueError(f"{name}: {value!r} found, expected an integer of 32 bits")
    return int(value)


def _checked(weights: Mapping[str, NDArray[Any]]) -> list[_Float32]:
    """The expected weights in the library's order, as C-contiguous float32 arrays of their full size."""
    tensors = []
    for name, shape in expected_weights().items():
        if name not in weights:
            raise ValueError(f"weight {name}: missing, expected a tensor of shape {shape}")
        tensor = np.asarray(weights[name])
        if tensor.shape != shape or not np.issubdtype(tensor.dtype, np.floating):
            raise ValueError(
                f"weight {name}: {tensor.dtype} of shape {tensor.shape} found, expected floating point of shape {shape}"
            )
        tensors.append(np.ascontiguousarray(tensor, np.float32))
    return tensors


def _require(name: str, array: _Float32, shape: tuple[int, ...]) -> None:
    """Refuse what the library would misread: it sees only a pointer."""
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.shape != shape:
        found = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{name}: {found} found, expected float32 of shape {shape}")
    if not array.flags.c_contiguous or not array.flags.aligned:
        raise ValueError(
            f"{name}: an array that is not C-contiguous and aligned found; pass np.ascontiguousarray of it"
        )
