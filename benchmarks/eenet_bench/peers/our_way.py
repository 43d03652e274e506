"""The toolkit's own way, as `eenet-run infer` goes without a preview: mask and report, with all checks and hashes."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

from eenet_runtime.cases.case_files import case_from_paths
from eenet_runtime.results.result_files import ResultPaths, segment_to_files
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import Modality


class _Watch(Protocol):
    seconds: dict[str, float]


class OurWay:
    """See `worker.Way`."""

    def __init__(self, bundle: Path, backend: str, threads: int, instructions: str) -> None:
        with _native_limited_to(instructions):
            self._segmenter = Segmenter(bundle, backend=backend, threads=threads)
        engine = self._segmenter.backend
        self.version = f"{engine.name} {engine.version}, {engine.device}; {self._segmenter.why}"

    def meet(self, case_id: str, images: dict[str, str]) -> None:
        """Nothing to do."""

    def run(self, case_id: str, images: dict[str, str], output: str, watch: _Watch) -> None:
        """Files to files."""
        files = case_from_paths(case_id, {Modality(name): Path(path) for name, path in images.items()})
        folder, name = Path(output).parent, Path(output).name.removesuffix(".nii.gz")
        report = segment_to_files(self._segmenter, files, ResultPaths.in_folder(folder, name), preview=False)
        watch.seconds.update(report.seconds)


def _native_limited_to(instructions: str) -> Any:
    """The native engine with other kernels than the processor's best; the runtime itself never wants that."""
    if not instructions:
        return nullcontext()
    from eenet_runtime.backends import native_backend

    limited = partial(native_backend.NativeBackend, instructions=instructions)
    return patch.object(native_backend, "NativeBackend", limited)


def load(bundle: str, backend: str, threads: int, instructions: str) -> OurWay:
    """Load a bundle; `instructions` limits the native engine's kernels, empty for the best."""
    return OurWay(Path(bundle), backend, threads, instructions)
