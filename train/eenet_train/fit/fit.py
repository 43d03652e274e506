"""Training a network: settings in, a run folder out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from eenet_runtime.errors import TrainingError
from eenet_runtime.files.atomic import is_leftover, make_output_folder, remove_leftovers, write_atomically
from eenet_runtime.volumes.labels import CHANNEL_ORDER
from eenet_runtime.volumes.normalization import NORMALIZATION
from eenet_train.data.data import PreparedCase, PreparedDataset
from eenet_train.data.input_pipeline import InputWait, training_dataset
from eenet_train.data.patients import identical_images
from eenet_train.data.split import groups_of_cases, split_dataset
from eenet_train.fit.checkpoint import load_checkpoint
from eenet_train.fit.checkpoint_loading import load_by_name, load_table
from eenet_train.fit.training_callback import RunParts, TrainingCallback
from eenet_train.fit.watch import PredictionCounts, StepWatch, WatchedLoss
from eenet_train.network.devices import device_strategy, dtype_policy
from eenet_train.network.encoder_weights import NO_WEIGHTS, EncoderWeights
from eenet_train.network.network import build_eenet, end_in_logits
from eenet_train.recipe.losses import build_loss
from eenet_train.recipe.optimizer import build_optimizer
from eenet_train.recipe.recipe import Recipe
from eenet_train.recipe.settings import FitSettings, difference, read_settings
from eenet_train.runs.environment import environment_json
from eenet_train.runs.run_folder import RunFolder, RunRecord, Versions, read_record


def fit(
    dataset: PreparedDataset,
    output: Path,
    settings: FitSettings,
    *,
    resume: bool = False,
    max_minutes: float | None = None,
    verbose: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> RunRecord:
    """Train a network.

    Args:
        dataset: prepared cases, see `eenet_train.data.data.prepare_dataset`.
        output: the run folder; new, unless `resume`.
        settings: what to do.
        resume: go on after the last checkpoint in `output`, with the same settings and cases; a run that has none
            yet starts anew.
        max_minutes: stop at the end of the epoch in which this time has passed, with a validation.
        verbose: Keras' progress on standard output: 0 nothing, 1 a bar, 2 a line for each epoch.
        say: is told which of the first weights were found, and what goes wrong.

    Returns:
        The record of the run, as in its `run.json`.

    Raises:
        TrainingError: the folder holds something else, the run was started with other settings or cases, weights that
            do not fit, too few devices, or a training that has left the numbers.
        OutputError: the folder cannot be written.
    """
    run = RunFolder(output)
    training, held_out = split_dataset(dataset.cases, settings, [case.case_id for case in dataset.skipped])
    record = _new_record(settings, dataset, training, held_out)
    check_run(run, settings, resume=resume)
    make_output_folder(run.path)
    for folder in (run.path, run.best.path, run.samples, run.checkpoint.parent):
        remove_leftovers(folder)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(settings.seed)
    resumed = resume and run.checkpoint.is_file()
    model, counts = compiled_network(settings, first_weights=not resumed)
    steps_done, found_weights = 0, ""
    if resumed:
        record = _resumed_record(run, record)
        steps_done = load_checkpoint(model, run.checkpoint)
    elif settings.initial_weights:
        found = load_by_name(model, Path(settings.initial_weights), strict=not settings.partial_weights)
        found_weights = load_table(found)
        say(found_weights)
    # Only now is it known that this training can begin: a folder that holds settings holds a run.
    write_atomically(run.config, settings.to_yaml().encode())
    write_atomically(run.split, _split_json(dataset, settings, training, held_out).encode())
    write_atomically(run.environment, environment_json().encode())
    if found_weights:
        write_atomically(run.initial_weights, f"{found_weights}\n".encode())
    first_epoch = steps_done // settings.steps_per_epoch
    for table in (run.log, run.timing, run.validation):
        table.keep_until(first_epoch)
    if first_epoch >= settings.epochs:
        return read_record(run)
    # Several devices fetch ahead in a thread of their own, whose waiting says nothing about theirs.
    wait = InputWait() if settings.devices == 1 else None
    parts = _parts(run, settings, held_out, counts, wait, max_minutes, say)
    model.fit(
        training_dataset(training, settings, steps_done, wait),
        epochs=settings.epochs,
        initial_epoch=first_epoch,
        steps_per_epoch=settings.batches_per_epoch,
        callbacks=[TrainingCallback(parts, record)],
        shuffle=False,  # The samples already come in the order that their numbers say.
        verbose=verbose,
    )
    return read_record(run)


def check_run(run: RunFolder, settings: FitSettings, *, resume: bool) -> None:
    """Check that a training may write into a folder; nothing is changed.

    A folder that holds nothing but prepared cases counts as empty. Where the data lie is no setting that a resumed
    run must keep: they may have moved.

    Raises:
        TrainingError: the folder holds something else, a run that is not to be resumed, or one with other settings.
    """
    if not run.config.is_file():
        if run.path.is_dir() and any(path != run.cache and not is_leftover(path) for path in run.path.iterdir()):
            raise TrainingError(f"{run.path}: neither empty nor a run; choose another folder")
        return
    if not resume:
        raise TrainingError(f"{run.path}: holds a run already; go on with --resume, or choose another folder")
    before = dataclasses.replace(read_settings(run.config), data=settings.data)
    changed = difference(before, settings)
    if changed:
        raise TrainingError(f"{run.config}: the run was started with {changed}; a resumed run keeps its settings")


def compiled_network(settings: FitSettings, *, first_weights: bool = True) -> tuple[keras.Model, PredictionCounts]:
    """The network at the crop's geometry, with its loss and optimizer, and the counts of what it predicts.

    It ends in logits, see `eenet_train.recipe.losses`; its layers and weights are those of the network that is saved.

    Args:
        settings: of the training.
        first_weights: load the encoder's first weights; a checkpoint replaces them anyway.

    Raises:
        TrainingError: weights that do not fit, or too few devices.
    """
    encoder = EncoderWeights.parse(settings.encoder_weights) if first_weights else NO_WEIGHTS
    recipe = settings.recipe
    with device_strategy(settings.devices).scope(), dtype_policy(settings.precision):
        model = build_eenet(settings.crop_preset, encoder_weights=encoder)
        end_in_logits(model)
        _apply_recipe(model, recipe)
        optimizer = build_optimizer(recipe, settings.steps, settings.accumulate, settings.devices)
        # Variables must exist before a checkpoint can be read into them. Nadam's own come first: built by the loss
        # scale that `compile` wraps around it, one of them would be in no checkpoint (Keras 3.15, `_u_product`).
        optimizer.build(model.trainable_variables)
        counts = PredictionCounts()
        loss = WatchedLoss(build_loss(recipe.loss, from_logits=True), counts)
        model.compile(optimizer=optimizer, loss=loss)
        model.optimizer.build(model.trainable_variables)
    return model, counts


def _apply_recipe(model: keras.Model, recipe: Recipe) -> None:
    """Set what layers do in training only."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = not recipe.frozen_batch_norms
            if recipe.batch_norm_momentum is not None:
                layer.momentum = recipe.batch_norm_momentum
        if isinstance(layer, keras.layers.Dropout):  # spatial ones are subclasses
            layer.rate *= recipe.dropout


