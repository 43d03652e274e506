"""An engine's last answer, given again: what is around the network is measured without waiting for the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.backends.base import Backend


class Replay:
    """Computes as the engine does, or answers what it answered last."""

    def __init__(self, engine: Backend) -> None:
        """Nothing was answered yet."""
        self._engine = engine
        self._answer: NDArray[Any] | None = None
        self._again = False

    def __call__(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Backend.__call__`."""
        if not self._again:
            self._answer = None  # the last one need not be in memory beside the next
            self._answer = self._engine(volume)
        assert self._answer is not None
        return self._answer

    def labels(self, volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See `Backend.labels`."""
        if not self._again:
            self._answer = None
            self._answer = self._engine.labels(volume)
        assert self._answer is not None
        return self._answer

    @contextmanager
    def in_place_of_the_engine(self, segmenter: object) -> Iterator[None]:
        """Let a `Segmenter` ask this instead of its engine."""
        with patch.object(segmenter, "backend", self):
            yield

    @contextmanager
    def again(self) -> Iterator[None]:
        """Compute nothing meanwhile; the answer is forgotten at the end."""
        self._again = True
        try:
            yield
        finally:
            self._again, self._answer = False, None
