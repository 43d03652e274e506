"""What a folder run does with each case: the stages of a kind of work, and what all kinds share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.discovery import RefusedCase
from eenet_runtime.errors import BackendError, CaseCancelledError, CaseError, ResultPathError
from eenet_runtime.files.nifti import hash_or_none
from eenet_runtime.folders.hash_index import HashIndex, Stamp, stamp_of
from eenet_runtime.folders.outcomes import CaseOutcome
from eenet_runtime.folders.reserved import kept_for
from eenet_runtime.folders.resume import standing_of
from eenet_runtime.folders.stopping import StopRequest
from eenet_runtime.machine.threads import usable_cpus
from eenet_runtime.results.mask_settings import MaskSettings, PreprocessSettings
from eenet_runtime.results.preprocessed_files import write_preprocessed
from eenet_runtime.results.report import CaseReport
from eenet_runtime.results.result_files import OutputSettings, ResultPaths, clear_the_way, write_results
from eenet_runtime.segmenter.preprocessor import PreprocessedCase, Preprocessor
from eenet_runtime.segmenter.segmenter import ComputedCase, PreparedCase, Segmenter


@dataclass
class Job:
    """A case on its way through the stages. It holds what the next stage needs, and nothing longer than that.

    Attributes:
        case_id: the case's name.
        files: what it is made from; None for a case that was refused before anything of it was read.
        outcome: what became of it, once that is known.
        prepared, prepared_at: ready for the network, and since when.
        computed: out of the network.
        preprocessed: ready to be written where no network is run.
        stamps: what its files looked like before they were read, where somebody wants to know.
    """

    case_id: str
    files: CaseFiles | None
    outcome: CaseOutcome | None = None
    prepared: PreparedCase | None = None
    prepared_at: float = 0.0
    computed: ComputedCase | None = None
    preprocessed: PreprocessedCase | None = None
    stamps: dict[Path, Stamp | None] = field(default_factory=dict)

    @staticmethod
    def begin(case: CaseFiles | RefusedCase) -> Job:
        """A case as it was found."""
        match admitted(case):
            case RefusedCase(case_id, reason, code):
                return Job(case_id, None, CaseOutcome(case_id, reason=reason, code=code))
            case CaseFiles() as files:
                return Job(files.case_id, files)


class Work(Protocol):
    """A kind of work on the cases of a folder.

    Attributes:
        settings: what its results follow from besides the inputs.
        model_name: the model's name for summaries; empty where there is none.
    """

    settings: MaskSettings | PreprocessSettings
    model_name: str

    @property
    def stages(self) -> Sequence[Callable[[Job], None]]:
        """What is done with a case, one after another; each runs in a thread of its own."""


class _Results:
    """Where the results of a run go, and which of them are finished."""

    def __init__(
        self,
        output: Path,
        outputs: OutputSettings,
        settings: MaskSettings | PreprocessSettings,
        overwrite: bool,
        stop: StopRequest,
        index: HashIndex | None,
    ) -> None:
        self._index = index
        self.outputs = outputs
        self.stop = stop
        self._output = output
        self._settings = settings
        self._overwrite = overwrite

    def due(self, job: Job) -> ResultPaths | None:
        """Where the results of a case go if it must be worked on; otherwise its outcome is known, or the run ends."""
        if self.stop.requested:
            job.outcome = None
            return None
        if job.files is None:
            return None
        paths = self.of(job)
        if not self._overwrite:
            hash_of = hash_or_none if self._index is None else self._index.sha256
            standing = standing_of(job.files, paths, self._settings, self.outputs, hash_of)
            if standing.report is not None:
                job.outcome = CaseOutcome(job.case_id, standing.report, before=True)
                return None
        if self._index is not None:
            job.stamps = {path: stamp_of(path) for path in job.files.paths}
        return paths

    def done(self, job: Job, files: CaseFiles, report: CaseReport) -> None:
        """A case that was worked on just now; its hashes are noted for a restart."""
        job.outcome = CaseOutcome(job.case_id, report)
        if self._index is None:
            return
        for modality, source in files.images.items():
            self._index.learn(source.path, report.inputs[modality.value]["sha256"], job.stamps.get(source.path))
        if files.label is not None and report.label is not None:
            self._index.learn(files.label, report.label["sha256"], job.stamps.get(files.label))
        for name, path in self.of(job).of(self.outputs, files.images).items():
            self._index.learn(path, report.outputs[name]["sha256"], stamp_of(path))

    def of(self, job: Job) -> ResultPaths:
        """The paths of a case."""
        return ResultPaths.in_folder(self._output, job.case_id)

    def sweep(self, job: Job) -> None:
        """Leave no result of an earlier run beside a case that was refused."""
        if job.outcome is not None and not job.outcome.done and kept_for(job.case_id) is None:
            # Here and not before: of a watched case an earlier version may have been written a moment ago.
            left = [problem for problem in self.of(job).remove() if problem not in job.outcome.reason]
            job.outcome = replace(job.outcome, reason="; ".join([job.outcome.reason, *left]))


class SegmentingWork:
    """Masks: a case is read and prepared, computed by the network, brought back and written."""

    def __init__(
        self,
        segmenter: Segmenter,
        output: Path,
        outputs: OutputSettings,
        overwrite: bool,
        stop: StopRequest,
        index: HashIndex | None = None,
    ) -> None:
        """Work with a loaded model; see `folder.segment_folder`."""
        self.settings: MaskSettings | PreprocessSettings = MaskSettings.of(segmenter)
        self.model_name = segmenter.bundle.manifest.name
        self._mask_settings = MaskSettings.of(segmenter)
        self._segmenter = segmenter
        # The network has the other half, and threads that wait for processors take more of them in all.
        self._threads = max(1, (segmenter.threads or usable_cpus()) // 2)
        self._results = _Results(output, outputs, self.settings, overwrite, stop, index)

    @property
    def stages(self) -> Sequence[Callable[[Job], None]]:
        """See `Work.stages`."""
        return self._prepare, self._compute, self._write

    def _prepare(self, job: Job) -> None:
        """Decide what becomes of the case; read, check and normalise it where it must be computed."""
        paths = self._results.due(job)
        if paths is None or job.files is None:
            return
        with _own_errors(job):
            clear_the_way(job.files, paths, self._results.outputs)
            cancel = self._results.stop.cancel
            job.prepared = self._segmenter.prepare(job.files, cancel=cancel, threads=self._threads)
            job.prepared_at = time.monotonic()

    def _compute(self, job: Job) -> None:
        """Run the network."""
        prepared, job.prepared = job.prepared, None
        if prepared is None:
            return
        # The time limit is for work on the case; it does not count that the case before it took long.
        prepared = prepared.after_waiting(time.monotonic() - job.prepared_at)
        with _own_errors(job):
            job.computed = self._segmenter.compute(prepared, keep_probabilities=self._results.outputs.probabilities)

    def _write(self, job: Job) -> None:
        """Bring the mask back to the patient's grid, clean it and write the results."""
        files, computed, job.computed = job.files, job.computed, None
        if files is not None and computed is not None:
            with _own_errors(job):
                segmentation = self._segmenter.finish(computed)
                paths, outputs = self._results.of(job), self._results.outputs
                bundle = self._segmenter.bundle
                report = write_results(segmentation, files, paths, outputs, bundle, self._mask_settings)
                self._results.done(job, files, report)
        self._results.sweep(job)


