"""From class probabilities to a label volume on the patient's grid."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.bundle.manifest import PostprocessingSettings
from eenet_runtime.volumes.boxes import bounding_box, in_memory_order
from eenet_runtime.volumes.components import components
from eenet_runtime.volumes.grid import Grid, to_network_axes
from eenet_runtime.volumes.labels import Label, Region
from eenet_runtime.volumes.placement import Placement


@dataclass(frozen=True)
class Cleaning:
    """What the post-processing did.

    Attributes:
        dropped_components: components of the whole tumour that were too small.
        dropped_ml: their volume together.
        enhancing_relabelled_ml: enhancing tumour that became NCR under the BraTS rule.
        outside_head_ml: tumour that lay where all images are 0, and became background.
    """

    dropped_components: int
    dropped_ml: float
    enhancing_relabelled_ml: float
    outside_head_ml: float = 0.0


@dataclass(frozen=True)
class CleanedTumour:
    """What is left after the post-processing.

    Attributes:
        cleaning: what it did.
        volumes_ml: volume of each region.
        components: connected components of the whole tumour.
    """

    cleaning: Cleaning
    volumes_ml: dict[Region, float]
    components: int


def restore(probabilities: NDArray[np.float32], placement: Placement, grid: Grid) -> NDArray[np.uint8]:
    """Network classes on the patient's grid, in stored axis order, and lying in memory as a NIfTI file does.

    Args:
        probabilities: float32 (H, W, D, classes) on the network's grid.
        placement: where that grid lies in the head.
        grid: the patient's grid.
    """
    labels = _background(grid)
    placement.labels_from_probabilities(probabilities, out=to_network_axes(labels, grid))
    return labels


def restore_labels(labels: NDArray[np.uint8], placement: Placement, grid: Grid) -> NDArray[np.uint8]:
    """The same from the network's labels, where its voxels are as large as the patient's.

    Args:
        labels: uint8 network classes (H, W, D) on the network's grid.
        placement: where that grid lies in the head; it does not resample.
        grid: the patient's grid.
    """
    stored = _background(grid)
    placement.labels_from_network(labels, out=to_network_axes(stored, grid))
    return stored


def clean(
    labels: NDArray[np.uint8],
    voxel_ml: float,
    settings: PostprocessingSettings,
    images: Collection[NDArray[np.generic]] = (),
) -> CleanedTumour:
    """Apply the switched-on steps, in place, and measure what is left: one look at the tumour's bounding box.

    Args:
        labels: uint8 network classes, any axis order. Changed in place.
        voxel_ml: volume of one voxel in millilitres.
        settings: thresholds; 0 switches a step off.
        images: the case's images, of the labels' shape and axis order, by which the head is known; without any the
            head is not asked for.
    """
    tumour = bounding_box(labels)
    outside = 0
    if settings.head_only and images:
        outside = _clear_outside_head(labels[tumour], [image[tumour] for image in images])
    # As `components` likes it, the first axis fastest. Voxels that touch by a corner belong together (docs/data.md).
    box = in_memory_order(labels[tumour]).T
    numbered, sizes = components(box != Label.BACKGROUND)
    too_small = sizes < settings.min_tumour_ml / voxel_ml
    if too_small.any():
        box[np.concatenate(([False], too_small))[numbered]] = Label.BACKGROUND
    counts = {label: int(np.count_nonzero(box == label)) for label in Region.WT.labels}
    relabelled = 0
    if 0 < counts[Label.ET] < settings.min_enhancing_ml / voxel_ml:
        relabelled = counts[Label.ET]
        box[box == Label.ET] = Label.NCR
        counts[Label.NCR], counts[Label.ET] = counts[Label.NCR] + relabelled, 0
    dropped = int(np.count_nonzero(too_small))
    dropped_ml = int(sizes[too_small].sum()) * voxel_ml
    cleaning = Cleaning(dropped, dropped_ml, relabelled * voxel_ml, outside * voxel_ml)
    volumes = {region: sum(counts[label] for label in region.labels) * voxel_ml for region in Region}
    return CleanedTumour(cleaning, volumes, sizes.size - dropped)


def _clear_outside_head(labels: NDArray[np.uint8], images: Collection[NDArray[np.generic]]) -> int:
    """Make background of the tumour's voxels in which all images are 0, and count them."""
    outside = labels != Label.BACKGROUND
    for image in images:
        outside &= image == 0
        # After the first image nothing is left of most tumours.
        if not outside.any():
            return 0
    labels[outside] = Label.BACKGROUND
    return int(np.count_nonzero(outside))


def _background(grid: Grid) -> NDArray[np.uint8]:
    """An empty mask as a NIfTI file holds it: the first axis fastest."""
    return np.zeros(grid.shape, dtype=np.uint8, order="F")
