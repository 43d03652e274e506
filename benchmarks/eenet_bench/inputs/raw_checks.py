"""The figures by which raw cases are doubted, on sound cases and on the same spoiled: no network is run."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from eenet_bench.inputs.json_lines import append_row, read_rows
from eenet_bench.inputs.raw_faults import FAULTS, Series
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.content_checks import Finding, Severity
from eenet_runtime.cases.preprocessing import read_series
from eenet_runtime.errors import CaseError
from eenet_runtime.folders.tables import format_table
from eenet_runtime.heads.figures import HeadFigures
from eenet_runtime.heads.raw_case import Chain, Examined, Hooks, examine
from eenet_runtime.heads.resampling import resample_array
from eenet_runtime.heads.target import inverse
from eenet_runtime.volumes.labels import Modality

SEED: Final = 0
MIXED: Final = "t2 stripped, the others not"


@dataclass(frozen=True)
class RawRow:
    """What the doubts said of one variant of one case.

    Attributes:
        case_id, variant: which.
        is_wrong: whether something should have been said.
        verdict: `passed`, `warned` or `refused`.
        rules: that spoke, with their severity.
        figures: everything that was measured until it was refused; empty where a step could not be done at all.
        reason: why a step could not be done; empty otherwise.
    """

    case_id: str
    variant: str
    is_wrong: bool
    verdict: str
    rules: Mapping[str, str]
    figures: Mapping[str, Any]
    reason: str = ""


def study_raw_checks(
    cases: Sequence[CaseFiles],
    chain: Chain,
    lines: Path,
    variants: Sequence[str] = (),
    on_row: Callable[[RawRow], None] = lambda row: None,
) -> list[RawRow]:
    """Run the chain without a network over cases and their spoiled variants.

    Every row is appended to a file of JSON lines as soon as it is known; rows that are there already are kept, so that
    a study that was stopped goes on.

    Args:
        cases: sound raw cases of four series.
        chain: the chain.
        lines: the file.
        variants: names of those to run; all by default.
        on_row: told of every new row.

    Raises:
        CaseError: a case that cannot be read.
        ValueError: fewer than two cases: there is no other patient.
    """
    if len(cases) < 2:
        raise ValueError("one case found, expected two or more: series of two patients are a part of the study")
    rows = {(row.case_id, row.variant): row for row in read_rows(lines, RawRow)}
    for index, files in enumerate(cases):
        for row in _rows_of(files, cases[(index + 1) % len(cases)], chain, set(variants), set(rows)):
            rows[row.case_id, row.variant] = row
            append_row(lines, row)
            on_row(row)
    return list(rows.values())


def _rows_of(
    files: CaseFiles, other_files: CaseFiles, chain: Chain, wanted: set[str], done: set[tuple[str, str]]
) -> Iterator[RawRow]:
    def is_due(name: str) -> bool:
        return (not wanted or name in wanted) and (files.case_id, name) not in done

    faults = [fault for fault in FAULTS if is_due(fault.name)]
    if not faults and not is_due(MIXED):
        return
    series, other = read_series(files), read_series(other_files)
    for fault in faults:
        # Drawn for each case by its name: neither order nor number of the others matters.
        rng = np.random.default_rng([SEED, zlib.crc32(f"{files.case_id} {fault.name}".encode())])
        yield _row(files.case_id, fault.name, fault.is_wrong, fault.apply(series, other, rng), chain)
    if is_due(MIXED):
        yield _row(files.case_id, MIXED, True, _one_stripped(examine(files.case_id, series, chain), series), chain)


class _RefusedError(Exception):
    """A certain finding: as in a run, nothing more is done to the case."""

    def __init__(self, findings: tuple[Finding, ...], figures: HeadFigures) -> None:
        super().__init__()
        self.findings, self.figures = findings, figures


def _stop_where_certain(findings: tuple[Finding, ...], figures: HeadFigures) -> None:
    if any(finding.severity is Severity.CERTAIN for finding in findings):
        raise _RefusedError(findings, figures)


def _row(case_id: str, name: str, is_wrong: bool, series: Series, chain: Chain) -> RawRow:
    try:
        examined: Examined | _RefusedError = examine(case_id, series, chain, Hooks(judge=_stop_where_certain))
    except _RefusedError as stopped:
        examined = stopped
    except CaseError as error:
        return RawRow(case_id, name, is_wrong, "refused", {}, {}, str(error))
    rules = {finding.rule: finding.severity.value for finding in examined.findings if finding.is_suspicion}
    refused = Severity.CERTAIN.value in rules.values()
    verdict = "refused" if refused else "warned" if rules else "passed"
    return RawRow(case_id, name, is_wrong, verdict, rules, examined.figures.as_json())


def _one_stripped(examined: Examined, series: Series) -> Series:
    """The same case with its T2 stripped by the mask of the T1ce."""
    t2 = series[Modality.T2]
    to_t1ce = inverse(examined.aligned.t1ce_to[Modality.T2])
    brain = resample_array(examined.brain.mask, examined.brain.grid, t2.grid, to_t1ce) >= 0.5
    return {**series, Modality.T2: replace(t2, data=np.where(brain, t2.data, 0))}


def raw_check_tables(rows: Sequence[RawRow]) -> str:
    """The study as text: verdicts by variant, and the range of every figure."""
    names = dict.fromkeys(row.variant for row in rows)
    verdicts, ranges = [], []
    for name in names:
        of_variant = [row for row in rows if row.variant == name]
        counts = [sum(row.verdict == verdict for row in of_variant) for verdict in ("passed", "warned", "refused")]
        rules = sorted({rule for row in of_variant for rule in row.rules})
        verdicts.append([name, str(len(of_variant)), *map(str, counts), ", ".join(rules) or "-"])
        for figure, values in _figures(of_variant).items():
            ordered = (min(values), float(np.median(values)), max(values))
            ranges.append([name, figure, *(f"{value:.4g}" for value in ordered)])
    return "\n\n".join(
        [
            format_table(["variant", "cases", "passed", "warned", "refused", "rules"], verdicts),
            format_table(["variant", "figure", "smallest", "median", "largest"], ranges),
        ]
    )


def _figures(rows: Sequence[RawRow]) -> dict[str, list[float]]:
    """Every figure of some rows by name; of the pairs the worst of each case."""
    found: dict[str, list[float]] = {}
    for row in rows:
        pairs = [pair for pair in row.figures.get("pairs", ()) if pair["fixed"] == Modality.T1CE.value]
        for name in ("sharpness", "consensus", "covered_mm", "overlap", "nmi"):
            if pairs:
                found.setdefault(f"smallest {name}", []).append(min(pair[name] for pair in pairs))
        if row.figures.get("loop_mm") is not None:
            found.setdefault("loop_mm", []).append(row.figures["loop_mm"])
        for part in ("brain", "pose"):
            for name, value in (row.figures.get(part) or {}).items():
                if value is not None:
                    found.setdefault(f"{part} {name}", []).append(value)
    return found
