"""From a training run to a bundle: convert, prove, describe, and only then give it its name."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_export.parity import KERAS, ORACLE, UNROUNDED, ParityLimits, compare_all, require_parity
from eenet_runtime.backends.onnxruntime_backend import OnnxRuntimeBackend
from eenet_runtime.bundle import (
    MANIFEST_NAME,
    Artifact,
    Bundle,
    Manifest,
    ParityRow,
    PostprocessingSettings,
    describe_files,
    open_bundle,
)
from eenet_runtime.case_files import CaseFiles
from eenet_runtime.discovery import find_cases
from eenet_runtime.errors import ExportError, OutputError
from eenet_runtime.files import make_output_folder, write_atomically
from eenet_runtime.preprocessing import prepare, read_case
from eenet_runtime.presets import GeometryPreset
from eenet_train.run_folder import RunFolder, RunRecord, read_record
from eenet_train.weights import WeightPrecision, WeightRounding, round_weights

if TYPE_CHECKING:
    import keras

_TOOLS: Final = ("eenet", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True)
class ExportSettings:
    """What a bundle shall be.

    Attributes:
        name: the model's name; by default the output folder's.
        weights: precision of the stored kernels; arithmetic stays FP32.
        max_cases: how many cases the agreement is measured on.
        limits: what counts as agreement.
        postprocessing: defaults for the runtime.
        note: one sentence for the manifest, for example what the model must not be used for.
    """

    name: str = ""
    weights: WeightPrecision = WeightPrecision.FP32
    max_cases: int = 2
    limits: ParityLimits = field(default_factory=ParityLimits)
    postprocessing: PostprocessingSettings = field(default_factory=PostprocessingSettings)
    note: str = ""


def export_run(
    run: Path,
    output: Path,
    cases: Path,
    settings: ExportSettings = ExportSettings(),
    on_step: Callable[[str], None] = lambda step: None,
) -> Bundle:
    """Export a finished training.

    Args:
        run: folder of `eenet-train fit`.
        output: the bundle, a new folder.
        cases: a folder of cases on which the agreement with Keras is measured.
        settings: what the bundle shall be.
        on_step: told in words what happens.

    Raises:
        TrainingError: `run` is no training run.
        ExportError: the model cannot be converted, there is no usable case, or `output` exists.
        ParityError: a form of the model disagrees; there is no bundle under the final name.
        OutputError: the bundle cannot be written.
    """
    record = read_record(RunFolder(run))
    on_step("loading the model")
    model = load_model(RunFolder(run).model, record.preset)
    return export_model(model, record.preset, _provenance(record, settings), output, cases, settings, on_step)


def export_model(
    model: keras.Model,
    preset: GeometryPreset,
    provenance: dict[str, Any],
    output: Path,
    cases: Path,
    settings: ExportSettings = ExportSettings(),
    on_step: Callable[[str], None] = lambda step: None,
) -> Bundle:
    """Export a Keras model of the network; see `export_run`. The model ends up with the stored weights."""
    from eenet_export.convert import INPUT_NAME, OUTPUT_NAME, write_model

    chosen = _choose_cases(cases, settings.max_cases)
    with _bundle_in_the_making(output) as folder:
        on_step("converting to ONNX")
        unrounded = clone_with_weights(model) if settings.weights is not WeightPrecision.FP32 else None
        rounding = round_weights(model, settings.weights)
        files = write_model(model, folder, settings.weights)
        artifact = Artifact("onnx", files.graph.name, "fp32", settings.weights.value, INPUT_NAME, OUTPUT_NAME)
        rows = _measure(model, unrounded, files.graph, artifact, preset, chosen, on_step)
        require_parity(rows, settings.limits)
        manifest = Manifest(
            name=settings.name or output.name,
            preset=preset,
            artifacts=(artifact,),
            files=describe_files(folder, (files.graph.name, files.weights.name)),
            postprocessing=settings.postprocessing,
            provenance={**provenance, "weight_rounding": _rounding_as_dict(rounding)},
            parity=rows,
            tools={tool: version(tool) for tool in _TOOLS},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_atomically(folder / MANIFEST_NAME, manifest.to_json().encode())
    return open_bundle(output)


def load_model(path: Path, preset: GeometryPreset) -> keras.Model:
    """Load a `.keras` file of the network and check its geometry.

    Raises:
        ExportError: missing, unreadable, or built for another geometry.
    """
    import keras

    import eenet_train.network  # registers the network's own layers with Keras

    assert eenet_train.network is not None
    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise ExportError(f"{path}: not a Keras model of this network ({str(error).splitlines()[0]})") from error
    expected = (*preset.shape, 4)
    if tuple(model.input_shape[1:]) != expected:
        raise ExportError(f"{path}: input {model.input_shape[1:]} found, preset {preset.name} has {expected}")
    return model


def keras_function(model: keras.Model) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A model as a function of one volume, (H, W, D, 4) to (H, W, D, classes), float32."""

    def run(volume: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(model.predict_on_batch(volume[np.newaxis])[0], dtype=np.float32)

    return run


def _measure(
    model: keras.Model,
    unrounded: keras.Model | None,
    graph: Path,
    artifact: Artifact,
    preset: GeometryPreset,
    cases: Sequence[CaseFiles],
    on_step: Callable[[str], None],
) -> tuple[ParityRow, ...]:
    from eenet_train.network import as_oracle

    backend = OnnxRuntimeBackend(graph, artifact, preset)
    forms: list[tuple[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]]] = [
        (KERAS, keras_function(model)),
        (ORACLE, keras_function(as_oracle(model, preset))),
        (f"onnx-{artifact.precision}", backend),
    ]
    if unrounded is not None:
        forms.append((UNROUNDED, keras_function(unrounded)))
    rows: list[ParityRow] = []
    for files in cases:
        on_step(f"comparing {', '.join(name for name, _ in forms)} on {files.case_id}")
        rows += compare_all(files.case_id, prepare(read_case(files), preset).volume, forms)
    backend.close()
    return tuple(rows)


