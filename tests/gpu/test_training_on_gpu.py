"""A training on a GPU: in 16 bits, on several, and the same again after a stop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eenet_train.runs.run_folder import RunFolder, read_record
from tests.train.stand_in import easy_dataset, short_recipe, short_settings

pytestmark = [pytest.mark.gpu, pytest.mark.tf]

SLOW = replace(short_recipe(learning_rate=1e-3), gradient_norm=1.0)
"""A rate for EENet itself; the stand-in's is ten times what it bears."""


@pytest.fixture(autouse=True)
def _tensorflow_computes_on_a_gpu() -> None:
    """Without it every test here would pass on the CPU, and prove nothing."""
    import tensorflow as tf

    assert tf.config.list_physical_devices("GPU"), "TensorFlow sees no GPU"


def _losses(run: RunFolder) -> list[float]:
    return [float(row[2]) for row in run.log.rows()]


@pytest.mark.parametrize("precision", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_eenet_learns_in_every_precision_and_is_saved_in_fp32(tmp_path: Path, precision: Any) -> None:
    import keras

    from eenet_train.fit.fit import fit

    run = RunFolder(tmp_path / "run")
    settings = short_settings(recipe=SLOW, precision=precision, crop=None, steps=24, steps_per_epoch=8)
    fit(easy_dataset(tmp_path), run.path, settings)
    losses = _losses(run)
    assert losses[-1] < losses[0]
    model = keras.saving.load_model(run.model, compile=False)
    assert {str(weight.dtype) for weight in model.trainable_weights} == {"float32"}


def test_a_deterministic_training_stopped_and_resumed_ends_with_the_same_weights(tmp_path: Path) -> None:
    import keras

    from eenet_train.fit.fit import fit

    dataset, settings = easy_dataset(tmp_path), short_settings(recipe=SLOW, deterministic=True, crop=None)
    fit(dataset, tmp_path / "alone", settings)
    fit(dataset, tmp_path / "stopped", settings, max_minutes=0)
    assert read_record(RunFolder(tmp_path / "stopped")).steps_done == 2
    fit(dataset, tmp_path / "stopped", settings, resume=True)
    alone, stopped = (
        keras.saving.load_model(RunFolder(tmp_path / name).model, compile=False).get_weights()
        for name in ("alone", "stopped")
    )
    for one, other in zip(alone, stopped, strict=True):
        assert np.array_equal(one, other)


def test_all_gpus_of_the_machine_share_a_training(tmp_path: Path) -> None:
    import tensorflow as tf

    from eenet_train.fit.fit import fit

    devices = len(tf.config.list_logical_devices("GPU"))
    if devices < 2:
        pytest.skip("one GPU only")
    run = RunFolder(tmp_path / "run")
    settings = short_settings(recipe=SLOW, crop=None, devices=devices, steps=12 * devices, steps_per_epoch=4 * devices)
    fit(easy_dataset(tmp_path), run.path, settings)
    losses = _losses(run)
    assert losses[-1] < losses[0]
