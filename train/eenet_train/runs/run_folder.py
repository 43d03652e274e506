"""What a training leaves in its folder, by name, and the record that export reads."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from eenet_runtime._version import __version__
from eenet_runtime.errors import TrainingError
from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.volumes.labels import Modality
from eenet_runtime.volumes.pose import Pose
from eenet_runtime.volumes.presets import GeometryPreset
from eenet_train.runs.environment import package_version
from eenet_train.runs.epoch_table import EpochTable

RECORD_SCHEMA: Final = 1
MEAN: Final = "mean"
"""Stands for all cases in the table of validations."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """All settings of the training (`FitSettings`), written before its first step; it reproduces the run."""
        return self.path / "config.yaml"

    @property
    def split(self) -> Path:
        """Cases to train on, held out and left out."""
        return self.path / "split.json"

    @property
    def initial_weights(self) -> Path:
        """Which layers of the first weights were found and which not, where the training began with given ones."""
        return self.path / "initial_weights.txt"

    @property
    def environment(self) -> Path:
        """What the last start of the training ran on: packages, commit, devices."""
        return self.path / "environment.json"

    @property
    def log(self) -> EpochTable:
        """A line for each epoch.

        Samples read so far, mean loss, loss on crops of the held-out cases, and the learning rate reached.
        """
        return EpochTable(self.path / "log.csv", ("steps", "loss", "validation_loss", "learning_rate"))

    @property
    def timing(self) -> EpochTable:
        """Seconds of each epoch's steps, and the share of them that was spent waiting for samples (on one device)."""
        return EpochTable(self.path / "timing.csv", ("seconds", "input_wait"))

    @property
    def validation(self) -> EpochTable:
        """Dice of each validation case and region, and their means, for each validated epoch."""
        return EpochTable(self.path / "validation.csv", ("case", "region", "dice"))

    @property
    def best(self) -> RunFolder:
        """The network with the highest mean validation Dice so far: a folder that export reads like a run."""
        return RunFolder(self.path / "best")

    @property
    def samples(self) -> Path:
        """Pictures of held-out cases with their truth and the network's masks."""
        return self.path / "samples"

    @property
    def losses(self) -> Path:
        """Picture of the losses in `log`."""
        return self.path / "losses.png"

    @property
    def tensorboard(self) -> Path:
        """Event files for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def checkpoint(self) -> Path:
        """Weights and optimizer state after the last finished epoch: where a resumed training goes on."""
        return self.path / "checkpoints" / "last.weights.h5"

    @property
    def model(self) -> Path:
        """The network at the preset's full geometry, with the weights of the last finished epoch."""
        return self.path / "model.keras"

    @property
    def record(self) -> Path:
        """What `model` is: see `RunRecord`."""
        return self.path / "run.json"

    @property
    def cache(self) -> Path:
        """Prepared cases, where no other folder was given for them."""
        return self.path / "cache"


@dataclass(frozen=True)
class RegionScores:
    """Dice of the three regions, each between 0 and 1."""

    ET: float
    TC: float
    WT: float

    @property
    def mean(self) -> float:
        """Mean of the three."""
        return (self.ET + self.TC + self.WT) / 3


@dataclass(frozen=True)
class Versions:
    """Versions of what the training ran on."""

    eenet: str
    tensorflow: str
    keras: str
    numpy: str
    python: str

    @classmethod
    def installed(cls) -> Versions:
        """The versions in this environment; "unknown" where a package carries no metadata."""
        return cls(
            eenet=__version__,
            tensorflow=package_version("tensorflow"),
            keras=package_version("keras"),
            numpy=package_version("numpy"),
            python=platform.python_version(),
        )


@dataclass(frozen=True)
class RunRecord:
    """What the network in a run folder is and where it came from (`run.json`).

    Attributes:
        preset: geometry of `model.keras`.
        modalities: order of its input channels.
        normalization: name of the intensity normalisation.
        training_cases, validation_cases: names of the cases.
        steps_done, steps_planned: samples read.
        loss: mean training loss of the last epoch.
        validation_dice: mean over the validation cases on the network's grid, None before the first validation.
        encoder_weights: where the 2D encoder's first weights came from; of a file its name, without its folder.
        versions: what the training ran on.
        recipe: name of the recipe.
        initial_weights: where the whole network's first weights came from, without folders; empty for nowhere.
        skipped_cases: left out because they could not be used.
        fold, folds: the fold that was held out; 0 of 0 without folds.
        modality_dropout: chance with which one modality of a sample was blanked.
        pose: which way the heads of its data lie; runs of before this field say nothing, which is as they come.
        warnings: what was wrong with the last epoch, a sentence each, such as a network that labels no tumour.
    """

    preset: GeometryPreset
    modalities: tuple[Modality, ...]
    normalization: str
    training_cases: tuple[str, ...]
    validation_cases: tuple[str, ...]
    steps_done: int
    steps_planned: int
    loss: float
    validation_dice: RegionScores | None
    encoder_weights: str
    versions: Versions
    recipe: str = ""
    initial_weights: str = ""
    skipped_cases: tuple[str, ...] = ()
    fold: int = 0
    folds: int = 0
    modality_dropout: float = 0.0
    pose: Pose = Pose.NATIVE
    warnings: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The record as JSON text."""
        return json.dumps({"schema": RECORD_SCHEMA, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str) -> RunRecord:
        """Read a record.

        Args:
            text: what `to_json` wrote.
            source: name of the file, for messages.

        Raises:
            TrainingError: it is no record, or one of another schema.
            GeometryError: its geometry cannot work.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            schema = fields.pop("schema")
            if schema != RECORD_SCHEMA:
                raise TrainingError(f"{source}: run record of schema {schema} found, expected {RECORD_SCHEMA}")
            dice = fields["validation_dice"]
            fields.update(
                preset=_preset_from_json(fields["preset"]),
                modalities=tuple(Modality(name) for name in fields["modalities"]),
                training_cases=tuple(fields["training_cases"]),
                validation_cases=tuple(fields["validation_cases"]),
                skipped_cases=tuple(fields.get("skipped_cases", ())),
                warnings=tuple(fields.get("warnings", ())),
                pose=Pose(fields.get("pose", Pose.NATIVE)),
                validation_dice=None if dice is None else RegionScores(**dice),
                versions=Versions(**fields["versions"]),
            )
            return cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TrainingError(f"{source}: not a run record ({error}); expected the run.json of a training") from error


def read_record(run: RunFolder) -> RunRecord:
    """Read the record of a run.

    Raises:
        TrainingError: no such file, or no record in it.
    """
    try:
        text = run.record.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text file"
        raise TrainingError(f"{run.record}: cannot be read ({reason}); expected the folder of a training") from error
    return RunRecord.from_json(text, str(run.record))


def write_record(run: RunFolder, record: RunRecord) -> None:
    """Write the record of a run.

    Raises:
        OutputError: it cannot be written.
    """
    write_atomically(run.record, record.to_json().encode())


def _preset_from_json(fields: dict[str, Any]) -> GeometryPreset:
    height, width, depth = fields["shape"]
    first, second, third = fields["depth_strides"]
    return GeometryPreset(fields["name"], (height, width, depth), fields["spacing_mm"], (first, second, third))