def clone_with_weights(model: keras.Model) -> keras.Model:
    """A second model of the same architecture and weights."""
    import keras

    from eenet_train.network import copy_weights

    copy = keras.models.clone_model(model)
    # Not set_weights: EfficientNet's Normalization layer computes with copies of its weights.
    copy_weights(model, copy)
    return copy


def _choose_cases(folder: Path, count: int) -> tuple[CaseFiles, ...]:
    """The first cases in order of name, so that two exports of a run measure the same."""
    found = find_cases(folder)
    if not found.cases:
        raise ExportError(f"{folder}: no usable case found ({found.refused[0].reason})")
    return found.cases[:count]


@contextlib.contextmanager
def _bundle_in_the_making(output: Path) -> Iterator[Path]:
    """A folder beside the final one; renamed on success, removed on any failure."""
    if output.exists():
        raise ExportError(f"{output}: exists already; choose a new folder or remove it")
    make_output_folder(output.parent)
    folder = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        folder.mkdir()
        yield folder
        folder.replace(output)
    except OSError as error:
        raise OutputError(f"{output}: the bundle cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _provenance(record: RunRecord, settings: ExportSettings) -> dict[str, Any]:
    """What the manifest says about the weights: figures and case names, no paths."""
    content = json.loads(record.to_json())
    return {
        "note": settings.note,
        "training_cases": len(record.training_cases),
        "steps": record.steps_done,
        "loss": record.loss,
        "validation_dice": content["validation_dice"],
        "encoder_weights": Path(record.encoder_weights).name,
        "trained_with": content["versions"],
    }


def _rounding_as_dict(rounding: WeightRounding) -> dict[str, Any]:
    return {**asdict(rounding), "precision": rounding.precision.value}
