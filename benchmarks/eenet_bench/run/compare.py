"""What moved between two runs, beyond the noise of both (docs/decisions/0028-benchmark-noise.md).

Two runs are two moments of a machine that has other things to do. So seconds, and processor seconds, are divided by
those of a fixed piece of work that was measured beside them. A time counts as slower only if the whole interval of that
ratio says so, at a level that allows for the number of comparisons, and the plain time does not contradict. If a
machine was noisy, only processor seconds count: no yardstick undoes what others do to a stage of many threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from eenet_bench.measuring.bootstrap import Ratio, Rounds, unpaired_ratio
from eenet_bench.run.latency import NETWORK, TOTAL
from eenet_bench.run.run_file import EngineRun, RunFile, read_run
from eenet_runtime.errors import DatasetError
from eenet_runtime.folders.tables import format_table

ALL_ENGINES: Final = "all engines"
"""Stages outside the network are the same code whatever the engine: together they are measured several times better."""
MOVED: Final = "moved"
"""Off 1 beyond the noise, and no more than that: within the threshold, or in seconds of a noisy machine."""
PROCESSOR: Final = ", processor"
"""Ending of figures in processor seconds."""
_ERROR_RATE: Final = 0.1
"""Chance that any of all comparisons of two equal runs is called moved, if rounds were independent."""
_QUANTILE: Final = 0.25
"""Other programs only ever add time: the lower quartile of the rounds says what the code takes, and is steadier."""
_QUANTILE_OUTSIDE: Final = 0.0
"""Of the short stages the fastest round of each case and repeat counts; there are many, so their mean is known well."""
_BETWEEN_RUNS_OUTSIDE: Final = 0.015
_BETWEEN_RUNS: Final = 0.03
"""Standard deviation of the logarithm of calibrated times from run to run of the same code, on a quiet machine: of the
stages outside the network, which are measured in one thread, and of the rest. Where a process lies in memory and which
processors the kernel likes is decided once for all rounds."""
_UNEVEN: Final = 0.25
"""Difference of the shares that other programs used from which on no time of two runs can be compared: threads that
have the processors for themselves wait for memory together, and take more processor time than in turns."""
_LEAST_S: Final = 1e-3
"""A stage that moved by less than this is not worth a word."""
_LEAST_BYTES: Final = 32 << 20
_LEAST_MEMORY: Final = 0.15
"""Share by which peak memory must move: that of equal runs varied by 8 %, for threads meet in another order."""
_LEAST_DICE: Final = 1e-3


@dataclass(frozen=True)
class Change:
    """One figure in both runs.

    Attributes:
        engine, what: which figure; `what` is a stage, the same with `PROCESSOR`, `peak memory` or `Dice`.
        before, after: the figure: seconds (of a pooled stage the mean over engines and cases), bytes or Dice.
        ratio: after by before, both by the calibration; None for figures that do not vary.
        verdict: `slower`, `faster`, `more`, `less` or `worse` beyond the threshold; `MOVED`; or empty.
    """

    engine: str
    what: str
    before: float
    after: float
    ratio: Ratio | None
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        before, after: the runs.
        threshold: share from which on a change counts.
        changes: every figure that both have.
        notes: what differs between the runs besides, and whether they were noisy.
    """

    before: RunFile
    after: RunFile
    threshold: float
    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def regressions(self) -> tuple[Change, ...]:
        """What got worse beyond noise and threshold."""
        return tuple(change for change in self.changes if change.verdict in ("slower", "more", "worse"))

    @property
    def improvements(self) -> tuple[Change, ...]:
        """What got better beyond noise and threshold."""
        return tuple(change for change in self.changes if change.verdict in ("faster", "less"))


def compare_files(before: Path, after: Path, threshold: float = 0.05, *, anyway: bool = False) -> Comparison:
    """Compare two files of `eenet-bench run`.

    Args:
        before, after: the files.
        threshold: share from which on a change counts.
        anyway: whether to compare runs of different machines, presets or cases; the difference becomes a note.

    Raises:
        DatasetError: a file that is none, or runs that cannot be compared.
    """
    return compare_runs(read_run(before), read_run(after), threshold, anyway=anyway)


