"""`summary.json` and `summary.csv`: a run as a whole, rewritten as it goes, or gathered afterwards from the reports."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from eenet_runtime.errors import DatasetError
from eenet_runtime.files.atomic import is_leftover, sha256_of_file, write_atomically
from eenet_runtime.files.listing import require_folder
from eenet_runtime.folders.outcomes import CaseOutcome, FolderRun, Status, volume_names
from eenet_runtime.folders.shards import Shard
from eenet_runtime.folders.summary_file import CaseDone, CaseEntry, CaseWithoutMask, ModelName, SummaryFile, WithoutMask
from eenet_runtime.printable import printable
from eenet_runtime.results.mask_settings import MaskSettings, PreprocessSettings
from eenet_runtime.results.report import CaseReport, read_report
from eenet_runtime.volumes.labels import Region

SUMMARY_SCHEMA_VERSION: Final = 2
SUMMARY_NAME: Final = "summary"
"""Name of the two summaries of a whole folder, without .json and .csv."""

_SUMMARY_STEM: Final = re.compile(r"summary(-\d+-of-\d+)?", re.IGNORECASE)
_FORMULA_STARTS: Final = ("=", "+", "-", "@")


def summary_name(shard: Shard) -> str:
    """`summary`, or `summary-2-of-8` for one part of a folder."""
    return SUMMARY_NAME if shard.count == 1 else f"{SUMMARY_NAME}-{shard.index}-of-{shard.count}"


def is_summary_name(stem: str) -> bool:
    """Whether a name without its ending is kept for summaries; no case may have it."""
    return _SUMMARY_STEM.fullmatch(stem) is not None


def remove_summary(output: Path, shard: Shard) -> None:
    """Take away the summary of an earlier run: if this one is killed early, nothing may speak for it."""
    for suffix in (".json", ".csv"):
        with contextlib.suppress(OSError):
            (output / f"{summary_name(shard)}{suffix}").unlink(missing_ok=True)


def write_summary(
    run: FolderRun, output: Path, settings: MaskSettings | PreprocessSettings | None = None, bundle_name: str = ""
) -> None:
    """Write both summaries of a run.

    Args:
        run: the run so far.
        output: the folder of its results.
        settings: what its results are made with; None for results that were gathered.
        bundle_name: the model's name.

    Raises:
        OutputError: they cannot be written.
    """
    name = summary_name(run.shard)
    write_atomically(output / f"{name}.json", summary_json(run, settings, bundle_name).encode())
    # A name that is no UTF-8 (Python holds it with surrogates) goes out with the bytes it came in with.
    write_atomically(output / f"{name}.csv", _to_csv(run.outcomes).encode(errors="surrogateescape"))


def gather_summary(output: Path, *, may_be_empty: bool = False) -> FolderRun:
    """Find out from the reports in a folder, and from the summaries of its runs, what became of each case.

    A case counts as done where its report is there and its mask is the file that the report describes. The reason of
    a refused case is taken from the newest summary that names it.

    Args:
        output: a folder that runs wrote into, sharded or not.
        may_be_empty: whether a folder without results is one without results, not a mistake.

    Raises:
        DatasetError: it is no folder, or there is neither a report nor a summary in it.
    """
    require_folder(output)
    outcomes: dict[str, CaseOutcome] = {}
    shared: dict[str, dict[str, Any] | None] = {}
    for path in _json_files(output):
        if is_summary_name(path.stem) or (report := read_report(path)) is None:
            continue
        mask = output / str(report.mask.get("file"))
        outcome = CaseOutcome(report.case_id, _slim(report, shared))
        if not _is_whole(mask, str(report.mask.get("sha256"))):
            reason = f"{mask}: not the file that its report describes"
            outcome = CaseOutcome(report.case_id, reason=reason, code="result-changed")
        outcomes[report.case_id] = outcome
    summaries = read_summaries(output)
    for content in summaries:
        for entry in content["cases"]:
            if entry.get("status") == Status.REFUSED and str(entry.get("case_id")) not in outcomes:
                name = str(entry["case_id"])
                # A summary of an earlier release has no codes.
                code = str(entry.get("code", "unknown"))
                outcomes[name] = CaseOutcome(name, reason=str(entry.get("reason", "")), code=code)
    if not outcomes and not summaries and not may_be_empty:
        raise DatasetError(f"{output}: no report and no summary found, expected the output folder of a run")
    ignored = dict.fromkeys(Path(str(path)) for content in summaries for path in content.get("ignored_files", ()))
    ordered = sorted(outcomes.values(), key=lambda outcome: outcome.case_id)
    stopped = any(content.get("finished") is False for content in summaries_of_runs(summaries))
    return FolderRun(ordered, tuple(ignored), total=len(ordered), finished=not stopped)


def _json_files(output: Path) -> list[Path]:
    return sorted(path for path in output.glob("*.json") if not is_leftover(path))


def _slim(report: CaseReport, shared: dict[str, dict[str, Any] | None]) -> CaseReport:
    """What a summary and a page say of a report: of ten thousand, the whole would not fit into memory."""
    bundle = {name: value for name, value in (report.bundle or {}).items() if name != "provenance"}
    same = [shared.setdefault(json.dumps(entry, sort_keys=True), entry) for entry in (bundle, report.engine)]
    return replace(report, inputs={}, label=None, settings={}, cleaning={}, raw=None, bundle=same[0], engine=same[1])


def read_summaries(output: Path) -> list[dict[str, Any]]:
    """The summaries of runs in a folder, the newest first."""
    found = []
    for path in _json_files(output):
        if not is_summary_name(path.stem):
            continue
        with contextlib.suppress(OSError, ValueError, RecursionError):
            content = json.loads(path.read_bytes())
            if isinstance(content, dict) and isinstance(content.get("cases"), list):
                found.append(content)
    return sorted(found, key=lambda content: str(content.get("written", "")), reverse=True)


def summaries_of_runs(summaries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that runs wrote, where there are any; else what was gathered of them before."""
    own = [content for content in summaries if content.get("bundle") is not None]
    return own or list(summaries)


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        return sha256_of_file(path) == sha256
    except OSError:
        return False


