"""Several runs in one table and one picture: the folds of a cross-validation, or repetitions with other seeds."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from eenet_runtime.errors import TrainingError
from eenet_runtime.files.atomic import make_output_folder, write_atomically
from eenet_runtime.folders.tables import format_table
from eenet_runtime.volumes.labels import Region
from eenet_train.pictures.summary_picture import Curve, draw_summary
from eenet_train.runs.run_folder import MEAN, RegionScores, RunFolder, RunRecord, read_record
from eenet_train.runs.validation import CaseScores, mean_scores

_HEADER: Final = ("run", "fold", "training", "validation", "steps", "loss", "best epoch", *Region, "mean")


@dataclass(frozen=True)
class Validation:
    """Dice of whole held-out volumes after one epoch.

    Attributes:
        epoch: from 1.
        steps: samples read by then.
        cases: in order of their names.
    """

    epoch: int
    steps: int
    cases: tuple[CaseScores, ...]

    @property
    def dice(self) -> RegionScores:
        """Mean over the cases."""
        return mean_scores(self.cases)


@dataclass(frozen=True)
class RunSummary:
    """One run.

    Attributes:
        name: its folder's name, with as many parents as it takes to tell the runs apart.
        record: what the run is.
        validations: in order of their epochs; none where no case was held out.
    """

    name: str
    record: RunRecord
    validations: tuple[Validation, ...]

    @property
    def best(self) -> Validation | None:
        """The validation with the highest mean Dice of the three regions, the first of equals."""
        return max(self.validations, key=lambda validation: validation.dice.mean, default=None)


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of a sample, n - 1) of `count` figures for each region."""

    count: int
    mean: RegionScores
    deviation: RegionScores | None


@dataclass(frozen=True)
class Summary:
    """Several runs.

    Attributes:
        runs: in the order given.
        over_runs: of the runs' mean Dice, each at its best epoch; None where no run was validated.
        over_cases: of the Dice of all cases of all runs, at the same epochs.
        warnings: what makes the runs hard to compare or the figures hard to trust.
    """

    runs: tuple[RunSummary, ...]
    over_runs: Spread | None
    over_cases: Spread | None
    warnings: tuple[str, ...]


def summarise(runs: Sequence[Path]) -> Summary:
    """Gather runs.

    Args:
        runs: run folders.

    Raises:
        TrainingError: none given, one given twice, one that is no run or is damaged, or runs of different presets.
    """
    if not runs:
        raise TrainingError("no runs found, expected one run folder or more")
    resolved = [path.resolve() for path in runs]
    if twice := [path for path, other in zip(runs, resolved, strict=True) if resolved.count(other) > 1]:
        raise TrainingError(f"{twice[0]}: given twice, expected every run once")
    summaries = tuple(_read_run(RunFolder(path), name) for path, name in zip(runs, _short_names(resolved), strict=True))
    first = summaries[0].record.preset
    for path, summary in zip(runs, summaries, strict=True):
        if summary.record.preset != first:
            raise TrainingError(
                f"{path}: a run of preset {summary.record.preset.name} found, expected {first.name} as in {runs[0]}; "
                "Dice on different grids cannot be compared"
            )
    best = [run.best for run in summaries]
    means = [validation.dice for validation in best if validation is not None]
    cases = [case.dice for validation in best if validation is not None for case in validation.cases]
    return Summary(summaries, _spread(means), _spread(cases), tuple(_warnings(summaries)))


def summary_table(summary: Summary) -> str:
    """A line for each run, the spread over the runs and over all cases, and the warnings."""
    rows = [*(_run_cells(run) for run in summary.runs), *_spread_rows(summary)]
    lines = [format_table(_HEADER, rows), ""]
    if summary.over_cases is not None:
        lines.append(
            "Dice on the network's grid, each run at its best epoch. The same cases chose that epoch, so these figures "
            "flatter a little."
        )
    return "\n".join([*lines, *(f"warning: {warning}" for warning in summary.warnings)]).rstrip()


def write_summary(summary: Summary, output: Path) -> tuple[Path, ...]:
    """Write `summary.json` (everything), `summary.csv` (the table) and `summary.png` into a folder.

    Args:
        summary: what to write.
        output: the folder; made if it is missing.

    Returns:
        The three files.

    Raises:
        OutputError: they cannot be written.
    """
    make_output_folder(output)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_HEADER, *(_run_cells(run) for run in summary.runs), *_spread_rows(summary)])
    contents = {
        "summary.json": (json.dumps(_as_json(summary), indent=2, ensure_ascii=False) + "\n").encode(),
        "summary.csv": text.getvalue().encode(),
        "summary.png": draw_summary([_curve(run) for run in summary.runs]),
    }
    for name, content in contents.items():
        write_atomically(output / name, content)
    return tuple(output / name for name in contents)


def _read_run(run: RunFolder, name: str) -> RunSummary:
    record = read_record(run)
    return RunSummary(name, record, _read_validations(run, record))


