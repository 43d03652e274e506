"""Cases of a folder side by side, as `eenet-run infer folder` does them: the next is read while one is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.folders.pipeline import overlapped
from eenet_runtime.results.mask_settings import MaskSettings
from eenet_runtime.results.result_files import OutputSettings, ResultPaths, write_results
from eenet_runtime.segmenter.segmenter import ComputedCase, PreparedCase, Segmenter


@dataclass
class _Job:
    """A case on its way; each stage takes what the one before left."""

    files: CaseFiles
    paths: ResultPaths
    prepared: PreparedCase | None = None
    computed: ComputedCase | None = None


def run_side_by_side(segmenter: Segmenter, cases: Sequence[CaseFiles], output: Path) -> None:
    """Segment cases, files to files, without previews.

    Args:
        segmenter: the loaded model.
        cases: the cases; one may come several times, for each has results of its own.
        output: folder of the results.

    Raises:
        CaseError, BackendError, OutputError: of the first case that fails; nothing is computed after it.
    """

    def prepare(job: _Job) -> None:
        job.prepared = segmenter.prepare(job.files)

    def compute(job: _Job) -> None:
        assert job.prepared is not None
        prepared, job.prepared = job.prepared, None
        job.computed = segmenter.compute(prepared)

    def write(job: _Job) -> None:
        assert job.computed is not None
        computed, job.computed = job.computed, None
        segmentation = segmenter.finish(computed)
        settings = MaskSettings.of(segmenter)
        write_results(segmentation, job.files, job.paths, OutputSettings(preview=False), segmenter.bundle, settings)

    jobs = (
        _Job(replace(files, label=None), ResultPaths.in_folder(output, f"folder-{number}"))
        for number, files in enumerate(cases)
    )
    for _ in overlapped(jobs, (prepare, compute, write)):
        pass