def summary_json(run: FolderRun, settings: MaskSettings | PreprocessSettings | None, bundle_name: str) -> str:
    """The text of `summary.json`: one line for each case."""
    content = _content(run, settings, bundle_name)
    head = json.dumps(asdict(replace(content, cases=())) | {"cases": None}, indent=2)
    head = head.removesuffix('"cases": null\n}')
    # Not `indent` for the cases: with it Python's slow encoder works, which takes a second for ten thousand.
    cases = ",\n".join(f"    {json.dumps(vars(entry))}" for entry in content.cases)
    return f'{head}"cases": [\n{cases}\n  ]\n}}\n'


def _content(run: FolderRun, settings: MaskSettings | PreprocessSettings | None, bundle_name: str) -> SummaryFile:
    counts = {status: sum(outcome.status is status for outcome in run.outcomes) for status in Status}
    return SummaryFile(
        schema_version=SUMMARY_SCHEMA_VERSION,
        bundle=ModelName(settings.bundle_id, bundle_name) if isinstance(settings, MaskSettings) else None,
        settings=settings,
        shard=str(run.shard),
        finished=run.finished,
        stopped=run.stopped,
        done=counts[Status.DONE] + counts[Status.DONE_BEFORE],
        done_before=counts[Status.DONE_BEFORE],
        refused=counts[Status.REFUSED],
        unfinished=counts[Status.UNFINISHED],
        missing=counts[Status.MISSING],
        expected=run.expected,
        left=run.left,
        seconds=round(run.seconds, 3),
        written=datetime.now(UTC).isoformat(timespec="milliseconds"),
        ignored_files=tuple(str(path) for path in run.ignored),
        cases=tuple(_entry(outcome) for outcome in run.outcomes),
    )


def _entry(outcome: CaseOutcome) -> CaseEntry:
    report = outcome.report
    if report is None:
        status = cast(WithoutMask, outcome.without.value)
        return CaseWithoutMask(outcome.case_id, status, outcome.code, outcome.reason)
    return CaseDone(
        case_id=outcome.case_id,
        status="done before" if outcome.before else "done",
        mask=report.mask["file"],
        volumes_ml=report.volumes_ml,
        dice=report.dice,
        seconds=report.seconds,
        warnings=report.warnings,
        warning_codes=report.warning_codes,
        suspicions=report.suspicions,
    )


def _to_csv(outcomes: Sequence[CaseOutcome]) -> str:
    regions, volumes = [region.value for region in Region], volume_names(outcomes)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = [f"{name}_ml" for name in volumes] + [f"dice_{region}" for region in regions]
    writer.writerow(["case_id", "status", *columns, "seconds", "warnings", "reason", "codes"])
    for outcome in outcomes:
        name, reason = spreadsheet_text(outcome.case_id), spreadsheet_text(outcome.reason)
        if outcome.report is None:
            writer.writerow([name, outcome.status.value, *[""] * (len(columns) + 2), reason, outcome.code])
            continue
        report = outcome.report
        figures = [report.volumes_ml.get(volume, "") for volume in volumes]
        figures += [report.dice[region] if report.dice else "" for region in regions]
        seconds = round(sum(report.seconds.values()), 3)
        warnings = spreadsheet_text("; ".join(report.warnings))
        codes = " ".join(report.warning_codes)
        writer.writerow([name, outcome.status.value, *figures, seconds, warnings, "", codes])
    return stream.getvalue()


def spreadsheet_text(text: str) -> str:
    """A text as one cell on one line, which no spreadsheet program takes for a formula.

    A quotation mark before `=`, `+`, `-` or `@` is what such programs themselves use to say that a cell is text.
    Characters that do not print are spelled out; bytes that are no UTF-8 stay as they are.
    """
    shown = "".join(character if "\udc80" <= character <= "\udcff" else printable(character) for character in text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA_STARTS) else shown