def _read_validations(run: RunFolder, record: RunRecord) -> tuple[Validation, ...]:
    scores: dict[int, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    try:
        for epoch, case, region, dice in run.validation.rows():
            if case != MEAN:
                scores[int(epoch)][case][region] = float(dice)
        steps = {int(row[0]): int(row[1]) for row in run.log.rows()}
        return tuple(
            Validation(
                epoch,
                # A log that is lost or of another version: epochs are all of one length.
                steps.get(epoch, round(record.steps_done * epoch / max(scores))),
                tuple(CaseScores(case, RegionScores(**dice)) for case, dice in sorted(cases.items())),
            )
            for epoch, cases in sorted(scores.items())
        )
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise TrainingError(
            f"{run.validation.path}: not the validations of a run ({error}); expected epoch, case, region and Dice of "
            f"{', '.join(Region)} in each line"
        ) from error


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as it takes to tell them apart."""
    longest = max(len(path.parts) for path in paths)
    for length in range(1, longest + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _spread(scores: Sequence[RegionScores]) -> Spread | None:
    if not scores:
        return None
    values = np.array([[getattr(score, region) for region in Region] for score in scores])
    deviation = RegionScores(*values.std(axis=0, ddof=1).tolist()) if len(scores) > 1 else None
    return Spread(len(scores), RegionScores(*values.mean(axis=0).tolist()), deviation)


def _warnings(runs: Sequence[RunSummary]) -> Iterable[str]:
    held_out: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        for case in run.record.validation_cases:
            held_out[case].append(run.name)
    if shared := {case: names for case, names in held_out.items() if len(names) > 1}:
        case, names = next(iter(shared.items()))
        yield (
            f"{len(shared)} validation cases are in more than one run ({case} in {' and '.join(names[:2])}); "
            "the figures over all cases count them more than once"
        )
    for run in runs:
        record = run.record
        if record.steps_done < record.steps_planned:
            yield f"{run.name} is not finished: {record.steps_done} of {record.steps_planned} steps"
        if not run.validations:
            yield f"{run.name} has no validation; it is left out of the means"
        for warning in record.warnings:
            yield f"{run.name}: {warning}"
    for what, values in (
        ("recipes", {run.record.recipe for run in runs}),
        ("steps", {run.record.steps_planned for run in runs}),
        ("normalisations", {run.record.normalization for run in runs}),
        ("first encoder weights", {run.record.encoder_weights for run in runs}),
        ("numbers of folds", {run.record.folds for run in runs}),
    ):
        if len(values) > 1:
            yield f"the runs have different {what}: {', '.join(sorted(str(value) or 'unknown' for value in values))}"
    folds = runs[0].record.folds
    if missing := sorted(set(range(folds)) - {run.record.fold for run in runs}):
        yield f"of {folds} folds (counted from 0) these are missing: {', '.join(map(str, missing))}"


def _run_cells(run: RunSummary) -> tuple[str, ...]:
    record, best = run.record, run.best
    return (
        run.name,
        f"{record.fold} of {record.folds}" if record.folds else "-",
        str(len(record.training_cases)),
        str(len(record.validation_cases)),
        str(record.steps_done),
        f"{record.loss:.4f}",
        "-" if best is None else str(best.epoch),
        *_dice_cells(None if best is None else best.dice),
        "-" if best is None else f"{best.dice.mean:.4f}",
    )


def _spread_rows(summary: Summary) -> Iterable[tuple[str, ...]]:
    for spread, what in ((summary.over_runs, "runs"), (summary.over_cases, "cases")):
        if spread is not None:
            blank = ("",) * 6
            yield (f"mean of {spread.count} {what}", *blank, *_dice_cells(spread.mean), f"{spread.mean.mean:.4f}")
            yield ("standard deviation", *blank, *_dice_cells(spread.deviation), "")


def _dice_cells(dice: RegionScores | None) -> tuple[str, ...]:
    return tuple("-" if dice is None else f"{getattr(dice, region):.4f}" for region in Region)


def _curve(run: RunSummary) -> Curve:
    points = tuple((validation.steps, validation.dice.mean) for validation in run.validations)
    cases = run.best.cases if run.best is not None else ()
    return Curve(run.name, points, {region: tuple(getattr(case.dice, region) for case in cases) for region in Region})


def _as_json(summary: Summary) -> dict[str, Any]:
    return {
        "preset": summary.runs[0].record.preset.name,
        "runs": [_run_json(run) for run in summary.runs],
        "over_runs": None if summary.over_runs is None else asdict(summary.over_runs),
        "over_cases": None if summary.over_cases is None else asdict(summary.over_cases),
        "warnings": list(summary.warnings),
    }


def _run_json(run: RunSummary) -> dict[str, Any]:
    record, best = run.record, run.best
    return {
        "name": run.name,
        "recipe": record.recipe,
        "fold": record.fold if record.folds else None,
        "folds": record.folds or None,
        "training_cases": len(record.training_cases),
        "validation_cases": len(record.validation_cases),
        "steps_done": record.steps_done,
        "steps_planned": record.steps_planned,
        "loss": record.loss if np.isfinite(record.loss) else None,
        "best_epoch": None if best is None else best.epoch,
        "best_dice": None if best is None else asdict(best.dice),
        "last_dice": asdict(run.validations[-1].dice) if run.validations else None,
        "best_cases": {} if best is None else {case.case_id: asdict(case.dice) for case in best.cases},
        "curve": [
            {"epoch": validation.epoch, "steps": validation.steps, "mean_dice": validation.dice.mean}
            for validation in run.validations
        ],
    }
