"""Dice by region: the one figure that the demo, the training and the parity gate all need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.boxes import bounding_box, is_empty, union
from eenet_runtime.volumes.labels import Region


def dice(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice overlap of two masks of one shape, 2 |A and B| / (|A| + |B|); two empty masks agree fully (BraTS)."""
    total = int(np.count_nonzero(prediction)) + int(np.count_nonzero(truth))
    if total == 0:
        return 1.0
    return 2.0 * int(np.count_nonzero(prediction & truth)) / total


def dice_by_region(prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> dict[Region, float]:
    """Dice of ET, TC and WT between two arrays of network classes, of one shape; fast for 3D volumes."""
    if prediction.ndim != 3:
        prediction, truth = prediction.reshape(1, 1, -1), truth.reshape(1, 1, -1)
    # Where both are background nothing counts, and that is nearly everywhere.
    boxes = [box for box in (bounding_box(prediction), bounding_box(truth)) if not is_empty(box)]
    if not boxes:
        return dict.fromkeys(Region, 1.0)
    box = union(boxes)
    return {region: dice(region.mask(prediction[box]), region.mask(truth[box])) for region in Region}
