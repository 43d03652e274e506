"""Probability maps on request: what the network gave each tumour class, on the patient's grid, for other programs.

The maps are the network's: the mask beside them has been cleaned and holds only the winners. They are one 4D NIfTI
file, unsigned integers with a slope (decision 0023); its three volumes are NCR, ED and ET in this order whatever label
values the mask has, and what the three leave to 1 is background.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from eenet_runtime.files.nifti import FASTEST_LEVEL, Volume, header_like
from eenet_runtime.segmenter.segmentation import NetworkProbabilities, Segmentation
from eenet_runtime.volumes.grid import Grid, to_network_axes
from eenet_runtime.volumes.labels import NUM_CLASSES, Label

MAP_LABELS: Final = (Label.NCR, Label.ED, Label.ET)
"""The classes of the file's volumes, in order."""

SCALE: Final = 65535
"""Stored value of probability 1: a map is right to half of 1 / SCALE."""

_GZIP: Final = 31
"""The window of 2^15 bytes and a gzip header (without a time), as zlib spells it."""

MAPS_SUFFIX: Final = "_probabilities.nii.gz"
"""What follows the case's name in the name of its maps."""


def probability_maps_to_bytes(probabilities: NetworkProbabilities, like: Volume) -> bytes:
    """The bytes of the maps' file; the same input gives the same bytes.

    One class after the other is brought to the patient's grid, rounded and compressed, so that no second array of all
    classes is ever made. Where the network has other voxels than the patient the probabilities are interpolated, as
    they are for the mask. Voxels outside the network's box have probability 0 of every tumour class.

    Args:
        probabilities: `Segmentation.probabilities`, where they were asked for.
        like: the image whose grid the maps take over: the T1, of a raw case the T1ce.

    Returns:
        A gzip-compressed NIfTI file, uint16 (X, Y, Z, 3) in the stored axis order of `like`; a reader that heeds the
        slope gets probabilities.

    Raises:
        ValueError: arrays that do not fit together.
    """
    expected = tuple(axis.network_size for axis in probabilities.placement.axes)
    if probabilities.values.shape != (*expected, NUM_CLASSES):
        raise ValueError(f"probabilities are {probabilities.values.shape}, expected {(*expected, NUM_CLASSES)}")
    stored = to_network_axes(np.broadcast_to(np.uint8(0), like.grid.shape), like.grid).shape
    source = tuple(axis.source_size for axis in probabilities.placement.axes)
    if probabilities.way_back is None and stored != source:
        raise ValueError(f"the placement is for {source} voxels, the grid has {stored}")
    compressor = isal_zlib.compressobj(FASTEST_LEVEL, wbits=_GZIP)
    pieces = [compressor.compress(_header(like))]
    for label in MAP_LABELS:
        # NIfTI's first axis runs fastest and its last one slowest: a class is one stretch of the file.
        pieces.append(compressor.compress(_map(probabilities, label, like).T.data))
    pieces.append(compressor.flush())
    return b"".join(pieces)


def class_probabilities(segmentation: Segmentation) -> NDArray[np.float32]:
    """The probability of every class on the patient's grid, for what is no NIfTI file.

    Returns:
        float32 (X, Y, Z, classes) in the stored axis order of `segmentation.reference`, 0 to 1; outside the network's
        box background has probability 1.

    Raises:
        ValueError: the probabilities were not kept.
    """
    if segmentation.probabilities is None:
        raise ValueError("probabilities were asked for, but they were not kept")
    grid = segmentation.reference.grid
    values = np.zeros((*grid.shape, NUM_CLASSES), np.float32)
    for label in MAP_LABELS:
        _lay(
            np.clip(_on_grid(segmentation.probabilities, label), 0, 1),
            segmentation.probabilities,
            grid,
            values[..., label],
        )
    values[..., Label.BACKGROUND] = np.clip(1 - values.sum(axis=-1), 0, 1)
    return values


def _map(probabilities: NetworkProbabilities, label: Label, like: Volume) -> NDArray[np.uint16]:
    """One class as it is stored: uint16 (X, Y, Z), in the file's byte order, the first axis the fastest in memory."""
    values = _on_grid(probabilities, label)
    # In place: float32 on the patient's grid is the largest array here.
    values *= SCALE
    np.rint(values, out=values)
    np.clip(values, 0, SCALE, out=values)
    stored = np.zeros(like.grid.shape, np.dtype(np.uint16).newbyteorder(like.header.endianness), order="F")
    _lay(values, probabilities, like.grid, stored)
    return stored


def _on_grid(probabilities: NetworkProbabilities, label: Label) -> NDArray[np.float32]:
    """One class at the patient's voxels: network axes of the box's part of the head, of a raw case the whole grid."""
    class_values = probabilities.values[..., label]
    if probabilities.way_back is None:
        return probabilities.placement.values_from_network(class_values)
    return probabilities.way_back.values(class_values)


def _lay(values: NDArray[np.float32], probabilities: NetworkProbabilities, grid: Grid, into: NDArray[Any]) -> None:
    if probabilities.way_back is None:
        to_network_axes(into, grid)[probabilities.placement.covered] = values
    else:
        into[...] = values


def _header(like: Volume) -> bytes:
    """The file's bytes before its voxels: the T1's grid, none of its texts."""
    header = header_like(like, (*like.grid.shape, len(MAP_LABELS)), np.uint16)
    header.set_slope_inter(1 / SCALE, 0)
    header["cal_min"], header["cal_max"] = 0, 1
    header["descrip"] = f"probabilities of {', '.join(label.name for label in MAP_LABELS)}".encode()
    header.set_intent("estimate")
    # The fourth axis counts classes: it has no step and no unit of time.
    header["pixdim"][4:] = 1
    header.set_xyzt_units(xyz=header.get_xyzt_units()[0], t="unknown")
    header["vox_offset"] = header.single_vox_offset
    # Four zeros say that no extension follows.
    return bytes(header.binaryblock) + bytes(4)
