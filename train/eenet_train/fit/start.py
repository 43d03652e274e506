"""From what a user asks for to a training: settings, prepared cases, `fit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from eenet_runtime.errors import TrainingError
from eenet_train.data.data import PreparedCase, prepare_dataset
from eenet_train.data.patients import read_patients
from eenet_train.data.split import groups_of_cases, split_dataset
from eenet_train.data.split_file import read_split
from eenet_train.fit.fit import check_run, fit
from eenet_train.recipe.fit_options import FitOptions
from eenet_train.recipe.options import adjustments, base_settings, final_settings
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
    if early.split:
        read_split(Path(early.split))
    if early.patients:
        read_patients(Path(early.patients))
    held_out = 0 if early.folds or early.split else early.validation_cases
    dataset = prepare_dataset(
        Path(early.data),
        cache or run.cache,
        early.preset,
        report,
        validation=held_out,
        skip_bad=early.skip_bad,
        healthy_cases=early.healthy_cases,
    )
    skipped = [case.case_id for case in dataset.skipped]
    training, validation = split_dataset(dataset.cases, early, skipped)
    settings = final_settings(options, base, len(training))
    check_run(run, settings, resume=resume)
    for line in adjustments(options, base, settings):
        say(line)
    left_out = f", {len(dataset.skipped)} left out" if dataset.skipped else ""
    say(
        f"{len(dataset.cases)} cases prepared{left_out}; recipe {settings.recipe.name}, {settings.preset.name}, "
        f"{settings.steps} steps in {settings.epochs} epochs"
    )
    say(_split_in_words(training, validation, groups_of_cases(dataset.cases, settings)))
    return fit(dataset, output, settings, resume=resume, max_minutes=max_minutes, verbose=verbose, say=say)


def _split_in_words(
    training: Sequence[PreparedCase], held_out: Sequence[PreparedCase], groups: Mapping[str, str]
) -> str:
    sides = {"trained on": training, "held out": held_out}
    counts = [
        f"{len(cases)} cases of {len({groups[case.case_id] for case in cases})} patients {what}"
        for what, cases in sides.items()
    ]
    return ", ".join(counts)
