"""An evaluation as tables for a terminal, and as files: JSON and CSV for programs, one HTML page for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Final

from eenet_bench.evaluation.error_pictures import ErrorPicture
from eenet_bench.evaluation.evaluate import CaseEvaluation
from eenet_bench.evaluation.evaluation_page import evaluation_page
from eenet_bench.evaluation.figures import (
    ALL_FIGURES,
    LESION_FIGURES,
    NO_VALUE,
    REGION_FIGURES,
    SUMMARY,
    Figure,
    LesionFigures,
    case_figures,
    evaluated,
    statistics,
)
from eenet_bench.pages.report_files import write_forms
from eenet_runtime.folders.tables import format_table
from eenet_runtime.volumes.labels import Region

__all__ = ["FILE_STEM", "ceiling_table", "evaluation_table", "lesion_tables", "statistics", "write_evaluation"]

FILE_STEM: Final = "evaluation"
"""Name of the three files, without .json, .csv and .html."""

SCHEMA_VERSION: Final = 2
"""Of `evaluation.json`. Since 2, HD95 and lesion-wise figures are there by two definitions, none under an old name."""

_LINES: Final = {"mean": "mean", "standard deviation": "sd", "25 %": "25 %", "median": "median", "75 %": "75 %"}
"""Lines below the cases, and what of `SUMMARY` each shows."""


def evaluation_table(results: Sequence[CaseEvaluation]) -> str:
    """Metrics of every evaluated case, then mean, standard deviation and quartiles; refused cases are not in it."""
    rows = [[result.case_id, *_shown(result, REGION_FIGURES)] for result in evaluated(results)]
    rows += [[name, *cells] for name, cells in _summary_lines(results, REGION_FIGURES)]
    return format_table(["case", *_heads(REGION_FIGURES)], rows)


def lesion_tables(results: Sequence[CaseEvaluation]) -> str:
    """Lesion-wise Dice and HD95 in the same form, with the numbers of lesions: a table for each set of rules.

    The numbers are true positives, false positives and false negatives, as `2/0/1`; below the cases there is their
    sum in the line of the mean, because a mean of counts says little.
    """
    return "\n\n".join(f"{rules.title}\n{_lesion_table(results, rules)}" for rules in LESION_FIGURES)


def _lesion_table(results: Sequence[CaseEvaluation], rules: LesionFigures) -> str:
    rows, counts = [], []
    for result in evaluated(results):
        values = case_figures(result)
        counts.append([[int(values[count.column(region)] or 0) for count in rules.counts] for region in Region])
        numbers = ["/".join(map(str, region)) for region in counts[-1]]
        rows.append([result.case_id, *_shown(result, rules.figures), *numbers])
    sums = [
        "/".join(str(sum(numbers)) for numbers in zip(*region, strict=True)) for region in zip(*counts, strict=True)
    ]
    for name, cells in _summary_lines(results, rules.figures):
        rows.append([name, *cells, *(sums if name == "mean" else [""] * len(sums))])
    header = ["case", *_heads(rules.figures)]
    return format_table([*header, *(f"TP/FP/FN {region.value}" for region in Region)], rows)


def _heads(figures: Sequence[Figure]) -> list[str]:
    return [f"{figure.short} {region.value}" for figure in figures for region in Region]


def _shown(result: CaseEvaluation, figures: Sequence[Figure]) -> list[str]:
    return [figure.shown(figure.of_region(result, region.value)) for figure in figures for region in Region]


def _summary_lines(results: Sequence[CaseEvaluation], figures: Sequence[Figure]) -> list[tuple[str, list[str]]]:
    """Name and cells of the lines below the cases; none without cases."""
    spreads = statistics(results)
    lines = []
    for name, statistic in _LINES.items() if spreads else ():
        found = [(figure, spreads.get(figure.column(region))) for figure in figures for region in Region]
        cells = [figure.shown(None if values is None else SUMMARY[statistic](values)) for figure, values in found]
        lines.append((name, cells))
    return lines


def ceiling_table(results: Sequence[CaseEvaluation]) -> str:
    """Dice beside the ceiling, and the share of the ceiling that was reached, case by case and in the mean.

    The last line's share is that of the two means. A share has no value where the ceiling is 0: nothing of the region
    survives the preset's voxels.
    """
    done = [result for result in evaluated(results) if result.ceiling]
    names = [region.value for region in Region]
    header = ["case", *(f"{what} {region}" for what in ("Dice", "ceiling", "share") for region in names)]
    lines = [
        (case.case_id, [case.regions[name].dice for name in names], [case.ceiling[name] for name in names])
        for case in done
    ]
    if lines:
        means = [[fmean(column) for column in zip(*(line[part] for line in lines), strict=True)] for part in (1, 2)]
        lines.append(("mean", means[0], means[1]))
    rows = []
    for name, dice, ceiling in lines:
        shares = [f"{reached / best:.3f}" if best else NO_VALUE for reached, best in zip(dice, ceiling, strict=True)]
        rows.append([name, *(f"{value:.3f}" for value in [*dice, *ceiling]), *shares])
    return format_table(header, rows)


def write_evaluation(results: Sequence[CaseEvaluation], output: Path, pictures: Sequence[ErrorPicture] = ()) -> None:
    """Write `evaluation.json` (cases, reasons and statistics), `evaluation.csv` (a line for each case) and the page.

    Args:
        results: as `evaluate_folder` returns them.
        output: the folder, made if it is missing.
        pictures: the cases that `evaluation.html` shows, the worst first.

    Raises:
        OutputError: the folder or a file cannot be written.
    """
    content = {
        "schema_version": SCHEMA_VERSION,
        "evaluated": len(evaluated(results)),
        "refused": len(results) - len(evaluated(results)),
        "cases": [asdict(result) for result in results],
        "statistics": {name: asdict(described) for name, described in statistics(results).items()},
    }
    text = json.dumps(content, indent=2) + "\n"
    write_forms(output, FILE_STEM, json=text, csv=_to_csv(results), html=evaluation_page(results, pictures))


def _to_csv(results: Sequence[CaseEvaluation]) -> str:
    columns = [figure.column(region) for figure in ALL_FIGURES for region in Region]
    if any(result.ceiling for result in results):
        columns += [f"ceiling_{region.value}" for region in Region]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case_id", "status", *columns, "reason"])
    for result in results:
        values = {} if result.reason else case_figures(result)
        status = "refused" if result.reason else "done"
        cells = (values.get(column) for column in columns)
        # A figure that its definition does not give is an empty cell, as one of a refused case.
        row = ["" if cell is None else cell for cell in cells]
        writer.writerow([result.case_id, status, *row, result.reason])
    return stream.getvalue()
