"""Segmenting a folder of cases: one bad case never stops the others."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eenet_runtime.discovery import find_cases
from eenet_runtime.errors import BackendError, CaseError, DatasetError
from eenet_runtime.files import make_output_folder, write_atomically
from eenet_runtime.labels import LabelScheme, Region
from eenet_runtime.report import CaseReport
from eenet_runtime.results import ResultPaths, segment_to_files
from eenet_runtime.segmenter import Segmenter
from eenet_runtime.tables import format_table

SUMMARY_NAME: Final = "summary"
"""Name of the two summaries, without .json and .csv; no case may have it."""


@dataclass(frozen=True)
class CaseOutcome:
    """What became of one case: a report, or the reason why it was refused."""

    case_id: str
    report: CaseReport | None = None
    reason: str = ""

    @property
    def done(self) -> bool:
        """Whether there is a mask."""
        return self.report is not None


@dataclass(frozen=True)
class FolderSettings:
    """Settings of a folder run.

    Attributes:
        scheme: label values of the masks; by default each case's own.
        preview: whether to draw pictures.
    """

    scheme: LabelScheme | None = None
    preview: bool = True


@dataclass
class FolderRun:
    """The outcome of a folder, in the order in which the cases were done."""

    outcomes: list[CaseOutcome] = field(default_factory=list)
    ignored: tuple[Path, ...] = ()

    @property
    def failed(self) -> list[CaseOutcome]:
        """The cases without a mask."""
        return [outcome for outcome in self.outcomes if not outcome.done]


def segment_folder(
    segmenter: Segmenter,
    folder: Path,
    output: Path,
    settings: FolderSettings = FolderSettings(),
    on_case: Callable[[int, int, CaseOutcome], None] | None = None,
) -> FolderRun:
    """Segment every case below a folder.

    Each case gives `<case>.nii.gz`, `<case>.png` and `<case>.json` in `output`; `summary.json` and `summary.csv` are
    rewritten after every case, so that a run that is stopped still says what it did.

    Args:
        segmenter: the loaded model.
        folder: the cases, in any layout of data.md.
        output: made if it is not there; must lie outside `folder`, or a second run would read the first one's masks.
        settings: what to write.
        on_case: called with (cases so far, cases in all, outcome).

    Raises:
        DatasetError: there is nothing to segment in `folder`, or `output` lies in it.
        OutputError: `output` cannot be written; the case in hand leaves nothing behind.
    """
    if output.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(f"{output}: the output folder lies inside the input folder {folder}; choose another one")
    found = find_cases(folder)
    make_output_folder(output)
    _remove_summary(output)
    run = FolderRun(ignored=found.ignored)
    total = len(found.cases) + len(found.refused)

    def finish(outcome: CaseOutcome) -> None:
        run.outcomes.append(outcome)
        write_summary(run, output, segmenter)
        if on_case is not None:
            on_case(len(run.outcomes), total, outcome)

    for refused in found.refused:
        ResultPaths.in_folder(output, refused.case_id).remove()
        finish(CaseOutcome(refused.case_id, reason=refused.reason))
    for files in found.cases:
        if files.case_id == SUMMARY_NAME:
            finish(
                CaseOutcome(files.case_id, reason=f"the name {SUMMARY_NAME} is kept for the run's summary; rename it")
            )
            continue
        paths = ResultPaths.in_folder(output, files.case_id)
        try:
            report = segment_to_files(segmenter, files, paths, scheme=settings.scheme, preview=settings.preview)
            finish(CaseOutcome(files.case_id, report))
        except (CaseError, BackendError) as error:
            finish(CaseOutcome(files.case_id, reason=str(error)))
    return run


def write_summary(run: FolderRun, output: Path, segmenter: Segmenter) -> None:
    """Write `summary.json` and `summary.csv`."""
    cases = [_summary_entry(outcome) for outcome in run.outcomes]
    content = {
        "schema_version": 1,
        "bundle": {"id": segmenter.bundle.bundle_id, "name": segmenter.bundle.manifest.name},
        "done": len(run.outcomes) - len(run.failed),
        "refused": len(run.failed),
        "ignored_files": [str(path) for path in run.ignored],
        "cases": cases,
    }
    write_atomically(output / f"{SUMMARY_NAME}.json", (json.dumps(content, indent=2) + "\n").encode())
    # A name that is no UTF-8 (Python holds it with surrogates) goes out with the bytes it came in with.
    write_atomically(output / f"{SUMMARY_NAME}.csv", _to_csv(run.outcomes).encode(errors="surrogateescape"))


def _remove_summary(output: Path) -> None:
    """Take away the summary of an earlier run: if this one stops early, nothing may speak for it."""
    for suffix in (".json", ".csv"):
        with contextlib.suppress(OSError):
            (output / f"{SUMMARY_NAME}{suffix}").unlink(missing_ok=True)


def _summary_entry(outcome: CaseOutcome) -> dict[str, Any]:
    if outcome.report is None:
        return {"case_id": outcome.case_id, "status": "refused", "reason": outcome.reason}
    report = outcome.report
    return {
        "case_id": outcome.case_id,
        "status": "done",
        "mask": report.mask["file"],
        "volumes_ml": report.volumes_ml,
        "dice": report.dice,
        "seconds": report.seconds,
        "warnings": list(report.warnings),
    }


def _to_csv(outcomes: Sequence[CaseOutcome]) -> str:
    regions = [region.value for region in Region]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = [f"{region}_ml" for region in regions] + [f"dice_{region}" for region in regions]
    writer.writerow(["case_id", "status", *columns, "seconds", "warnings", "reason"])
    for outcome in outcomes:
        if outcome.report is None:
            writer.writerow([outcome.case_id, "refused", *[""] * (2 * len(regions) + 2), outcome.reason])
            continue
        report = outcome.report
        dice = [report.dice[region] if report.dice else "" for region in regions]
        volumes = [report.volumes_ml[region] for region in regions]
        seconds = round(sum(report.seconds.values()), 3)
        writer.writerow([outcome.case_id, "done", *volumes, *dice, seconds, "; ".join(report.warnings), ""])
    return stream.getvalue()


def outcome_table(outcomes: Sequence[CaseOutcome]) -> str:
    """Volumes, Dice where there is a label, and seconds by stage, one line for each case."""
    stages = list(dict.fromkeys(stage for o in outcomes if o.report for stage in o.report.seconds))
    with_dice = any(outcome.report and outcome.report.dice for outcome in outcomes)
    header = ["case", *(f"{region.value} ml" for region in Region)]
    header += [f"Dice {region.value}" for region in Region] if with_dice else []
    header += [f"{stage} s" for stage in stages]
    rows = []
    for outcome in outcomes:
        if outcome.report is None:
            rows.append([outcome.case_id, *["-"] * (len(header) - 1)])
            continue
        report = outcome.report
        row = [outcome.case_id, *(f"{report.volumes_ml[region]:.1f}" for region in Region)]
        if with_dice:
            row += [f"{report.dice[region]:.3f}" if report.dice else "-" for region in Region]
        rows.append(row + [f"{report.seconds.get(stage, 0):.2f}" for stage in stages])
    return format_table(header, rows)
