"""What a `Segmenter` is made with, besides the bundle."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from eenet_runtime.bundle.manifest import PostprocessingSettings
from eenet_runtime.cases.content_checks import CheckPolicy
from eenet_runtime.segmenter.raw_settings import RawSettings
from eenet_runtime.volumes.labels import Modality


@dataclass(frozen=True)
class SegmenterSettings:
    """Settings of a `Segmenter`.

    Attributes:
        backend: an inference engine, see `backends.backend_names`.
        device: `auto`, `cpu`, `cuda` or `cuda:n`; see `backends.choose`.
        precision: of the artefact, such as `fp16`; see `backends.choose` for the default.
        threads: threads for one inference, and for reading and preparing one case; by default as many as this process
            may use.
        postprocessing: settings instead of the bundle's.
        public_key: a PEM file with the key that must have signed the folder; a bundle already opened was checked then.
        selftest: test an engine that need not be tested, too.
        checks: what becomes of a case whose images do not look like what they are called: `default`, `strict` or
            `warn`, see `content_checks.CheckPolicy`.
        allow_missing: modalities of which a case may lack one; see `missing_modality`.
        max_cases_in_flight: cases held in memory at a time; two let one be read while one is computed.
        time_limit_s: for each case, where `segment` or `prepare` is given no other.
        raw: whether series are as the scanner made them: then they are registered and stripped, and the mask is
            written on the T1ce's own grid; `RawSettings` say how (docs/raw-heads.md).
    """

    backend: str = "auto"
    device: str = "auto"
    precision: str | None = None
    threads: int | None = None
    postprocessing: PostprocessingSettings | None = None
    public_key: Path | None = None
    selftest: bool = False
    checks: CheckPolicy | str = CheckPolicy.DEFAULT
    allow_missing: Collection[Modality] = frozenset()
    max_cases_in_flight: int = 2
    time_limit_s: float | None = None
    raw: RawSettings | bool = False

    def __post_init__(self) -> None:
        if self.max_cases_in_flight < 1:
            raise ValueError(f"max_cases_in_flight is {self.max_cases_in_flight}, expected 1 or more")


class SegmenterOptions(TypedDict, total=False):
    """The fields of `SegmenterSettings` as keyword arguments, for type checkers; a test holds the two together."""

    backend: str
    device: str
    precision: str | None
    threads: int | None
    postprocessing: PostprocessingSettings | None
    public_key: Path | None
    selftest: bool
    checks: CheckPolicy | str
    allow_missing: Collection[Modality]
    max_cases_in_flight: int
    time_limit_s: float | None
    raw: RawSettings | bool
