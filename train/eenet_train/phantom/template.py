"""The head that every phantom starts from: the MNI ICBM152 2009a average, as tissue fractions.

The three volumes ship inside the nilearn wheel; NOTICE.md beside this file holds their licence. The template is an
average of 152 heads: its sulci are blurred and its two probability maps leave little fluid in them, so the fluid
fraction is also read from how dark the T1 average is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import EENetError

Float3D = NDArray[np.float32]

ANTERIOR_COMMISSURE_RAS: Final = (98, 134, 72)
"""Voxel of the template's world origin, in its own axes (left to right, posterior to anterior, bottom to top)."""
DEPTH_STEP: Final = 2
"""The depth map is kept at every second voxel: it is smooth."""
_T1_GREY = 0.60
_T1_FLUID = 0.27
"""T1 average of grey matter next to fluid, and of fluid (measured on the template, whose maximum is 1)."""


@dataclass(frozen=True)
class Template:
    """Tissue fractions of the average head, in BraTS axis directions (x to the left, y to the back, z up), 1 mm.

    Attributes:
        csf, grey: fractions in [0, 1], float32, one shape; white matter is what is left of 1.
        depth: distance to the brain's surface in mm, float32, at every `DEPTH_STEP`-th voxel; 0 outside.
        origin: voxel of the anterior commissure.
        centre: voxel in the middle of the brain's bounding box.
    """

    csf: Float3D
    grey: Float3D
    depth: Float3D
    origin: tuple[float, float, float]
    centre: tuple[float, float, float]


def _datasets() -> Any:
    """nilearn's templates.

    Raises:
        EENetError: nilearn is not installed.
    """
    try:
        from nilearn import datasets
    except ImportError as error:
        raise EENetError(
            f"phantoms need nilearn, which brings the head template ({error}); install it with "
            "'pip install eenet[phantom]'"
        ) from error
    return datasets


def load_t1() -> Float3D:
    """The T1 average, brain only: shape (197, 233, 189), RAS axes, 1 mm, values in [0, 1].

    Raises:
        EENetError: nilearn is not installed.
    """
    return np.asarray(_datasets().load_mni152_template(resolution=1).dataobj, dtype=np.float32)


def _load_volumes() -> tuple[Float3D, Float3D, Float3D]:
    """T1, grey-matter and white-matter maps of nilearn, shape (197, 233, 189), RAS axes, values in [0, 1]."""
    datasets = _datasets()
    images = (
        datasets.load_mni152_template(resolution=1),
        datasets.load_mni152_gm_template(resolution=1),
        datasets.load_mni152_wm_template(resolution=1),
    )
    t1, grey, white = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    return t1, grey, white


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Load and prepare the template, once per process (about 5 s, most of it nilearn's import).

    Raises:
        EENetError: nilearn is not installed.
    """
    from scipy import ndimage

    volumes = _load_volumes()
    # RAS to LPS, the axis directions of the BraTS grid.
    t1, grey, white = (volume[::-1, ::-1] for volume in volumes)
    origin = (t1.shape[0] - 1 - ANTERIOR_COMMISSURE_RAS[0], t1.shape[1] - 1 - ANTERIOR_COMMISSURE_RAS[1])
    brain = ndimage.binary_fill_holes(t1 > 0)

    padded = np.argwhere(brain)
    low = np.maximum(padded.min(axis=0) - 4, 0)
    high = np.minimum(padded.max(axis=0) + 5, t1.shape)
    crop = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    t1, grey, white, brain = t1[crop], grey[crop], white[crop], brain[crop]

    csf, grey = _fractions(t1, grey, white, brain)
    depth = ndimage.distance_transform_edt(brain[::DEPTH_STEP, ::DEPTH_STEP, ::DEPTH_STEP]) * DEPTH_STEP
    # A little smoother than the distance on a coarse grid, which has steps.
    depth = np.where(depth > 0, ndimage.gaussian_filter(depth, 0.7), 0.0)
    middle = (padded.min(axis=0) + padded.max(axis=0)) / 2 - low
    return Template(
        csf=csf,
        grey=grey,
        depth=depth.astype(np.float32),
        origin=(float(origin[0] - low[0]), float(origin[1] - low[1]), float(ANTERIOR_COMMISSURE_RAS[2] - low[2])),
        centre=(float(middle[0]), float(middle[1]), float(middle[2])),
    )


def _fractions(t1: Float3D, grey: Float3D, white: Float3D, brain: NDArray[np.bool_]) -> tuple[Float3D, Float3D]:
    """Fluid and grey fractions; outside the brain they continue the surface: fluid and fading grey."""
    from_maps = np.clip(1.0 - grey - white, 0.0, 1.0)
    from_t1 = np.where(brain, np.clip((_T1_GREY - t1) / (_T1_GREY - _T1_FLUID), 0.0, 1.0), 0.0)
    csf = np.maximum(from_maps, from_t1).astype(np.float32)
    rest = (1.0 - csf) / np.maximum(grey + white, 1e-3)
    return np.ascontiguousarray(csf), np.ascontiguousarray(grey * rest, dtype=np.float32)
