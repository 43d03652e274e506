"""From the files of a case to the network's input: the one road that training and inference both take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.case_files import CaseFiles, ImageSource
from eenet_runtime.codes import Reason
from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import Volume, read_volume
from eenet_runtime.files.orientation_forms import qform_grid
from eenet_runtime.machine.parallel import map_in_threads
from eenet_runtime.volumes.boxes import Box, difference, intersection, shape_of, union
from eenet_runtime.volumes.grid import (
    Grid,
    box_to_network_axes,
    millimetres,
    network_spacing_mm,
    to_network_axes,
    to_stored_order,
)
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality
from eenet_runtime.volumes.normalization import Intensities, measure_intensities
from eenet_runtime.volumes.placement import Placement, place_box
from eenet_runtime.volumes.presets import GeometryPreset


@dataclass(frozen=True)
class CaseImages:
    """The four images of a case, read and checked, on their common grid.

    Attributes:
        case_id: the case's name.
        volumes: one 3D volume for each modality, all on the T1's grid and in its stored axis order; their headers are
            those of their files. One is missing only in the degraded mode (see `missing_modality`).
    """

    case_id: str
    volumes: dict[Modality, Volume]

    @property
    def missing(self) -> tuple[Modality, ...]:
        """The modalities that are not there, in channel order."""
        return tuple(modality for modality in CHANNEL_ORDER if modality not in self.volumes)

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
        volume: float32 (H, W, D, 4), z-scored, channels in `CHANNEL_ORDER`. In memory the channels come first,
            as engines read them.
        placement: where it lies in the head.
        head_voxels_outside: voxels of the head that the network does not see.
        warnings: what a reader of the result should know.
    """

    volume: NDArray[np.float32]
    placement: Placement
    head_voxels_outside: int
    warnings: tuple[Reason, ...]


def read_case(files: CaseFiles, threads: int | None = None) -> CaseImages:
    """Read the four images and check that they belong together.

    An image that is stored along other axes than the T1, but with its voxels at the same places, is turned to match.

    Args:
        files: the case.
        threads: files at a time; by default as many as the process may use processors.

    Raises:
        CaseError: as `read_series`; or the grids differ.
    """
    return on_one_grid(files.case_id, read_series(files, threads))


def read_series(files: CaseFiles, threads: int | None = None) -> dict[Modality, Volume]:
    """Read the images of a case, each on the grid of its own; each file once and completely, several at a time.

    Args:
        files: the case.
        threads: files at a time; by default as many as the process may use processors.

    Returns:
        3D volumes in channel order.

    Raises:
        CaseError: a file is unreadable, or a 4D file has the wrong number of channels.
    """
    paths = list(dict.fromkeys(files.images[name].path for name in CHANNEL_ORDER if name in files.images))
    read = dict(zip(paths, map_in_threads(read_volume, paths, threads), strict=True))
    volumes: dict[Modality, Volume] = {}
    for modality in (name for name in CHANNEL_ORDER if name in files.images):
        source = files.images[modality]
        volume = read[source.path]
        if source.channel is not None:
            volume = _channel(files, volume, source)
        elif volume.data.ndim != 3:
            raise CaseError(
                f"{source.path}: {volume.data.shape[3]} channels found, expected one 3D image of {modality.value}",
                code="channel-count",
            )
        volumes[modality] = volume
    return volumes


def on_one_grid(case_id: str, volumes: Mapping[Modality, Volume]) -> CaseImages:
    """Put the images of a case together, each turned like the T1; see `read_case`.

    Raises:
        CaseError: the grids differ.
    """
    reference = volumes[Modality.T1].grid
    turned: dict[Modality, Volume] = {}
    for modality, volume in volumes.items():
        turned[modality] = _turned_like(volume, reference)
        if not turned[modality].grid.matches(reference):
            raise CaseError(
                f"{volume.source}: {modality.value} lies on another grid ({volume.grid.describe()}) "
                f"than t1 ({reference.describe()}): {turned[modality].grid.difference(reference)}"
                f"{_other_form(volume, volumes[Modality.T1])}; register and resample the four images first",
                code="grid-mismatch",
            )
    return CaseImages(case_id, turned)


def measure_images(images: CaseImages, threads: int | None = None) -> dict[Modality, Intensities]:
    """What there is to know of each image before the case can be checked and normalised.

    Args:
        images: the case. Not changed.
        threads: images at a time; by default as many as the process may use processors.

    Raises:
        CaseError: an image that cannot be normalised.
    """
    measured = map_in_threads(
        lambda volume: measure_intensities(volume.data, volume.source), list(images.volumes.values()), threads
    )
    return dict(zip(images.volumes, measured, strict=True))


def measure_what_can_be(images: CaseImages) -> tuple[dict[Modality, Intensities], tuple[str, ...]]:
    """As `measure_images`, but nothing is raised.

    Returns:
        What is known of the images that can be normalised, and why the others cannot be, in channel order.
    """
    measured: dict[Modality, Intensities] = {}
    refused = []
    for modality in (name for name in CHANNEL_ORDER if name in images.volumes):
        volume = images.volumes[modality]
        try:
            measured[modality] = measure_intensities(volume.data, volume.source)
        except CaseError as error:
            refused.append(str(error))
    return measured, tuple(refused)


