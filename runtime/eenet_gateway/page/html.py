"""The status page as HTML: one file, no script, nothing from elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from eenet_gateway.store.report import Report

_STYLE: Final = """
  body { font-family: sans-serif; margin: 2em auto; max-width: 60em; color: #1d2733 }
  h1 { font-size: 1.3em } h2 { font-size: 1.05em; margin-top: 1.6em }
  table { border-collapse: collapse } td, th { padding: .25em .9em .25em 0; text-align: left; vertical-align: top }
  th { font-weight: normal; color: #4a5563 } .figure { text-align: right; font-variant-numeric: tabular-nums }
  figure { margin: 0 0 1em 0 } img { max-width: 100% }
  .good { color: #1c7a3d } .wrong { color: #b3261e } small { color: #4a5563 }
"""
_REFRESH_S: Final = 5
_GIGABYTE: Final = 1e9


def status_page(found: Report, problems: Sequence[str]) -> str:
    """The page; it loads itself anew every few seconds.

    Args:
        found: what to show.
        problems: of the gateway itself; none where it is well.
    """
    health = '<p class="good">The gateway is well.</p>'
    if problems:
        health = "".join(f'<p class="wrong">{escape(one)}</p>' for one in problems)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>EENet gateway</title>
<meta http-equiv="refresh" content="{_REFRESH_S}"><style>{_STYLE}</style></head><body>
<h1>EENet gateway</h1>
{health}
<h2>Studies</h2>
{_table(("state", "studies"), ((state, count) for state, count in found.studies.items()), "studies")}
<p><small>Oldest waiting: {_age(found.oldest_s)}. Done in the last hour: {found.done_last_hour}. Free on the disk:
{found.free_bytes / _GIGABYTE:.1f} GB.</small></p>
<h2>Waiting for somebody</h2>
{_troubles(found)}
<h2>Last results</h2>
{_previews(found)}
<h2>Destinations</h2>
{_destinations(found)}
<h2>Since the database was made</h2>
{_table(("what", "how often"), found.counters.items(), "counters")}
<p><small>{time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(found.time))} UTC. Not a medical device; not for
diagnosis.</small></p>
</body></html>
"""


def _troubles(found: Report) -> str:
    if not found.troubles:
        return "<p>Nothing.</p>"
    rows = (
        (one["study"], one["state"], one["reason"], f"{_age(found.time - one['since'])} ago") for one in found.troubles
    )
    return _table(("study", "state", "reason", "since"), rows, "troubles")


def _previews(found: Report) -> str:
    pictures = (
        f'<figure><img src="/preview/{escape(key)}" alt="preview"><figcaption>{escape(key)}</figcaption></figure>'
        for key in found.previews
    )
    return "".join(pictures) or "<p>None yet.</p>"


def _destinations(found: Report) -> str:
    rows = []
    for one in found.destinations:
        answer = one.words if one.answered_s is None else f"answered in {one.answered_s * 1000:.0f} ms"
        asked = "" if one.asked is None else f"{_age(found.time - one.asked)} ago"
        rows.append((one.name, answer, asked, one.pending, one.refused))
    return _table(("destination", "last C-ECHO", "", "waiting", "refused"), rows, "destinations")


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]], name: str) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f'<table id="{name}"><tr>{head}</tr>{body}</table>'


def _cell(value: object) -> str:
    kind = ' class="figure"' if isinstance(value, int) else ""
    return f"<td{kind}>{escape(str(value))}</td>"


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
