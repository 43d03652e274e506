"""Faults of single voxels, of blocks and of the background, and vessels that are bright and sound.

Each is done to a case in memory. Places are drawn from a generator of their own, so that they are the same in every
study.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.volumes.boxes import bounding_box
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality

SEED: Final = 1
"""Of the places."""
CUBE_MM: Final = 8.0
"""Edge of a cube of clip artefact."""
SLICE_DEVIATIONS: Final = 5.0
"""By how much a slice that failed is brighter, in deviations of the image."""
VESSEL_SHARE: Final = 0.003
"""Share of the head that is bright vessels after gadolinium."""
VESSEL_BRIGHTNESS: Final = (1.5, 4.5)
"""How bright they are, in medians of the T1ce: as far from its bulk as in real ones, whose brightest voxels lie 11, 13
and 16 deviations from it; a phantom's deviation is a fifth of its median."""

_VESSEL_MM: Final = 8.0
"""Distance over which a vessel bends."""


def spiked(images: CaseImages) -> Iterator[tuple[str, CaseImages]]:
    """Voxels that rule an image's normalisation, by name."""
    rng = np.random.default_rng(SEED)
    one = _places(images, 1, rng)
    for value in (65535.0, 1e6, 3e7):
        yield f"one voxel of {value:g} in t1ce", _filled(images, (Modality.T1CE,), one, value=value)
    yield "one voxel of 3e7 in each image", _filled(images, CHANNEL_ORDER, one, value=3e7)
    yield "one voxel of -1e6 in flair", _filled(images, (Modality.FLAIR,), one, value=-1e6)
    yield "10 voxels at 60 times the brightness", _filled(images, (Modality.T1CE,), _places(images, 10, rng), times=60)
    yield "1000 voxels at 10 times the brightness", _filled(images, CHANNEL_ORDER, _places(images, 1000, rng), times=10)
    cube = _cube(images, rng)
    yield "a cube of 8 mm at 10 times the brightness", _filled(images, (Modality.T1,), cube, times=10)
    yield "a cube of 8 mm at 3 times the brightness", _filled(images, (Modality.T1CE,), cube, times=3)
    yield "a cube of 8 mm far below 0", _filled(images, (Modality.T2,), cube, times=-10)


def uneven(images: CaseImages) -> Iterator[tuple[str, CaseImages]]:
    """A slice that failed, by name."""
    for modality in CHANNEL_ORDER:
        yield f"a bright slice in {modality.value}", _with_a_bright_slice(images, modality)


def nearly_empty(images: CaseImages) -> Iterator[tuple[str, CaseImages]]:
    """Backgrounds that are nearly 0, by name."""
    rng = np.random.default_rng(SEED)
    for millimetres in (2, 4):
        shell = _shell(images, millimetres)
        yield f"a shell of {millimetres} mm of nearly 0", _noisy(images, CHANNEL_ORDER, shell, 1e-3, rng, above=True)
    yield "a shell of 2 mm of both signs", _noisy(images, CHANNEL_ORDER, _shell(images, 2), 1e-3, rng)
    background = ~_head(images)
    yield "a background of nearly 0", _noisy(images, CHANNEL_ORDER, background, 3e-3, rng)
    yield "a background of nearly 0 in flair", _noisy(images, (Modality.FLAIR,), background, 1e-6, rng)


def with_bright_vessels(images: CaseImages) -> CaseImages:
    """Tubes of a few millimetres in the T1ce, bright as blood after gadolinium and not all alike."""
    from scipy import ndimage

    rng = np.random.default_rng(SEED)
    image = images.volumes[Modality.T1CE].data
    sigma = [_VESSEL_MM / spacing for spacing in images.grid.spacing_mm]

    def field() -> NDArray[np.float32]:
        smooth = ndimage.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), sigma)
        return np.asarray(smooth / smooth.std(), dtype=np.float32)

    # Where two smooth fields are both 0 there are lines.
    distance = np.hypot(field(), field())
    inside = image != 0
    vessels = inside & (distance <= np.quantile(distance[inside], VESSEL_SHARE))
    low, high = VESSEL_BRIGHTNESS
    # Few are as bright as the brightest.
    filling = np.clip((field() + 2) / 4, 0, 1) ** 3
    brightness = (low + (high - low) * filling) * float(np.median(image[inside]))
    return _with(images, Modality.T1CE, np.where(vessels, brightness, image).astype(np.float32))


