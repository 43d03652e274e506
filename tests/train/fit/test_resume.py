"""Resuming: a stopped or killed run ends like one that was left alone, and what does not belong to it is refused.

All tests train the stand-in of `tests.train.stand_in`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eenet_runtime.errors import TrainingError
from eenet_train.data.data import PreparedDataset
from eenet_train.recipe.recipe import Schedule
from eenet_train.runs.run_folder import RunFolder, read_record
from tests.synthetic import TINY_2MM
from tests.train.stand_in import read_rows, saved_weights, short_recipe, short_settings

pytestmark = pytest.mark.tf


def test_a_plateau_divides_the_rate_and_a_resumed_run_remembers_it(
    stand_in: None, dataset: PreparedDataset, tmp_path: Path
) -> None:
    from eenet_train.fit.fit import fit

    # A rate at which nothing improves by chance alone is no rate at all: with 1e-12 the loss only wavers.
    plateau = Schedule("plateau", learning_rate=1e-12, patience_epochs=1, divide_by=10)
    settings = short_settings(recipe=replace(short_recipe(), schedule=plateau), validation_cases=0)
    fit(dataset, tmp_path / "whole", settings)
    fit(dataset, tmp_path / "killed", settings, max_minutes=0)
    fit(dataset, tmp_path / "killed", settings, resume=True)
    whole, killed = (read_rows(tmp_path / name / "log.csv") for name in ("whole", "killed"))
    assert whole == killed
    losses = [float(row["loss"]) for row in whole]
    expected = [1e-12]
    for epoch in range(1, len(losses)):
        expected.append(expected[-1] / 10 if losses[epoch - 1] >= min([*losses[: epoch - 1], np.inf]) else expected[-1])
    assert [float(row["learning_rate"]) for row in whole] == pytest.approx(expected)


def _assert_equal_runs(run: RunFolder, finished: RunFolder) -> None:
    """Bit for bit: the same machine does the same sums in the same order."""
    assert run.record.read_bytes() == finished.record.read_bytes()
    assert run.best.record.read_bytes() == finished.best.record.read_bytes()
    assert run.log.path.read_bytes() == finished.log.path.read_bytes()
    assert run.validation.path.read_bytes() == finished.validation.path.read_bytes()
    for one, other in zip(saved_weights(run), saved_weights(finished), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("step", "epoch"),
    [("require_finite_weights", 0), ("validate_whole_volumes", 3), ("save_result", 2), ("save_checkpoint", 2)],
    ids=[
        "before the first checkpoint",
        "between log and validation",
        "between log and result",
        "between result and checkpoint",
    ],
)
def test_a_killed_and_resumed_run_equals_one_that_was_left_alone(
    finished: RunFolder,
    dataset: PreparedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    epoch: int,
) -> None:
    from eenet_train.fit import epoch_end, training_callback
    from eenet_train.fit.fit import fit

    home: Any = training_callback if step == "save_checkpoint" else epoch_end
    regular = getattr(home, step)

    def killed(*arguments: Any) -> Any:
        # Every step knows the epoch by its result, the checkpoint by the samples.
        result = arguments[-1]
        at = result // 2 - 1 if step == "save_checkpoint" else result.epoch
        if at == epoch:
            raise KeyboardInterrupt
        return regular(*arguments)

    run = RunFolder(tmp_path / "run")
    monkeypatch.setattr(home, step, killed)
    with pytest.raises(KeyboardInterrupt):
        fit(dataset, run.path, short_settings(), max_minutes=60)
    monkeypatch.setattr(home, step, regular)
    fit(dataset, run.path, short_settings(), resume=True)
    _assert_equal_runs(run, finished)


@pytest.mark.parametrize(
    "changes",
    [
        {"accumulate": 2},
        # Its first steps overflow and are skipped; six are enough for some that are not.
        {"precision": "mixed_float16"},
        {"recipe": replace(short_recipe(), schedule=Schedule("plateau", 0.05, patience_epochs=1, divide_by=2.0))},
    ],
    ids=["averaged gradients", "float16", "plateau"],
)
def test_whatever_the_settings_a_stopped_and_resumed_run_ends_with_the_same_weights(
    stand_in: None, dataset: PreparedDataset, tmp_path: Path, changes: dict[str, Any]
) -> None:
    from eenet_train.fit.fit import fit

    settings = short_settings(**{"steps": 18, "steps_per_epoch": 6, **changes})
    alone, stopped = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "stopped")
    fit(dataset, alone.path, settings)
    fit(dataset, stopped.path, settings, max_minutes=0)
    assert read_record(stopped).steps_done == 6
    fit(dataset, stopped.path, settings, resume=True)
    for one, other in zip(saved_weights(stopped), saved_weights(alone), strict=True):
        assert np.array_equal(one, other)
    losses = [float(row["loss"]) for row in read_rows(alone.log.path)]
    assert losses[-1] < losses[0]


def test_a_kill_while_the_last_checkpoint_is_written_is_mended_by_resuming(
    finished: RunFolder, dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    from eenet_train.fit.fit import fit

    regular = keras.Model.save_weights

    def killed(self: Any, path: Path, **options: Any) -> None:
        regular(self, path, **options)
        if int(self.optimizer.iterations) == 10:
            raise KeyboardInterrupt

    run = RunFolder(tmp_path / "run")
    monkeypatch.setattr(keras.Model, "save_weights", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(dataset, run.path, short_settings())
    assert [path.name for path in run.checkpoint.parent.iterdir()] == [run.checkpoint.name]
    monkeypatch.setattr(keras.Model, "save_weights", regular)
    fit(dataset, run.path, short_settings(), resume=True)
    _assert_equal_runs(run, finished)


def test_resuming_a_finished_run_changes_nothing(finished: RunFolder, dataset: PreparedDataset) -> None:
    from eenet_train.fit.fit import fit

    kept = (finished.model, finished.checkpoint, finished.record, finished.log.path, finished.validation.path)
    before = [path.stat().st_mtime_ns for path in kept]
    assert fit(dataset, finished.path, short_settings(), resume=True) == read_record(finished)
    assert [path.stat().st_mtime_ns for path in kept] == before


def test_a_checkpoint_whose_optimizer_does_not_fit_is_refused(
    finished: RunFolder, stand_in: None, dataset: PreparedDataset
) -> None:
    from eenet_train.fit.checkpoint import load_checkpoint
    from eenet_train.fit.fit import compiled_network

    other, _ = compiled_network(short_settings(recipe=replace(short_recipe(), ema_momentum=0.0)))
    with pytest.raises(TrainingError, match="not a checkpoint of this network"):
        load_checkpoint(other, finished.checkpoint)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"recipe": short_recipe(learning_rate=0.2)}, r"started with recipe\.schedule\.learning_rate = 0\.1, now 0\.2"),
        ({"crop": None}, r"started with crop = \(32, 64\), now None"),
        ({"steps": 20}, "started with steps = 10, now 20"),
        ({"preset": replace(TINY_2MM, spacing_mm=1.0)}, "started with preset.spacing_mm = 2.0, now 1.0"),
    ],
)
def test_a_resumed_run_keeps_its_settings(
    finished: RunFolder, dataset: PreparedDataset, changes: dict[str, Any], reason: str
) -> None:
    from eenet_train.fit.fit import fit

    before = finished.config.read_bytes()
    with pytest.raises(TrainingError, match=reason):
        fit(dataset, finished.path, short_settings(**changes), resume=True)
    assert finished.config.read_bytes() == before


def test_a_resumed_run_keeps_its_cases(finished: RunFolder, dataset: PreparedDataset) -> None:
    from eenet_train.fit.fit import fit

    with pytest.raises(TrainingError, match="4 training and 2 validation cases, the data are now other ones"):
        fit(PreparedDataset(dataset.cases[1:]), finished.path, short_settings(), resume=True)


@pytest.mark.parametrize(("text", "reason"), [("{", "not YAML"), ("[1]", "the file: .*, found \\[1\\]")])
def test_a_run_whose_settings_are_damaged_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    from eenet_train.fit.fit import check_run

    run = RunFolder(tmp_path)
    run.config.write_text(text)
    with pytest.raises(TrainingError, match=reason):
        check_run(run, short_settings(), resume=True)


@pytest.mark.parametrize("damage", ["cut short", "no weights at all"])
def test_a_damaged_checkpoint_is_refused_with_its_name(
    finished: RunFolder, dataset: PreparedDataset, tmp_path: Path, damage: str
) -> None:
    from eenet_train.fit.fit import fit

    run = RunFolder(tmp_path / "run")
    run.checkpoint.parent.mkdir(parents=True)
    whole = finished.checkpoint.read_bytes()
    run.checkpoint.write_bytes(whole[: len(whole) // 2] if damage == "cut short" else b"text")
    run.config.write_bytes(finished.config.read_bytes())
    with pytest.raises(TrainingError, match="not a checkpoint of this network") as refusal:
        fit(dataset, run.path, short_settings(), resume=True)
    assert str(refusal.value).startswith(f"{run.checkpoint}: ")
