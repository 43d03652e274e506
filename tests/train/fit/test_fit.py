"""Training: what it leaves behind, what it measures and what it refuses. Resuming has a file of its own.

All but the last test train the stand-in of `tests.train.stand_in`.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eenet_runtime.errors import TrainingError
from eenet_runtime.volumes.labels import CHANNEL_ORDER
from eenet_train.data.data import PreparedDataset, SkippedCase
from eenet_train.recipe.recipe import Schedule
from eenet_train.recipe.settings import read_settings
from eenet_train.runs.run_folder import RunFolder, read_record
from tests.synthetic import TINY_2MM
from tests.train.stand_in import build_stand_in, read_rows, saved_weights, short_recipe, short_settings

pytestmark = pytest.mark.tf


def test_a_run_leaves_all_its_files_and_nothing_half_written(finished: RunFolder) -> None:
    names = {path.relative_to(finished.path).as_posix() for path in finished.path.rglob("*") if path.is_file()}
    events = {name for name in names if name.startswith("tensorboard/")}
    held_out = read_record(finished).validation_cases
    pictures = {f"samples/epoch-{epoch:04d}-{case}.png" for epoch in (2, 4, 5) for case in held_out}
    assert sorted(name.rsplit("/", 1)[0] for name in events) == ["tensorboard/train", "tensorboard/validation"]
    assert pictures < names
    assert names - events - pictures == {
        "config.yaml",
        "run.json",
        "split.json",
        "environment.json",
        "model.keras",
        "best/model.keras",
        "best/run.json",
        "timing.csv",
        "losses.png",
        "checkpoints/last.weights.h5",
        "log.csv",
        "validation.csv",
    }


def test_the_record_says_what_was_trained_on_what(finished: RunFolder) -> None:
    record = read_record(finished)
    assert (record.preset, record.modalities) == (TINY_2MM, CHANNEL_ORDER)
    assert (record.steps_done, record.steps_planned) == (10, 10)
    assert len(record.validation_cases) == 2
    assert sorted((*record.training_cases, *record.validation_cases)) == [f"Case{index}" for index in range(6)]
    assert record.validation_dice is not None
    assert record.modality_dropout == short_recipe().augmentation.drop_modality > 0
    assert str(finished.path.parent) not in finished.record.read_text()


def test_the_log_has_a_line_for_each_epoch_and_the_loss_falls(finished: RunFolder) -> None:
    rows = read_rows(finished.log.path)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["steps"] for row in rows] == ["2", "4", "6", "8", "10"]
    losses = [float(row["loss"]) for row in rows]
    assert losses[-1] < 0.5 * losses[0]
    assert losses[-1] == pytest.approx(read_record(finished).loss, rel=1e-6)


def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing_along_a_cosine(finished: RunFolder) -> None:
    rates = [float(row["learning_rate"]) for row in read_rows(finished.log.path)]
    expected = [0.1 * (1 + np.cos(np.pi * done / 8)) / 2 for done in (0, 2, 4, 6, 8)]
    assert rates == pytest.approx(expected, abs=1e-6)


def test_validation_is_done_every_few_epochs_and_after_the_last(finished: RunFolder) -> None:
    rows, record = read_rows(finished.validation.path), read_record(finished)
    assert {row["epoch"] for row in rows} == {"2", "4", "5"}
    last = [row for row in rows if row["epoch"] == "5"]
    assert [row["case"] for row in last[::3]] == [*record.validation_cases, "mean"]
    assert [row["region"] for row in last[:3]] == ["ET", "TC", "WT"]
    means = [float(row["dice"]) for row in last if row["case"] == "mean"]
    assert record.validation_dice is not None
    scores = record.validation_dice
    assert means == pytest.approx([scores.ET, scores.TC, scores.WT], abs=1e-6)
    by_case = [float(row["dice"]) for row in last if row["region"] == "WT" and row["case"] != "mean"]
    assert np.mean(by_case) == pytest.approx(scores.WT, abs=1e-6)
    assert scores.WT > 0.9


def test_what_is_saved_is_the_averaged_network_at_full_geometry(finished: RunFolder) -> None:
    import keras

    from eenet_train.fit.checkpoint import copy_averaged_weights, load_checkpoint
    from eenet_train.fit.fit import compiled_network
    from eenet_train.network.network import copy_weights

    model = keras.saving.load_model(finished.model, compile=False)
    assert model.input_shape == (None, 64, 64, 24, 4)
    trained, _ = compiled_network(short_settings())
    assert load_checkpoint(trained, finished.checkpoint) == 10
    # Keras' own class puts the averages into the weights, and the weights where the averages were.
    swap = keras.callbacks.SwapEMAWeights()
    copied = build_stand_in(replace(TINY_2MM, shape=(32, 64, 24)))
    copy_weights(trained, copied)
    copy_averaged_weights(trained, copied)
    swap.set_model(trained)
    swap._swap_variables()
    for saved, averaged, copy in zip(model.get_weights(), trained.get_weights(), copied.get_weights(), strict=True):
        assert np.array_equal(saved, averaged)
        assert np.array_equal(saved, copy)


def test_what_was_measured_is_the_network_that_was_saved(finished: RunFolder, dataset: PreparedDataset) -> None:
    import keras

    from eenet_train.data.samples import centred_sample
    from eenet_train.data.split import split_dataset
    from eenet_train.network.network import copy_weights
    from eenet_train.recipe.losses import build_loss
    from eenet_train.runs.validation import mean_scores, validate

    settings, saved = short_settings(), keras.saving.load_model(finished.model, compile=False)
    _, held_out = split_dataset(dataset.cases, settings)
    assert mean_scores(validate(saved, held_out)) == read_record(finished).validation_dice
    cropped = build_stand_in(settings.crop_preset)
    copy_weights(saved, cropped)
    losses = []
    for case in held_out:
        sample = centred_sample(case, settings.crop_size)
        losses.append(
            build_loss(settings.recipe.loss)(sample.target[None], cropped.predict_on_batch(sample.volume[None]))
        )
    logged = float(read_rows(finished.log.path)[-1]["validation_loss"])
    assert np.mean([float(loss) for loss in losses]) == pytest.approx(logged, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "networks"),
    [({}, 2), ({"crop": None}, 1), ({"validation_cases": 0}, 1)],
    ids=["crops", "whole volumes", "nothing held out"],
)
def test_an_epoch_copies_the_weights_once_into_each_network_that_it_needs(
    stand_in: None,
    dataset: PreparedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    networks: int,
) -> None:
    from eenet_train.fit.fit import fit
    from eenet_train.network.network import copy_weights

    copied: list[int] = []

    def counted(source: Any, target: Any) -> None:
        copied.append(id(target))
        copy_weights(source, target)

    monkeypatch.setattr("eenet_train.fit.epoch_end.copy_weights", counted)
    fit(dataset, tmp_path / "run", short_settings(**{"steps": 4, "validate_every": 1, **changes}))
    assert len(set(copied)) == networks
    assert len(copied) == 2 * networks, "two epochs, both validated"


def test_a_recipe_without_averages_saves_the_trained_weights_themselves(
    stand_in: None, dataset: PreparedDataset, tmp_path: Path
) -> None:
    from eenet_train.fit.checkpoint import load_checkpoint
    from eenet_train.fit.fit import compiled_network, fit

    run, settings = (
        RunFolder(tmp_path / "run"),
        short_settings(recipe=replace(short_recipe(), ema_momentum=0.0), steps=4),
    )
    fit(dataset, run.path, settings)
    trained, _ = compiled_network(settings)
    load_checkpoint(trained, run.checkpoint)
    for saved, weight in zip(saved_weights(run), trained.get_weights(), strict=True):
        assert np.array_equal(saved, weight)


def test_a_recipe_sets_how_training_drops_and_averages_and_what_is_saved_keeps_its_own_rates(
    stand_in: None, dataset: PreparedDataset, tmp_path: Path
) -> None:
    import keras

    from eenet_train.fit.fit import compiled_network, fit

    settings = short_settings(recipe=replace(short_recipe(), dropout=0.5), steps=4)
    trained, _ = compiled_network(settings)
    assert (trained.get_layer("dropout").rate, trained.get_layer("norm").momentum) == (0.25, 0.5)
    run = RunFolder(tmp_path / "run")
    fit(dataset, run.path, settings)
    assert keras.saving.load_model(run.model, compile=False).get_layer("dropout").rate == 0.5


def test_frozen_batch_norms_stay_as_they_were_while_the_rest_is_trained_and_averaged(
    stand_in: None, dataset: PreparedDataset, finished: RunFolder, tmp_path: Path
) -> None:
    import keras

    from eenet_train.fit.fit import fit

    run = RunFolder(tmp_path / "run")
    recipe = replace(short_recipe(), frozen_batch_norms=True)
    fit(dataset, run.path, short_settings(recipe=recipe, steps=4, initial_weights=str(finished.path)))
    before, after = (keras.saving.load_model(folder.model, compile=False) for folder in (finished, run))
    for name, frozen in (("first", False), ("norm", True), ("last", False)):
        for old, new in zip(before.get_layer(name).get_weights(), after.get_layer(name).get_weights(), strict=True):
            assert np.array_equal(old, new) == frozen, name
    assert all(layer.trainable for layer in after.layers)


def test_the_best_network_is_the_one_of_the_highest_validation(finished: RunFolder) -> None:
    means: dict[str, list[float]] = {}
    for row in read_rows(finished.validation.path):
        if row["case"] == "mean":
            means.setdefault(row["epoch"], []).append(float(row["dice"]))
    best = max(means, key=lambda epoch: sum(means[epoch]))
    record = read_record(finished.best)
    assert record.steps_done == 2 * int(best)
    assert record.validation_dice is not None
    assert record.validation_dice.mean == pytest.approx(np.mean(means[best]), abs=1e-6)
    assert finished.best.model.is_file()


def test_the_split_names_training_held_out_and_skipped_cases(
    stand_in: None, dataset: PreparedDataset, tmp_path: Path
) -> None:
    from eenet_train.fit.fit import fit

    skipped = (SkippedCase("Bad", "Bad_t1.nii.gz: cannot be read"),)
    record = fit(PreparedDataset(dataset.cases, skipped), tmp_path / "run", short_settings(steps=4, folds=3, fold=1))
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert split["skipped"] == {"Bad": "Bad_t1.nii.gz: cannot be read"}
    assert split["patients"] == {f"Case{index}": [f"Case{index}"] for index in range(6)}
    assert split["identical_images"] == []
    assert (len(split["training"]), len(split["validation"])) == (4, 2)
    assert (record.fold, record.folds, record.skipped_cases) == (1, 3, ("Bad",))


def test_every_case_is_held_out_in_exactly_one_fold(dataset: PreparedDataset) -> None:
    from eenet_train.data.split import split_dataset

    held_out = [split_dataset(dataset.cases, short_settings(folds=3, fold=fold))[1] for fold in range(3)]
    assert sorted(case.case_id for fold in held_out for case in fold) == [f"Case{index}" for index in range(6)]


def test_the_log_tells_the_loss_on_held_out_cases(finished: RunFolder) -> None:
    losses = [float(row["validation_loss"]) for row in read_rows(finished.log.path)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_share_of_time_spent_waiting_for_samples_is_kept(finished: RunFolder) -> None:
    rows = read_rows(finished.timing.path)
    assert len(rows) == 5
    assert all(0 <= float(row["input_wait"]) <= 1 for row in rows)
    assert all(0 < float(row["seconds"]) < 300 for row in rows), "two steps of four layers"


@pytest.mark.parametrize("deterministic", [True, False])
def test_equal_bits_are_asked_of_tensorflow_before_anything_is_computed_if_at_all(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deterministic: bool
) -> None:
    import keras
    import tensorflow as tf

    from eenet_train.fit import fit as room

    asked: list[str] = []

    def seeded(seed: int) -> None:
        raise KeyboardInterrupt(*asked)

    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append("equal bits"))
    monkeypatch.setattr(keras.utils, "set_random_seed", seeded)
    with pytest.raises(KeyboardInterrupt) as stopped:
        room.fit(dataset, tmp_path / "run", short_settings(deterministic=deterministic))
    assert stopped.value.args == (("equal bits",) if deterministic else ())


def test_a_time_budget_ends_the_run_after_an_epoch_with_a_validation(
    stand_in: None, dataset: PreparedDataset, tmp_path: Path
) -> None:
    from eenet_train.fit.fit import fit

    record = fit(dataset, tmp_path / "run", short_settings(), max_minutes=0)
    assert (record.steps_done, record.steps_planned) == (2, 10)
    assert record.validation_dice is not None
    assert {row["epoch"] for row in read_rows(RunFolder(tmp_path / "run").validation.path)} == {"1"}


def test_without_validation_cases_no_dice_is_claimed(stand_in: None, dataset: PreparedDataset, tmp_path: Path) -> None:
    from eenet_train.fit.fit import fit

    record = fit(
        dataset, tmp_path / "run", short_settings(validation_cases=0, steps=4, recipe=short_recipe(warmup_steps=0))
    )
    assert record.validation_dice is None
    assert not (tmp_path / "run" / "validation.csv").exists()
    # Without a rise the first step already has the highest rate, and two of four steps are half a cosine.
    assert float(read_rows(tmp_path / "run" / "log.csv")[0]["learning_rate"]) == pytest.approx(0.05, abs=1e-6)


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_weights(
    stand_in: None, dataset: PreparedDataset, tmp_path: Path
) -> None:
    from eenet_train.fit.fit import fit

    run, settings = RunFolder(tmp_path / "run"), short_settings(validation_cases=0, steps=8)
    fit(dataset, run.path, settings, max_minutes=0)
    before = run.checkpoint.read_bytes()
    spoilt = np.full((*TINY_2MM.shape, 4), np.nan, dtype=np.float16)
    np.save(tmp_path / "spoilt.npy", spoilt)
    broken = PreparedDataset(tuple(replace(case, volume_path=tmp_path / "spoilt.npy") for case in dataset.cases))
    with pytest.raises(TrainingError, match="the loss of epoch 2 is nan after its step 1, expected finite numbers"):
        fit(broken, run.path, settings, resume=True)
    assert run.checkpoint.read_bytes() == before
    assert read_record(run).steps_done == 2
    assert len(read_rows(run.log.path)) == 1


def test_weights_that_are_no_numbers_are_not_saved_even_where_the_loss_was_finite(
    stand_in: None, dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eenet_train.fit.fit import fit
    from eenet_train.fit.training_callback import TrainingCallback

    def spoil(self: Any, batch: int, logs: dict[str, float]) -> None:
        weights = self.model.get_weights()
        weights[0][:] = np.nan
        self.model.set_weights(weights)

    monkeypatch.setattr(TrainingCallback, "on_train_batch_end", spoil)
    monkeypatch.setattr(TrainingCallback, "on_train_batch_begin", lambda self, batch, logs=None: None)
    with pytest.raises(TrainingError, match="weights that are infinite or not a number after epoch 1"):
        fit(dataset, tmp_path / "run", short_settings(steps=1, steps_per_epoch=1, recipe=short_recipe(warmup_steps=0)))
    assert not (tmp_path / "run" / "model.keras").exists()


def test_a_training_that_collapsed_is_told_of_and_comes_out_of_it(
    stand_in: None, dataset: PreparedDataset, tmp_path: Path
) -> None:
    import keras

    from eenet_train.fit.fit import fit

    # A network that is wholly sure of the background: the softmax of every other class is exactly 0 in float32.
    sure = build_stand_in(TINY_2MM)
    last = sure.get_layer("last")
    kernel, bias = last.get_weights()
    last.set_weights([kernel * 0, bias * 0 + np.array([150, 0, 0, 0], np.float32)])
    sure.save(tmp_path / "sure.keras")
    constant = Schedule("plateau", learning_rate=1e-6, patience_epochs=50)
    settings = short_settings(
        steps=30,
        steps_per_epoch=30,
        initial_weights=str(tmp_path / "sure.keras"),
        recipe=replace(short_recipe(), schedule=constant, ema_momentum=0.0),
        validation_cases=0,
    )
    said: list[str] = []
    record = fit(dataset, tmp_path / "stuck", settings, say=said.append)
    (told,) = [line for line in said if line.startswith("epoch 1, step 25: the network has collapsed")]
    assert "labelled no tumour in the last 25 samples that hold some" in told
    assert "a longer --warmup-steps" in told
    assert len(record.warnings) == 2
    assert record.warnings[0].startswith("the training diverges: a mean loss of ")
    assert record.warnings[1].startswith("the network has collapsed to the background: it labelled no tumour in the ")
    assert said[-1] == f"the last epoch: {record.warnings[1]}"
    assert read_record(RunFolder(tmp_path / "stuck")).warnings == record.warnings
    # At a rate that is no mere trembling it comes out again: the loss has a gradient however sure the network is.
    quick = replace(settings.recipe, schedule=replace(constant, learning_rate=1.0), gradient_norm=0.0)
    longer = replace(settings, recipe=quick, steps=150, steps_per_epoch=50)
    record = fit(dataset, tmp_path / "freed", longer)
    assert record.warnings == ()
    freed = keras.saving.load_model(tmp_path / "freed" / "model.keras", compile=False)
    sample = dataset.cases[0].volume().astype(np.float32)[None]
    assert np.asarray(freed.predict_on_batch(sample)).argmax(axis=-1).any()


def test_a_network_that_learns_is_told_of_nothing(finished: RunFolder) -> None:
    assert read_record(finished).warnings == ()


def test_what_is_trained_ends_in_logits_and_what_is_saved_in_probabilities(finished: RunFolder) -> None:
    import keras

    from eenet_train.fit.fit import compiled_network

    trained, _ = compiled_network(short_settings())
    saved = keras.saving.load_model(finished.model, compile=False)
    assert trained.get_layer("last").activation is keras.activations.linear
    assert saved.get_layer("last").activation is keras.activations.softmax
    assert [weight.shape for weight in trained.get_weights()] == [weight.shape for weight in saved.get_weights()]


def test_a_training_that_could_not_begin_leaves_no_settings_behind(
    stand_in: None, dataset: PreparedDataset, tmp_path: Path
) -> None:
    from eenet_train.fit.fit import fit

    for change in (
        {"initial_weights": str(tmp_path / "missing")},
        {"devices": 64, "steps": 128, "steps_per_epoch": 64},
    ):
        with pytest.raises(TrainingError):
            fit(dataset, tmp_path / "run", short_settings(**change))
        assert not list((tmp_path / "run").iterdir())
    assert fit(dataset, tmp_path / "run", short_settings(steps=4)).steps_done == 4


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    from eenet_train.fit.fit import check_run

    (tmp_path / "thesis.tex").write_text("precious")
    for resume in (False, True):
        with pytest.raises(TrainingError, match="neither empty nor a run"):
            check_run(RunFolder(tmp_path), short_settings(), resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_with_nothing_but_prepared_cases_and_leftovers_of_a_kill_counts_as_empty(tmp_path: Path) -> None:
    from eenet_train.fit.fit import check_run

    (tmp_path / "cache").mkdir()
    (tmp_path / ".eenet-01234567.config.yaml").write_text("preset:")
    check_run(RunFolder(tmp_path), short_settings(), resume=False)
    check_run(RunFolder(tmp_path / "new"), short_settings(), resume=False)


def test_a_run_is_not_overwritten(finished: RunFolder, dataset: PreparedDataset) -> None:
    from eenet_train.fit.fit import fit

    with pytest.raises(TrainingError, match="holds a run already; go on with --resume"):
        fit(dataset, finished.path, short_settings())


def test_neither_record_nor_log_name_the_folder_of_encoder_weights(
    stand_in: None, dataset: PreparedDataset, tmp_path: Path
) -> None:
    from eenet_train.fit.fit import fit

    settings = short_settings(encoder_weights=str(tmp_path / "private" / "b0.weights.h5"), steps=4)
    record = fit(dataset, tmp_path / "run", settings)
    assert record.encoder_weights == "b0.weights.h5"
    assert os.fspath(tmp_path) not in (tmp_path / "run" / "run.json").read_text()


@pytest.mark.slow
def test_eenet_itself_learns_and_is_saved_whole(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    from eenet_train.fit.fit import fit
    from eenet_train.network.network import build_eenet

    monkeypatch.setattr("eenet_train.fit.fit.build_eenet", build_eenet)
    run = RunFolder(tmp_path / "run")
    fit(
        dataset,
        run.path,
        short_settings(crop=(32, 32), steps=4, recipe=short_recipe(learning_rate=3e-4), validation_cases=0),
    )
    losses = [float(row["loss"]) for row in read_rows(run.log.path)]
    assert losses[-1] < losses[0]
    model = keras.saving.load_model(run.model, compile=False)
    assert model.input_shape == (None, *TINY_2MM.shape, 4)
    assert "Input_L1" in [layer.name for layer in model.layers]
    assert read_settings(run.config).crop == (32, 32)
