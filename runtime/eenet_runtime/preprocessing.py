"""From the files of a case to the network's input: the one road that training and inference both take."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.case_files import CaseFiles
from eenet_runtime.errors import CaseError
from eenet_runtime.grid import Grid, network_spacing_mm, to_network_axes, to_stored_order
from eenet_runtime.labels import CHANNEL_ORDER, Modality
from eenet_runtime.nifti import Volume, read_volume
from eenet_runtime.normalization import zscore_nonzero
from eenet_runtime.placement import Placement, bounding_box, place_box
from eenet_runtime.presets import GeometryPreset


@dataclass(frozen=True)
class CaseImages:
    """The four images of a case, read and checked, on their common grid.

    Attributes:
        case_id: the case's name.
        volumes: one 3D volume for each modality, all on the T1's grid and in its stored axis order; their headers are
            those of their files.
    """

    case_id: str
    volumes: dict[Modality, Volume]

    @property
    def reference(self) -> Volume:
        """The T1 volume, on whose grid the mask is written."""
        return self.volumes[Modality.T1]

    @property
    def grid(self) -> Grid:
        """The common grid."""
        return self.reference.grid


@dataclass(frozen=True)
class NetworkInput:
    """What the network reads, and how to come back from it.

    Attributes:
        volume: float32 (H, W, D, 4), z-scored, channels in `CHANNEL_ORDER`.
        placement: where it lies in the head.
        head_voxels_outside: voxels of the head that the network does not see.
        warnings: what a reader of the result should know.
    """

    volume: NDArray[np.float32]
    placement: Placement
    head_voxels_outside: int
    warnings: tuple[str, ...]


def read_case(files: CaseFiles) -> CaseImages:
    """Read the four images and check that they belong together.

    An image that is stored along other axes than the T1, but with its voxels at the same places, is turned to match.

    Raises:
        CaseError: a file is unreadable, a 4D file has the wrong number of channels, or the grids differ.
    """
    volumes: dict[Modality, Volume] = {}
    stacked: dict[str, Volume] = {}
    for modality in CHANNEL_ORDER:
        source = files.images[modality]
        if source.channel is None:
            volume = read_volume(source.path)
            if volume.data.ndim != 3:
                raise CaseError(
                    f"{source.path}: {volume.data.shape[3]} channels found, expected one 3D image of {modality.value}"
                )
        else:
            key = str(source.path)
            if key not in stacked:
                stacked[key] = _read_stacked(files, key)
            volume = _channel(stacked[key], source.channel)
        volumes[modality] = volume
    reference = volumes[Modality.T1].grid
    for modality, volume in volumes.items():
        turned = _turned_like(volume, reference)
        if not turned.grid.matches(reference):
            raise CaseError(
                f"{volume.source}: {modality.value} lies on another grid ({volume.grid.describe()}) "
                f"than t1 ({reference.describe()}); register and resample the four images first"
            )
        volumes[modality] = turned
    return CaseImages(files.case_id, volumes)


def prepare(images: CaseImages, preset: GeometryPreset) -> NetworkInput:
    """Turn, normalise, crop or pad, and where voxel sizes differ resample (data.md, into the network).

    Raises:
        CaseError: an image that cannot be normalised.
    """
    turned: list[NDArray[np.float32]] = []
    head: NDArray[np.bool_] | None = None
    for modality in CHANNEL_ORDER:
        volume = images.volumes[modality]
        normalised = to_network_axes(zscore_nonzero(volume.data, volume.source), images.grid)
        turned.append(normalised)
        visible = to_network_axes(volume.data, images.grid) != 0
        head = visible if head is None else np.logical_or(head, visible, out=head)
    assert head is not None
    placement = place_box(bounding_box(head), head.shape, network_spacing_mm(images.grid), preset)
    stack = np.empty((*preset.shape, len(turned)), dtype=np.float32)
    for channel, image in enumerate(turned):
        stack[..., channel] = placement.to_network(image)
    outside = int(np.count_nonzero(head)) - int(np.count_nonzero(head[placement.covered]))
    return NetworkInput(stack, placement, outside, _warnings(images, placement, outside, preset))


def read_label(files: CaseFiles, images: CaseImages) -> NDArray[np.uint8]:
    """Read a case's label volume as network classes, in the stored axis order of the T1.

    Raises:
        CaseError: no label, another grid than the images, or values that the scheme does not know.
    """
    if files.label is None:
        raise CaseError(f"{images.reference.source}: the case {files.case_id} has no label file")
    volume = read_volume(files.label)
    turned = _turned_like(volume, images.grid)
    if volume.data.ndim != 3 or not turned.grid.matches(images.grid):
        raise CaseError(
            f"{files.label}: the label lies on another grid ({volume.grid.describe()}) "
            f"than t1 ({images.grid.describe()})"
        )
    return files.scheme.from_file(turned.data, str(files.label))


def _read_stacked(files: CaseFiles, path: str) -> Volume:
    """A 4D file, checked to hold exactly the channels that the case takes from it."""
    channels = [source.channel for source in files.images.values() if str(source.path) == path]
    volume = read_volume(next(source.path for source in files.images.values() if str(source.path) == path))
    found = volume.data.shape[3] if volume.data.ndim == 4 else 1
    if found != len(channels):
        raise CaseError(f"{path}: {found} channel{'s' * (found != 1)} found, expected a 4D file of {len(channels)}")
    return volume


def _channel(stacked: Volume, channel: int) -> Volume:
    source = f"{stacked.source} (channel {channel})"
    return Volume(source, stacked.data[..., channel], stacked.grid, stacked.header)


def _turned_like(volume: Volume, grid: Grid) -> Volume:
    data, turned = to_stored_order(volume.data, volume.grid, grid)
    return replace(volume, data=data, grid=turned)


def _warnings(images: CaseImages, placement: Placement, outside: int, preset: GeometryPreset) -> tuple[str, ...]:
    warnings = []
    if outside:
        warnings.append(f"{outside} head voxels lie outside the network's box and are background in the mask")
    if placement.resamples:
        spacing = " x ".join(f"{size:.4g}" for size in images.grid.spacing_mm)
        warnings.append(f"resampled from {spacing} mm to the network's {preset.spacing_mm:g} mm and back")
    header = images.reference.header
    if int(header["qform_code"]) == 0 and int(header["sform_code"]) == 0:
        warnings.append("the T1 header gives no orientation (qform and sform code 0); NIfTI's default was taken")
    return tuple(warnings)