class PreprocessingWork:
    """Aligned, stripped images: a raw case is read, registered and stripped, and written; no network segments it."""

    def __init__(
        self,
        preprocessor: Preprocessor,
        output: Path,
        outputs: OutputSettings,
        overwrite: bool,
        stop: StopRequest,
        index: HashIndex | None = None,
    ) -> None:
        """Work with a preprocessor; see `folder.preprocess_folder`."""
        self.settings: MaskSettings | PreprocessSettings = PreprocessSettings.of(preprocessor)
        self.model_name = ""
        self._preprocess_settings = PreprocessSettings.of(preprocessor)
        self._preprocessor = preprocessor
        self._results = _Results(output, outputs, self.settings, overwrite, stop, index)

    @property
    def stages(self) -> Sequence[Callable[[Job], None]]:
        """See `Work.stages`."""
        return self._prepare, self._write

    def _prepare(self, job: Job) -> None:
        paths = self._results.due(job)
        if paths is None or job.files is None:
            return
        with _own_errors(job):
            clear_the_way(job.files, paths, self._results.outputs)
            job.preprocessed = self._preprocessor.preprocess(job.files, cancel=self._results.stop.cancel)

    def _write(self, job: Job) -> None:
        files, case, job.preprocessed = job.files, job.preprocessed, None
        if files is not None and case is not None:
            with _own_errors(job):
                paths, outputs = self._results.of(job), self._results.outputs
                report = write_preprocessed(case, files, paths, outputs, self._preprocess_settings)
                self._results.done(job, files, report)
        self._results.sweep(job)


@contextmanager
def _own_errors(job: Job) -> Iterator[None]:
    """What is wrong with a case is its outcome; a case that was cancelled has none; anything else stops the run."""
    try:
        yield
    except (CaseError, BackendError, ResultPathError) as error:
        job.outcome = CaseOutcome(job.case_id, reason=str(error), code=error.code)
    except CaseCancelledError:
        pass


def admitted(case: CaseFiles | RefusedCase) -> CaseFiles | RefusedCase:
    """The case, refused where its name is kept for something else."""
    purpose = kept_for(case.case_id)
    if purpose is None or isinstance(case, RefusedCase):
        return case
    reason = f"the name {case.case_id} is kept for {purpose}; rename the case"
    return RefusedCase(case.case_id, reason, "reserved-name")
