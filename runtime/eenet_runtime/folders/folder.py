"""Segmenting a folder of cases: read, computed and written side by side, and one bad case never stops the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.discovery import Discovery, RefusedCase, find_cases
from eenet_runtime.errors import (
    BackendError,
    CaseCancelledError,
    CaseError,
    DatasetError,
    OutputError,
    ResultPathError,
)
from eenet_runtime.files.atomic import PROBE_PREFIX, make_output_folder, remove_leftovers
from eenet_runtime.files.listing import leads_out, require_folder
from eenet_runtime.folders.folder_page import remove_folder_page, write_folder_page
from eenet_runtime.folders.hash_index import HashIndex, Stamp, hash_or_none, stamp_of
from eenet_runtime.folders.outcomes import CaseOutcome, FolderRun
from eenet_runtime.folders.output_lock import sole_run
from eenet_runtime.folders.pipeline import overlapped
from eenet_runtime.folders.reserved import kept_for
from eenet_runtime.folders.resume import standing_of
from eenet_runtime.folders.shards import WHOLE, Shard
from eenet_runtime.folders.stopping import StopRequest
from eenet_runtime.folders.summary import is_summary_name, remove_summary, summary_name, write_summary
from eenet_runtime.folders.watch import DropFolder, WatchSettings, watch_cases
from eenet_runtime.machine.threads import usable_cpus
from eenet_runtime.results.mask_settings import MaskSettings
from eenet_runtime.results.report import CaseReport
from eenet_runtime.results.result_files import OutputSettings, ResultPaths, case_of_result, clear_the_way, write_results
from eenet_runtime.segmenter.segmenter import ComputedCase, PreparedCase, Segmenter
from eenet_runtime.volumes.labels import LabelScheme, Modality

_SMALL_FOLDER: Final = 200
"""Up to so many cases the summary is written after each that this run dealt with."""
_SHARE: Final = 20
"""In larger folders the summary takes one part in so many of the time."""
_SELDOM_S: Final = 2.0
"""Seconds between two summaries while cases are only found to be done."""

OnCase = Callable[[int, int | None, CaseOutcome], None]
"""Called with the cases so far, the cases in all (None where nobody knows) and the outcome of the last."""


@dataclass(frozen=True)
class FolderSettings:
    """Settings of a folder run.

    Attributes:
        scheme: label values of the masks; by default each case's own.
        preview: whether to draw pictures.
        probabilities: whether to write probability maps.
        overwrite: whether cases that are finished are computed again.
        shard: which part of the folder is done.
        watch: how to go on waiting for cases; None to do those that are there and end.
        html: whether to write a page over the folder at the end.
        aligned: whether to write the images as the network saw them.
        trust_timestamps: whether files that look as they did when they were hashed are believed to be what they were
            (`hash_index`).
    """

    scheme: LabelScheme | None = None
    preview: bool = True
    probabilities: bool = False
    overwrite: bool = False
    shard: Shard = WHOLE
    watch: WatchSettings | None = None
    html: bool = False
    aligned: bool = False
    trust_timestamps: bool = False

    @property
    def outputs(self) -> OutputSettings:
        """What is written for each case."""
        return OutputSettings(self.scheme, self.preview, self.probabilities, self.aligned)


@dataclass(frozen=True)
class PlannedCase:
    """What a run would do with a case.

    Attributes:
        case_id: the case's name.
        action: `compute`, `keep` (it is done) or `refuse`.
        why: the reason, in one line; None for a case that is kept.
        code: of the reason to refuse it; empty for any other.
    """

    case_id: str
    action: str
    why: str | None = None
    code: str = ""


@dataclass
class _Job:
    """A case on its way through the stages. It holds what the next stage needs, and nothing longer than that.

    Attributes:
        case_id: the case's name.
        files: what it is made from; None for a case that was refused before anything of it was read.
        outcome: what became of it, once that is known.
        prepared, prepared_at: ready for the network, and since when.
        computed: out of the network.
        stamps: what its files looked like before they were read, where somebody wants to know.
    """

    case_id: str
    files: CaseFiles | None
    outcome: CaseOutcome | None = None
    prepared: PreparedCase | None = None
    prepared_at: float = 0.0
    computed: ComputedCase | None = None
    stamps: dict[Path, Stamp | None] = field(default_factory=dict)

    @staticmethod
    def begin(case: CaseFiles | RefusedCase) -> _Job:
        """A case as it was found."""
        match _admitted(case):
            case RefusedCase(case_id, reason, code):
                return _Job(case_id, None, CaseOutcome(case_id, reason=reason, code=code))
            case CaseFiles() as files:
                return _Job(files.case_id, files)


def segment_folder(
    segmenter: Segmenter,
    folder: Path,
    output: Path,
    settings: FolderSettings = FolderSettings(),
    on_case: OnCase | None = None,
    stop: StopRequest | None = None,
    on_trouble: Callable[[str], None] | None = None,
) -> FolderRun:
    """Segment every case below a folder.

    Each case gives `<case>.nii.gz`, `<case>.png` and `<case>.json` in `output`; `summary.json` and `summary.csv` are
    rewritten after every case, so that a run that is stopped still says what it did. A case that is finished already
    is verified and kept (`resume.standing_of`).

    While the network computes a case, the next one is read and the one before is written, each in a thread of its own:
    three cases are in memory.

    Args:
        segmenter: the loaded model.
        folder: the cases, in any layout of docs/data.md.
        output: made if it is not there; must lie outside `folder`, or a second run would read the first one's masks.
        settings: what to do.
        on_case: told of every outcome, in the calling thread.
        stop: ends the run early: a case that is being written is finished, those before are dropped and left for the
            next run. An inference that is running is not interrupted.
        on_trouble: told, once each time, that a watched folder cannot be read and that it can be again; by another
            thread.

    Raises:
        DatasetError: there is nothing to segment in `folder`, or `output` lies in it.
        OutputError: `output` cannot be written, and the cases in hand leave nothing behind; or another run is writing
            into it (`output_lock`).
    """
    _check_folders(folder, output)
    stop = stop or StopRequest()
    started = time.monotonic()
    run = FolderRun(shard=settings.shard)
    cases: Iterable[CaseFiles | RefusedCase]
    drop: DropFolder | None = None
    if settings.watch is None:
        found = find_cases(folder, segmenter.allow_missing, links_out=False)
        cases = [case for case in _in_order(found) if settings.shard.holds(case.case_id)]
        run.ignored, run.total = found.ignored, len(cases)
    else:
        drop = DropFolder(folder, settings.watch.settle_s, segmenter.allow_missing, on_trouble)
        watched = watch_cases(drop, settings.watch, stop)
        cases = (case for case in watched if settings.shard.holds(case.case_id))
    make_output_folder(output)
    with ExitStack() as held:
        held.enter_context(sole_run(output, settings.shard))
        remove_leftovers(output, lambda name: _is_ours(name, settings.shard))
        remove_summary(output, settings.shard)
        remove_folder_page(output)
        index = held.enter_context(HashIndex(output, settings.shard)) if settings.trust_timestamps else None
        stages = _Stages(segmenter, output, settings, stop, index)
        pace = _Pace()
        bundle_name = segmenter.bundle.manifest.name

        def write() -> None:
            run.seconds = time.monotonic() - started
            if drop is not None:
                run.ignored = drop.ignored
            with pace.timed():
                write_summary(run, output, stages.settings, bundle_name)
            if index is not None:
                index.flush()

        work = (stages.prepare, stages.compute, stages.write)
        try:
            with closing(overlapped(map(_Job.begin, cases), work)) as jobs:
                for job in jobs:
                    if job.outcome is None:  # dropped
                        continue
                    run.add(job.outcome)
                    if pace.allows(job.outcome, len(run.outcomes)):
                        write()
                    if on_case is not None:
                        on_case(len(run.outcomes), run.total, job.outcome)
        except BaseException:
            stop.request()
            if run.outcomes:
                with suppress(OutputError):
                    write()
            raise
        run.stopped, run.finished = stop.requested, not stop.requested
        write()
        if settings.html:
            write_folder_page(output)
    return run


def segment_each(
    segmenter: Segmenter, cases: Iterable[CaseFiles], output: Path, settings: FolderSettings
) -> Iterator[CaseOutcome]:
    """Segment cases as `segment_folder` does, three in hand, without a summary, a lock or a look for others.

    Args:
        segmenter: the loaded model.
        cases: what to do, in this order.
        output: where the results go; it is there and nobody else's.
        settings: what is written.

    Raises:
        OutputError: a result cannot be written.
    """
    stages = _Stages(segmenter, output, settings, StopRequest())
    work = (stages.prepare, stages.compute, stages.write)
    with closing(overlapped(map(_Job.begin, cases), work)) as jobs:
        for job in jobs:
            if job.outcome is not None:
                yield job.outcome


def plan_folder(
    folder: Path,
    output: Path,
    settings: FolderSettings,
    mask_settings: MaskSettings,
    allow_missing: Collection[Modality] = (),
) -> Iterator[PlannedCase]:
    """What `segment_folder` would do with each case, and why. Reads and hashes files; writes nothing.

    Args:
        folder: the cases.
        output: where the results would go, or are.
        settings: of the run.
        mask_settings: what the masks would be made with.
        allow_missing: modalities that a case may lack.

    Raises:
        DatasetError: as `segment_folder`.
    """
    _check_folders(folder, output)
    found = find_cases(folder, allow_missing, links_out=False)
    for case in _in_order(found):
        if not settings.shard.holds(case.case_id):
            continue
        match _admitted(case):
            case RefusedCase(case_id, reason, code):
                yield PlannedCase(case_id, "refuse", reason, code)
            case CaseFiles() as files:
                yield _planned(files, output, settings, mask_settings)


def _planned(files: CaseFiles, output: Path, settings: FolderSettings, mask_settings: MaskSettings) -> PlannedCase:
    paths = ResultPaths.in_folder(output, files.case_id)
    standing = standing_of(files, paths, mask_settings, settings.outputs)
    if standing.report is not None and not settings.overwrite:
        return PlannedCase(files.case_id, "keep")
    if obstacle := paths.obstacle(settings.outputs):
        return PlannedCase(files.case_id, "refuse", obstacle, ResultPathError.code)
    return PlannedCase(files.case_id, "compute", standing.why or "--overwrite")


class _Pace:
    """When the summary is written again: after every case that this run dealt with, in large folders less often.

    A summary of ten thousand cases takes longer to write than a case to verify.
    """

    def __init__(self) -> None:
        self._took = self._ended = 0.0

    def allows(self, outcome: CaseOutcome, cases: int) -> bool:
        """Whether it is time for it."""
        if not outcome.before and cases <= _SMALL_FOLDER:
            return True
        since = time.monotonic() - self._ended
        return since >= _SHARE * self._took and (since >= _SELDOM_S or not outcome.before)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Round the writing."""
        begun = time.monotonic()
        yield
        self._ended = time.monotonic()
        self._took = self._ended - begun


