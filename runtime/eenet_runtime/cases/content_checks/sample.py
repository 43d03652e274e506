"""A thinned-out copy of the head, on which the rules that look at contrasts work.

One voxel in about 4 mm along each axis: a BraTS head gives 20,000 of them in four images, which take a few
milliseconds to fetch and are plenty for medians and correlations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.volumes.boxes import Box
from eenet_runtime.volumes.grid import Grid, network_spacing_mm, to_network_axes
from eenet_runtime.volumes.labels import Modality

STEP_MM: Final = 4.0
"""Distance of the samples; where voxels are larger, every voxel is one."""

ENOUGH_SAMPLES: Final = 3000
"""Samples inside the head, 0.2 litres of it, that contrasts are judged by. With fewer, nothing is said."""

CLIP: Final = 2.0
"""Standard deviations beyond which a score is cut, so that a bright rim or vessel does not rule a correlation."""


@dataclass(frozen=True)
class HeadSample:
    """The images at every few millimetres.

    Attributes:
        values: float32 (H, W, D) in network axes for each modality, every `steps`-th voxel.
        spacing_mm: distance of the samples along H, W and D.
    """

    values: Mapping[Modality, NDArray[np.float32]]
    spacing_mm: tuple[float, float, float]

    @property
    def sample_ml(self) -> float:
        """Volume that one sample stands for, in millilitres."""
        height, width, depth = self.spacing_mm
        return height * width * depth / 1000.0

    @cached_property
    def head(self) -> NDArray[np.bool_]:
        """Where any image is not 0."""
        return np.asarray(np.any([image != 0 for image in self.values.values()], axis=0))

    @cached_property
    def shown(self) -> Mapping[Modality, NDArray[np.float32]]:
        """The values of each image that are not 0."""
        return {modality: image[image != 0] for modality, image in self.values.items()}

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Where all images are not 0, with their six neighbours: without the surface and its partial volume."""
        shown = np.asarray(np.all([image != 0 for image in self.values.values()], axis=0))
        inside = np.zeros_like(shown)
        centre = (slice(1, -1),) * 3
        core = shown[centre].copy()
        for axis in range(3):
            for part in (slice(0, -2), slice(2, None)):
                core &= shown[tuple(part if other == axis else slice(1, -1) for other in range(3))]
        inside[centre] = core
        return inside

    @cached_property
    def is_usable(self) -> bool:
        """Whether contrasts can be judged: finite voxels, enough of the head, and no image without contrast."""
        if np.count_nonzero(self.inside) < ENOUGH_SAMPLES:
            return False
        chosen = [image[self.inside] for image in self.values.values()]
        return all(np.isfinite(values).all() and values.min() < values.max() for values in chosen)

    @cached_property
    def scores(self) -> Mapping[Modality, NDArray[np.float32]]:
        """Z-scores inside the head, float32 (samples,), in one order for all modalities."""
        return {modality: _scores(image[self.inside]) for modality, image in self.values.items()}


def thinned(grid: Grid) -> Box:
    """Which voxels are taken, along each stored axis."""
    steps = (
        max(1, min(round(STEP_MM / spacing), size)) for spacing, size in zip(grid.spacing_mm, grid.shape, strict=True)
    )
    first, second, third = (slice(step // 2, size, step) for step, size in zip(steps, grid.shape, strict=True))
    return first, second, third


def take_sample(images: CaseImages) -> HeadSample:
    """Thin out the images of a case."""
    grid = images.grid
    thin = thinned(grid)
    with np.errstate(over="ignore"):  # an absurd intensity becomes infinite, and is refused by normalisation
        values = {
            modality: np.ascontiguousarray(to_network_axes(volume.data[thin], grid), dtype=np.float32)
            for modality, volume in images.volumes.items()
        }
    coarse = Grid(grid.shape, grid.affine @ np.diag([*(part.step for part in thin), 1.0]))
    return HeadSample(values, network_spacing_mm(coarse))


def clipped_scores(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Z-scores that are cut at `CLIP` and scored again, along the last axis; zeros of values that are all the same."""
    return _scores(np.clip(_scores(values), -CLIP, CLIP))


def _scores(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if not values.size:
        return values
    exact = values.astype(np.float64)
    exact -= exact.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.square(exact).mean(axis=-1, keepdims=True))
    np.divide(exact, deviation, out=exact, where=deviation > 0)
    return exact.astype(np.float32)
