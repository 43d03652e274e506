"""The training loss: cross-entropy plus the soft Dice loss of the three regions that BraTS evaluates.

The paper names no loss (docs/network.md); this sum is the field's usual choice, see Isensee et al., "nnU-Net",
Nature Methods 18 (2021), doi 10.1038/s41592-020-01008-z. All functions return one value for each volume of the
batch, and take sums over one axis at a time: millions of FP32 numbers in one accumulator lose digits.

Focal loss and generalised Dice are there for recipes of one's own; `build_loss` finds a loss by its name.

The truth may be class numbers or, on a grid coarser than the labels' own, the share of each class in a voxel.

Predictions may be logits or probabilities. Training takes logits: a float32 softmax that is sure of the wrong class
gives the right one exactly 0, and -log of a probability that must be kept from 0 has no gradient there, so that such a
network would stay as it is for ever. From the logits z, log softmax(z) = z - log sum exp(z) is exact, and the gradient
of the cross-entropy by z is the difference of prediction and truth however sure the network is.
"""

from __future__ import annotations

from typing import Any, Final

import keras
from keras import ops

from eenet_runtime.volumes.labels import NUM_CLASSES, Region
from eenet_train.recipe.recipe import LossName

SMOOTHING_VOXELS: Final = 1.0
"""Added to both sides of the Dice fraction: an empty region that is predicted empty then has Dice 1, not 0/0."""
SMALLEST_PROBABILITY: Final = 1e-7
"""Where only probabilities are known they are raised to this before the logarithm; FP32 softmax can return 0."""


def _sum_over_volume(values: Any) -> Any:
    """Sum over depth, then width, then height: (B, H, W, D) -> (B,)."""
    for _ in range(3):
        values = ops.sum(values, axis=-1)
    return values


def _fractions(labels: Any, dtype: str) -> Any:
    """Truth as the share of each class, (B, H, W, D, 4): zeros and ones where class numbers are given."""
    if len(labels.shape) == 5:
        return ops.cast(labels, dtype)
    classes = ops.arange(NUM_CLASSES, dtype="int32")
    return ops.cast(ops.equal(ops.cast(labels, "int32")[..., None], classes), dtype)


def log_of_probabilities(probabilities: Any) -> Any:
    """Logarithms of probabilities, none below that of `SMALLEST_PROBABILITY`; where the logits are known, their
    log-softmax has no such limit.
    """
    return ops.log(ops.maximum(probabilities, SMALLEST_PROBABILITY))


def cross_entropy(labels: Any, log_probabilities: Any) -> Any:
    """Mean over the voxels of -log(probability of the true class), weighted by the classes' shares.

    Args:
        labels: (B, H, W, D), network class numbers (`Label`), any dtype; or (B, H, W, D, 4), share of each class.
        log_probabilities: (B, H, W, D, 4), log-softmax of the logits, or `log_of_probabilities`.

    Returns:
        (B,), in nats.
    """
    truth = _fractions(labels, log_probabilities.dtype)
    losses = -ops.sum(truth * log_probabilities, axis=-1)
    for _ in range(3):
        losses = ops.mean(losses, axis=-1)
    return losses


def soft_dice(labels: Any, probabilities: Any, region: Region) -> Any:
    """Soft Dice of one region, (2 sum(min(p, t)) + s) / (sum(p) + sum(t) + s), with s = `SMOOTHING_VOXELS`.

    p is the summed probability of the region's classes and t its truth. For t of 0 or 1 min(p, t) is the usual p t;
    for a share between them p t would be best served by p = 1, and only the minimum by p = t: Wang et al., "Dice
    Semimetric Losses", MICCAI 2023, doi 10.1007/978-3-031-43898-1_46 (there written with |p - t|). The form with
    plain (not squared) sums in the denominator: Drozdzal et al., DLMIA 2016, doi 10.1007/978-3-319-46976-8_19; the
    idea: Milletari et al., "V-Net", 3DV 2016, doi 10.1109/3DV.2016.79. With s the value is 1 where truth and
    prediction are both empty, and falls towards 0 with every voxel predicted in an empty region.

    Args:
        labels: as in `cross_entropy`.
        probabilities: (B, H, W, D, 4).
        region: which region.

    Returns:
        (B,), between 0 and 1.
    """
    members = [float(index in region.labels) for index in range(NUM_CLASSES)]
    belongs = ops.cast(ops.convert_to_tensor(members), probabilities.dtype)
    predicted = ops.sum(probabilities * belongs, axis=-1)
    truth = ops.sum(_fractions(labels, probabilities.dtype) * belongs, axis=-1)
    overlap = _sum_over_volume(ops.minimum(predicted, truth))
    sizes = _sum_over_volume(predicted) + _sum_over_volume(truth)
    return (2.0 * overlap + SMOOTHING_VOXELS) / (sizes + SMOOTHING_VOXELS)