def prepare(
    images: CaseImages,
    preset: GeometryPreset,
    threads: int | None = None,
    measured: Mapping[Modality, Intensities] | None = None,
) -> NetworkInput:
    """Turn, normalise, crop or pad, and where voxel sizes differ resample (docs/data.md, "Into the network").

    Each image is looked at twice, in its own order in memory: whole for its statistics, then its head alone, which goes
    a few planes at a time into the network's input. Images are worked on in threads; nothing full-size is made but the
    input.

    Args:
        images: the case. Not changed.
        preset: the network's geometry.
        threads: images at a time; by default as many as the process may use processors.
        measured: of `measure_images`, where somebody has it already.

    Raises:
        CaseError: an image that cannot be normalised.
    """
    volumes = list(images.volumes.items())
    measured = measure_images(images, threads) if measured is None else measured
    intensities_of = [measured[modality] for modality in images.volumes]
    heads = [box_to_network_axes(intensities.box, images.grid) for intensities in intensities_of]
    head = union(heads)
    shape = to_network_axes(images.reference.data, images.grid).shape
    placement = place_box(head, (shape[0], shape[1], shape[2]), network_spacing_mm(images.grid), preset)
    # Engines read channels first; in memory it lies so.
    stack = np.zeros((len(CHANNEL_ORDER), *preset.shape), dtype=np.float32)

    def write(item: tuple[tuple[Modality, Volume], Intensities, Box]) -> None:
        (modality, volume), intensities, within = item
        turned = to_network_axes(volume.data, images.grid)
        placement.fill(
            stack[CHANNEL_ORDER.index(modality)], lambda box, out: intensities.zscore(turned[box], out), within
        )

    map_in_threads(write, zip(volumes, intensities_of, heads, strict=True), threads)
    outside = _head_voxels_outside(images, head, placement)
    return NetworkInput(np.moveaxis(stack, 0, -1), placement, outside, _warnings(images, placement, outside, preset))


def _head_voxels_outside(images: CaseImages, head: Box, placement: Placement) -> int:
    """Voxels that any of the images shows and that the network does not see."""
    seen = intersection(head, placement.covered)
    return sum(_visible_voxels(images, beside) for beside in difference(head, seen))


def _visible_voxels(images: CaseImages, box: Box) -> int:
    """Voxels in a box (network axes) that any of the images shows."""
    visible = np.zeros(shape_of(box), dtype=np.bool_)
    for volume in images.volumes.values():
        np.logical_or(visible, to_network_axes(volume.data, images.grid)[box] != 0, out=visible)
    return int(np.count_nonzero(visible))


def read_label(files: CaseFiles, images: CaseImages) -> NDArray[np.uint8]:
    """Read a case's label volume as network classes, in the stored axis order of the T1.

    Raises:
        CaseError: no label, another grid than the images, or values that the scheme does not know.
    """
    return read_label_like(files, images.reference, Modality.T1)


def read_label_like(files: CaseFiles, reference: Volume, modality: Modality) -> NDArray[np.uint8]:
    """As `read_label`, on the grid of any image.

    Args:
        files: the case.
        reference: the image on whose grid the label must lie, and whose stored axis order it is brought to.
        modality: which of the case's images that is, for messages.
    """
    if files.label is None:
        raise CaseError(f"{reference.source}: the case {files.case_id} has no label file", code="no-label")
    volume, grid = read_volume(files.label), reference.grid
    turned = _turned_like(volume, grid)
    if volume.data.ndim != 3 or not turned.grid.matches(grid):
        raise CaseError(
            f"{files.label}: the label lies on another grid ({volume.grid.describe()}) "
            f"than {modality.value} ({grid.describe()}): {turned.grid.difference(grid)}",
            code="label-grid",
        )
    return files.scheme.from_file(turned.data, str(files.label))


def _channel(files: CaseFiles, stacked: Volume, source: ImageSource) -> Volume:
    """One channel of a 4D file, which must hold exactly the channels that the case takes from it."""
    expected = sum(other.path == source.path for other in files.images.values())
    found = stacked.data.shape[3] if stacked.data.ndim == 4 else 1
    if stacked.data.ndim != 4 or found != expected:
        raise CaseError(
            f"{source.path}: {found} channel{'s' * (found != 1)} found, expected a 4D file of {expected}",
            code="channel-count",
        )
    return replace(
        stacked, source=f"{stacked.source} (channel {source.channel})", data=stacked.data[..., source.channel]
    )


def _other_form(volume: Volume, reference: Volume) -> str:
    """What to know of two grids that are one by the orientation that was not used; empty where none is."""
    for first, second, whose in ((volume, reference, "its"), (reference, volume, "t1's")):
        grid = qform_grid(first.header, first.grid.shape)
        if grid is not None and to_stored_order(first.data, grid, second.grid)[1].matches(second.grid):
            return f" ({whose} qform says the other grid, its sform was used)"
    return ""


def _turned_like(volume: Volume, grid: Grid) -> Volume:
    data, turned = to_stored_order(volume.data, volume.grid, grid)
    return replace(volume, data=data, grid=turned)


def _warnings(images: CaseImages, placement: Placement, outside: int, preset: GeometryPreset) -> tuple[Reason, ...]:
    warnings = []
    if outside:
        unseen = f"{outside} head voxels lie outside the network's box and are background in the mask"
        warnings.append(Reason("head-outside", unseen))
    if placement.resamples:
        spacing = " x ".join(map(millimetres, images.grid.spacing_mm))
        resampled = f"resampled from {spacing} mm to the network's {preset.spacing_mm:g} mm and back"
        warnings.append(Reason("resampled", resampled))
    header = images.reference.header
    if int(header["qform_code"]) == 0 and int(header["sform_code"]) == 0:
        unoriented = "the T1 header gives no orientation (qform and sform code 0); NIfTI's default was taken"
        warnings.append(Reason("no-orientation", unoriented))
    return tuple(warnings)
