"""`summary.json` and `summary.csv`: a run as a whole, rewritten as it goes, or gathered afterwards from the reports."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from eenet_runtime.errors import DatasetError
from eenet_runtime.files.atomic import is_leftover, sha256_of_file, write_atomically
from eenet_runtime.files.listing import require_folder
from eenet_runtime.folders.outcomes import CaseOutcome, FolderRun, Status, volume_names
from eenet_runtime.folders.shards import Shard
from eenet_runtime.printable import printable
from eenet_runtime.results.mask_settings import MaskSettings, PreprocessSettings
from eenet_runtime.results.report import read_report
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
    content = json.dumps(_content(run, settings, bundle_name), indent=2)
    write_atomically(output / f"{name}.json", f"{content}\n".encode())
    # A name that is no UTF-8 (Python holds it with surrogates) goes out with the bytes it came in with.
    write_atomically(output / f"{name}.csv", _to_csv(run.outcomes).encode(errors="surrogateescape"))


def gather_summary(output: Path) -> FolderRun:
    """Find out from the reports in a folder, and from the summaries of its runs, what became of each case.

    A case counts as done where its report is there and its mask is the file that the report describes. The reason of
    a refused case is taken from the newest summary that names it.

    Args:
        output: a folder that runs wrote into, sharded or not.

    Raises:
        DatasetError: it is no folder, or there is neither a report nor a summary in it.
    """
    require_folder(output)
    outcomes: dict[str, CaseOutcome] = {}
    for path in _json_files(output):
        if is_summary_name(path.stem) or (report := read_report(path)) is None:
            continue
        mask = output / str(report.mask.get("file"))
        outcome = CaseOutcome(report.case_id, report)
        if not _is_whole(mask, str(report.mask.get("sha256"))):
            outcome = CaseOutcome(report.case_id, reason=f"{mask}: not the file that its report describes")
        outcomes[report.case_id] = outcome
    summaries = _read_summaries(output)
    for content in summaries:
        for entry in content["cases"]:
            if entry.get("status") == Status.REFUSED and str(entry.get("case_id")) not in outcomes:
                name = str(entry["case_id"])
                outcomes[name] = CaseOutcome(name, reason=str(entry.get("reason", "")))
    if not outcomes and not summaries:
        raise DatasetError(f"{output}: no report and no summary found, expected the output folder of a run")
    ignored = dict.fromkeys(Path(str(path)) for content in summaries for path in content.get("ignored_files", ()))
    ordered = sorted(outcomes.values(), key=lambda outcome: outcome.case_id)
    return FolderRun(ordered, tuple(ignored), total=len(ordered), finished=True)


def _json_files(output: Path) -> list[Path]:
    return sorted(path for path in output.glob("*.json") if not is_leftover(path))


def _read_summaries(output: Path) -> list[dict[str, Any]]:
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


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        return sha256_of_file(path) == sha256
    except OSError:
        return False


def _content(run: FolderRun, settings: MaskSettings | PreprocessSettings | None, bundle_name: str) -> dict[str, Any]:
    counts = {status: sum(outcome.status is status for outcome in run.outcomes) for status in Status}
    return {
        "schema_version": SUMMARY_SCHEMA_VERSION,
        "bundle": {"id": settings.bundle_id, "name": bundle_name} if isinstance(settings, MaskSettings) else None,
        "settings": asdict(settings) if settings else None,
        "shard": str(run.shard),
        "finished": run.finished,
        "stopped": run.stopped,
        "done": counts[Status.DONE] + counts[Status.DONE_BEFORE],
        "done_before": counts[Status.DONE_BEFORE],
        "refused": counts[Status.REFUSED],
        "left": run.left,
        "seconds": round(run.seconds, 3),
        "written": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "ignored_files": [str(path) for path in run.ignored],
        "cases": [_entry(outcome) for outcome in run.outcomes],
    }


def _entry(outcome: CaseOutcome) -> dict[str, Any]:
    if outcome.report is None:
        return {"case_id": outcome.case_id, "status": outcome.status.value, "reason": outcome.reason}
    report = outcome.report
    return {
        "case_id": outcome.case_id,
        "status": outcome.status.value,
        "mask": report.mask["file"],
        "volumes_ml": report.volumes_ml,
        "dice": report.dice,
        "seconds": report.seconds,
        "warnings": list(report.warnings),
        "suspicions": list(report.suspicions),
    }


def _to_csv(outcomes: Sequence[CaseOutcome]) -> str:
    regions, volumes = [region.value for region in Region], volume_names(outcomes)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = [f"{name}_ml" for name in volumes] + [f"dice_{region}" for region in regions]
    writer.writerow(["case_id", "status", *columns, "seconds", "warnings", "reason"])
    for outcome in outcomes:
        name, reason = spreadsheet_text(outcome.case_id), spreadsheet_text(outcome.reason)
        if outcome.report is None:
            writer.writerow([name, outcome.status.value, *[""] * (len(columns) + 2), reason])
            continue
        report = outcome.report
        figures = [report.volumes_ml.get(volume, "") for volume in volumes]
        figures += [report.dice[region] if report.dice else "" for region in regions]
        seconds = round(sum(report.seconds.values()), 3)
        warnings = spreadsheet_text("; ".join(report.warnings))
        writer.writerow([name, outcome.status.value, *figures, seconds, warnings, ""])
    return stream.getvalue()


def spreadsheet_text(text: str) -> str:
    """A text as one cell on one line, which no spreadsheet program takes for a formula.

    A quotation mark before `=`, `+`, `-` or `@` is what such programs themselves use to say that a cell is text.
    Characters that do not print are spelled out; bytes that are no UTF-8 stay as they are.
    """
    shown = "".join(character if "\udc80" <= character <= "\udcff" else printable(character) for character in text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA_STARTS) else shown
