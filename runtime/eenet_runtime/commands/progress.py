"""What a folder run tells while it goes: a line for each case, and on a terminal how far it is."""

from __future__ import annotations

import sys
import time

import typer

from eenet_runtime.codes import in_brackets
from eenet_runtime.folders.outcomes import CaseOutcome
from eenet_runtime.printable import printable
from eenet_runtime.results.report import CaseReport

_ERASE = "\r\033[K"


class Progress:
    """Prints to stderr. A line that is rewritten is for a terminal only; a log gets whole lines."""

    def __init__(self, quiet: bool) -> None:
        """Start the clock."""
        self._quiet = quiet
        self._live = not quiet and sys.stderr.isatty()
        self._started = time.monotonic()

    def show(self, count: int, total: int | None, outcome: CaseOutcome) -> None:
        """Tell of one more case."""
        if total is None and outcome.report is None:
            # A watch may never come to the end, where other runs tell why cases were refused.
            self._erase()
            tell_refusal(outcome)
            return
        if self._quiet:
            return
        self._erase()
        of_all = "" if total is None else f"/{total}"
        typer.echo(printable(f"[{count}{of_all}] {outcome.case_id}: {_in_short(outcome)}"), err=True)
        if outcome.report and not outcome.before:
            tell_warnings(outcome.report)
        if self._live and total is not None and count < total:
            left = (time.monotonic() - self._started) / count * (total - count)
            typer.echo(f"{count} of {total} cases, about {left:.0f} s left", err=True, nl=False)

    def trouble(self, message: str) -> None:
        """Tell of something that concerns no single case."""
        self._erase()
        typer.echo(printable(message), err=True)

    def end(self) -> None:
        """Leave the terminal clean."""
        self._erase()

    def _erase(self) -> None:
        if self._live:
            typer.echo(_ERASE, err=True, nl=False)


def tell_warnings(report: CaseReport) -> None:
    """One line on stderr for each warning: the suspicions first, which somebody should look into."""
    for remark in report.remarks:
        typer.echo(printable(f"    {remark}"), err=True)


def tell_refusal(outcome: CaseOutcome) -> None:
    """One line on stderr for a case without a mask."""
    typer.echo(
        printable(f"{outcome.status.value} {outcome.case_id}: {outcome.reason}{in_brackets(outcome.code)}"), err=True
    )


def _in_short(outcome: CaseOutcome) -> str:
    if outcome.report is None:
        return "refused"
    return "done before" if outcome.before else f"{sum(outcome.report.seconds.values()):.1f} s"
