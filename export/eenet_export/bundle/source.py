"""What is exported: the network of a training run, or any file that holds its weights."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from eenet_runtime.errors import ExportError
from eenet_runtime.files.atomic import sha256_of_file
from eenet_runtime.volumes.pose import Pose
from eenet_runtime.volumes.presets import PRESETS, GeometryPreset
from eenet_train.runs.run_folder import RunFolder, RunRecord, read_record


@dataclass(frozen=True)
class SourceModel:
    """A network and where it came from.

    Attributes:
        model: the Keras network at the preset's geometry.
        preset: the geometry.
        sha256: of the file or files it was read from.
        provenance: what the manifest says about the weights: figures and case names, no paths.
        modality_dropout: chance with which the training blanked one modality; 0 where nothing is known.
        pose: which way the training's heads lie.
    """

    model: keras.Model
    preset: GeometryPreset
    sha256: str
    provenance: dict[str, Any]
    modality_dropout: float = 0.0
    pose: Pose = Pose.NATIVE


def source_of(path: Path, preset: GeometryPreset | None = None) -> SourceModel:
    """A run folder, or a file of the network that Keras wrote, also one of the authors' published code.

    Args:
        path: folder or file.
        preset: geometry of a file's network; by default the one whose input it has. A run knows its own.

    Raises:
        TrainingError: no run, or weights that do not fit the network.
        ExportError: a file whose geometry cannot be told.
    """
    return source_of_file(path, preset) if path.is_file() else source_of_run(path)


def source_of_run(path: Path) -> SourceModel:
    """The network of a finished training.

    Raises:
        TrainingError: no run.
        ExportError: its model cannot be read or has another geometry than the run says.
    """
    run = RunFolder(path)
    record = read_record(run)
    digest = hashlib.sha256((sha256_of_file(run.model) + record.to_json()).encode() if run.model.is_file() else b"")
    model = load_model(run.model, record.preset)
    return SourceModel(
        model, record.preset, digest.hexdigest(), _provenance(record), record.modality_dropout, record.pose
    )


def source_of_file(path: Path, preset: GeometryPreset | None = None) -> SourceModel:
    """A file of the whole network, matched layer by layer; see `eenet_train.fit.checkpoint_loading`.

    Raises:
        TrainingError: weights that do not fit the network, or no such file.
        ExportError: the preset cannot be told from the file.
    """
    from eenet_train.fit.checkpoint_loading import LayerStatus, load_by_name
    from eenet_train.network.network import build_eenet

    chosen = preset or _preset_of(path)
    model = build_eenet(chosen)
    report = load_by_name(model, path, strict=True)
    layers = {status.value: len(report.having(status)) for status in LayerStatus if report.having(status)}
    return SourceModel(model, chosen, sha256_of_file(path), {"weights_from": path.name, "layers": layers})


def load_model(path: Path, preset: GeometryPreset) -> keras.Model:
    """Load a `.keras` file of the network and check its geometry.

    Raises:
        ExportError: missing, unreadable, or built for another geometry.
    """
    import eenet_train.network.network  # registers the network's own layers with Keras

    assert eenet_train.network.network is not None
    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise ExportError(f"{path}: not a Keras model of this network ({str(error).splitlines()[0]})") from error
    expected = (*preset.shape, 4)
    if tuple(model.input_shape[1:]) != expected:
        raise ExportError(f"{path}: input {model.input_shape[1:]} found, preset {preset.name} has {expected}")
    return model


def _preset_of(path: Path) -> GeometryPreset:
    """The preset with the input shape that a `.keras` file has.

    Raises:
        ExportError: none, or a file that does not tell.
    """
    shape: tuple[int, ...] | None = None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            shape = _input_shape(json.loads(archive.read("config.json")))
    for preset in PRESETS.values():
        if shape == (*preset.shape, 4):
            return preset
    found = "no input shape" if shape is None else f"input {shape}"
    raise ExportError(f"{path}: {found} found; say which geometry it is with --preset: {', '.join(PRESETS)}")


def _input_shape(config: dict[str, Any]) -> tuple[int, ...] | None:
    """Shape of the first input layer of an architecture as Keras writes it, without the batch axis."""
    for layer in config.get("config", {}).get("layers", ()):
        if layer.get("class_name") == "InputLayer":
            settings = layer["config"]
            shape = settings.get("batch_shape") or settings.get("batch_input_shape")
            return tuple(shape[1:]) if shape else None
    return None


def _provenance(record: RunRecord) -> dict[str, Any]:
    content = json.loads(record.to_json())
    return {
        "training_cases": len(record.training_cases),
        "steps": record.steps_done,
        "loss": record.loss,
        "validation_dice": content["validation_dice"],
        "encoder_weights": Path(record.encoder_weights).name,
        "trained_with": content["versions"],
    }
