"""Segmenting a folder of cases: read, computed and written side by side, and one bad case never stops the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.discovery import Discovery, RefusedCase, find_cases
from eenet_runtime.errors import BackendError, CaseCancelledError, CaseError, DatasetError
from eenet_runtime.files.atomic import PROBE_PREFIX, make_output_folder, remove_leftovers
from eenet_runtime.folders.folder_page import remove_folder_page, write_folder_page
from eenet_runtime.folders.outcomes import CaseOutcome, FolderRun
from eenet_runtime.folders.output_lock import sole_run
from eenet_runtime.folders.pipeline import overlapped
from eenet_runtime.folders.resume import standing_of
from eenet_runtime.folders.shards import WHOLE, Shard
from eenet_runtime.folders.stopping import StopRequest
from eenet_runtime.folders.summary import is_summary_name, remove_summary, summary_name, write_summary
from eenet_runtime.folders.watch import DropFolder, WatchSettings, watch_cases
from eenet_runtime.machine.threads import usable_cpus
from eenet_runtime.results.mask_settings import MaskSettings
from eenet_runtime.results.result_files import OutputSettings, ResultPaths, case_of_result, clear_the_way, write_results
from eenet_runtime.segmenter.probability_maps import MAPS_SUFFIX
from eenet_runtime.segmenter.segmenter import ComputedCase, PreparedCase, Segmenter
from eenet_runtime.volumes.labels import LabelScheme, Modality

_MAPS_ENDING = MAPS_SUFFIX.removesuffix(".nii.gz")
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
    """

    scheme: LabelScheme | None = None
    preview: bool = True
    probabilities: bool = False
    overwrite: bool = False
    shard: Shard = WHOLE
    watch: WatchSettings | None = None
    html: bool = False

    @property
    def outputs(self) -> OutputSettings:
        """What is written for each case."""
        return OutputSettings(self.scheme, self.preview, self.probabilities)


@dataclass(frozen=True)
class PlannedCase:
    """What a run would do with a case.

    Attributes:
        case_id: the case's name.
        action: `compute`, `keep` (it is done) or `refuse`.
        why: the reason, in one line; empty for a case that is kept.
    """

    case_id: str
    action: str
    why: str


@dataclass
class _Job:
    """A case on its way through the stages. It holds what the next stage needs, and nothing longer than that."""

    case: CaseFiles | RefusedCase
    outcome: CaseOutcome | None = None
    prepared: PreparedCase | None = None
    prepared_at: float = 0.0
    computed: ComputedCase | None = None


def segment_folder(
    segmenter: Segmenter,
    folder: Path,
    output: Path,
    settings: FolderSettings = FolderSettings(),
    on_case: OnCase | None = None,
    stop: StopRequest | None = None,
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
        drop = DropFolder(folder, settings.watch.settle_s, segmenter.allow_missing)
        watched = watch_cases(drop, settings.watch, stop)
        cases = (case for case in watched if settings.shard.holds(case.case_id))
    make_output_folder(output)
    with sole_run(output, settings.shard):
        remove_leftovers(output, lambda name: _is_ours(name, settings.shard))
        remove_summary(output, settings.shard)
        remove_folder_page(output)
        stages = _Stages(segmenter, output, settings, stop)
        bundle_name = segmenter.bundle.manifest.name

        def write() -> None:
            run.seconds = time.monotonic() - started
            if drop is not None:
                run.ignored = drop.ignored
            write_summary(run, output, stages.settings, bundle_name)

        work = (stages.prepare, stages.compute, stages.write)
        try:
            with closing(overlapped(map(_Job, cases), work)) as jobs:
                for job in jobs:
                    if job.outcome is None:  # dropped
                        continue
                    run.add(job.outcome)
                    write()
                    if on_case is not None:
                        on_case(len(run.outcomes), run.total, job.outcome)
        except BaseException:
            stop.request()
            raise
        run.stopped, run.finished = stop.requested, not stop.requested
        write()
        if settings.html:
            write_folder_page(output)
    return run


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
        if reason := _reason_to_refuse(case):
            yield PlannedCase(case.case_id, "refuse", reason)
            continue
        assert isinstance(case, CaseFiles)
        paths = ResultPaths.in_folder(output, case.case_id)
        standing = standing_of(case, paths, mask_settings, settings.outputs)
        if standing.report is None or settings.overwrite:
            yield PlannedCase(case.case_id, "compute", standing.why or "--overwrite")
        else:
            yield PlannedCase(case.case_id, "keep", "")


class _Stages:
    """What is done with a case, in three parts that run in three threads."""

    def __init__(self, segmenter: Segmenter, output: Path, settings: FolderSettings, stop: StopRequest) -> None:
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
        if self._stop.requested:
            return
        case = job.case
        paths = ResultPaths.in_folder(self._output, case.case_id)
        if reason := _reason_to_refuse(case):
            job.outcome = CaseOutcome(case.case_id, reason=reason)
            return
        assert isinstance(case, CaseFiles)
        if not self._folder_settings.overwrite:
            standing = standing_of(case, paths, self.settings, self._outputs)
            if standing.report is not None:
                job.outcome = CaseOutcome(case.case_id, standing.report, before=True)
                return
        clear_the_way(case, paths)
        with _own_errors(job):
            job.prepared = self._segmenter.prepare(case, cancel=self._stop.cancel, threads=self._threads)
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
        computed, job.computed = job.computed, None
        case = job.case
        paths = ResultPaths.in_folder(self._output, case.case_id)
        if computed is None:
            # Here and not before: of a watched case an earlier version may have been written a moment ago.
            if job.outcome is not None and not job.outcome.done and not _reserved(case.case_id):
                paths.remove()
            return
        assert isinstance(case, CaseFiles)
        with _own_errors(job):
            segmentation = self._segmenter.finish(computed)
            report = write_results(segmentation, case, paths, self._outputs, self._segmenter.bundle, self.settings)
            job.outcome = CaseOutcome(case.case_id, report)


@contextmanager
def _own_errors(job: _Job) -> Iterator[None]:
    """What is wrong with a case is its outcome; a case that was cancelled has none; anything else stops the run."""
    try:
        yield
    except (CaseError, BackendError) as error:
        job.outcome = CaseOutcome(job.case.case_id, reason=str(error))
    except CaseCancelledError:
        pass


def _in_order(found: Discovery) -> Iterator[CaseFiles | RefusedCase]:
    """The cases of a folder in the order in which they are dealt with."""
    yield from found.refused
    yield from found.cases


def _reason_to_refuse(case: CaseFiles | RefusedCase) -> str:
    """Why a case cannot be done at all; empty for one that can be tried."""
    if isinstance(case, RefusedCase):
        return case.reason
    reserved = _reserved(case.case_id)
    return f"the name {case.case_id} is kept for {reserved}; rename the case" if reserved else ""


def _reserved(case_id: str) -> str:
    """What a name is kept for, whose files those of a case would be taken for; empty for any other name."""
    if is_summary_name(case_id):
        return "the run's summary"
    return "probability maps" if case_id.endswith(_MAPS_ENDING) else ""


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
    if output.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(f"{output}: the output folder lies inside the input folder {folder}; choose another one")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
