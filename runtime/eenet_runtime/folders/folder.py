"""Segmenting a folder of cases: read, computed and written side by side, and one bad case never stops the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.discovery import Discovery, RefusedCase, find_cases
from eenet_runtime.errors import DatasetError, OutputError, ResultPathError
from eenet_runtime.files.atomic import PROBE_PREFIX, make_output_folder, remove_leftovers
from eenet_runtime.files.listing import leads_out, require_folder
from eenet_runtime.folders.folder_page import remove_folder_page, write_folder_page
from eenet_runtime.folders.hash_index import HashIndex
from eenet_runtime.folders.outcomes import CaseOutcome, FolderRun
from eenet_runtime.folders.output_lock import sole_run
from eenet_runtime.folders.pipeline import overlapped
from eenet_runtime.folders.resume import standing_of
from eenet_runtime.folders.shards import WHOLE, Shard
from eenet_runtime.folders.stopping import StopRequest
from eenet_runtime.folders.summary import is_summary_name, remove_summary, summary_name, write_summary
from eenet_runtime.folders.watch import DropFolder, WatchSettings, watch_cases
from eenet_runtime.folders.work import Job, PreprocessingWork, SegmentingWork, Work, admitted
from eenet_runtime.results.mask_settings import MaskSettings, PreprocessSettings
from eenet_runtime.results.result_files import OutputSettings, ResultPaths, case_of_result
from eenet_runtime.segmenter.preprocessor import Preprocessor
from eenet_runtime.segmenter.segmenter import Segmenter
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

    @property
    def images_alone(self) -> OutputSettings:
        """The same where no network is run."""
        return OutputSettings(preview=self.preview, aligned=True, brain=True)


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
    stop = stop or StopRequest()

    def work(index: HashIndex | None) -> Work:
        return SegmentingWork(segmenter, output, settings.outputs, settings.overwrite, stop, index)

    return _run(work, segmenter.allow_missing, folder, output, settings, on_case, stop, on_trouble)


def preprocess_folder(
    preprocessor: Preprocessor,
    folder: Path,
    output: Path,
    settings: FolderSettings = FolderSettings(),
    on_case: OnCase | None = None,
    stop: StopRequest | None = None,
    on_trouble: Callable[[str], None] | None = None,
) -> FolderRun:
    """Register and strip every raw case below a folder; no network segments anything.

    Each case gives its images in `aligned/<case>` of `output`, and `<case>.nii.gz` (the brain mask on the T1ce's own
    grid), `<case>.png` and `<case>.json`. Order, resuming, shards, watching, summaries and errors are those of
    `segment_folder`. While a case is registered and stripped the one before is written: two cases are in memory.

    Args:
        preprocessor: what is done to a head.
        folder, output, on_case, stop, on_trouble: see `segment_folder`.
        settings: of which label values and probabilities have no meaning here; images are always written.

    Raises:
        DatasetError, OutputError: see `segment_folder`.
    """
    stop = stop or StopRequest()

    def work(index: HashIndex | None) -> Work:
        return PreprocessingWork(preprocessor, output, settings.images_alone, settings.overwrite, stop, index)

    return _run(work, preprocessor.allow_missing, folder, output, settings, on_case, stop, on_trouble)


def _run(
    begin: Callable[[HashIndex | None], Work],
    allow_missing: Collection[Modality],
    folder: Path,
    output: Path,
    settings: FolderSettings,
    on_case: OnCase | None,
    stop: StopRequest,
    on_trouble: Callable[[str], None] | None,
) -> FolderRun:
    """Do a kind of work on every case; see `segment_folder`."""
    _check_folders(folder, output)
    started = time.monotonic()
    run = FolderRun(shard=settings.shard)
    cases: Iterable[CaseFiles | RefusedCase]
    drop: DropFolder | None = None
    if settings.watch is None:
        found = find_cases(folder, allow_missing, links_out=False)
        cases = [case for case in _in_order(found) if settings.shard.holds(case.case_id)]
        run.ignored, run.total = found.ignored, len(cases)
    else:
        drop = DropFolder(folder, settings.watch.settle_s, allow_missing, on_trouble)
        watched = watch_cases(drop, settings.watch, stop)
        cases = (case for case in watched if settings.shard.holds(case.case_id))
    make_output_folder(output)
    with ExitStack() as held:
        held.enter_context(sole_run(output, settings.shard))
        remove_leftovers(output, lambda name: _is_ours(name, settings.shard))
        remove_summary(output, settings.shard)
        remove_folder_page(output)
        index = held.enter_context(HashIndex(output, settings.shard)) if settings.trust_timestamps else None
        work, pace = begin(index), _Pace()

        def write() -> None:
            run.seconds = time.monotonic() - started
            if drop is not None:
                run.ignored = drop.ignored
            with pace.timed():
                write_summary(run, output, work.settings, work.model_name)
            if index is not None:
                index.flush()

        try:
            with closing(overlapped(map(Job.begin, cases), work.stages)) as jobs:
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
    work = SegmentingWork(segmenter, output, settings.outputs, settings.overwrite, StopRequest())
    with closing(overlapped(map(Job.begin, cases), work.stages)) as jobs:
        for job in jobs:
            if job.outcome is not None:
                yield job.outcome


def plan_folder(
    folder: Path,
    output: Path,
    settings: FolderSettings,
    mask_settings: MaskSettings | PreprocessSettings,
    allow_missing: Collection[Modality] = (),
) -> Iterator[PlannedCase]:
    """What `segment_folder` would do with each case, and why. Reads and hashes files; writes nothing.

    Args:
        folder: the cases.
        output: where the results would go, or are.
        settings: of the run.
        mask_settings: what the results would be made with; those of a preprocessor stand for `preprocess_folder`.
        allow_missing: modalities that a case may lack.

    Raises:
        DatasetError: as `segment_folder`.
    """
    _check_folders(folder, output)
    found = find_cases(folder, allow_missing, links_out=False)
    for case in _in_order(found):
        if not settings.shard.holds(case.case_id):
            continue
        match admitted(case):
            case RefusedCase(case_id, reason, code):
                yield PlannedCase(case_id, "refuse", reason, code)
            case CaseFiles() as files:
                yield _planned(files, output, settings, mask_settings)


def _planned(
    files: CaseFiles, output: Path, settings: FolderSettings, mask_settings: MaskSettings | PreprocessSettings
) -> PlannedCase:
    paths = ResultPaths.in_folder(output, files.case_id)
    outputs = settings.outputs if isinstance(mask_settings, MaskSettings) else settings.images_alone
    standing = standing_of(files, paths, mask_settings, outputs)
    if standing.report is not None and not settings.overwrite:
        return PlannedCase(files.case_id, "keep")
    if obstacle := paths.obstacle(outputs):
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


def _in_order(found: Discovery) -> Iterator[CaseFiles | RefusedCase]:
    """The cases of a folder in the order in which they are dealt with."""
    yield from found.refused
    yield from found.cases


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