def _head(images: CaseImages) -> NDArray[np.bool_]:
    return np.asarray(np.any([volume.data != 0 for volume in images.volumes.values()], axis=0))


def _places(images: CaseImages, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """So many voxels that all images show."""
    shown = np.all([volume.data != 0 for volume in images.volumes.values()], axis=0)
    places = np.zeros(shown.shape, dtype=np.bool_)
    places.ravel()[rng.choice(np.flatnonzero(shown), count, replace=False)] = True
    return places


def _cube(images: CaseImages, rng: np.random.Generator) -> NDArray[np.bool_]:
    centre = np.argwhere(_places(images, 1, rng))[0]
    sides = [max(1, round(CUBE_MM / spacing)) for spacing in images.grid.spacing_mm]
    cube = np.zeros(images.grid.shape, dtype=np.bool_)
    cube[tuple(slice(max(0, c - side // 2), c - side // 2 + side) for c, side in zip(centre, sides, strict=True))] = 1
    return cube


def _with_a_bright_slice(images: CaseImages, modality: Modality) -> CaseImages:
    """The slice in the middle of the head lifted by `SLICE_DEVIATIONS`."""
    data = images.volumes[modality].data.astype(np.float32)
    levels = bounding_box(data)[2]
    plane = data[:, :, (levels.start + levels.stop) // 2]
    plane[plane != 0] += SLICE_DEVIATIONS * float(data.std(where=data != 0))
    return _with(images, modality, data)


def _shell(images: CaseImages, millimetres: float) -> NDArray[np.bool_]:
    """What lies around the head, up to a distance."""
    from scipy import ndimage

    head = _head(images)
    near = tuple(slice(max(0, part.start - 16), part.stop + 16) for part in bounding_box(head))
    distance = ndimage.distance_transform_edt(~head[near], sampling=images.grid.spacing_mm)
    shell = np.zeros_like(head)
    shell[near] = (distance > 0) & (distance <= max(millimetres, *images.grid.spacing_mm))
    return shell


def _filled(
    images: CaseImages,
    modalities: tuple[Modality, ...],
    where: NDArray[np.bool_],
    *,
    value: float | None = None,
    times: float = 0.0,
) -> CaseImages:
    """One value, or a multiple of each image's brightness (its 99 % quantile)."""
    changed = images
    for modality in modalities:
        data = images.volumes[modality].data.astype(np.float32)
        data[where] = times * np.quantile(data[data != 0], 0.99) if value is None else value
        changed = _with(changed, modality, data)
    return changed


def _noisy(
    images: CaseImages,
    modalities: tuple[Modality, ...],
    where: NDArray[np.bool_],
    share: float,
    rng: np.random.Generator,
    *,
    above: bool = False,
) -> CaseImages:
    """Noise of a share of each image's brightness, of both signs or above 0."""
    changed = images
    for modality in modalities:
        data = images.volumes[modality].data.astype(np.float32)
        sigma = share * float(np.quantile(data[data != 0], 0.99))
        noise = sigma * rng.standard_normal(int(np.count_nonzero(where)), dtype=np.float32)
        data[where] = np.abs(noise) + sigma / 1000 if above else noise
        changed = _with(changed, modality, data)
    return changed


def _with(images: CaseImages, modality: Modality, data: NDArray[Any]) -> CaseImages:
    return CaseImages(images.case_id, {**images.volumes, modality: replace(images.volumes[modality], data=data)})
