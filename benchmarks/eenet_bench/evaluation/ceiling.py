"""The ceiling: what a perfect network of a preset would write on the patient's grid.

A network whose voxels are larger than the file's cannot draw a rim thinner than they are. The ceiling tells this loss
from the network's own mistakes: it sends the true labels through the same placement and the same way back as a
prediction. It is what a network reaches that knows every voxel's share of each class, not a bound: other
probabilities could win a few voxels more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.preprocessing import CaseImages, prepare
from eenet_runtime.segmenter.postprocessing import restore
from eenet_runtime.volumes.dice import dice_by_region
from eenet_runtime.volumes.grid import to_network_axes
from eenet_runtime.volumes.labels import NUM_CLASSES, Region
from eenet_runtime.volumes.placement import Placement
from eenet_runtime.volumes.presets import GeometryPreset


def ceiling_dice(images: CaseImages, truth: NDArray[np.uint8], preset: GeometryPreset) -> dict[Region, float]:
    """Dice of `ceiling_labels` against the truth; 1 where the tumour lies in the box and nothing is resampled."""
    return dice_by_region(ceiling_labels(images, truth, preset), truth)


def ceiling_labels(images: CaseImages, truth: NDArray[np.uint8], preset: GeometryPreset) -> NDArray[np.uint8]:
    """The mask of a perfect network.

    Args:
        images: the case, which decides where the network's box lies.
        truth: uint8 network classes on the case's grid, in stored axis order.
        preset: the network's geometry.

    Returns:
        uint8 network classes on the same grid.

    Raises:
        CaseError: an image that cannot be normalised.
    """
    placement = prepare(images, preset).placement
    shares = class_shares(to_network_axes(truth, images.grid), placement)
    return restore(shares, placement, images.grid)


def class_shares(labels: NDArray[np.uint8], placement: Placement) -> NDArray[np.float32]:
    """Share of each class in each voxel of the network's grid.

    Args:
        labels: uint8 network classes on the source grid, network axes.

    Returns:
        float32 (H, W, D, classes) that add up to 1; outside the source everything is background.
    """
    shares = [placement.to_network((labels == label).astype(np.float32)) for label in range(1, NUM_CLASSES)]
    background = np.float32(1) - np.sum(shares, axis=0, dtype=np.float32)
    return np.stack([background, *shares], axis=-1)
