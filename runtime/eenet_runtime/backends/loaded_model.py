"""What every engine does around its own work: one call at a time, none after `close`, none in a fork."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.bundle.manifest import Artifact
from eenet_runtime.errors import BackendError
from eenet_runtime.machine.home_process import HomeProcess
from eenet_runtime.volumes.labels import Label
from eenet_runtime.volumes.presets import GeometryPreset

_LOADED: Final[weakref.WeakSet[Loaded]] = weakref.WeakSet()


class Loaded:
    """Something that an engine of this process holds. Its class gives it back in `_free`."""

    def __init__(self) -> None:
        """Remember this process."""
        self._lock = threading.Lock()
        self._home = HomeProcess()
        self._closed = False
        _LOADED.add(self)

    def close(self) -> None:
        """Wait for the call that runs, and free the model. In a fork nothing is done: nothing there can be freed."""
        if not self._home.is_here:
            return
        with self._lock:
            if not self._closed:
                self._closed = True
                self._free()

    def _free(self) -> None:
        """Give back what the engine holds; called once, by whoever has the lock."""
        raise NotImplementedError

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Have the engine alone, in the process that loaded it.

        Raises:
            BackendError: the model was closed, or this process was forked from the one that loaded it.
        """
        self._home.require("the model")
        with self._lock:
            if self._closed:
                raise BackendError("the model was closed")
            yield


class LoadedModel(Loaded):
    """A model in an engine of this process. An engine's class derives from it and gives the engine back in `_free`."""

    def __init__(self, artifact: Artifact, preset: GeometryPreset) -> None:
        """Remember what is loaded, its geometry and this process."""
        super().__init__()
        self.artifact = artifact
        self._shape = (*preset.shape, len(Label))

    def _accept(self, volume: NDArray[np.float32]) -> None:
        """Refuse a volume of another shape or type, and any volume in a fork.

        Raises:
            BackendError: this process was forked from the one that loaded the model.
            ValueError: the volume is not the network's input.
        """
        self._home.require("the model")
        if volume.shape != self._shape or volume.dtype != np.float32:
            raise ValueError(f"volume is {volume.dtype} {volume.shape}, the model reads float32 {self._shape}")


def _keep_for_ever() -> None:
    """Let no destructor of an engine run in a fork: it would wait for threads that are not there."""
    for model in list(_LOADED):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(model))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_for_ever)
