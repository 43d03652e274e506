"""What kind of series a case brings: heads as the scanner made them, or heads that somebody has stripped already."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.stripping.stripped import looks_stripped
from eenet_runtime.volumes.grid import to_stored_order
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality

NEEDED: Final = (Modality.T1CE, Modality.T1)
"""The T1ce, on whose grid the mask is written, and the T1, which closes the loop of registrations and shows the brain
without enhancement. T2 or FLAIR may be missing where that was allowed."""


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
                "the series are registered to the t1ce, whose grid the mask gets, and checked by the t1",
                code="missing-modality",
            )
    for modality, volume in volumes.items():
        if volume.data.ndim != 3:
            raise CaseError(
                f"{volume.source}: {volume.data.shape[3]} channels found, expected one 3D image of {modality.value}",
                code="channel-count",
            )


def lie_on_one_grid(volumes: Mapping[Modality, Volume]) -> bool:
    """Whether all images have their voxels at the same places, in whatever order they are stored."""
    first, *others = volumes.values()
    return all(to_stored_order(other.data, other.grid, first.grid)[1].matches(first.grid) for other in others)


def stripped_series(volumes: Mapping[Modality, Volume]) -> tuple[Modality, ...]:
    """Those of the images that are stripped, in channel order."""
    return tuple(name for name in CHANNEL_ORDER if name in volumes and looks_stripped(volumes[name]))


def way_of(volumes: Mapping[Modality, Volume], stripped: bool) -> Way:
    """What has to be done with a case whose heads are stripped, or are not."""
    if not stripped:
        return Way.STRIPPED
    return Way.AS_GIVEN if lie_on_one_grid(volumes) else Way.REGISTERED
