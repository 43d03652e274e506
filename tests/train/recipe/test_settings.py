"""Settings of a training: what makes none is refused, and a file of them says everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from eenet_runtime.errors import GeometryError, TrainingError
from eenet_runtime.volumes.presets import EENET_FAST, PRESETS
from eenet_train.recipe.fit_options import FitOptions
from eenet_train.recipe.options import adjustments, base_settings, final_settings
from eenet_train.recipe.recipe import EENET, PAPER, RECIPES, Augmentation, LossName, Recipe, Schedule
from eenet_train.recipe.settings import FitSettings, difference, read_settings
from tests.synthetic import TINY_2MM


def _settings(**changes: Any) -> FitSettings:
    values: dict[str, Any] = {"preset": TINY_2MM, "recipe": PAPER, "steps": 10, "steps_per_epoch": 2}
    return FitSettings(**{**values, **changes})


def _eenet(**schedule: Any) -> Recipe:
    return replace(EENET, schedule=replace(EENET.schedule, **schedule))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"steps": 0}, "^0 steps found, expected 1 or more$"),
        ({"steps": 11}, "^11 steps found, expected a multiple of the 2 steps of an epoch$"),
        ({"steps_per_epoch": 0}, "^epochs of 0 steps found, expected 1 or more$"),
        ({"validate_every": 0}, "^a validation every 0 epochs found, expected 1 or more$"),
        ({"accumulate": 0}, "^gradients of 0 samples averaged found, expected 1 or more$"),
        ({"devices": 0}, "^0 devices found, expected 1 or more$"),
        ({"accumulate": 3}, "epochs of 2 steps found, expected a multiple of 3"),
        ({"devices": 3}, "epochs of 2 steps found, expected a multiple of 3"),
        ({"accumulate": 2, "devices": 2}, "devices average theirs already, give one of the two"),
        ({"precision": "mixed_float16", "devices": 2}, "expected mixed_bfloat16 or float32 on several devices"),
        ({"recipe": _eenet(warmup_steps=10)}, "10 warm-up steps found, expected fewer than the 10 steps"),
        ({"seed": -1}, "seed -1 found"),
        ({"seed": 2**32}, "seed 4294967296 found"),
        ({"folds": 1}, "fold 0 of 1 found"),
        ({"folds": 5, "fold": 5}, "fold 5 of 5 found"),
        ({"fold": 1}, "fold 1 of 0 found"),
        ({"initial_weights": "a", "encoder_weights": "b"}, "the first hold the second"),
        ({"crop": (32, 96)}, r"crop \(32, 96\) found, expected at most \(64, 64\)"),
    ],
)
def test_settings_that_make_no_training_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(TrainingError, match=reason):
        _settings(**changes)


@pytest.mark.parametrize("crop", [(32, 40), (0, 64), (-32, 64)])
def test_a_crop_in_which_the_network_cannot_be_built_is_refused(crop: tuple[int, int]) -> None:
    with pytest.raises(GeometryError, match="geometry tiny-64-2mm-crop"):
        _settings(crop=crop)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Schedule(learning_rate=0.0), "learning rate 0.0 found"),
        (lambda: Schedule(learning_rate=float("nan")), "learning rate nan found"),
        (lambda: Schedule(learning_rate=float("inf")), "learning rate inf found"),
        (lambda: Schedule(warmup_steps=-1), "-1 warm-up steps found"),
        (lambda: Schedule("plateau", warmup_steps=5), "none with a plateau"),
        (lambda: Schedule("plateau", patience_epochs=0), "plateau of 0 epochs"),
        (lambda: Schedule("plateau", divide_by=1.0), "division by 1.0"),
        (lambda: Augmentation(flip=1.5), "flip 1.5 found, expected 0 to 1"),
        (lambda: Augmentation(noise=-0.1), "noise -0.1 found, expected >= 0"),
        (lambda: Augmentation(zoom=1.0), "expected less than 1"),
        (lambda: Recipe("x", ema_momentum=1.0), "average found, expected 0 to below 1"),
        (lambda: Recipe("x", batch_norm_momentum=1.0), "batch norm momentum 1.0"),
        (lambda: Recipe("x", gradient_norm=-1.0), "gradient norm -1.0"),
        (lambda: Recipe("x", dropout=1.5), "share 1.5 of the dropout rates"),
    ],
)
def test_recipes_that_make_no_training_are_refused(make: Any, reason: str) -> None:
    with pytest.raises(TrainingError, match=reason):
        make()


def test_the_papers_recipe_is_what_the_paper_says() -> None:
    schedule = PAPER.schedule
    assert (schedule.kind, schedule.learning_rate, schedule.patience_epochs, schedule.divide_by) == (
        "plateau",
        1e-4,
        50,
        10,
    )
    assert PAPER.augmentation == Augmentation()
    assert (PAPER.gradient_norm, PAPER.ema_momentum, PAPER.batch_norm_momentum) == (0, 0, None)
    assert PAPER.dropout == 1


@given(
    preset=st.sampled_from([TINY_2MM, *PRESETS.values()]),
    recipe=st.sampled_from(list(RECIPES.values())),
    loss=st.sampled_from(list(LossName)),
    crop=st.sampled_from([None, (32, 64), (64, 32)]),
    epochs=st.integers(20, 400),
    rate=st.floats(1e-6, 1.0),
    seed=st.integers(0, 2**32 - 1),
    text=st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20),
    precision=st.sampled_from(["float32", "mixed_float16", "mixed_bfloat16"]),
)
def test_a_file_of_settings_reads_back_the_same(
    preset: Any,
    recipe: Recipe,
    loss: LossName,
    crop: Any,
    epochs: int,
    rate: float,
    seed: int,
    text: str,
    precision: Any,
) -> None:
    settings = FitSettings(
        preset=preset,
        recipe=replace(recipe, loss=loss, schedule=replace(recipe.schedule, learning_rate=rate)),
        crop=crop,
        steps=epochs * 4,
        steps_per_epoch=4,
        seed=seed,
        data=text,
        precision=precision,
    )
    read = FitSettings.from_yaml(settings.to_yaml(), "config.yaml")
    assert read == settings
    assert difference(read, settings) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"step": 5}, "step: .*, found 5"),
        ({"steps": 2.5}, r"steps: .*integer.*, found 2\.5"),
        ({"precision": "float8"}, "precision: .*float32.*, found 'float8'"),
        ({"preset": {"name": "x"}}, "preset.shape: .*required"),
        ({"steps": 0}, "0 steps found, expected 1 or more"),
    ],
)
def test_a_wrong_setting_in_a_file_is_named(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(_settings().to_yaml()) | change))
    with pytest.raises(TrainingError, match=reason):
        read_settings(path)


@pytest.mark.parametrize("text", ["{", "[1]", "", "\x00"])
def test_a_file_that_holds_no_settings_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=r"config\.yaml: "):
        read_settings(path)
    with pytest.raises(TrainingError, match="cannot be read"):
        read_settings(tmp_path / "missing.yaml")


def test_a_difference_names_the_setting_deep_inside() -> None:
    before, now = _settings(recipe=_eenet(warmup_steps=3)), _settings(recipe=_eenet(warmup_steps=4))
    assert difference(before, now) == "recipe.schedule.warmup_steps = 3, now 4"


def test_without_options_an_epoch_is_a_pass_over_the_training_cases() -> None:
    settings = final_settings(FitOptions(data="cases"), None, 293)
    assert (settings.steps_per_epoch, settings.epochs) == (293, 300)
    assert (settings.preset, settings.recipe) == (EENET_FAST, EENET)


def test_an_epoch_is_rounded_up_to_whole_steps_of_the_weights() -> None:
    settings = final_settings(FitOptions(devices=8, epochs=3), None, 293)
    assert (settings.steps_per_epoch, settings.steps) == (296, 888)


@pytest.mark.parametrize(
    ("options", "steps", "per_epoch"),
    [
        (FitOptions(steps=600), 600, 25),
        (FitOptions(steps=60), 60, 20),
        (FitOptions(steps=59), 60, 20),
        (FitOptions(steps=8), 8, 8),
        (FitOptions(steps=1), 1, 1),
        (FitOptions(steps=61, devices=8), 64, 32),
        (FitOptions(steps=60, steps_per_epoch=25), 75, 25),
    ],
)
def test_steps_are_rounded_up_to_whole_epochs_and_that_is_said(options: FitOptions, steps: int, per_epoch: int) -> None:
    settings = final_settings(options, None, 100)
    assert (settings.steps, settings.steps_per_epoch) == (steps, per_epoch)
    said = [line for line in adjustments(options, None, settings) if "rounded up" in line]
    asked = f"{options.steps} steps rounded up to {steps}: {steps // per_epoch} epochs of {per_epoch}"
    assert said == ([] if options.steps == steps else [asked])


@pytest.mark.parametrize(("options", "steps"), [(FitOptions(steps=8), 8), (FitOptions(epochs=1), 12)])
def test_a_recipes_warm_up_is_a_quarter_of_the_steps_where_those_are_few_and_that_is_said(
    options: FitOptions, steps: int
) -> None:
    settings = final_settings(options, None, 12)
    assert (settings.steps, settings.recipe.schedule.warmup_steps) == (steps, steps // 4)
    (line,) = adjustments(options, None, settings)
    assert line.startswith(f"warm-up shortened from 25 to {steps // 4} steps, because there are only {steps}")


def test_a_warm_up_that_was_asked_for_is_never_changed() -> None:
    with pytest.raises(TrainingError, match=r"^30 warm-up steps found, expected fewer than the 25 steps$"):
        final_settings(FitOptions(steps=25, warmup_steps=30), None, 12)
    long = final_settings(FitOptions(epochs=1), None, 293)
    assert (long.steps, long.recipe.schedule.warmup_steps) == (293, 25)
    assert adjustments(FitOptions(epochs=1), None, long) == ()


def test_asked_for_again_a_shortened_training_has_the_same_settings() -> None:
    options = FitOptions(steps=8, recipe="eenet")
    settings = final_settings(options, None, 12)
    assert final_settings(options, settings, 12) == settings


@pytest.mark.parametrize("field", ["patients", "split"])
def test_settings_of_a_run_from_before_there_were_tables_are_read(field: str) -> None:
    content = yaml.safe_load(_settings().to_yaml())
    del content[field]
    assert FitSettings.from_yaml(yaml.safe_dump(content), "config.yaml") == _settings()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (FitOptions(fold=0), "fold 0 found without folds"),
        (FitOptions(folds=5, fold=0, validation_cases=4), "4 validation cases and 5 folds found"),
        (FitOptions(split="a.csv", validation_cases=4), "4 validation cases and the split a.csv found"),
        (FitOptions(partial_weights=True), "partial weights found without weights"),
    ],
)
def test_an_option_without_effect_is_refused(options: FitOptions, reason: str) -> None:
    with pytest.raises(TrainingError, match=reason):
        base_settings(options, None)


def test_options_are_laid_over_the_settings_of_another_run() -> None:
    base = _settings(seed=7, crop=(32, 32))
    changed = final_settings(FitOptions(seed=8, learning_rate=0.5), base, 100)
    schedule = replace(base.recipe.schedule, learning_rate=0.5)
    assert changed == replace(base, seed=8, recipe=replace(base.recipe, schedule=schedule))


@pytest.mark.parametrize("recipe", list(RECIPES.values()), ids=list(RECIPES))
def test_batch_norms_are_frozen_where_that_is_asked_for_and_nothing_else_of_the_recipe_changes(recipe: Recipe) -> None:
    settings = base_settings(FitOptions(recipe=recipe.name, freeze_batch_norms=True), None)
    assert settings.recipe == replace(recipe, frozen_batch_norms=True)
    assert base_settings(FitOptions(recipe=recipe.name), None).recipe == recipe


def test_batch_norms_that_another_run_froze_stay_frozen_unless_the_options_say_otherwise() -> None:
    base = _settings(recipe=replace(EENET, frozen_batch_norms=True), steps=100)
    assert base_settings(FitOptions(seed=8), base).recipe == base.recipe
    assert base_settings(FitOptions(freeze_batch_norms=False), base).recipe == EENET


def test_steps_and_epochs_together_are_refused() -> None:
    with pytest.raises(TrainingError, match="10 steps and 2 epochs found; give one of them"):
        base_settings(FitOptions(steps=10, epochs=2), None)


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TrainingError, match="unknown recipe 'papper'; known: paper, eenet"):
        base_settings(FitOptions(recipe="papper"), None)


def test_each_part_of_the_training_on_wide_phantoms_begins_with_the_part_before() -> None:
    folder = Path(__file__).parents[3] / "docs" / "demo-model"
    first, second = (read_settings(folder / f"transfer-{part}.yaml") for part in (1, 2))
    assert (first.recipe.name, second.recipe.name) == ("transfer", "transfer")
    assert first.initial_weights == "models/eenet-fast-phantom"
    assert second.initial_weights == "transfer-run-1"
    assert first.data != second.data
    assert second.healthy_cases
    assert first.recipe.frozen_batch_norms
    assert second.preset == first.preset == EENET_FAST
