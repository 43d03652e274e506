"""A small training for tests: easy cases, four layers for EENet, what a run left, and a program that tests start in
processes of their own (`tests.warm_starts`).

The rules of a run do not depend on the network, and tracing EENet takes most of a minute. The stand-in has what makes
a resumed run differ from another: dropout, whose random state no weight file holds, and batch norm.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eenet_runtime.volumes.labels import Label
from eenet_runtime.volumes.presets import GeometryPreset
from eenet_train.data.data import FULL, PreparedCase, PreparedDataset
from eenet_train.recipe.recipe import EENET, Augmentation, Recipe, Schedule
from eenet_train.recipe.settings import FitSettings
from eenet_train.runs.run_folder import RunFolder
from tests.synthetic import TINY_2MM


def short_recipe(**schedule: Any) -> Recipe:
    """Our recipe with a steep schedule and short averages: ten steps must show a difference."""
    return replace(
        EENET,
        schedule=Schedule("cosine", **{"learning_rate": 0.1, "warmup_steps": 2, **schedule}),
        # A chance that no draw of these few steps meets, but that the record must tell.
        augmentation=Augmentation(flip=0.5, scale=0.1, shift=0.1, noise=0.1, noise_chance=0.5, drop_modality=1e-9),
        ema_momentum=0.4,
        dropout=1.0,
        batch_norm_momentum=0.5,
    )


def short_settings(**changes: Any) -> FitSettings:
    """Five epochs of two steps."""
    values: dict[str, Any] = {
        "preset": TINY_2MM,
        "recipe": short_recipe(),
        "steps": 10,
        "steps_per_epoch": 2,
        "crop": (32, 64),
        "seed": 3,
        "validation_cases": 2,
        "validate_every": 2,
    }
    return FitSettings(**{**values, **changes})


def build_stand_in(preset: GeometryPreset, **_: object) -> Any:
    """Four layers with dropout and batch norm, in place of `build_eenet`."""
    from keras import Model, layers

    volume = layers.Input((*preset.shape, 4), name="volume")
    x = layers.Conv3D(8, 1, name="first")(volume)
    x = layers.SpatialDropout3D(0.5, name="dropout")(x)
    x = layers.BatchNormalization(name="norm")(x)
    return Model(volume, layers.Conv3D(4, 1, activation="softmax", name="last", dtype="float32")(x))


def build_smooth_stand_in(preset: GeometryPreset, **_: object) -> Any:
    """Two layers without dropout and batch norm: what two devices do, one does with averaged gradients."""
    from keras import Model, layers

    volume = layers.Input((*preset.shape, 4), name="volume")
    x = layers.Conv3D(8, 1, activation="relu", name="first")(volume)
    return Model(volume, layers.Conv3D(4, 1, activation="softmax", name="last", dtype="float32")(x))


def easy_dataset(folder: Path) -> PreparedDataset:
    """Six cases whose four images are noise around the shares of the four classes."""
    made = []
    for index in range(6):
        rng = np.random.default_rng(index)
        labels = np.zeros(TINY_2MM.shape, dtype=np.uint8)
        labels[8:40, 16:48] = Label.ED
        labels[16:32, 24 + index : 40] = Label.ET
        labels[20:28, 28 + index : 36] = Label.NCR
        target = np.eye(4, dtype=np.uint8)[labels] * np.uint8(FULL)
        volume = target / FULL + rng.normal(0, 0.2, target.shape)
        case = PreparedCase(f"Case{index}", folder / f"{index}.volume.npy", folder / f"{index}.target.npy")
        if not case.target_path.is_file():
            np.save(case.volume_path, volume.astype(np.float16))
            np.save(case.target_path, target)
        made.append(case)
    return PreparedDataset(tuple(made))


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a run's table, by the names of its columns."""
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def saved_weights(run: RunFolder) -> list[np.ndarray]:
    """The weights of the network that a run saved."""
    import keras

    return [np.asarray(weight) for weight in keras.saving.load_model(run.model, compile=False).get_weights()]


def warm() -> None:
    """Import what a training imports, and nothing more."""
    from eenet_train.network.tensorflow_setup import set_tensorflow_defaults

    set_tensorflow_defaults()
    import eenet_train.fit.fit  # noqa: F401


def main(kind: str, cases: str, output: str) -> None:
    """Train on one device or two.

    Args:
        kind: `killable`: 40 epochs; `mirrored`: on two devices; `averaged`: the same on one; `whole recipe`: on two
            devices with all that a recipe has.
        cases: folder for the samples.
        output: the run; it goes on where it stopped.
    """
    import tensorflow as tf

    from eenet_train.fit import fit as room

    if kind == "killable":
        setattr(room, "build_eenet", build_stand_in)  # noqa: B010
        settings = short_settings(steps=80, recipe=short_recipe(learning_rate=0.01))
    else:
        network = build_stand_in if kind == "whole recipe" else build_smooth_stand_in
        setattr(room, "build_eenet", network)  # noqa: B010
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
        )
        # A constant rate: a cosine counts the calls of the network, of which averaged gradients need twice as many.
        constant = Schedule("plateau", learning_rate=0.01, patience_epochs=50)
        plain = replace(short_recipe(), schedule=constant, ema_momentum=0.0, gradient_norm=0.0)
        share: dict[str, Any] = {"accumulate": 2} if kind == "averaged" else {"devices": 2}
        settings = short_settings(steps=16, recipe=short_recipe() if kind == "whole recipe" else plain, **share)
    print("training", flush=True)  # noqa: T201
    room.fit(easy_dataset(Path(cases)), Path(output), settings, resume=True)
