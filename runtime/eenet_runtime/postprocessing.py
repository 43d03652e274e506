"""From class probabilities to a label volume on the patient's grid."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.bundle import PostprocessingSettings
from eenet_runtime.grid import Grid, from_network_axes
from eenet_runtime.labels import Label, Region
from eenet_runtime.placement import Placement, bounding_box

_CONNECTIVITY = 26
"""Voxels that touch by a face, an edge or a corner belong together (data.md, out of the network)."""


@dataclass(frozen=True)
class Cleaning:
    """What the post-processing did.

    Attributes:
        dropped_components: components of the whole tumour that were too small.
        dropped_ml: their volume together.
        enhancing_relabelled_ml: enhancing tumour that became NCR under the BraTS rule.
    """

    dropped_components: int
    dropped_ml: float
    enhancing_relabelled_ml: float


def restore(probabilities: NDArray[np.float32], placement: Placement, grid: Grid) -> NDArray[np.uint8]:
    """Network classes on the patient's grid, in stored axis order.

    Args:
        probabilities: float32 (H, W, D, classes) on the network's grid.
        placement: where that grid lies in the head.
        grid: the patient's grid.
    """
    return np.ascontiguousarray(from_network_axes(placement.labels_from_probabilities(probabilities), grid))


def restore_labels(labels: NDArray[np.uint8], placement: Placement, grid: Grid) -> NDArray[np.uint8]:
    """The same from the network's labels, where its voxels are as large as the patient's.

    Args:
        labels: uint8 network classes (H, W, D) on the network's grid.
        placement: where that grid lies in the head; it does not resample.
        grid: the patient's grid.
    """
    return np.ascontiguousarray(from_network_axes(placement.labels_from_network(labels), grid))


def clean(labels: NDArray[np.uint8], voxel_ml: float, settings: PostprocessingSettings) -> Cleaning:
    """Apply the switched-on steps, in place, and say what they did.

    Args:
        labels: uint8 network classes, any axis order. Changed in place.
        voxel_ml: volume of one voxel in millilitres.
        settings: thresholds; 0 switches a step off.
    """
    components, dropped = 0, 0
    if settings.min_tumour_ml > 0:
        components, dropped = _drop_small_components(labels, settings.min_tumour_ml / voxel_ml)
    relabelled = 0
    enhancing = labels == Label.ET
    count = int(np.count_nonzero(enhancing))
    if 0 < count < settings.min_enhancing_ml / voxel_ml:
        labels[enhancing] = Label.NCR
        relabelled = count
    return Cleaning(components, dropped * voxel_ml, relabelled * voxel_ml)


def count_components(labels: NDArray[np.uint8]) -> int:
    """Connected components of the whole tumour."""
    return len(_component_sizes(labels)[1])


def region_volumes_ml(labels: NDArray[np.uint8], voxel_ml: float) -> dict[Region, float]:
    """Volume of each region in millilitres."""
    counts = np.bincount(labels.ravel(), minlength=len(Label))
    return {region: float(sum(counts[label] for label in region.labels)) * voxel_ml for region in Region}


def _drop_small_components(labels: NDArray[np.uint8], min_voxels: float) -> tuple[int, int]:
    """Set components of fewer voxels to background; returns how many there were and their voxels."""
    (components, box), sizes = _component_sizes(labels)
    small = np.flatnonzero(sizes < min_voxels) + 1
    if small.size == 0:
        return 0, 0
    labels[box][np.isin(components, small)] = Label.BACKGROUND
    return int(small.size), int(sizes[small - 1].sum())


def _component_sizes(
    labels: NDArray[np.uint8],
) -> tuple[tuple[NDArray[np.uint32], tuple[slice, slice, slice]], NDArray[np.intp]]:
    """Numbered components inside the tumour's bounding box, the box, and the voxels of each component."""
    tumour = Region.WT.mask(labels)
    if not tumour.any():
        empty = (slice(0, 0), slice(0, 0), slice(0, 0))
        return (np.zeros((0, 0, 0), np.uint32), empty), np.zeros(0, np.intp)
    box = bounding_box(tumour)
    components = cc3d.connected_components(np.ascontiguousarray(tumour[box]), connectivity=_CONNECTIVITY)
    return (components, box), np.bincount(components.ravel())[1:]
