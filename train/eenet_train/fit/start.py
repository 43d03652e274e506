"""From what a user asks for to a training: settings, prepared cases, `fit`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from eenet_runtime.errors import TrainingError
from eenet_train.data.data import prepare_dataset
from eenet_train.fit.fit import check_run, fit, split_dataset
from eenet_train.recipe.options import FitOptions, base_settings, final_settings
from eenet_train.recipe.settings import read_settings
from eenet_train.runs.run_folder import RunFolder, RunRecord


def start_training(
    output: Path,
    options: FitOptions,
    *,
    config: Path | None = None,
    cache: Path | None = None,
    resume: bool = False,
    max_minutes: float | None = None,
    verbose: int = 0,
    report: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> RunRecord:
    """Train a network: what `eenet-train fit` does.

    Args:
        output: the run folder.
        options: what the user said; laid over `config`, over the resumed run's own settings, or over the defaults.
        config: a YAML file of settings.
        cache: folder for prepared cases; the run's own by default.
        resume: go on after the last checkpoint.
        max_minutes, verbose: see `eenet_train.fit.fit`.
        report: called with the cases prepared and the cases in all.
        say: called with lines that tell what will be done.

    Raises:
        TrainingError: settings, cases or a folder that do not allow this training.
        DatasetError: no such folder of cases.
        OutputError: the run folder cannot be written.
    """
    run = RunFolder(output)
    if resume and config is not None:
        raise TrainingError(f"{config}: a resumed run takes the settings in its own folder; leave out --config")
    source = run.config if resume and run.config.is_file() else config
    base = None if source is None else read_settings(source)
    early = base_settings(options, base)
    if not early.data:
        raise TrainingError("no folder of cases given")
    if base is None or not resume:
        check_run(run, early, resume=resume)
    held_out = 0 if early.folds else early.validation_cases
    dataset = prepare_dataset(
        Path(early.data),
        cache or run.cache,
        early.preset,
        report,
        validation=held_out,
        skip_bad=early.skip_bad,
    )
    settings = final_settings(options, base, lambda draft: len(split_dataset(dataset.cases, draft)[0]))
    check_run(run, settings, resume=resume)
    left_out = f", {len(dataset.skipped)} left out" if dataset.skipped else ""
    say(
        f"{len(dataset.cases)} cases prepared{left_out}; recipe {settings.recipe.name}, {settings.preset.name}, "
        f"{settings.steps} steps in {settings.epochs} epochs"
    )
    return fit(dataset, output, settings, resume=resume, max_minutes=max_minutes, verbose=verbose, say=say)
