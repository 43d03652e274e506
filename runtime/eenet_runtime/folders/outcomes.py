"""What became of the cases of a run, in memory and as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from eenet_runtime.folders.shards import WHOLE, Shard
from eenet_runtime.folders.tables import format_table
from eenet_runtime.printable import printable
from eenet_runtime.results.report import CaseReport
from eenet_runtime.volumes.labels import Region


class Status(StrEnum):
    """What became of a case, as summaries spell it."""

    DONE = "done"
    DONE_BEFORE = "done before"
    """By an earlier run with the same inputs and settings; its results were verified and left alone."""
    REFUSED = "refused"
    UNFINISHED = "unfinished"
    """Expected, and begun: something lies there, or its run was stopped or killed before it."""
    MISSING = "missing"
    """Expected, and nothing speaks of it."""


@dataclass(frozen=True)
class CaseOutcome:
    """What became of one case: a report, or the reason why it was refused.

    Attributes:
        case_id: the case's name.
        report: of the mask, None where there is none.
        reason: why there is none.
        code: the same in one word, a key of `eenet_runtime.codes.CODES`; empty where there is a report.
        before: whether an earlier run did the work.
        without: what it is while there is no report.
    """

    case_id: str
    report: CaseReport | None = None
    reason: str = ""
    code: str = ""
    before: bool = False
    without: Status = Status.REFUSED

    @property
    def done(self) -> bool:
        """Whether there is a mask."""
        return self.report is not None

    @property
    def status(self) -> Status:
        """The one word for it."""
        if self.report is None:
            return self.without
        return Status.DONE_BEFORE if self.before else Status.DONE


@dataclass(frozen=True)
class Expected:
    """What an output folder should account for (`accounting`).

    Attributes:
        cases: how many cases were expected.
        shards: how many parts; None where nobody said.
        missing_shards: the parts that did not come to their end, such as `17/200`, each with what is known of it.
        unexpected: cases in the folder that nobody expected.
    """

    cases: int
    shards: int | None = None
    missing_shards: dict[str, str] = field(default_factory=dict)
    unexpected: tuple[str, ...] = ()


@dataclass
class FolderRun:
    """The outcome of a folder.

    Attributes:
        outcomes: of the cases that were dealt with, in that order; of a case that came twice (`--watch`) the last.
        ignored: NIfTI files that belong to no case.
        expected: what the folder was held against, in words for the summary; None where it was not.
        total: how many cases there are; None where more may come.
        shard: which part of the folder this was.
        stopped: whether somebody ended it before its end.
        finished: whether it has ended at all.
        seconds: from its start until now, without loading the model.
    """

    outcomes: list[CaseOutcome] = field(default_factory=list)
    ignored: tuple[Path, ...] = ()
    total: int | None = None
    shard: Shard = WHOLE
    stopped: bool = False
    finished: bool = False
    seconds: float = 0.0
    expected: Expected | None = None
    _places: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    @property
    def failed(self) -> list[CaseOutcome]:
        """The cases without a mask."""
        return [outcome for outcome in self.outcomes if not outcome.done]

    @property
    def left(self) -> int | None:
        """Cases that were not dealt with, None where nobody knows."""
        return None if self.total is None else self.total - len(self.outcomes)

    def add(self, outcome: CaseOutcome) -> None:
        """Enter an outcome; it takes the place of an earlier one of the same case."""
        if len(self._places) != len(self.outcomes):
            self._places = {earlier.case_id: index for index, earlier in enumerate(self.outcomes)}
        place = self._places.setdefault(outcome.case_id, len(self.outcomes))
        self.outcomes[place : place + 1] = [outcome]


def volume_names(outcomes: Iterable[CaseOutcome]) -> list[str]:
    """What the reports give volumes of: the three regions, or the brain where no network was run."""
    names = dict.fromkeys(name for outcome in outcomes if outcome.report for name in outcome.report.volumes_ml)
    return list(names) or [region.value for region in Region]


def outcome_table(outcomes: Iterable[CaseOutcome]) -> str:
    """Volumes, Dice where there is a label, and seconds by stage, one line for each case.

    Cases that were done before show the volumes and Dice of their report, but no seconds: this run spent none.
    """
    outcomes = list(outcomes)
    fresh = [outcome.report for outcome in outcomes if outcome.report and not outcome.before]
    stages = list(dict.fromkeys(stage for report in fresh for stage in report.seconds))
    with_dice = any(outcome.report and outcome.report.dice for outcome in outcomes)
    volumes = volume_names(outcomes)
    header = ["case", *(f"{name} ml" for name in volumes)]
    header += [f"Dice {region.value}" for region in Region] if with_dice else []
    header += [f"{stage} s" for stage in stages]
    rows = []
    for outcome in outcomes:
        name = printable(outcome.case_id)
        if outcome.report is None:
            rows.append([name, *["-"] * (len(header) - 1)])
            continue
        report = outcome.report
        row = [
            name,
            *(f"{report.volumes_ml[volume]:.1f}" if volume in report.volumes_ml else "-" for volume in volumes),
        ]
        if with_dice:
            row += [f"{report.dice[region]:.3f}" if report.dice else "-" for region in Region]
        rows.append(row + ["-" if outcome.before else f"{report.seconds.get(stage, 0):.2f}" for stage in stages])
    return format_table(header, rows)
