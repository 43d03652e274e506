"""What `summary.json` holds; the JSON Schema in `eenet_runtime/schemas` is made from these classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from eenet_runtime.folders.outcomes import Expected
from eenet_runtime.results.mask_settings import MaskSettings, PreprocessSettings


@dataclass(frozen=True)
class ModelName:
    """The model of a run.

    Attributes:
        id: hash of everything in the bundle.
        name: its name.
    """

    id: str
    name: str


@dataclass(frozen=True)
class CaseDone:
    """A case with a mask.

    Attributes:
        case_id: its name.
        status: `done before` where an earlier run did the work.
        mask: name of the mask in the folder.
        volumes_ml: volumes of ET, TC and WT.
        dice: Dice against the case's own label, where it has one.
        seconds: time by stage.
        warnings: plain sentences.
        warning_codes: the code of each of the warnings, in their order (docs/refusals.md).
        suspicions: those of the warnings that somebody should look into.
    """

    case_id: str
    status: Literal["done", "done before"]
    mask: str
    volumes_ml: dict[str, float]
    dice: dict[str, float] | None
    seconds: dict[str, float]
    warnings: tuple[str, ...]
    warning_codes: tuple[str, ...]
    suspicions: tuple[str, ...]


WithoutMask: TypeAlias = Literal["refused", "unfinished", "missing"]


@dataclass(frozen=True)
class CaseWithoutMask:
    """A case without a mask.

    Attributes:
        case_id: its name.
        status: why: it was refused; or, where cases are expected, it was not finished, or nothing speaks of it.
        code: the reason in one word (docs/refusals.md).
        reason: the reason in one line.
    """

    case_id: str
    status: WithoutMask
    code: str
    reason: str


CaseEntry: TypeAlias = CaseDone | CaseWithoutMask


@dataclass(frozen=True)
class SummaryFile:
    """A run as a whole, or what was gathered of several.

    Attributes:
        schema_version: of this file.
        bundle, settings: of the run's masks; None where results were gathered.
        shard: which part of the folder, `i/n`.
        finished: whether it has ended at its end. Where results were gathered: whether all runs have.
        stopped: whether somebody ended it before.
        done: cases with a mask.
        done_before: those of them that an earlier run did.
        refused, unfinished, missing: cases without, by their status.
        expected: what the folder was held against; None where it was not.
        left: cases that were not dealt with; None where nobody knows.
        seconds: from the run's start, without loading the model.
        written: UTC time, ISO 8601.
        ignored_files: NIfTI files that belong to no case.
        cases: the cases.
    """

    schema_version: int
    bundle: ModelName | None
    settings: MaskSettings | PreprocessSettings | None
    shard: str
    finished: bool
    stopped: bool
    done: int
    done_before: int
    refused: int
    unfinished: int
    missing: int
    expected: Expected | None
    left: int | None
    seconds: float
    written: str
    ignored_files: tuple[str, ...]
    cases: tuple[CaseEntry, ...]
