"""A case outside the network as most scripts do it: nibabel, float64, SciPy, one thread. We are measured against it.

Each step is the one that performance.md's section on everything outside the model times as naive: `get_fdata`, z-scores
in float64, `stack` and crop, `argmax` of channels-last probabilities, `label` for each region, a mask saved by nibabel
as NumPy gives it.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from eenet_runtime.bundle.manifest import PostprocessingSettings
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.volumes.grid import Grid, from_network_axes, to_network_axes
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Label, LabelScheme, Region
from eenet_runtime.volumes.placement import Placement

_ALL_NEIGHBOURS = np.ones((3, 3, 3))


def read(files: CaseFiles) -> list[NDArray[np.float64]]:
    """The four images in channel order, float64, by `get_fdata`."""
    images = []
    for modality in CHANNEL_ORDER:
        source = files.images[modality]
        image = nib.load(source.path).get_fdata()
        images.append(image if source.channel is None else image[..., source.channel])
    return images


def prepare(images: list[NDArray[np.float64]], placement: Placement, grid: Grid) -> NDArray[np.float32]:
    """The network's input, float32 (H, W, D, 4): z-scores in float64, stacked, cropped or resampled, cast."""
    normalised = []
    for image in images:
        head = image != 0
        result = (image - image[head].mean()) / image[head].std()
        result[~head] = 0
        normalised.append(to_network_axes(result, grid))
    if placement.resamples:
        return np.stack([_resampled(image, placement) for image in normalised], axis=-1).astype(np.float32)
    stack = np.stack(normalised, axis=-1)
    volume = np.zeros((*(axis.network_size for axis in placement.axes), len(images)), dtype=np.float32)
    volume[_inner(placement)] = stack[placement.covered]
    return volume


def restore(probabilities: NDArray[np.float32], placement: Placement, grid: Grid) -> NDArray[np.uint8]:
    """The mask in stored axis order, from probabilities (H, W, D, classes)."""
    labels = np.zeros(tuple(axis.source_size for axis in placement.axes), dtype=np.uint8)
    if placement.resamples:
        full = np.stack([_back(probabilities[..., label], placement) for label in Label], axis=-1)
        labels[placement.covered] = full.argmax(axis=-1)
    else:
        labels[placement.covered] = probabilities.argmax(axis=-1)[_inner(placement)]
    return np.ascontiguousarray(from_network_axes(labels, grid))


def clean(
    labels: NDArray[np.uint8], voxel_ml: float, settings: PostprocessingSettings
) -> dict[Region, tuple[float, int]]:
    """Drop small tumours and count: volume in ml and components of each region, by `scipy.ndimage.label`."""
    numbered, count = ndimage.label(labels > 0, structure=_ALL_NEIGHBOURS)
    sizes = np.bincount(numbered.ravel())[1:]
    small = [number for number in range(1, count + 1) if sizes[number - 1] < settings.min_tumour_ml / voxel_ml]
    labels[np.isin(numbered, small)] = Label.BACKGROUND
    enhancing = labels == Label.ET
    if 0 < enhancing.sum() < settings.min_enhancing_ml / voxel_ml:
        labels[enhancing] = Label.NCR
    found = {}
    for region in Region:
        mask = np.isin(labels, region.labels)
        _, components = ndimage.label(mask, structure=_ALL_NEIGHBOURS)
        found[region] = (float(mask.sum() * voxel_ml), int(components))
    return found


def write(path: Path, labels: NDArray[np.uint8], scheme: LabelScheme, reference: Path) -> None:
    """Save the mask with the affine of the T1, in NumPy's own type: float64."""
    values = np.array(scheme.file_values, dtype=np.float64)[labels]
    nib.save(nib.Nifti1Image(values, nib.load(reference).affine), path)


def _inner(placement: Placement) -> tuple[slice, slice, slice]:
    """The part of the network's box that lies on the source."""
    rows, columns, levels = (
        slice(part.start - int(axis.offset), part.stop - int(axis.offset))
        for part, axis in zip(placement.covered, placement.axes, strict=True)
    )
    return rows, columns, levels


def _resampled(image: NDArray[np.float64], placement: Placement) -> NDArray[np.float64]:
    axes = placement.axes
    shape = tuple(axis.network_size for axis in axes)
    scales, offsets = [axis.scale for axis in axes], [axis.offset for axis in axes]
    resampled = ndimage.affine_transform(image, scales, offsets, shape, order=1, mode="grid-constant")
    return np.asarray(resampled)


def _back(probabilities: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    axes, covered = placement.axes, placement.covered
    scales = [1 / axis.scale for axis in axes]
    offsets = [(part.start - axis.offset) / axis.scale for part, axis in zip(covered, axes, strict=True)]
    shape = tuple(part.stop - part.start for part in covered)
    return np.asarray(ndimage.affine_transform(probabilities, scales, offsets, shape, order=1, mode="nearest"))