def _parts(
    run: RunFolder,
    settings: FitSettings,
    held_out: Sequence[PreparedCase],
    counts: PredictionCounts,
    wait: InputWait | None,
    max_minutes: float | None,
    say: Callable[[str], None],
) -> RunParts:
    whole = cropped = build_eenet(settings.preset)
    if held_out and settings.crop_size != settings.preset.shape[:2]:
        cropped = build_eenet(settings.crop_preset)
    watch = StepWatch(run.path, counts.read, settings.recipe.schedule.warmup_steps, say)
    return RunParts(run, settings, held_out, whole, cropped, watch, wait, max_minutes, say)


def _new_record(
    settings: FitSettings,
    dataset: PreparedDataset,
    training: Sequence[PreparedCase],
    held_out: Sequence[PreparedCase],
) -> RunRecord:
    # The record travels with the model; the folders of this machine do not.
    return RunRecord(
        preset=settings.preset,
        modalities=CHANNEL_ORDER,
        normalization=NORMALIZATION,
        training_cases=tuple(case.case_id for case in training),
        validation_cases=tuple(case.case_id for case in held_out),
        steps_done=0,
        steps_planned=settings.steps,
        loss=float("nan"),
        validation_dice=None,
        encoder_weights=Path(settings.encoder_weights).name,
        versions=Versions.installed(),
        recipe=settings.recipe.name,
        initial_weights=Path(settings.initial_weights).name,
        skipped_cases=tuple(case.case_id for case in dataset.skipped),
        fold=settings.fold,
        folds=settings.folds,
        modality_dropout=settings.recipe.augmentation.drop_modality,
        pose=settings.pose,
    )


def _split_json(
    dataset: PreparedDataset,
    settings: FitSettings,
    training: Sequence[PreparedCase],
    held_out: Sequence[PreparedCase],
) -> str:
    patients: dict[str, list[str]] = {}
    for case_id, group in groups_of_cases(dataset.cases, settings).items():
        patients.setdefault(group, []).append(case_id)
    content = {
        "training": [case.case_id for case in training],
        "validation": [case.case_id for case in held_out],
        "skipped": {case.case_id: case.reason for case in dataset.skipped},
        "patients": patients,
        "identical_images": identical_images({case.case_id: case.image_hashes for case in dataset.cases}),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _resumed_record(run: RunFolder, record: RunRecord) -> RunRecord:
    """The record with what the run already reached.

    Raises:
        TrainingError: the cases are not those of the run.
    """
    if not run.record.is_file():
        return record
    before = read_record(run)
    if (before.training_cases, before.validation_cases) != (record.training_cases, record.validation_cases):
        raise TrainingError(
            f"{run.record}: the run was started with {len(before.training_cases)} training and "
            f"{len(before.validation_cases)} validation cases, the data are now other ones "
            f"({len(record.training_cases)} and {len(record.validation_cases)}); a resumed run needs the same, and a "
            "run from before patients were kept together goes on only where every patient has one case"
        )
    return dataclasses.replace(
        record, loss=before.loss, validation_dice=before.validation_dice, warnings=before.warnings
    )