def soft_dice_loss(labels: Any, probabilities: Any) -> Any:
    """1 - mean soft Dice of ET, TC and WT: (B,), between 0 and 1; arguments as in `soft_dice`."""
    dice = [soft_dice(labels, probabilities, region) for region in Region]
    return 1.0 - sum(dice) / len(dice)


def focal_loss(labels: Any, log_probabilities: Any, gamma: float = 2.0) -> Any:
    """Mean over the voxels of -(1 - p)^gamma log(p) for each class, weighted by the classes' shares.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, doi 10.1109/ICCV.2017.324, eq. 4, summed over the
    classes so that shares count as they do in `cross_entropy`; gamma 0 is the cross-entropy.

    Args:
        labels, log_probabilities: as in `cross_entropy`.
        gamma: how little voxels count that are already right.

    Returns:
        (B,), in nats.
    """
    truth = _fractions(labels, log_probabilities.dtype)
    unsure = ops.maximum(1.0 - ops.exp(log_probabilities), 0.0)
    losses = -ops.sum(truth * ops.power(unsure, gamma) * log_probabilities, axis=-1)
    for _ in range(3):
        losses = ops.mean(losses, axis=-1)
    return losses


def generalised_dice_loss(labels: Any, probabilities: Any) -> Any:
    """1 - 2 sum_l w_l sum(min(p, t)) / sum_l w_l sum(p + t) over the four classes, w_l = 1 / max(sum(t), 1)^2.

    Sudre et al., "Generalised Dice Overlap as a Deep Learning Loss Function for Highly Unbalanced Segmentations",
    DLMIA 2017, doi 10.1007/978-3-319-67558-9_28; min(p, t) for their p t as in `soft_dice`. A class that is absent has
    the weight of one voxel, where the paper's would be infinite.

    Args:
        labels, probabilities: as in `soft_dice`.

    Returns:
        (B,), between 0 and 1.
    """
    truth = _fractions(labels, probabilities.dtype)
    overlap, sizes = 0.0, 0.0
    for index in range(NUM_CLASSES):
        t, p = truth[..., index], probabilities[..., index]
        voxels = _sum_over_volume(t)
        weight = 1.0 / ops.square(ops.maximum(voxels, 1.0))
        overlap += weight * _sum_over_volume(ops.minimum(p, t))
        sizes += weight * (_sum_over_volume(p) + voxels)
    return 1.0 - 2.0 * overlap / sizes


def build_loss(name: LossName, *, from_logits: bool = False) -> keras.losses.Loss:
    """The loss of a recipe, for `model.compile`.

    Args:
        name: which.
        from_logits: whether predictions are logits, as those of a network that is trained must be.
    """
    return RegionLoss(loss=str(name), from_logits=from_logits, name=str(name))


@keras.saving.register_keras_serializable(package="eenet")
class RegionLoss(keras.losses.Loss):
    """A loss of this module for `model.compile`.

    y_true: (B, H, W, D) network class numbers, uint8 or any dtype that holds 0 to 3, or (B, H, W, D, 4) shares of
    the classes; y_pred: (B, H, W, D, 4) softmax or logits.

    Args:
        loss: a `LossName`.
        from_logits: whether y_pred are logits.
    """

    def __init__(
        self,
        loss: str = LossName.DICE_CROSS_ENTROPY,
        from_logits: bool = False,
        name: str = "region_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.loss = LossName(loss)
        self.from_logits = from_logits

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One value for each volume, (B,)."""
        logs = ops.log_softmax(y_pred, axis=-1) if self.from_logits else log_of_probabilities(y_pred)
        probabilities = ops.softmax(y_pred, axis=-1) if self.from_logits else y_pred
        if self.loss is LossName.DICE_FOCAL:
            return focal_loss(y_true, logs) + soft_dice_loss(y_true, probabilities)
        if self.loss is LossName.GENERALISED_DICE:
            return cross_entropy(y_true, logs) + generalised_dice_loss(y_true, probabilities)
        return cross_entropy(y_true, logs) + soft_dice_loss(y_true, probabilities)

    def get_config(self) -> dict[str, Any]:
        """What the constructor needs to make the same loss again."""
        return {**super().get_config(), "loss": str(self.loss), "from_logits": self.from_logits}
