"""What kind of series a case brings: heads as the scanner made them, or heads that somebody has stripped already."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import numpy as np

from eenet_runtime.cases.content_checks.head_size import FILLED, LARGEST_BRAIN_ML
from eenet_runtime.cases.content_checks.sample import thinned
from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import Volume
from eenet_runtime.volumes.grid import to_stored_order
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality

NEEDED: Final = (Modality.T1CE, Modality.T1)
"""The T1ce, on whose grid the mask is written, and the T1, which closes the loop of registrations and shows the brain
without enhancement. T2 or FLAIR may be missing where that was allowed."""

_MOST_AT_THE_EDGE: Final = 0.1
"""Share of a face of the volume that a stripped brain may touch; heads with their skull touch 0.23 and more of one."""


class Way(StrEnum):
    """How a raw case goes to the network.

    Attributes:
        AS_GIVEN: stripped and on one grid already: nothing is done to it.
        REGISTERED: stripped, but each series on its own grid.
        STRIPPED: registered and stripped.
    """

    AS_GIVEN = "as given"
    REGISTERED = "registered"
    STRIPPED = "registered and stripped"


def require_series(case_id: str, volumes: Mapping[Modality, Volume]) -> None:
    """Refuse a case that cannot be aligned for what it lacks.

    Raises:
        CaseError: no T1ce or no T1, or an image that is no 3D volume.
    """
    for modality in NEEDED:
        if modality not in volumes:
            raise CaseError(
                f"case {case_id}: no {modality.value} found, expected it in a raw case: "
                "the series are registered to the t1ce, whose grid the mask gets, and checked by the t1"
            )
    for modality, volume in volumes.items():
        if volume.data.ndim != 3:
            raise CaseError(
                f"{volume.source}: {volume.data.shape[3]} channels found, expected one 3D image of {modality.value}"
            )


def is_stripped(volume: Volume) -> bool:
    """Whether an image shows a brain in a background of exact zeros, without its skull.

    Of one voxel in 4 mm: what is not 0 has a brain's volume and hardly touches the faces of the volume. A head whose
    air somebody has set to 0 has 2.5 litres and more, or is cut by the first and the last slice.
    """
    shown = volume.data[thinned(volume.grid)] != 0
    steps = [part.step for part in thinned(volume.grid)]
    volume_ml = np.count_nonzero(shown) * volume.grid.voxel_ml * float(np.prod(steps))
    if not shown.any() or shown.mean() > FILLED or volume_ml > LARGEST_BRAIN_ML:
        return False
    faces = [np.take(shown, index, axis=axis) for axis in range(3) for index in (0, -1)]
    return all(float(face.mean()) <= _MOST_AT_THE_EDGE for face in faces)


def lie_on_one_grid(volumes: Mapping[Modality, Volume]) -> bool:
    """Whether all images have their voxels at the same places, in whatever order they are stored."""
    first, *others = volumes.values()
    return all(to_stored_order(other.data, other.grid, first.grid)[1].matches(first.grid) for other in others)


def stripped_series(volumes: Mapping[Modality, Volume]) -> tuple[Modality, ...]:
    """Those of the images that are stripped, in channel order."""
    return tuple(name for name in CHANNEL_ORDER if name in volumes and is_stripped(volumes[name]))


def way_of(volumes: Mapping[Modality, Volume], stripped: bool) -> Way:
    """What has to be done with a case whose heads are stripped, or are not."""
    if not stripped:
        return Way.STRIPPED
    return Way.AS_GIVEN if lie_on_one_grid(volumes) else Way.REGISTERED