def compare_runs(before: RunFile, after: RunFile, threshold: float = 0.05, *, anyway: bool = False) -> Comparison:
    """Compare two runs; see `compare_files`."""
    differences = _differences(before, after)
    if differences and not anyway:
        raise DatasetError(f"{after.path}: not comparable with {before.path}: {'; '.join(differences)}")
    names = [name for name in before.engines if name in after.engines]
    if not names:
        raise DatasetError(f"{after.path}: no engine that {before.path} has, too")
    cells = _cells(before, after, names)
    level = 1 - _ERROR_RATE / len(cells)
    if _uneven(before, after):
        counted: tuple[bool, bool] = (False, False)
    else:
        counted = (not (before.noisy or after.noisy), True)
    changes = [_timed(cell, level, threshold, counted[cell.what.endswith(PROCESSOR)]) for cell in cells]
    for name in names:
        changes += _fixed(name, before.engines[name], after.engines[name], threshold)
    return Comparison(before, after, threshold, tuple(changes), (*differences, *_notes(before, after)))


def comparison_text(comparison: Comparison, *, everything: bool = False) -> str:
    """The verdict, and a table of what moved.

    Args:
        comparison: the comparison.
        everything: whether to list what did not move, too.
    """
    shown = [change for change in comparison.changes if change.verdict or everything]
    lines = [f"before: {_describe(comparison.before)}", f"after:  {_describe(comparison.after)}", *comparison.notes, ""]
    if shown:
        header = ["engine", "figure", "before", "after", "after / before", "verdict"]
        lines += [format_table(header, [_row(change) for change in shown]), ""]
    worse, better = len(comparison.regressions), len(comparison.improvements)
    if worse or better:
        lines.append(f"{worse} regressions and {better} improvements beyond noise and {comparison.threshold:.0%}")
    else:
        lines.append(f"no change beyond noise and {comparison.threshold:.0%} in {len(comparison.changes)} figures")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Cell:
    """One time that both runs have."""

    engine: str
    what: str
    before: Rounds
    after: Rounds
    calibrations: tuple[Rounds, Rounds]


def _cells(before: RunFile, after: RunFile, names: Sequence[str]) -> list[_Cell]:
    """Each stage of each engine, and the stages outside the network together; in seconds and in processor seconds."""
    cells = []
    for ending, times, calibrations in (
        ("", _seconds, (before.calibration, after.calibration)),
        (PROCESSOR, _cpu_seconds, (before.cpu_calibration, after.cpu_calibration)),
    ):
        found: dict[str, list[tuple[str, Rounds, Rounds]]] = {}
        for name in names:
            first, second = times(before.engines[name]), times(after.engines[name])
            for stage in (stage for stage in first if stage in second):
                # The cases come first, in one order; with --anyway one run may have more of them.
                runs = min(first[stage].shape[1], second[stage].shape[1])
                found.setdefault(stage, []).append((name, first[stage][:, :runs], second[stage][:, :runs]))
        for stage, rows in found.items():
            if stage not in (NETWORK, TOTAL) and len(rows) > 1:
                one, other = (np.concatenate([row[side] for row in rows], axis=1) for side in (1, 2))
                cells.append(_Cell(ALL_ENGINES, stage + ending, one, other, calibrations))
            cells += [_Cell(name, stage + ending, first, second, calibrations) for name, first, second in rows]
    return cells


def _seconds(engine: EngineRun) -> Mapping[str, Rounds]:
    return engine.seconds


def _cpu_seconds(engine: EngineRun) -> Mapping[str, Rounds]:
    return engine.cpu_seconds


def _timed(cell: _Cell, level: float, threshold: float, counts: bool) -> Change:
    before, after = cell.before, cell.after
    yardsticks = (cell.calibrations[1], cell.calibrations[0])
    threaded = cell.what.removesuffix(PROCESSOR) in (NETWORK, TOTAL)
    quantile, between = (_QUANTILE, _BETWEEN_RUNS) if threaded else (_QUANTILE_OUTSIDE, _BETWEEN_RUNS_OUTSIDE)
    ratio = unpaired_ratio(after, before, level, quantile=quantile, yardsticks=yardsticks, between=between)
    first, second = (float(np.quantile(rounds, quantile, axis=0).mean()) for rounds in (before, after))
    verdict = ""
    if abs(second - first) >= _LEAST_S:
        verdict = _verdict(ratio, _geometric_mean(after, quantile) / _geometric_mean(before, quantile), threshold)
    if verdict and not counts:
        verdict = MOVED
    return Change(cell.engine, cell.what, first, second, ratio, verdict)


