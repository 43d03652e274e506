"""Raw heads without a model: registered, stripped, turned and laid out as BraTS lays out its cases."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.content_checks import CheckPolicy, Finding, find_problems, judge
from eenet_runtime.cases.missing_modality import missing_warnings
from eenet_runtime.cases.preprocessing import CaseImages, measure_images
from eenet_runtime.codes import Reason
from eenet_runtime.segmenter.limits import Cancellation, Limits
from eenet_runtime.segmenter.raw_settings import RawSettings
from eenet_runtime.segmenter.segmentation import Stopwatch
from eenet_runtime.volumes.labels import Modality
from eenet_runtime.volumes.presets import EENET_144

if TYPE_CHECKING:
    from eenet_runtime.heads.raw_case import AlignedHead

BRATS_SPACING_MM: Final = 1.0
BRATS_POSE: Final = "sri24"
"""Which way heads lie in the data sets of BraTS."""


@dataclass(frozen=True)
class PreprocessedCase:
    """A case on the grid of BraTS.

    Attributes:
        case_id: the case's name.
        images: its images, 0 outside the brain; as they were given where they came stripped and on one grid.
        head: how it got there; None for a case that came ready.
        facts: the same in words and figures, for the report.
        findings: what the steps and the checks found and let pass.
        notes: those findings and what else a reader should know, each with its code.
        seconds: time by stage.
    """

    case_id: str
    images: CaseImages
    head: AlignedHead | None = field(repr=False)
    facts: dict[str, Any]
    findings: tuple[Finding, ...]
    notes: tuple[Reason, ...]
    seconds: dict[str, float]


class Preprocessor:
    """What `eenet-run preprocess` does to a case. One case at a time.

    Attributes:
        chain: the steps; `native` among its poses lays heads as their T1ce lies.
        checks: what becomes of images that do not look like what they are called.
        allow_missing: modalities of which a case may lack one; never T1 or T1ce.
    """

    def __init__(
        self,
        settings: RawSettings | None = None,
        *,
        checks: CheckPolicy | str = CheckPolicy.DEFAULT,
        allow_missing: Collection[Modality] = (),
        threads: int | None = None,
        time_limit_s: float | None = None,
    ) -> None:
        """Verify the strip bundle; nothing is loaded yet.

        Args:
            settings: where the brain masks come from, and the pose; by default that of BraTS.
            checks: which findings refuse a case.
            allow_missing: see there.
            threads: by default as many as the process may use.
            time_limit_s: for a case; None for no limit.

        Raises:
            BundleError: no strip bundle is there, or it is damaged; an unknown pose; or T1 or T1ce may be missing.
            EENetError: a strip command without its places.
        """
        from eenet_runtime.segmenter.raw import brats_chain, require_may_lack

        self.allow_missing = frozenset(allow_missing)
        require_may_lack(self.allow_missing)
        self.checks = CheckPolicy(checks)
        settings = settings or RawSettings()
        self.chain = brats_chain(settings, BRATS_SPACING_MM, settings.pose or BRATS_POSE, threads)
        self._time_limit_s = time_limit_s

    def preprocess(self, files: CaseFiles, *, cancel: Cancellation | None = None) -> PreprocessedCase:
        """Bring one case to the grid of BraTS.

        Raises:
            CaseError: it is refused; the message says which file and why.
            CaseTimeoutError, CaseCancelledError: it must stop.
            BackendError: this machine cannot do a step.
        """
        from eenet_runtime.segmenter.raw import read_raw

        limits, watch = Limits.from_now(files.case_id, cancel, self._time_limit_s), Stopwatch()
        limits.check("read")
        raw = read_raw(files, None, self.allow_missing, self.chain, self.checks, limits, watch, nullcontext)
        limits.check("check")
        with watch.stage("check"):
            # The geometry of a whole head: the sizes of brains are judged, as they are before a network.
            measured = measure_images(raw.images, self.chain.threads)
            findings = (*raw.findings, *find_problems(raw.images, EENET_144, measured))
            warnings = judge(findings, self.checks, raw.images.case_id)
        return PreprocessedCase(
            case_id=raw.images.case_id,
            images=raw.images,
            head=raw.head,
            facts=raw.facts or {},
            findings=findings,
            notes=(*missing_warnings(raw.images.missing), *warnings, *raw.warnings),
            seconds=watch.seconds,
        )

    def close(self) -> None:
        """Free what the strip holds."""
        self.chain.release()
