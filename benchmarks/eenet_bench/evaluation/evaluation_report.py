"""An evaluation as tables for a terminal, and as files: JSON and CSV for programs, one HTML page for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from eenet_bench.evaluation.error_pictures import ErrorPicture
from eenet_bench.evaluation.evaluate import CaseEvaluation
from eenet_bench.evaluation.evaluation_page import evaluation_page
from eenet_bench.evaluation.figures import (
    ALL_FIGURES,
    LESION_COUNTS,
    LESION_FIGURES,
    REGION_FIGURES,
    case_figures,
    evaluated,
    statistics,
)
from eenet_bench.pages.report_files import write_forms
from eenet_runtime.folders.tables import format_table
from eenet_runtime.volumes.labels import Region

__all__ = ["FILE_STEM", "ceiling_table", "evaluation_table", "lesion_table", "statistics", "write_evaluation"]

FILE_STEM: Final = "evaluation"
"""Name of the three files, without .json, .csv and .html."""

_LINES: Final = (
    ("mean", "mean"),
    ("standard deviation", "standard_deviation"),
    ("25 %", "lower_quartile"),
    ("median", "median"),
    ("75 %", "upper_quartile"),
)
"""Lines below the cases, and the attribute of `Spread` that each shows."""


def evaluation_table(results: Sequence[CaseEvaluation]) -> str:
    """Metrics of every evaluated case, then mean, standard deviation and quartiles; refused cases are not in it."""
    columns = [(figure, region) for figure in REGION_FIGURES for region in Region]
    rows = []
    for result in evaluated(results):
        values = case_figures(result)
        rows.append([result.case_id, *(figure.shown(values[figure.column(region)]) for figure, region in columns)])
    spreads = statistics(results)
    for name, attribute in _LINES if rows else ():
        rows.append([name, *(f.shown(getattr(spreads[f.column(region)], attribute)) for f, region in columns)])
    return format_table(["case", *(f"{figure.short} {region.value}" for figure, region in columns)], rows)


def lesion_table(results: Sequence[CaseEvaluation]) -> str:
    """Lesion-wise Dice and HD95 in the same form, with the numbers of lesions.

    The numbers are true positives, false positives and false negatives, as `2/0/1`; below the cases there is their
    sum in the line of the mean, because a mean of counts says little.
    """
    columns = [(figure, region) for figure in LESION_FIGURES for region in Region]
    rows, counts = [], []
    for result in evaluated(results):
        values = case_figures(result)
        counts.append([[int(values[count.column(region)]) for count in LESION_COUNTS] for region in Region])
        numbers = ["/".join(map(str, region)) for region in counts[-1]]
        rows.append([result.case_id, *(f.shown(values[f.column(region)]) for f, region in columns), *numbers])
    sums = [
        "/".join(str(sum(numbers)) for numbers in zip(*region, strict=True)) for region in zip(*counts, strict=True)
    ]
    spreads = statistics(results)
    for name, attribute in _LINES if rows else ():
        described = [f.shown(getattr(spreads[f.column(region)], attribute)) for f, region in columns]
        rows.append([name, *described, *(sums if attribute == "mean" else [""] * len(sums))])
    header = ["lesion-wise", *(f"{figure.short} {region.value}" for figure, region in columns)]
    return format_table([*header, *(f"TP/FP/FN {region.value}" for region in Region)], rows)


def ceiling_table(results: Sequence[CaseEvaluation]) -> str:
    """Dice beside the ceiling, and the share of the ceiling that was reached, case by case and in the mean.

    The last line's share is that of the two means. A share has no value where the ceiling is 0: nothing of the region
    survives the preset's voxels.
    """
    done = [result for result in evaluated(results) if result.ceiling]
    regions = [region.value for region in Region]
    header = ["case", *(f"{what} {region}" for what in ("Dice", "ceiling", "share") for region in regions)]
    lines = [(result.case_id, case_figures(result)) for result in done]
    if done:
        lines.append(("mean", {name: described.mean for name, described in statistics(done).items()}))
    rows = []
    for name, values in lines:
        dice = [values[f"dice_{region}"] for region in regions]
        ceiling = [values[f"ceiling_{region}"] for region in regions]
        shares = [f"{reached / best:.3f}" if best else "-" for reached, best in zip(dice, ceiling, strict=True)]
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
        "schema_version": 1,
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
        writer.writerow([result.case_id, status, *(values.get(column, "") for column in columns), result.reason])
    return stream.getvalue()
