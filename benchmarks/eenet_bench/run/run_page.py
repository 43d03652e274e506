"""A run as one HTML page that needs nothing else, and all its files in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import Final

from eenet_bench.pages.pages import as_page, html_table
from eenet_bench.pages.report_files import write_forms
from eenet_bench.run.latency import NETWORK, TOTAL
from eenet_bench.run.run import RunReport
from eenet_bench.run.run_plots import Bar, Strip, bar_plot, strip_plot
from eenet_bench.run.run_tables import headline, main_table, missing_table, run_markdown, spread_table, stage_table
from eenet_runtime.pictures.colours import BLUE, GREEN, ORANGE, PINK, SKY_BLUE, VERMILION, css

_COLOURS: Final = (*(css(colour) for colour in (BLUE, SKY_BLUE, GREEN, VERMILION, PINK, ORANGE)), "#f0e442", "#999999")

_NOTES: Final = """<p>All engines ran the same cases in processes of their own, in turns. A point is one run. The total
is files to files: read, check, normalise and crop (prepare), network with all copies to and from the device, bring back
(restore), clean, write.</p>"""


def write_run(report: RunReport, folder: Path) -> None:
    """Write `results.json`, `results.md` and `results.html`.

    Raises:
        OutputError: a file cannot be written.
    """
    write_forms(folder, "results", md=run_markdown(report), html=run_page(report), json=report.to_json())


def run_page(report: RunReport) -> str:
    """The page: the machine, the tables and the plots."""
    sections = [f"<h1>{escape(report.bundle_name)}: engines side by side</h1>"]
    sections += [f"<p>{escape(line)}</p>" for line in headline(report)]
    sections += [html_table(main_table(report)), _NOTES, "<h2>Plots</h2>", _plots(report)]
    for table in (stage_table(report), spread_table(report), missing_table(report)):
        if table.rows:
            sections += [f"<h2>{escape(table.title)}</h2>", html_table(table)]
    return as_page(f"{report.bundle_name}: benchmark", sections)


def _plots(report: RunReport) -> str:
    results = [(result.subject.name, result.latency) for result in report.measured if result.latency is not None]
    stages = list(dict.fromkeys(stage for _, latency in results for stage in latency.stages))
    colours = {stage: _COLOURS[index % len(_COLOURS)] for index, stage in enumerate(stages)}
    bars = [
        Bar(name, [(s, median(latency.all_seconds(s)) * 1e3, colours[s]) for s in latency.stages])
        for name, latency in results
    ]
    plots: list[str] = [bar_plot("Where the time goes, ms", bars)]
    for stage, title in ((TOTAL, "Files to files, ms"), (NETWORK, "Network, ms")):
        strips = [Strip(name, _milliseconds(latency.all_seconds(stage))) for name, latency in results]
        plots.append(strip_plot(title, strips))
    memory = [
        Bar(name, [("peak memory", latency.peak_rss_bytes / 2**20, _COLOURS[0])])
        for name, latency in results
        if latency.peak_rss_bytes
    ]
    if memory:
        plots.append(bar_plot("Peak memory of the process, MiB", memory))
    return '<div class="plots">' + "\n".join(plots) + "</div>"


def _milliseconds(seconds: Sequence[float]) -> list[float]:
    return [value * 1e3 for value in seconds]
