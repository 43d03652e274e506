"""`index.html` in an output folder: every case of it at a glance, opened from disk without a network.

The page is made from the reports and summaries that lie in the folder, so it can be made again at any time. Pictures
and masks stay files of their own, which it links to by relative names: a page of 1,000 cases has about a megabyte and
loads the pictures that are looked at. Names, warnings and reasons are strangers' text and are escaped; a content
security policy forbids what is not the page's own, should one get through all the same.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import math
import os
import statistics
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final
from urllib.parse import quote

from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.folders.folder_page_text import SCRIPT, STAGE_COLOURS, STYLE
from eenet_runtime.folders.outcomes import FolderRun
from eenet_runtime.folders.summary import gather_summary
from eenet_runtime.printable import printable
from eenet_runtime.results.report import CaseReport
from eenet_runtime.volumes.labels import Region

PAGE_NAME: Final = "index.html"
"""Name of the page; no result of a case ends like this."""

_PNG_START: Final = b"\x89PNG\r\n\x1a\n"


def write_folder_page(output: Path, title: str = "Segmentation") -> Path:
    """Write the page of an output folder, all of it or nothing; an earlier one is replaced.

    Args:
        output: a folder that runs wrote into, sharded or not, finished or not.
        title: the page's title.

    Returns:
        The page's path.

    Raises:
        DatasetError: there is neither a report nor a summary in the folder.
        OutputError: the page cannot be written.
    """
    path = output / PAGE_NAME
    write_atomically(path, folder_page(gather_summary(output), output, title).encode())
    return path


def remove_folder_page(output: Path) -> None:
    """Take away an earlier page: while a run replaces the results that it shows, it must not speak for them."""
    with contextlib.suppress(OSError):
        (output / PAGE_NAME).unlink(missing_ok=True)


def folder_page(run: FolderRun, output: Path, title: str = "Segmentation") -> str:
    """The page's text: totals, what made the masks, time by stage, the cases, the refused ones with their reasons.

    Args:
        run: what became of the cases.
        output: the folder of their results, where the page shall lie; looked at for the size of the pictures.
        title: the page's title.

    Returns:
        HTML that loads nothing but pictures beside it; the same folder gives the same text.
    """
    reports = [outcome.report for outcome in run.outcomes if outcome.report is not None]
    stages = list(dict.fromkeys(stage for report in reports for stage in report.seconds))
    sections = [
        f'<header><h1>{_text(title)}</h1><p class="badge" role="note">NOT FOR DIAGNOSIS</p></header>',
        _totals(run, reports),
    ]
    if reports:
        sections += ["<h2>Made with</h2>", _makers(reports)]
    refused = [[_text(outcome.case_id), _code(outcome.code), _text(outcome.reason)] for outcome in run.failed]
    if refused:
        heads = [("case", "text long"), ("code", "text"), ("reason", "text long reason")]
        sections += ["<h2>Refused</h2>", _table("Cases without a mask", heads, refused)]
    if reports:
        sections += ["<h2>Cases</h2>", _controls(), _cases(reports, stages, output)]
    if stages:
        sections += ["<h2>Time by stage</h2>", _stage_table(reports, stages)]
    if run.ignored:
        items = "".join(f"<li>{_text(str(path))}</li>" for path in run.ignored)
        sections.append(
            f"<details><summary>{_count(len(run.ignored), 'ignored file')}</summary><ul>{items}</ul></details>"
        )
    newest = max((report.created for report in reports), default="")
    sections.append(f"<footer>{_FOOTER}{f'<p>Newest result: {_text(newest)}.</p>' if newest else ''}</footer>")
    return _document(title, "\n".join(sections))


_FOOTER: Final = """<p>ET enhancing tumour, TC tumour core (ET and necrosis), WT whole tumour (TC and oedema). Dice is
given where a case brought its own label. In a folder run the stages of neighbouring cases overlap, so that the seconds
of a case are more than it added to the run. Pictures are in radiological convention.</p>"""


def _document(title: str, body: str) -> str:
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _totals(run: FolderRun, reports: Sequence[CaseReport]) -> str:
    figures = [("segmented", str(len(reports))), ("refused", str(len(run.failed)))]
    figures.append(("with suspicions", str(sum(bool(report.suspicions) for report in reports))))
    figures.append(("with warnings", str(sum(bool(report.warnings) for report in reports))))
    figures.append(("without tumour", str(sum(report.volumes_ml.get(Region.WT.value) == 0 for report in reports))))
    if reports:
        seconds = [_total_seconds(report) for report in reports]
        figures.append(("seconds for a case, median", f"{statistics.median(seconds):.1f}"))
    for region in Region:
        known = [value for report in reports if (value := _number((report.dice or {}).get(region.value))) is not None]
        if known:
            figures.append(
                (f"mean Dice {region.value}, {_count(len(known), 'case')}", f"{statistics.fmean(known):.3f}")
            )
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures)
    return f'<dl class="totals">{items}</dl>'


def _makers(reports: Sequence[CaseReport]) -> str:
    """One row for each model, engine and release that made masks of this folder."""
    counts = Counter(
        (
            *(str((report.bundle or {}).get(name, "")) for name in ("name", "id", "signature")),
            *(
                str((report.engine or {}).get(name, ""))
                for name in ("backend", "version", "precision", "device", "self_test")
            ),
            report.eenet_version,
        )
        for report in reports
    )
    rows = []
    for (name, identity, signature, backend, version, precision, device, tested, eenet), count in counts.items():
        cells = (name, identity[:16], signature, f"{backend} {version}, {precision}", device, tested, eenet)
        rows.append([*(_text(cell) for cell in cells), str(count)])
    names = ("model", "id", "signature", "engine", "device", "self-test", "eenet")
    return _table("Models, engines and releases", [*((name, "text") for name in names), ("cases", "")], rows)


def _controls() -> str:
    return (
        '<div id="controls" hidden><label>Find <input type="search" id="search"></label>'
        '<label><input type="checkbox" id="suspect"> only with suspicions</label>'
        '<label><input type="checkbox" id="warned"> only with warnings</label>'
        '<span id="shown" role="status"></span></div>'
    )


def _cases(reports: Sequence[CaseReport], stages: Sequence[str], output: Path) -> str:
    longest = max(_total_seconds(report) for report in reports)
    with_dice = any(report.dice for report in reports)
    figures = [f"{region.value} ml" for region in Region]
    figures += [f"Dice {region.value}" for region in Region] if with_dice else []
    heads = ['<th scope="col" class="text">preview</th>', '<th scope="col" class="text" data-sort>case</th>']
    heads += [f'<th scope="col" data-sort>{name}</th>' for name in (*figures, "seconds")]
    heads.append('<th scope="col" class="text" data-sort>warnings</th>')
    rows = []
    for report in sorted(reports, key=lambda report: report.case_id):
        cells = [f"<td>{_picture(report, output)}</td>"]
        cells.append(f'<th scope="row" class="text long" data-value="{_text(report.case_id)}">{_name(report)}</th>')
        cells += [_figure(report.volumes_ml.get(region.value), 1) for region in Region]
        if with_dice:
            cells += [_figure((report.dice or {}).get(region.value), 3) for region in Region]
        cells += [_seconds(report, stages, longest), _warnings(report)]
        marks = f"{' data-suspect' if report.suspicions else ''}{' data-warned' if report.warnings else ''}"
        rows.append(f"<tr{marks}>{''.join(cells)}</tr>")
    return (
        '<div class="scroll"><table id="cases"><caption>Segmented cases: volumes of the regions, time and warnings'
        f"</caption>\n<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def _picture(report: CaseReport, output: Path) -> str:
    name = _file_name(report, "preview")
    size = _png_size(output / name) if name else None
    if size is None:
        return "no picture"
    alt = f"Preview of {report.case_id}: three slices of T1ce and of FLAIR with the outlines of ET, TC and WT"
    return (
        f'<a href="{_link(name)}"><img src="{_link(name)}" width="{size[0]}" height="{size[1]}" loading="lazy" '
        f'alt="{_text(alt)}"></a>'
    )


def _name(report: CaseReport) -> str:
    files = [("mask", _file_name(report, "mask")), ("maps", _file_name(report, "probabilities"))]
    files.append(("report", f"{report.case_id}.json"))
    links = "".join(f'<a href="{_link(name)}">{word}</a>' for word, name in files if name)
    return f'{_text(report.case_id)}<span class="files">{links}</span>'


def _seconds(report: CaseReport, stages: Sequence[str], longest: float) -> str:
    total = _total_seconds(report)
    parts, words = [], []
    for index, stage in enumerate(stages):
        spent = _number(report.seconds.get(stage)) or 0.0
        if spent > 0 and longest > 0:
            width = f"width:{100 * spent / longest:.2f}%;background:{_colour(index)}"
            parts.append(f'<span style="{width}" title="{_text(stage)} {spent:.2f} s"></span>')
            words.append(f"{stage} {spent:.2f} s")
    bar = f'<span class="bar" role="img" aria-label="{_text(", ".join(words))}">{"".join(parts)}</span>'
    return f'<td data-value="{total:.4f}">{total:.1f}{bar}</td>'


def _code(code: str) -> str:
    return f" <code>{_text(code)}</code>" if code else ""


def _warnings(report: CaseReport) -> str:
    items = "".join(
        f'<li class="{remark.kind}"><strong>{remark.kind}:</strong> {_text(remark.text)}{_code(remark.code)}</li>'
        for remark in report.remarks
    )
    shown = f'<ul class="warnings">{items}</ul>' if items else ""
    return f'<td class="text long" data-value="{len(report.warnings)}">{shown}</td>'


def _stage_table(reports: Sequence[CaseReport], stages: Sequence[str]) -> str:
    spent = {stage: [_number(report.seconds.get(stage)) or 0.0 for report in reports] for stage in stages}
    everything = sum(map(sum, spent.values())) or 1.0
    rows = []
    for index, (stage, seconds) in enumerate(spent.items()):
        key = f'<span class="key" style="background:{_colour(index)}"></span>{_text(stage)}'
        figures = [f"{value:.2f}" for value in (statistics.median(seconds), max(seconds), sum(seconds))]
        rows.append([key, *figures, f"{100 * sum(seconds) / everything:.1f} %"])
    heads = [("stage", "text"), ("median s", ""), ("largest s", ""), ("sum s", ""), ("share", "")]
    return _table("Seconds of all segmented cases", heads, rows)


def _table(caption: str, heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are already escaped; each head has a name and the class of its column."""
    classes = [style for _, style in heads]
    head = "".join(f'<th scope="col" class="{style}">{name}</th>' for name, style in heads)
    lines = []
    for row in rows:
        first, *rest = zip(row, classes, strict=True)
        cells = "".join(f'<td class="{style}">{cell}</td>' for cell, style in rest)
        lines.append(f'<tr><th scope="row" class="{first[1]}">{first[0]}</th>{cells}</tr>')
    body = "\n".join(lines)
    return (
        f'<div class="scroll"><table><caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _figure(value: object, digits: int) -> str:
    number = _number(value)
    return "<td></td>" if number is None else f'<td data-value="{number:.5f}">{number:.{digits}f}</td>'


def _number(value: object) -> float | None:
    """A figure of a report; None for whatever else may stand there."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _total_seconds(report: CaseReport) -> float:
    return sum(_number(value) or 0.0 for value in report.seconds.values())


def _file_name(report: CaseReport, output: str) -> str:
    """The name of a result in the page's own folder, empty where the report names none."""
    entry = report.outputs.get(output)
    name = entry.get("file") if isinstance(entry, Mapping) else None
    return name if isinstance(name, str) and "/" not in name else ""


def _png_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a picture, so that the page keeps its place before it is loaded; None without one."""
    try:
        with path.open("rb") as stream:
            start = stream.read(24)
    except (OSError, ValueError):
        return None
    if len(start) < 24 or not start.startswith(_PNG_START):
        return None
    width, height = struct.unpack(">II", start[16:24])
    return width, height


def _link(name: str) -> str:
    """A file beside the page as a relative address: every character that could mean something else is coded."""
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        # Half a surrogate pair: no file has such a name, and the link leads nowhere.
        encoded = name.encode(errors="replace")
    return "./" + quote(encoded, safe="")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _colour(index: int) -> str:
    return STAGE_COLOURS[index % len(STAGE_COLOURS)]


def _text(text: str) -> str:
    """Strangers' text for a place between tags or in quotes."""
    return escape(printable(text))
