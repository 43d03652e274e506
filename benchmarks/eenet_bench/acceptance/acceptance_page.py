"""The acceptance run in words, as Markdown and as one HTML page; and its files in a folder."""

from __future__ import annotations

from html import escape
from pathlib import Path

from eenet_bench.acceptance.acceptance import AcceptanceReport
from eenet_bench.measuring.spread import Spread
from eenet_bench.pages.pages import as_page, html_table
from eenet_bench.pages.report_files import write_forms
from eenet_bench.pages.report_table import Table, markdown_table
from eenet_runtime.folders.tables import format_table


def write_acceptance(report: AcceptanceReport, folder: Path) -> None:
    """Write `gpu.json`, `gpu.md` and `gpu.html`.

    Raises:
        OutputError: a file cannot be written.
    """
    write_forms(folder, "gpu", md=acceptance_markdown(report), html=acceptance_page(report), json=report.to_json())


def acceptance_text(report: AcceptanceReport) -> str:
    """For a terminal; reasons are long and stand below the table."""
    lines = _headline(report)
    for table in _tables(report):
        header, rows = list(table.header), [list(row) for row in table.rows]
        if header[-1] == "detail":
            lines += ["", *(f"{engine}, {what}: {outcome}: {detail}" for engine, what, outcome, detail in rows)]
        else:
            lines += ["", format_table(header, rows), *([table.note] if table.note else [])]
    return "\n".join([*lines, "", report.verdict])


def acceptance_markdown(report: AcceptanceReport) -> str:
    """As Markdown."""
    lines = [f"# GPU acceptance of {report.bundle_name}", "", report.verdict, ""]
    lines += [f"- {line}" for line in _headline(report)]
    for table in _tables(report):
        lines += ["", f"## {table.title}", "", *markdown_table(table)]
    return "\n".join([*lines, ""])


def acceptance_page(report: AcceptanceReport) -> str:
    """As an HTML page that needs no other file."""
    sections = [f"<h1>GPU acceptance of {escape(report.bundle_name)}</h1>", f"<p><b>{escape(report.verdict)}</b></p>"]
    sections += [f"<p>{escape(line)}</p>" for line in _headline(report)]
    for table in _tables(report):
        sections += [f"<h2>{escape(table.title)}</h2>", html_table(table)]
    return as_page(f"GPU acceptance of {report.bundle_name}", sections)


def _headline(report: AcceptanceReport) -> list[str]:
    gpu = report.gpu
    device = (
        f"GPU: none ({report.why_no_gpu})"
        if gpu is None
        else f"GPU: {gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory_bytes / 2**30:.0f} GiB"
    )
    states = [
        f"{timed.engine}: {when} {state.describe()}"
        for timed in report.engines
        for when, state in (("before", timed.idle), ("right after", timed.busy))
        if state is not None
    ]
    model = f"{report.bundle_name} ({report.preset}, id {report.bundle_id})"
    return [model, report.environment.describe(), device, *states]


def _tables(report: AcceptanceReport) -> list[Table]:
    steps = Table(
        "Steps",
        ["engine", "step", "outcome", "detail"],
        [[step.engine, step.what, step.outcome, step.detail] for step in report.steps],
    )
    rows = [
        [timed.engine, times.output, "yes" if times.replayed else "no"]
        + [_ms(part) for part in (times.host, times.device, times.upload, times.compute, times.download)]
        for timed in report.engines
        for times in timed.times
    ]
    header = ["engine", "output", "CUDA graph", "host ms", "device ms", "upload ms", "compute ms", "download ms"]
    note = "medians with the fastest and the slowest; host: as a caller waits; device and its parts: by events"
    return [*([Table("Times", header, rows, note)] if rows else []), steps]


def _ms(values: Spread) -> str:
    return f"{values.median:.2f} ({values.smallest:.2f}-{values.largest:.2f})"
