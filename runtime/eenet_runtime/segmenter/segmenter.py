"""The embedding API: load a bundle once, segment case after case."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from eenet_runtime._version import __version__
from eenet_runtime.backends import candidates
from eenet_runtime.bundle.manifest import Bundle, open_bundle
from eenet_runtime.cases.content_checks import CheckPolicy, find_problems, judge
from eenet_runtime.cases.inputs import CaseInput, load_case, name_of
from eenet_runtime.cases.missing_modality import missing_warnings, require_trained_for
from eenet_runtime.cases.preprocessing import measure_images, prepare
from eenet_runtime.log import LOGGER
from eenet_runtime.segmenter.admission import Admission
from eenet_runtime.segmenter.case_stages import CaseInHand, ComputedCase, OnNetworkGrid, PreparedCase
from eenet_runtime.segmenter.finishing import bring_back
from eenet_runtime.segmenter.limits import Cancellation, Limits
from eenet_runtime.segmenter.raw_settings import raw_settings
from eenet_runtime.segmenter.segmentation import Provenance, Segmentation, Stopwatch
from eenet_runtime.segmenter.settings import SegmenterOptions, SegmenterSettings
from eenet_runtime.selftest.serving import serve

if TYPE_CHECKING:
    from eenet_runtime.heads.raw_case import Chain

__all__ = ["ComputedCase", "PreparedCase", "Segmentation", "Segmenter", "SegmenterSettings", "Stopwatch"]

_DEFAULTS: Final = SegmenterSettings()


class Segmenter:
    """One model, loaded once, for any number of cases and threads. Use it as a context manager.

    Any thread may call `segment`, `prepare` and `infer`. Reading, checking and the steps after the network run side by
    side; the engine computes one volume at a time, with all its threads. At most `max_cases_in_flight` cases are held
    in memory between the begin of `prepare` and the end of `infer`; further ones wait before they read anything.

    Attributes:
        bundle: the model's folder, verified.
        settings: what it was made with.
        postprocessing: the steps after the network, as asked for or the bundle's.
        checks: what becomes of images that do not look like what they are called.
        allow_missing: modalities of which a case may lack one.
        threads: for one inference, and for reading and preparing one case; None for as many as the process may use.
        time_limit_s: for a case that is given no other; None for no limit.
        choice: the engine, its artefact and device; `artifact` and `why` are parts of it.
        artifact: the file that runs.
        why: why this engine and this artefact were taken, in one line.
        backend: the loaded engine.
        self_test: its result, None where the engine was not tested.
        provenance: all of this in words, as every result repeats it.
        chain: what is done to raw heads; None where heads come registered and stripped.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str,
        settings: SegmenterSettings = _DEFAULTS,
        **options: Unpack[SegmenterOptions],
    ) -> None:
        """Verify the bundle and load its model; an engine on a GPU must pass the self-test before it serves anything.

        Args:
            bundle: a folder made by `eenet-export`, or one already opened.
            settings: see `SegmenterSettings`.
            options: fields of the settings, instead of those given: `Segmenter(bundle, device="cuda")`.

        Raises:
            BundleError: the bundle is damaged, foreign or newer than this runtime, or not signed with that key; or it
                has no golden case and the engine must be tested.
            BackendError: no engine can run it here.
            SelfTestError: the engine computes something else than what was exported.
        """
        settings = replace(settings, **options)
        self.settings = settings
        self.bundle = bundle if isinstance(bundle, Bundle) else open_bundle(Path(bundle), settings.public_key)
        self.postprocessing = settings.postprocessing or self.bundle.manifest.postprocessing
        self.checks = CheckPolicy(settings.checks)
        self.allow_missing = frozenset(settings.allow_missing)
        require_trained_for(self.bundle, self.allow_missing)
        self.chain = _chain_of(settings, self.bundle)
        self.time_limit_s, self.threads = settings.time_limit_s, settings.threads
        wanted = candidates(self.bundle, backend=settings.backend, device=settings.device, precision=settings.precision)
        served = serve(self.bundle, wanted, settings.threads, settings.selftest)
        self.choice, self.artifact, self.why = served.choice, served.choice.artifact, served.choice.why
        self.backend, self.self_test = served.backend, served.self_test
        self.provenance = _provenance(self)
        self._numbers = itertools.count(1)
        self._admission = Admission(settings.max_cases_in_flight)

    def segment(
        self,
        case: CaseInput,
        *,
        case_id: str | None = None,
        cancel: Cancellation | None = None,
        time_limit_s: float | None = None,
        keep_probabilities: bool = False,
    ) -> Segmentation:
        """Segment one case: `infer(prepare(...))`.

        Args:
            case: its files, nibabel images or arrays; see `inputs.CaseInput`.
            case_id: its name, where it has none or shall have another.
            cancel: a switch that stops it between two stages.
            time_limit_s: seconds it may take, waiting for its turn included; asked between the stages, an inference is
                not interrupted.
            keep_probabilities: whether the result shall hold the network's probabilities.

        Raises:
            CaseError: the case is refused; the message says which file and why.
            CaseTimeoutError: its time was over.
            CaseCancelledError: the switch was thrown.
            BackendError: the engine failed on it, the segmenter is closed, or this process was forked from the one
                that made it.
        """
        with self._admission.call():
            # Nobody here holds on to what was prepared: the network's input is free before the mask is brought back.
            computed = self._compute(self._prepare(case, case_id, cancel, time_limit_s), keep_probabilities)
            return self._finish(computed)

    def prepare(
        self,
        case: CaseInput,
        *,
        case_id: str | None = None,
        cancel: Cancellation | None = None,
        time_limit_s: float | None = None,
        threads: int | None = None,
    ) -> PreparedCase:
        """Read, check and normalise a case, for `infer`. Needs no engine, so it may run beside an inference.

        Waits for a place where `max_cases_in_flight` cases are in hand already: whoever prepares more than that before
        inferring any, in one thread, waits for ever. Cancellation and time limit go on to count in `infer`.

        Args:
            case, case_id, cancel, time_limit_s: see `segment`.
            threads: images worked on at a time; by default as many as the network has threads. Beside an inference
                fewer are better: they take processors from it.

        Raises:
            CaseError, CaseTimeoutError, CaseCancelledError, BackendError: see `segment`.
        """
        with self._admission.call():
            return self._prepare(case, case_id, cancel, time_limit_s, threads)

    def infer(self, prepared: PreparedCase, *, keep_probabilities: bool = False) -> Segmentation:
        """Compute a prepared case, bring the mask back to the patient's grid and clean it: `finish(compute(...))`.

        Raises:
            CaseTimeoutError, CaseCancelledError, BackendError: see `segment`.
            ValueError: this preparation was inferred or discarded before.
        """
        with self._admission.call():
            return self._finish(self._compute(prepared, keep_probabilities))

    def compute(self, prepared: PreparedCase, *, keep_probabilities: bool = False) -> ComputedCase:
        """The network's part of `infer`. Its result keeps the case's place, until it is finished or forgotten.

        Raises:
            CaseTimeoutError, CaseCancelledError, BackendError: see `segment`.
            ValueError: this preparation was inferred or discarded before.
        """
        with self._admission.call():
            return self._compute(prepared, keep_probabilities)

    def finish(self, computed: ComputedCase) -> Segmentation:
        """The rest of `infer`, without the engine: it may run beside the next inference.

        Raises:
            CaseTimeoutError, CaseCancelledError, BackendError: see `segment`.
            ValueError: it was finished before.
        """
        with self._admission.call():
            return self._finish(computed)

    def close(self) -> None:
        """Take no further case, wait for the calls that are running, free the model. Calling it twice is allowed.

        In a process forked from the one that made the segmenter nothing is done: nothing can be freed there.
        """
        self._admission.close()
        self.backend.close()
        if self.chain is not None:
            self.chain.release()

    def _prepare(
        self,
        case: CaseInput,
        case_id: str | None,
        cancel: Cancellation | None,
        time_limit_s: float | None,
        threads: int | None = None,
    ) -> PreparedCase:
        threads = threads or self.threads
        limit = self.time_limit_s if time_limit_s is None else time_limit_s
        number = next(self._numbers)
        limits = Limits.from_now(name_of(case, case_id), cancel, limit)
        watch = Stopwatch()
        with _logged(number, "preparing"):
            ticket = self._admission.ticket(limits, watch)
            try:
                raw = self._read(case, case_id, limits, watch, threads)
                images, preset = raw.images, self.bundle.manifest.preset
                limits.check("prepare")
                with watch.stage("prepare"):
                    measured = measure_images(images, threads)
                limits.check("check")
                with watch.stage("check"):
                    findings = (*raw.findings, *find_problems(images, preset, measured))
                    warnings = judge(findings, self.checks, images.case_id)
                # The time that measuring took is a part of this stage, although the checks come between.
                with watch.stage("prepare"):
                    network_input = prepare(images, preset, threads, measured)
            except BaseException:
                ticket.release()
                raise
        warnings = (*missing_warnings(images.missing), *warnings, *raw.warnings, *network_input.warnings)
        case_in_hand = CaseInHand(
            case_id=images.case_id,
            images=images,
            scheme=raw.scheme,
            warnings=warnings,
            findings=findings,
            seconds=watch.seconds,
            limits=limits,
            number=number,
            ticket=ticket,
            head=raw.head,
            raw=raw.facts,
        )
        return PreparedCase(case_in_hand, network_input)

    def _read(
        self, case: CaseInput, case_id: str | None, limits: Limits, watch: Stopwatch, threads: int | None
    ) -> OnNetworkGrid:
        """The case's images on one grid."""
        limits.check("read")
        if self.chain is None:
            with watch.stage("read"):
                loaded = load_case(case, case_id, self.allow_missing, threads)
            return OnNetworkGrid(loaded.images, loaded.scheme)
        from eenet_runtime.segmenter.raw import read_raw

        # Two networks side by side would take the memory of both, and no less time.
        alone = partial(self._admission.engine, limits, watch)
        chain = replace(self.chain, threads=threads)
        return read_raw(case, case_id, self.allow_missing, chain, self.checks, limits, watch, alone)

    def _compute(self, prepared: PreparedCase, keep_probabilities: bool) -> ComputedCase:
        """Run the network; probabilities are asked for only where somebody needs them."""
        case = prepared.case
        if not case.ticket.valid:
            raise ValueError("this preparation was inferred or discarded before; prepare the case again")
        watch = Stopwatch(case.seconds)
        volume, placement = prepared.network_input.volume, prepared.network_input.placement
        labels: NDArray[np.uint8] | None = None
        probabilities: NDArray[np.float32] | None = None
        with _logged(case.number, "computing"):
            try:
                with self._admission.engine(case.limits, watch):
                    case.limits.check("network")
                    with watch.stage("network"):
                        if placement.resamples or keep_probabilities or case.head is not None:
                            probabilities = self.backend(volume)
                        else:
                            labels = self.backend.labels(volume)
            except BaseException:
                case.ticket.release()
                raise
        return ComputedCase(
            case=replace(case, seconds=watch.seconds),
            labels=labels,
            probabilities=probabilities,
            placement=placement,
            head_voxels_outside=prepared.network_input.head_voxels_outside,
            keep_probabilities=keep_probabilities,
        )

    def _finish(self, computed: ComputedCase) -> Segmentation:
        case = computed.case
        if not case.ticket.valid:
            raise ValueError("this case was finished or discarded before; prepare it again")
        with _logged(case.number, "finishing"):
            try:
                result = bring_back(computed, self.postprocessing, self.provenance, self.threads)
            finally:
                case.ticket.release()
        stages = ", ".join(f"{stage} {seconds:.3f} s" for stage, seconds in result.seconds.items())
        LOGGER.info("case %d: done; %s; %d warnings", case.number, stages, len(result.warnings))
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _chain_of(settings: SegmenterSettings, bundle: Bundle) -> Chain | None:
    """What is done to raw heads. Nothing of their room is imported where nobody asks for it."""
    raw = raw_settings(settings.raw)
    if raw is None:
        return None
    from eenet_runtime.segmenter.raw import chain_of, require_may_lack

    require_may_lack(frozenset(settings.allow_missing))
    return chain_of(raw, bundle, settings.threads)


@contextmanager
def _logged(number: int, doing: str) -> Iterator[None]:
    """Log the begin and a failure of a part of a case; of an error its kind alone, for its text names files."""
    LOGGER.debug("case %d: %s", number, doing)
    try:
        yield
    except BaseException as error:
        LOGGER.warning("case %d: stopped while %s (%s)", number, doing, type(error).__name__)
        raise


def _provenance(segmenter: Segmenter) -> Provenance:
    bundle, artifact, backend = segmenter.bundle, segmenter.artifact, segmenter.backend
    return Provenance(
        bundle_id=bundle.bundle_id,
        bundle_name=bundle.manifest.name,
        signature=bundle.signature,
        artifact=artifact.path,
        kind=artifact.kind,
        precision=artifact.precision,
        weights_precision=artifact.weights_precision,
        backend=backend.name,
        backend_version=backend.version,
        device=backend.device,
        why=segmenter.why,
        self_test=segmenter.self_test.verdict if segmenter.self_test is not None else "not asked for",
        versions={"eenet": __version__, "python": platform.python_version(), "numpy": np.__version__},
    )