class _Stages:
    """What is done with a case, in three parts that run in three threads."""

    def __init__(
        self,
        segmenter: Segmenter,
        output: Path,
        settings: FolderSettings,
        stop: StopRequest,
        index: HashIndex | None = None,
    ) -> None:
        self._index = index
        self.settings = MaskSettings.of(segmenter)
        self._segmenter = segmenter
        # The network has the other half, and threads that wait for processors take more of them in all.
        self._threads = max(1, (segmenter.threads or usable_cpus()) // 2)
        self._output = output
        self._folder_settings = settings
        self._outputs = settings.outputs
        self._stop = stop

    def prepare(self, job: _Job) -> None:
        """Decide what becomes of the case; read, check and normalise it where it must be computed."""
        files = job.files
        if self._stop.requested:
            job.outcome = None
            return
        if files is None:
            return
        paths = ResultPaths.in_folder(self._output, files.case_id)
        if not self._folder_settings.overwrite:
            hash_of = hash_or_none if self._index is None else self._index.sha256
            standing = standing_of(files, paths, self.settings, self._outputs, hash_of)
            if standing.report is not None:
                job.outcome = CaseOutcome(files.case_id, standing.report, before=True)
                return
        if self._index is not None:
            job.stamps = {path: stamp_of(path) for path in files.paths}
        with _own_errors(job):
            clear_the_way(files, paths, self._outputs)
            job.prepared = self._segmenter.prepare(files, cancel=self._stop.cancel, threads=self._threads)
            job.prepared_at = time.monotonic()

    def compute(self, job: _Job) -> None:
        """Run the network."""
        prepared, job.prepared = job.prepared, None
        if prepared is None:
            return
        # The time limit is for work on the case; it does not count that the case before it took long.
        prepared = prepared.after_waiting(time.monotonic() - job.prepared_at)
        with _own_errors(job):
            job.computed = self._segmenter.compute(prepared, keep_probabilities=self._outputs.probabilities)

    def write(self, job: _Job) -> None:
        """Bring the mask back to the patient's grid, clean it and write the results."""
        files, computed, job.computed = job.files, job.computed, None
        if files is not None and computed is not None:
            paths = ResultPaths.in_folder(self._output, job.case_id)
            with _own_errors(job):
                segmentation = self._segmenter.finish(computed)
                report = write_results(segmentation, files, paths, self._outputs, self._segmenter.bundle, self.settings)
                job.outcome = CaseOutcome(job.case_id, report)
                self._learn(job, files, paths, report)
        if job.outcome is not None and not job.outcome.done and kept_for(job.case_id) is None:
            # Here and not before: of a watched case an earlier version may have been written a moment ago.
            paths = ResultPaths.in_folder(self._output, job.case_id)
            left = [problem for problem in paths.remove() if problem not in job.outcome.reason]
            job.outcome = replace(job.outcome, reason="; ".join([job.outcome.reason, *left]))

    def _learn(self, job: _Job, files: CaseFiles, paths: ResultPaths, report: CaseReport) -> None:
        """Note the hashes of a case that was computed just now, for a restart."""
        if self._index is None:
            return
        for modality, source in files.images.items():
            self._index.learn(source.path, report.inputs[modality.value]["sha256"], job.stamps.get(source.path))
        if files.label is not None and report.label is not None:
            self._index.learn(files.label, report.label["sha256"], job.stamps.get(files.label))
        for name, path in paths.of(self._outputs, files.images).items():
            self._index.learn(path, report.outputs[name]["sha256"], stamp_of(path))


@contextmanager
def _own_errors(job: _Job) -> Iterator[None]:
    """What is wrong with a case is its outcome; a case that was cancelled has none; anything else stops the run."""
    try:
        yield
    except (CaseError, BackendError, ResultPathError) as error:
        job.outcome = CaseOutcome(job.case_id, reason=str(error), code=error.code)
    except CaseCancelledError:
        pass


def _in_order(found: Discovery) -> Iterator[CaseFiles | RefusedCase]:
    """The cases of a folder in the order in which they are dealt with."""
    yield from found.refused
    yield from found.cases


def _admitted(case: CaseFiles | RefusedCase) -> CaseFiles | RefusedCase:
    """The case, refused where its name is kept for something else."""
    purpose = kept_for(case.case_id)
    if purpose is None or isinstance(case, RefusedCase):
        return case
    reason = f"the name {case.case_id} is kept for {purpose}; rename the case"
    return RefusedCase(case.case_id, reason, "reserved-name")


def _is_ours(name: str, shard: Shard) -> bool:
    """Whether a file of the output folder is written by this part of the folder alone."""
    if shard.count == 1:
        return True
    if name.startswith(PROBE_PREFIX):
        return False  # of another part, which starts at the same moment
    case_id = case_of_result(name)
    if case_id is None:
        return shard.index == 1
    return case_id == summary_name(shard) if is_summary_name(case_id) else shard.holds(case_id)


def _check_folders(folder: Path, output: Path) -> None:
    if not leads_out(output, folder):
        raise DatasetError(f"{output}: the output folder lies inside the input folder {folder}; choose another one")
    require_folder(folder)
