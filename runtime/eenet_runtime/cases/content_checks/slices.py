"""A slice that is brighter or darker than its neighbours: an acquisition that failed for a moment.

Tissue changes slowly from slice to slice, so the mean of what two neighbouring slices both show hardly does. One slice
of a head holds a hundredth of it: at a few deviations it is in no tail, and moves a mask more than any spike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.content_checks.finding import Finding, Severity
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.files.nifti import Volume
from eenet_runtime.volumes.labels import Modality
from eenet_runtime.volumes.normalization import Intensities

STEP_MM: Final = 8.0
"""Distance of the voxels within a slice that are looked at; of the slices none is left out."""
ENOUGH_VOXELS: Final = 60
"""Voxels that two slices both show, at least: 38 square centimetres at 8 mm. At the head's ends slices do differ."""
JUMP: Final = 1.2
"""Deviations of the image by which the means of two slices 1 mm apart may differ; thicker ones by as much more."""

_AXES: Final = ("first", "second", "third")


def find_uneven_slices(images: CaseImages, measured: Mapping[Modality, Intensities]) -> list[Finding]:
    """Images with a jump from one slice to the next, along any of their axes.

    Args:
        images: the case.
        measured: what all voxels of an image say; one without an entry is passed over.
    """
    findings = []
    for modality, volume in images.volumes.items():
        if modality in measured:
            finding = _finding(modality, volume, measured[modality])
            findings += [finding] if finding else []
    return findings


def jumps(volume: Volume, axis: int, box: tuple[slice, slice, slice]) -> NDArray[np.float64]:
    """By how much the mean of each slice along a stored axis is above the one before it, float64 (slices - 1,).

    Only voxels that both slices show count; 0 where these are too few.
    """
    steps = [max(1, round(STEP_MM / spacing)) for spacing in volume.grid.spacing_mm]
    steps[axis] = 1
    thin = tuple(
        slice(part.start + min(step, part.stop - part.start) // 2, part.stop, step)
        for part, step in zip(box, steps, strict=True)
    )
    data: NDArray[Any] = volume.data
    turned = np.moveaxis(data[thin], axis, 0)
    slices = np.ascontiguousarray(turned, dtype=np.float64).reshape(len(turned), -1)
    shown = slices != 0
    both = shown[1:] & shown[:-1]
    count = both @ np.ones(both.shape[1], dtype=np.float32)  # exact: far fewer than 2**24
    change = np.where(both, slices[1:] - slices[:-1], 0).sum(axis=1) / np.maximum(count, 1)
    return np.where(count >= ENOUGH_VOXELS, change, 0.0)


def _finding(modality: Modality, volume: Volume, intensities: Intensities) -> Finding | None:
    for axis, spacing in enumerate(volume.grid.spacing_mm):
        change = jumps(volume, axis, intensities.box) / intensities.deviation
        if change.size == 0:
            continue
        at = int(np.argmax(np.abs(change)))
        if abs(change[at]) > JUMP * max(1.0, spacing):
            number = intensities.box[axis].start + at + 1
            side = "above" if change[at] > 0 else "below"
            message = (
                f"{volume.source} ({modality.value}): slice {number} (from 0) along the {_AXES[axis]} stored axis lies "
                f"{abs(change[at]):.1f} deviations {side} the slice before it, expected at most "
                f"{JUMP * max(1.0, spacing):.3g}; is it a bad slice?"
            )
            return Finding("uneven-slices", Severity.SUSPECTED, message)
    return None
