"""What a training leaves in its folder, by name, and the record that export reads."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from eenet_runtime._version import __version__
from eenet_runtime.errors import TrainingError
from eenet_runtime.files import write_atomically
from eenet_runtime.labels import Modality
from eenet_runtime.presets import GeometryPreset

RECORD_SCHEMA: Final = 1


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """All settings of the training, written before its first step."""
        return self.path / "config.json"

    @property
    def log(self) -> Path:
        """Loss, a line for each epoch."""
        return self.path / "log.csv"

    @property
    def validation(self) -> Path:
        """Dice of each validation case and region, for each validated epoch."""
        return self.path / "validation.csv"

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
        return cls(__version__, _version("tensorflow"), _version("keras"), _version("numpy"), platform.python_version())


@dataclass(frozen=True)
class RunRecord:
    """What the network in a run folder is and where it came from (`run.json`).

    Attributes:
        preset: geometry of `model.keras`.
        modalities: order of its input channels.
        normalization: name of the intensity normalisation.
        training_cases, validation_cases: names of the cases.
        steps_done, steps_planned: gradient steps.
        loss: mean training loss of the last epoch.
        validation_dice: mean over the validation cases on the network's grid, None before the first validation.
        encoder_weights: where the 2D encoder's first weights came from.
        versions: what the training ran on.
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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
