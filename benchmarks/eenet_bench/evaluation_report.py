"""An evaluation as tables for a terminal, and as files for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from eenet_bench.evaluate import CaseEvaluation
from eenet_bench.spread import Spread, spread
from eenet_runtime.files import make_output_folder, write_atomically
from eenet_runtime.labels import Region
from eenet_runtime.tables import format_table

METRICS: Final = ("dice", "hd95_mm", "sensitivity", "specificity")
FILE_STEM: Final = "evaluation"
"""Name of the two files, without .json and .csv."""

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
    done = [result for result in results if not result.reason]
    columns = [(metric, region.value) for metric in METRICS for region in Region]
    rows = [[result.case_id, *(_shown(m, getattr(result.regions[r], m)) for m, r in columns)] for result in done]
    spreads = statistics(results)
    for name, attribute in _LINES if done else ():
        rows.append([name, *(_shown(m, getattr(spreads[f"{m}_{r}"], attribute)) for m, r in columns)])
    names = {"dice": "Dice", "hd95_mm": "HD95", "sensitivity": "sens.", "specificity": "spec."}
    return format_table(["case", *(f"{names[metric]} {region}" for metric, region in columns)], rows)


def ceiling_table(results: Sequence[CaseEvaluation]) -> str:
    """Dice beside the ceiling, and the share of the ceiling that was reached, case by case and in the mean.

    The last line's share is that of the two means. A share has no value where the ceiling is 0: nothing of the region
    survives the preset's voxels.
    """
    done = [result for result in results if not result.reason and result.ceiling]
    regions = [region.value for region in Region]
    header = ["case", *(f"{what} {region}" for what in ("Dice", "ceiling", "share") for region in regions)]
    lines = [(result.case_id, _values(result)) for result in done]
    if done:
        lines.append(("mean", {name: described.mean for name, described in statistics(done).items()}))
    rows = []
    for name, values in lines:
        dice = [values[f"dice_{region}"] for region in regions]
        ceiling = [values[f"ceiling_{region}"] for region in regions]
        shares = [f"{reached / best:.3f}" if best else "-" for reached, best in zip(dice, ceiling, strict=True)]
        rows.append([name, *(f"{value:.3f}" for value in [*dice, *ceiling]), *shares])
    return format_table(header, rows)


def statistics(results: Sequence[CaseEvaluation]) -> dict[str, Spread]:
    """Spread of every metric and region over the evaluated cases, under names like `dice_ET`; none without cases."""
    done = [_values(result) for result in results if not result.reason]
    return {name: spread([values[name] for values in done]) for name in (done[0] if done else ())}


def write_evaluation(results: Sequence[CaseEvaluation], output: Path) -> None:
    """Write `evaluation.json` (cases, reasons and statistics) and `evaluation.csv` (one line for each case).

    Raises:
        OutputError: the folder or a file cannot be written.
    """
    make_output_folder(output)
    content = {
        "schema_version": 1,
        "evaluated": sum(not result.reason for result in results),
        "refused": sum(bool(result.reason) for result in results),
        "cases": [asdict(result) for result in results],
        "statistics": {name: asdict(described) for name, described in statistics(results).items()},
    }
    write_atomically(output / f"{FILE_STEM}.json", (json.dumps(content, indent=2) + "\n").encode())
    write_atomically(output / f"{FILE_STEM}.csv", _to_csv(results).encode())


def _to_csv(results: Sequence[CaseEvaluation]) -> str:
    columns = [f"{metric}_{region.value}" for metric in METRICS for region in Region]
    if any(result.ceiling for result in results):
        columns += [f"ceiling_{region.value}" for region in Region]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case_id", "status", *columns, "reason"])
    for result in results:
        values = {} if result.reason else _values(result)
        status = "refused" if result.reason else "done"
        writer.writerow([result.case_id, status, *(values.get(column, "") for column in columns), result.reason])
    return stream.getvalue()


def _values(result: CaseEvaluation) -> dict[str, float]:
    """All figures of an evaluated case under the names of the columns."""
    values = {f"{metric}_{r.value}": getattr(result.regions[r.value], metric) for metric in METRICS for r in Region}
    return values | {f"ceiling_{region}": value for region, value in result.ceiling.items()}


def _shown(metric: str, value: float) -> str:
    # A head has millions of voxels outside the tumour: a specificity differs from 1 in the fourth digit.
    digits = {"hd95_mm": 1, "specificity": 5}.get(metric, 3)
    return f"{value:.{digits}f}"
