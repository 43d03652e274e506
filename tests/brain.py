"""A brain of adult size for tests of the input checks: shells of tissue in four contrasts, made in milliseconds.

The tiny heads of `tests.synthetic` are too small to be judged by; phantoms would need SciPy, nilearn and seconds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.files.nifti import Volume
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import Modality

SHAPE: Final = (56, 66, 58)
SPACING_MM: Final = 3.0
RADII_MM: Final = (66.0, 84.0, 68.0)
"""Half of the brain's width, length and height."""

SIGNALS: Final = {
    Modality.T1: {"white": 100, "grey": 76, "fluid": 34, "oedema": 74, "rim": 72, "vessel": 55},
    Modality.T1CE: {"white": 100, "grey": 78, "fluid": 34, "oedema": 72, "rim": 160, "vessel": 165},
    Modality.T2: {"white": 100, "grey": 135, "fluid": 270, "oedema": 205, "rim": 170, "vessel": 80},
    Modality.FLAIR: {"white": 100, "grey": 122, "fluid": 36, "oedema": 205, "rim": 175, "vessel": 70},
}
"""The orders are those of the sequences: T1 white > grey > fluid, T2 fluid brightest, FLAIR fluid dark."""


def make_brain(seed: int = 0, spacing_mm: float = SPACING_MM) -> CaseImages:
    """Four int16 images with noise of 4 %, stored LPS, background 0.

    Args:
        seed: of the noise and the vessels.
        spacing_mm: voxel size that the header tells; the arrays are the same for any.
    """
    rng = np.random.default_rng(seed)
    tissue = _tissues(rng)
    affine = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
    volumes = {}
    for modality, signals in SIGNALS.items():
        image = np.zeros(SHAPE)
        for name, where in tissue.items():
            image[where] = signals[name]
        noisy = np.rint(image + 4 * rng.standard_normal(SHAPE))
        data = np.where(image > 0, np.maximum(noisy, 1), 0).astype(np.int16)
        volumes[modality] = volume(f"case_{modality.value}.nii.gz", data, affine)
    return CaseImages("case", volumes)


def volume(source: str, data: NDArray[Any], affine: NDArray[np.float64]) -> Volume:
    """An image as if read from a file."""
    return Volume(source, data, Grid((data.shape[0], data.shape[1], data.shape[2]), affine), nib.Nifti1Header())


def with_data(images: CaseImages, modality: Modality, data: NDArray[Any]) -> CaseImages:
    """The same case with other voxels for one image."""
    changed = replace(images.volumes[modality], data=data)
    return CaseImages(images.case_id, {**images.volumes, modality: changed})


def with_names(images: CaseImages, names: dict[Modality, Modality]) -> CaseImages:
    """The same case with the image of modality `names[m]` given as `m`."""
    return CaseImages(images.case_id, {name: images.volumes[names.get(name, name)] for name in images.volumes})


def with_affine(images: CaseImages, affine: NDArray[np.float64]) -> CaseImages:
    """The same voxels under another header."""
    volumes = {
        name: replace(item, grid=Grid(item.grid.shape, np.asarray(affine))) for name, item in images.volumes.items()
    }
    return CaseImages(images.case_id, volumes)


def _tissues(rng: np.random.Generator) -> dict[str, NDArray[np.bool_]]:
    """Where each tissue is; later ones lie over earlier ones."""
    axes = np.meshgrid(*((np.arange(size) - size / 2) * SPACING_MM for size in SHAPE), indexing="ij")
    depth = np.sqrt(sum((axis / radius) ** 2 for axis, radius in zip(axes, RADII_MM, strict=True)))
    folds = np.sin(axes[0] / 7) * np.sin(axes[1] / 8) * np.sin(axes[2] / 6)
    ventricle = np.sqrt(((np.abs(axes[0]) - 14) / 9) ** 2 + (axes[1] / 34) ** 2 + ((axes[2] - 6) / 14) ** 2)
    lesion = np.sqrt((axes[0] - 34) ** 2 + (axes[1] + 30) ** 2 + (axes[2] - 18) ** 2)
    inside = depth < 1
    return {
        "white": inside,
        "grey": inside & (depth > 0.78 + 0.06 * folds),
        "fluid": inside & ((ventricle < 1) | (depth > 0.95 + 0.06 * folds)),
        "oedema": inside & (lesion < 24),
        "rim": inside & (lesion < 14) & (lesion > 8),
        "vessel": inside & (rng.random(SHAPE) < 0.006) & (depth > 0.7),
    }
