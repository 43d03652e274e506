"""The evaluation as one HTML page that needs nothing else: no network, no script, pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Final

from eenet_bench.evaluation.box_plots import Group, box_plot, distance_axis, share_axis
from eenet_bench.evaluation.error_pictures import ErrorPicture
from eenet_bench.evaluation.evaluate import CaseEvaluation
from eenet_bench.evaluation.figures import (
    LESION_FIGURES,
    MEAN_FIGURES,
    SUMMARY,
    Figure,
    case_figures,
    evaluated,
    statistics,
)
from eenet_bench.pages.pages import as_page
from eenet_runtime.pictures.colours import PREDICTION_COLOUR, REGION_COLOURS, TRUTH_COLOUR, css
from eenet_runtime.volumes.labels import Region

_STYLE: Final = """td.reason { text-align: left; white-space: normal; overflow-wrap: anywhere; }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; border: 1px solid #ddd; }
.key { display: inline-block; width: 1.8em; height: 0; border-top-width: 3px; vertical-align: middle; }
"""

_NOTES: Final = """<p>ET enhancing tumour, TC tumour core, WT whole tumour. HD95 is the 95th percentile Hausdorff
distance, by two definitions. <em>Pooled</em> takes the percentile of both directions together, as the challenges of
2026 (brats-evaluation 0.0.10); it has no value where truth and prediction are both empty, and counts as 373 mm where
they have no voxel in common. <em>Directed maximum</em> takes the larger of the two directions' percentiles, as the
challenges of 2023; where exactly one is empty it counts as 373.13 mm. Dice counts as 0 where one is empty.</p>
<p>Lesion by lesion, by two sets of rules. <em>Matched</em> (2026): each piece of the truth with at most one piece of
the prediction; means over the pairs alone. <em>Grouped</em> (2023): pieces near each other are one lesion; means over
lesions found, missed and invented, the last two with Dice 0 and 373.13 mm. Axes of distances are logarithmic. The
standard deviation has the divisor n.</p>"""


def evaluation_page(results: Sequence[CaseEvaluation], pictures: Sequence[ErrorPicture] = ()) -> str:
    """The page: summary, box plots, the worst cases' pictures, all cases, and the refused ones with their reasons.

    Args:
        results: as `evaluate_folder` returns them.
        pictures: the cases to show, the worst first.
    """
    done = evaluated(results)
    refused = [result for result in results if result.reason]
    sections = [
        f"<h1>Evaluation of {len(done)} {'case' if len(done) == 1 else 'cases'}</h1>",
        f"<p>{len(refused)} of {len(results)} could not be evaluated.</p>" if refused else "",
        _NOTES,
    ]
    if done:
        sections += ["<h2>Summary</h2>", _summary(done), "<h2>Distributions</h2>", _plots(done)]
    if pictures:
        sections += ["<h2>Worst cases</h2>", _legend(), *(_figure(picture) for picture in pictures)]
    if done:
        sections += ["<h2>Cases</h2>", _cases(done)]
    if refused:
        rows = [[escape(result.case_id), escape(result.reason)] for result in refused]
        sections += ["<h2>Not evaluated</h2>", _table(["case", "reason"], rows, last_class="reason")]
    return as_page("Evaluation", sections, _STYLE)


def _summary(done: Sequence[CaseEvaluation]) -> str:
    spreads = statistics(done)
    rows = []
    for figure in MEAN_FIGURES:
        for region in Region:
            found = spreads.get(figure.column(region))
            shown = [figure.shown(None if found is None else statistic(found)) for statistic in SUMMARY.values()]
            rows.append([f"{_title(figure)} {region.value}", *shown])
    values = [case_figures(result) for result in done]
    counts = []
    for rules in LESION_FIGURES:
        for count in rules.counts:
            sums = [sum(case[count.column(region)] or 0 for case in values) for region in Region]
            counts.append([f"{rules.title}: {count.title}", *(count.shown(number) for number in sums)])
    return (
        _table(["metric", *SUMMARY], rows)
        + "<p>Lesions of all cases together:</p>"
        + _table(["", *(region.value for region in Region)], counts)
    )


def _plots(done: Sequence[CaseEvaluation]) -> str:
    plots = []
    for figure in MEAN_FIGURES:
        groups = [group for group in (_group(figure, region, done) for region in Region) if group.points]
        numbers = [value for group in groups for _, value in group.points]
        if numbers:
            axis = distance_axis(numbers) if figure.unit else share_axis(numbers)
            plots.append(box_plot(_title(figure), axis, groups))
    return '<div class="plots">' + "\n".join(plots) + "</div>"


def _group(figure: Figure, region: Region, done: Sequence[CaseEvaluation]) -> Group:
    """The cases that have a figure of a region."""
    values = [(result.case_id, figure.of_region(result, region.value)) for result in done]
    return Group(
        region.value, css(REGION_COLOURS[region]), [(name, value) for name, value in values if value is not None]
    )


def _legend() -> str:
    keys = (("truth", TRUTH_COLOUR, "solid"), ("prediction", PREDICTION_COLOUR, "dashed"))
    shown = [
        f'<span class="key" style="border-top-style: {style}; border-color: rgb{colour}"></span> {name}'
        for name, colour, style in keys
    ]
    return (
        f"<p>The lowest mean Dice first, in planes through the largest error of the worst region. "
        f"Outlines: {', '.join(shown)}.</p>"
    )


def _figure(picture: ErrorPicture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    return (
        f"<figure><figcaption><strong>{escape(picture.case_id)}</strong> {escape(picture.caption)}</figcaption>\n"
        f'<img alt="{escape(picture.alt)}" src="data:image/png;base64,{data}"></figure>'
    )


def _cases(done: Sequence[CaseEvaluation]) -> str:
    columns = [(figure, region) for figure in MEAN_FIGURES for region in Region]
    with_ceiling = any(result.ceiling for result in done)
    header = ["case", *(f"{_title(figure)} {region.value}" for figure, region in columns)]
    header += [f"{rules.title}: TP/FP/FN {region.value}" for rules in LESION_FIGURES for region in Region]
    header += [f"Ceiling of Dice {region.value}" for region in Region] if with_ceiling else []
    rows = []
    for result in done:
        values = case_figures(result)
        row = [escape(result.case_id), *(figure.shown(values[figure.column(region)]) for figure, region in columns)]
        for rules in LESION_FIGURES:
            row += ["/".join(count.shown(values[count.column(region)]) for count in rules.counts) for region in Region]
        if with_ceiling:
            row += [f"{result.ceiling[region.value]:.3f}" if result.ceiling else "" for region in Region]
        rows.append(row)
    return _table(header, rows)


def _title(figure: Figure) -> str:
    return f"{figure.title}, {figure.unit}" if figure.unit else figure.title


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], last_class: str = "") -> str:
    """A table of cells that are already escaped."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in header)
    lines = []
    for row in rows:
        attribute = f' class="{last_class}"' if last_class else ""
        lines.append("".join([*(f"<td>{cell}</td>" for cell in row[:-1]), f"<td{attribute}>{row[-1]}</td>"]))
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
