"""Processor seconds by stage, beside the seconds that the runtime notes: what other programs hardly change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from eenet_runtime.results import result_files
from eenet_runtime.segmenter import finishing, segmenter
from eenet_runtime.segmenter.segmentation import Stopwatch


class ProcessorTime:
    """Notes processor time wherever the runtime notes time.

    Attributes:
        seconds: by stage, of all threads of this process; whoever reads them clears them.
    """

    def __init__(self) -> None:
        """Nothing is noted yet."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Let the runtime's stopwatches note here too. The runtime itself has no use for processor time."""
        noted = self.seconds

        class Watch(Stopwatch):
            @contextmanager
            def stage(self, name: str) -> Iterator[None]:
                start = time.process_time()
                with super().stage(name):
                    yield
                noted[name] = noted.get(name, 0.0) + time.process_time() - start

        with ExitStack() as stack:
            for module in (segmenter, finishing, result_files):
                stack.enter_context(patch.object(module, "Stopwatch", Watch))
            yield
