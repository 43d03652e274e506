"""The tables of a run, once for the terminal, Markdown and HTML: headers and cells as text."""

from __future__ import annotations

from statistics import median

import numpy as np

from eenet_bench.measuring.bootstrap import Ratio
from eenet_bench.pages.report_table import Table, markdown_table
from eenet_bench.run.latency import NETWORK, TOTAL, Latency
from eenet_bench.run.run import Result, RunReport
from eenet_bench.run.run_parity import mean_dice, worst_case
from eenet_runtime.folders.tables import format_table


def headline(report: RunReport) -> list[str]:
    """What was measured, on what, and how quiet it was."""
    runs = f"{len(report.noise.calibration_s)} rounds in turns of {', '.join(report.cases)}"
    return [
        f"{report.bundle_name} ({report.preset}, id {report.bundle_id}): {runs}",
        f"{report.environment.describe()}, commit {report.environment.commit[:12] or 'unknown'}",
        report.noise.describe(),
        *([f"GPU at the end of the rounds: {report.gpu.describe()}"] if report.gpu else []),
        *([report.energy_note] if report.energy_note else []),
    ]


def main_table(report: RunReport) -> Table:
    """One line for each engine that ran."""
    reference = report.speed_reference
    header = ["engine", "status", "size MB", "network ms", "total ms", f"total / {reference}", f"network / {reference}"]
    header += ["cold start s", "cases/min", "max difference", "Dice", "truth", "peak MiB"]
    with_gpu = any(result.latency and result.latency.gpu_bytes is not None for result in report.results)
    energy = any(_energy(result.latency) is not None for result in report.measured)
    header += ["GPU MiB"] * with_gpu + ["J/case"] * energy
    rows = []
    for result in report.measured:
        latency = result.latency
        assert latency is not None
        row = [result.subject.name, result.status, f"{result.file_bytes / 1e6:.1f}"]
        row += [_ms(median(latency.all_seconds(stage))) for stage in (NETWORK, TOTAL)]
        row += [_ratio(result.total_ratio), _ratio(result.network_ratio)]
        row += [f"{latency.cold_start_s:.2f}", _or_dash(latency.cases_per_minute, ".1f")]
        row += [*_parity_cells(result), _or_dash(latency.peak_rss_bytes and latency.peak_rss_bytes / 2**20, ".0f")]
        if with_gpu:
            row.append(_or_dash(latency.gpu_bytes and latency.gpu_bytes / 2**20, ".0f"))
        if energy:
            row.append(_or_dash(_energy(latency), ".1f"))
        rows.append(row)
    against = f"differences and Dice against {report.parity_reference or 'nothing'}"
    note = f"medians; ratios with 95 % intervals, by round; {against}; truth: mean Dice of the masks against the labels"
    return Table("Engines", header, rows, note)


def stage_table(report: RunReport) -> Table:
    """Median milliseconds of each stage."""
    stages = list(dict.fromkeys(stage for result in report.measured for stage in _latency(result).stages))
    rows = []
    for result in report.measured:
        latency = _latency(result)
        values = [_ms(median(latency.all_seconds(s))) if s in latency.stages else "-" for s in stages]
        rows.append([result.subject.name, *values, _ms(median(latency.all_seconds(TOTAL)))])
    return Table("Stages", ["engine", *(f"{stage} ms" for stage in stages), "total ms"], rows)


def spread_table(report: RunReport) -> Table:
    """How the total and the network vary."""
    header = ["engine", "runs", *(f"{s} {p}" for s in (NETWORK, TOTAL) for p in ("p50", "p95", "p99", "min", "max"))]
    rows = []
    for result in report.measured:
        latency = _latency(result)
        row = [result.subject.name, str(len(latency.samples))]
        for stage in (NETWORK, TOTAL):
            seconds = latency.all_seconds(stage)
            row += [_ms(value) for value in (*np.percentile(seconds, (50, 95, 99)), min(seconds), max(seconds))]
        rows.append(row)
    note = "milliseconds; of fewer than 100 runs the 99th percentile says little more than the slowest one"
    return Table("Spread", header, rows, note)


def missing_table(report: RunReport) -> Table:
    """What did not run, and why; and what differs."""
    rows = [[r.subject.name, r.status, r.subject.reason] for r in report.results if r.latency is None]
    rows += [[r.subject.name, r.status, r.parity_problem] for r in report.measured if r.parity_problem]
    return Table("Not run, or not the same", ["engine", "status", "reason"], rows)


def run_text(report: RunReport) -> str:
    """The report for a terminal."""
    lines = headline(report)
    for table in (main_table(report), stage_table(report)):
        lines += ["", format_table(table.header, table.rows), *([table.note] if table.note else [])]
    missing = missing_table(report)
    return "\n".join([*lines, "", *(f"{name} {status}: {reason}" for name, status, reason in missing.rows)])


def run_markdown(report: RunReport) -> str:
    """The report as Markdown."""
    lines = [f"# {report.bundle_name}: engines side by side", "", *(f"- {line}" for line in headline(report))]
    for table in (main_table(report), stage_table(report), spread_table(report), missing_table(report)):
        if table.rows:
            lines += ["", f"## {table.title}", "", *markdown_table(table)]
    return "\n".join([*lines, ""])


def _parity_cells(result: Result) -> list[str]:
    if not result.parity:
        compared = ["-", "-"]
    else:
        difference, dice = worst_case(result.parity)
        compared = ["labels only" if difference is None else f"{difference:.1e}", f"{dice:.5f}"]
    truth = mean_dice(result.truth_dice)
    return [*compared, " ".join(f"{value:.3f}" for value in truth.values()) or "-"]


def _energy(latency: Latency | None) -> float | None:
    values = [s.energy_j for s in latency.samples if s.energy_j is not None] if latency else []
    return median(values) if values else None


def _latency(result: Result) -> Latency:
    assert result.latency is not None
    return result.latency


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f}" if seconds >= 0.0995 else f"{seconds * 1e3:.1f}"


def _ratio(ratio: Ratio | None) -> str:
    return ratio.describe() if ratio else "1"


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
