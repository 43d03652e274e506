"""Does an output folder account for every case? Each one that was expected is done, refused, unfinished or missing.

A part of a job array that never ran leaves nothing that could be counted, so no summary of what is there can miss it.
Here what is there is held against the folder of the cases, and against the number of parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from eenet_runtime.cases.discovery import look_for_cases
from eenet_runtime.folders.outcomes import CaseOutcome, Expected, FolderRun, Status
from eenet_runtime.folders.shards import WHOLE, Shard
from eenet_runtime.folders.summary import gather_summary, read_summaries, summaries_of_runs
from eenet_runtime.results.result_files import ResultPaths

_NEVER: Final = "never ran, or was killed before its first summary"
_STOPPED: Final = "did not come to its end"
_SHARD: Final = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


def account_for(output: Path, expected: Path | None, shards: int | None = None) -> FolderRun:
    """Gather what became of every case that was expected.

    * done: its report is there, and its mask is the file that the report describes;
    * refused: the newest summary that names it says so;
    * unfinished: its results are not whole, or the run of its part was stopped or killed before it;
    * missing: nothing speaks of it.

    Args:
        output: a folder that runs wrote into, sharded or not; it may be empty.
        expected: the folder of the cases; None to ask for the parts alone.
        shards: how many parts there should be; None where nobody knows.

    Raises:
        DatasetError: `expected` or `output` is no folder; or neither a folder of cases nor parts are asked for, and
            nothing lies in `output`.
    """
    names = None if expected is None else _names_in(expected)
    run = gather_summary(output, may_be_empty=names is not None or shards is not None)
    summaries = summaries_of_runs(read_summaries(output))
    lacking = {} if shards is None else _lacking_parts(summaries, shards)
    if names is None:
        run.expected = None if shards is None else Expected(len(run.outcomes), shards, lacking)
        return run
    known = {outcome.case_id: outcome for outcome in run.outcomes}
    begun = list(_stopped_parts(summaries))
    wanted = [_outcome(name, known.get(name), begun, output) for name in names]
    beside = [known[name] for name in sorted(known.keys() - set(names))]
    run.expected = Expected(len(names), shards, lacking, tuple(outcome.case_id for outcome in beside))
    run.outcomes = sorted([*wanted, *beside], key=lambda outcome: outcome.case_id)
    run.total = len(run.outcomes)
    return run


def is_accounted_for(run: FolderRun) -> bool:
    """Whether nothing is missing or unfinished; refused cases are accounted for."""
    lost = any(outcome.status in (Status.MISSING, Status.UNFINISHED) for outcome in run.outcomes)
    return not lost and not (run.expected and run.expected.missing_shards)


def _names_in(folder: Path) -> list[str]:
    found = look_for_cases(folder, links_out=False)
    return [*(case.case_id for case in found.cases), *(case.case_id for case in found.refused)]


def _outcome(name: str, known: CaseOutcome | None, begun: Sequence[Shard], output: Path) -> CaseOutcome:
    if known is not None:
        changed = known.code == "result-changed"
        return replace(known, without=Status.UNFINISHED) if changed else known
    paths = ResultPaths.in_folder(output, name)
    if paths.mask.exists() or paths.report.exists():
        reason = f"{paths.mask}: results without a report that can be read"
        return CaseOutcome(name, reason=reason, code="unfinished", without=Status.UNFINISHED)
    part = next((shard for shard in begun if shard.holds(name)), None)
    if part is not None:
        whose = "the run" if part == WHOLE else f"shard {part}"
        reason = f"{output}: {whose} ended before it came to {name}"
        return CaseOutcome(name, reason=reason, code="unfinished", without=Status.UNFINISHED)
    return CaseOutcome(name, reason=f"{output}: nothing speaks of {name}", code="not-run", without=Status.MISSING)


def _stopped_parts(summaries: Iterable[dict[str, Any]]) -> Iterable[Shard]:
    """The parts whose runs did not come to their end."""
    return (part for content in summaries if content.get("finished") is False and (part := _part_of(content)))


def _lacking_parts(summaries: Iterable[dict[str, Any]], count: int) -> dict[str, str]:
    """The parts of a division without a summary of a run that came to its end, and what is known of them."""
    ended: dict[Shard, bool] = {}
    for content in summaries:
        part = _part_of(content)
        if part is not None and part.count == count:
            ended[part] = content.get("finished") is True
    parts = [Shard(index, count) for index in range(1, count + 1)]
    return {str(part): _STOPPED if part in ended else _NEVER for part in parts if not ended.get(part)}


def _part_of(content: dict[str, Any]) -> Shard | None:
    match = _SHARD.fullmatch(str(content.get("shard")))
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        return None
    return Shard(int(match[1]), int(match[2]))