def _verdict(ratio: Ratio, plain: float, threshold: float) -> str:
    """Beyond the noise means the whole interval is off 1; beyond the threshold, the ratio besides.

    The plain seconds must have moved the same way: a calibration that was disturbed alone moves nothing.
    """
    if ratio.low > 1:
        return "slower" if ratio.value > 1 + threshold and plain > 1 else MOVED
    if ratio.high < 1:
        return "faster" if 1 / ratio.value > 1 + threshold and plain < 1 else MOVED
    return ""


def _geometric_mean(rounds: Rounds, quantile: float) -> float:
    """Of the quantiles over the rounds of all runs."""
    return float(np.exp(np.log(np.quantile(rounds, quantile, axis=0)).mean()))


def _fixed(name: str, before: EngineRun, after: EngineRun, threshold: float) -> list[Change]:
    """Figures that hardly vary: memory and agreement."""
    changes = []
    first, second = before.peak_rss_bytes, after.peak_rss_bytes
    if first and second:
        moved = abs(second - first) > max(threshold * first, _LEAST_MEMORY * first, _LEAST_BYTES)
        verdict = ("more" if second > first else "less") if moved else ""
        changes.append(Change(name, "peak memory", first, second, None, verdict))
    if before.lowest_dice is not None and after.lowest_dice is not None:
        worse = before.lowest_dice - after.lowest_dice > _LEAST_DICE
        changes.append(Change(name, "Dice", before.lowest_dice, after.lowest_dice, None, "worse" if worse else ""))
    return changes


def _differences(before: RunFile, after: RunFile) -> list[str]:
    """What makes two runs incomparable."""
    pairs = [
        ("processor", before.cpu, after.cpu),
        ("threads", before.threads, after.threads),
        ("preset", before.preset, after.preset),
    ]
    found = [f"{name} {first} before, {second} after" for name, first, second in pairs if first != second]
    if before.cases != after.cases:
        found.append(f"cases {', '.join(before.cases)} before, {', '.join(after.cases)} after, or other files of them")
    return found


def _notes(before: RunFile, after: RunFile) -> list[str]:
    """What a reader should know besides."""
    notes = []
    if before.bundle_id != after.bundle_id:
        notes.append(f"another bundle: {before.bundle_id} before, {after.bundle_id} after")
    for name in before.versions.keys() & after.versions.keys():
        if before.versions[name] != after.versions[name]:
            notes.append(f"{before.versions[name]} before, {after.versions[name]} after")
    for when, run, other in (("before", before, after), ("after", after, before)):
        notes += [f"{name} ran {when} only" for name in run.engines if name not in other.engines]
    if _uneven(before, after):
        shares = [f"{run.others_share or 0:.0%}" for run in (before, after)]
        notes.append(
            f"other programs used {shares[0]} of the processors before and {shares[1]} after: times of such runs say "
            "nothing of each other and are only shown; run both again"
        )
    elif before.noisy or after.noisy:
        notes.append("a machine was noisy: processor seconds decide, seconds are only shown")
    notes += [f"noisy before: {finding}" for finding in before.noisy]
    return [*notes, *(f"noisy after: {finding}" for finding in after.noisy)]


def _uneven(before: RunFile, after: RunFile) -> bool:
    """Whether others computed so much more during one of the runs that no time of both can be compared."""
    return abs((before.others_share or 0.0) - (after.others_share or 0.0)) > _UNEVEN


def _describe(run: RunFile) -> str:
    return f"{run.path}, commit {run.commit[:12] or 'unknown'}, {len(run.calibration)} rounds"


def _row(change: Change) -> list[str]:
    if change.what == "peak memory":
        figures = [f"{value / 2**20:.0f} MiB" for value in (change.before, change.after)]
    elif change.what == "Dice":
        figures = [f"{value:.5f}" for value in (change.before, change.after)]
    else:
        figures = [f"{value * 1e3:.1f} ms" for value in (change.before, change.after)]
    ratio = change.ratio.describe() if change.ratio else f"{change.after / change.before:.2f}" if change.before else "-"
    return [change.engine, change.what, *figures, ratio, change.verdict or "no change"]
