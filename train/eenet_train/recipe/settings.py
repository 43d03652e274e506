"""Everything that decides the result of a training, as one object and as one YAML file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from eenet_runtime.errors import TrainingError
from eenet_runtime.volumes.pose import Pose
from eenet_runtime.volumes.presets import GeometryPreset
from eenet_train.recipe.recipe import EENET, Recipe

LARGEST_SEED: Final = 2**32 - 1
"""NumPy's global generator, which Keras seeds, takes no larger one."""

_HEADER: Final = "# Settings of a training. The same again: eenet-train fit --config THIS_FILE --output NEW_FOLDER\n"


@dataclass(frozen=True)
class FitSettings:
    """Everything that decides the result of a training, beside the files of the cases.

    Attributes:
        preset: geometry of the network.
        recipe: how it is trained.
        steps: samples that are read in all, a multiple of `steps_per_epoch`.
        steps_per_epoch: samples between two checkpoints and log lines, a multiple of `accumulate` and `devices`.
        crop: size of the training crops along H and W, multiples of 32; None trains on whole volumes.
        accumulate: samples whose gradients are averaged before the weights move.
        devices: GPUs (or logical CPUs) that share a step, each with a sample of its own; not with `accumulate`.
        precision: "float32"; "mixed_float16" and "mixed_bfloat16" compute convolutions in 16 bits, and group norms,
            softmax and loss in FP32.
        deterministic: let TensorFlow use only kernels that give the same bits each time.
        seed: of the split, the samples, the first weights and the dropout.
        validation_cases: cases held out, where there are no folds.
        folds, fold: hold out fold number `fold` (from 0) of `folds` stratified ones; 0 folds for none.
        patients: a table of cases and their patients, see `eenet_train.data.patients`; empty for their names alone.
        split: a table that says which cases are held out, see `eenet_train.data.split_file`; empty to draw them.
        validate_every: epochs between two validations.
        encoder_weights: first weights of the 2D encoder: "none", "imagenet", or a file.
        initial_weights: first weights of the whole network: empty, or a run folder, a bundle or a checkpoint.
        partial_weights: take those that fit, where not all do, instead of refusing.
        data: the folder of the cases, as the user gave it.
        skip_bad: train without the cases that cannot be used, instead of refusing to.
        pose: which way the heads of the cases lie; the model's bundle says it to those who turn raw heads.
        healthy_cases: train on cases whose label holds no tumour, too, instead of refusing them as files gone wrong.

    Raises:
        TrainingError: numbers that make no training.
        GeometryError: a crop in which the network cannot be built.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    preset: GeometryPreset
    recipe: Recipe = field(default_factory=lambda: EENET)
    steps: int = 600
    steps_per_epoch: int = 25
    crop: tuple[int, int] | None = None
    accumulate: int = 1
    devices: int = 1
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    deterministic: bool = False
    seed: int = 0
    validation_cases: int = 4
    folds: int = 0
    fold: int = 0
    patients: str = ""
    split: str = ""
    validate_every: int = 4
    encoder_weights: str = "none"
    initial_weights: str = ""
    partial_weights: bool = False
    data: str = ""
    skip_bad: bool = False
    pose: Pose = Pose.NATIVE
    healthy_cases: bool = False

    def __post_init__(self) -> None:
        self._require_counts()
        if self.recipe.schedule.warmup_steps >= self.steps:
            warmup = self.recipe.schedule.warmup_steps
            raise TrainingError(f"{warmup} warm-up steps found, expected fewer than the {self.steps} steps")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise TrainingError(f"seed {self.seed} found, expected a number from 0 to {LARGEST_SEED}")
        if self.folds == 1 or self.folds < 0 or not 0 <= self.fold < max(self.folds, 1):
            raise TrainingError(f"fold {self.fold} of {self.folds} found, expected 2 or more folds, counted from 0")
        if self.initial_weights and self.encoder_weights != "none":
            raise TrainingError(
                f"weights of the whole network ({self.initial_weights}) and of its encoder ({self.encoder_weights}) "
                "found; the first hold the second, give one of them"
            )
        if any(size > limit for size, limit in zip(self.crop_size, self.preset.shape, strict=False)):
            raise TrainingError(f"crop {self.crop_size} found, expected at most {self.preset.shape[:2]} (H, W)")
        _ = self.crop_preset

    def _require_counts(self) -> None:
        counts = {
            f"{self.steps} steps": self.steps,
            f"epochs of {self.steps_per_epoch} steps": self.steps_per_epoch,
            f"a validation every {self.validate_every} epochs": self.validate_every,
            f"gradients of {self.accumulate} samples averaged": self.accumulate,
            f"{self.devices} devices": self.devices,
        }
        for found, count in counts.items():
            if count < 1:
                raise TrainingError(f"{found} found, expected 1 or more")
        if self.steps % self.steps_per_epoch:
            raise TrainingError(
                f"{self.steps} steps found, expected a multiple of the {self.steps_per_epoch} steps of an epoch"
            )
        if self.accumulate > 1 and self.devices > 1:
            # Keras 3.15 applies averaged gradients inside a condition, where devices cannot exchange theirs.
            raise TrainingError(
                f"gradients of {self.accumulate} samples averaged and {self.devices} devices found; devices average "
                "theirs already, give one of the two"
            )
        if self.precision == "mixed_float16" and self.devices > 1:
            # Keras 3.15 looks for overflow on the first device only: another's would spoil all weights.
            raise TrainingError(
                f"mixed_float16 on {self.devices} devices found, expected mixed_bfloat16 or float32 on several devices"
            )
        together = self.accumulate * self.devices
        if self.steps_per_epoch % together:
            raise TrainingError(
                f"epochs of {self.steps_per_epoch} steps found, expected a multiple of {together}: that many samples "
                "make one step of the weights"
            )

    @property
    def crop_size(self) -> tuple[int, int]:
        """H and W of what a step reads."""
        return self.crop or self.preset.shape[:2]

    @property
    def crop_preset(self) -> GeometryPreset:
        """Geometry of the network that is trained: the preset's, but for H and W."""
        shape = (*self.crop_size, self.preset.shape[2])
        return dataclasses.replace(self.preset, name=f"{self.preset.name}-crop", shape=shape)

    @property
    def epochs(self) -> int:
        """Epochs in all."""
        return self.steps // self.steps_per_epoch

    @property
    def batches_per_epoch(self) -> int:
        """Calls of the network in an epoch: each device takes one sample."""
        return self.steps_per_epoch // self.devices

    def to_yaml(self) -> str:
        """The settings as text, nothing left out."""
        plain = _SETTINGS.dump_python(self, mode="json")
        return _HEADER + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)

    @classmethod
    def from_yaml(cls, text: str, source: str) -> FitSettings:
        """Read settings.

        Args:
            text: what `to_yaml` wrote; settings that are left out take their defaults.
            source: name of the file, for messages.

        Raises:
            TrainingError: no YAML, an unknown setting, or a value of the wrong kind.
            GeometryError: a geometry in which the network cannot be built.
        """
        try:
            return _SETTINGS.validate_python(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise TrainingError(f"{source}: not YAML ({' '.join(str(error).split())})") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise TrainingError(f"{source}: {where}: {first['msg']}, found {_short(first['input'])}") from error


def read_settings(path: Path) -> FitSettings:
    """Read a YAML file of settings.

    Raises:
        TrainingError: it cannot be read, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text file"
        raise TrainingError(f"{path}: cannot be read ({reason}); expected the settings of a training") from error
    return FitSettings.from_yaml(text, str(path))


def difference(before: FitSettings, now: FitSettings) -> str:
    """The first setting in which two trainings differ, as "name = before, now other"; empty if they are the same."""
    old, new = _flat(dataclasses.asdict(before)), _flat(dataclasses.asdict(now))
    for name, value in old.items():
        if new[name] != value:
            return f"{name} = {value}, now {new[name]}"
    return ""


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_SETTINGS: Final = TypeAdapter(FitSettings)
