"""Recipes: how a network is trained, apart from how long, on which geometry and from which data.

`paper` is what the paper says and nothing more (docs/network.md, last section). `eenet` is ours;
docs/decisions/0012-recipe.md tells what was measured.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, fields
from typing import Final, Literal

from eenet_runtime.errors import TrainingError


class LossName(enum.StrEnum):
    """Training losses, see `eenet_train.recipe.losses`."""

    DICE_CROSS_ENTROPY = "dice_cross_entropy"
    DICE_FOCAL = "dice_focal"
    GENERALISED_DICE = "generalised_dice"


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training sample; 0 turns each off. Intensities are z-scored, so 1 is a standard deviation.

    Attributes:
        flip: chance of a flip left to right.
        rotation_degrees: largest rotation about each axis.
        zoom: largest relative change of size.
        affine_chance: chance of a rotation and zoom.
        scale, shift: each modality is multiplied by up to 1 +- scale and moved by up to +- shift.
        gamma, gamma_chance: largest change of the logarithm of the exponent, and the chance, for each modality.
        noise, noise_chance: largest standard deviation of Gaussian noise, and the chance, for each modality.
        blur_voxels, blur_chance: largest standard deviation of a Gaussian blur, and the chance, for each modality.
        bias, bias_chance: largest logarithm of a smooth shading, and the chance, for each modality.
        drop_modality: chance that one modality is blanked.
    """

    flip: float = 0.0
    rotation_degrees: float = 0.0
    zoom: float = 0.0
    affine_chance: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    gamma: float = 0.0
    gamma_chance: float = 0.0
    noise: float = 0.0
    noise_chance: float = 0.0
    blur_voxels: float = 0.0
    blur_chance: float = 0.0
    bias: float = 0.0
    bias_chance: float = 0.0
    drop_modality: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            chance = item.name.endswith("chance") or item.name in ("flip", "drop_modality")
            if not (math.isfinite(value) and value >= 0 and (value <= 1 or not chance)):
                raise TrainingError(
                    f"augmentation: {item.name} {value} found, expected {'0 to 1' if chance else '>= 0'}"
                )
        if self.zoom >= 1 or self.scale >= 1:
            raise TrainingError(f"augmentation: zoom {self.zoom} and scale {self.scale} found, expected less than 1")


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the training.

    Attributes:
        kind: "cosine" falls to 0 at the last step; "plateau" is divided by `divide_by` whenever the training loss has
            not been lower for `patience_epochs`.
        learning_rate: the highest.
        warmup_steps: linear rise at the start, for "cosine".
        patience_epochs, divide_by: for "plateau".
    """

    kind: Literal["cosine", "plateau"] = "cosine"
    learning_rate: float = 8e-4
    warmup_steps: int = 0
    patience_epochs: int = 50
    divide_by: float = 10.0

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise TrainingError(f"learning rate {self.learning_rate} found, expected a positive number")
        if self.warmup_steps < 0 or (self.kind == "plateau" and self.warmup_steps):
            raise TrainingError(f"{self.warmup_steps} warm-up steps found, expected 0 or more, and none with a plateau")
        if self.patience_epochs < 1 or not (self.divide_by > 1 and math.isfinite(self.divide_by)):
            raise TrainingError(
                f"plateau of {self.patience_epochs} epochs and division by {self.divide_by} found, expected at least "
                "one epoch and a number above 1"
            )


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the optimizer is Nadam (Dozat, ICLR workshop 2016), as in the paper.

    Attributes:
        name: "paper", "eenet", or either with changes.
        schedule: the learning rate.
        loss: what is minimised.
        augmentation: random changes of the samples.
        gradient_norm: longer gradients (all weights together) are shortened to this; 0 leaves them.
        ema_momentum: share of the old average in a running average of the weights, which is what is validated and
            exported; 0 keeps no average. It moves with every call of the network, also where gradients of several
            calls are averaged first.
        dropout: share of the network's own dropout rates (0.2 in 3D, 0.5 in 2D) that the training uses.
        batch_norm_momentum: share of the old statistics in the batch norms' running statistics, which inference
            uses; None keeps EfficientNet's 0.99, too slow for a training of a few hundred steps.
        frozen_batch_norms: leave the batch norms as they are, statistics and weights, and train with what inference
            uses; for the last part of a training, when the statistics of single volumes spread too far.
    """

    name: str
    schedule: Schedule = field(default_factory=Schedule)
    loss: LossName = LossName.DICE_CROSS_ENTROPY
    augmentation: Augmentation = field(default_factory=Augmentation)
    gradient_norm: float = 0.0
    ema_momentum: float = 0.0
    dropout: float = 1.0
    batch_norm_momentum: float | None = None
    frozen_batch_norms: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.ema_momentum < 1:
            raise TrainingError(f"momentum {self.ema_momentum} of the weights' average found, expected 0 to below 1")
        if not 0 <= self.dropout <= 1:
            raise TrainingError(f"share {self.dropout} of the dropout rates found, expected 0 to 1")
        if self.batch_norm_momentum is not None and not 0 <= self.batch_norm_momentum < 1:
            raise TrainingError(f"batch norm momentum {self.batch_norm_momentum} found, expected 0 to below 1")
        if not (self.gradient_norm >= 0 and math.isfinite(self.gradient_norm)):
            raise TrainingError(f"gradient norm {self.gradient_norm} found, expected 0 or more")


PAPER: Final = Recipe("paper", Schedule("plateau", learning_rate=1e-4, patience_epochs=50, divide_by=10.0))
"""Nadam, 1e-4 divided by 10 after 50 epochs without improvement, no augmentation. The paper names no loss: this is the
field's usual one."""

EENET: Final = Recipe(
    "eenet",
    Schedule("cosine", learning_rate=8e-4, warmup_steps=25),
    augmentation=Augmentation(
        flip=0.5,
        rotation_degrees=7.0,
        zoom=0.1,
        affine_chance=0.2,
        scale=0.1,
        shift=0.1,
        gamma=0.2,
        gamma_chance=0.15,
        noise=0.1,
        noise_chance=0.15,
        blur_voxels=0.7,
        blur_chance=0.1,
        bias=0.15,
        bias_chance=0.15,
        drop_modality=0.02,
    ),
    # With one volume for a batch, single steps are wild.
    gradient_norm=1.0,
    ema_momentum=0.97,
    # A short training underfits: its errors on the cases that it learns from are those on cases that it does not know.
    dropout=0.0,
    batch_norm_momentum=0.95,
)
"""Ours: augmentation, clipped gradients, averaged weights and quick batch norms."""

RECIPES: Final = {recipe.name: recipe for recipe in (PAPER, EENET)}


def recipe_by_name(name: str) -> Recipe:
    """Look up a recipe.

    Raises:
        TrainingError: unknown; the message lists the known ones.
    """
    try:
        return RECIPES[name]
    except KeyError:
        raise TrainingError(f"unknown recipe {name!r}; known: {', '.join(RECIPES)}") from None
