"""Images of a head: contrast by tissue, vessels, partial volume, coil shading, thick slices, noise, int16."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.labels import CHANNEL_ORDER, Label, Modality
from eenet_train.phantom.anatomy import Head
from eenet_train.phantom.fields import Float3D, random_field
from eenet_train.phantom.settings import ScannerSettings
from eenet_train.phantom.tumour import Lesions


@dataclass(frozen=True)
class Contrast:
    """Signal of each tissue in one modality, relative to normal white matter.

    Attributes:
        white, grey, csf: normal tissues.
        oedema, enhancing, necrosis: tumour tissues.
        solid: tumour that does not enhance.
        vessel: sulcal vessels and venous sinuses.
    """

    white: float
    grey: float
    csf: float
    oedema: float
    enhancing: float
    necrosis: float
    solid: float
    vessel: float

    def with_conspicuity(self, share: float) -> Contrast:
        """The same tissues, with the tumour's signals at `share` of their distance from white matter."""

        def nearer(signal: float) -> float:
            return (1 - share) * self.white + share * signal

        return dataclasses.replace(
            self,
            oedema=nearer(self.oedema),
            enhancing=nearer(self.enhancing),
            necrosis=nearer(self.necrosis),
            solid=nearer(self.solid),
        )


CONTRASTS: Final[dict[Modality, Contrast]] = {
    Modality.T1: Contrast(1.0, 0.76, 0.34, oedema=0.74, enhancing=0.72, necrosis=0.50, solid=0.62, vessel=0.55),
    Modality.T1CE: Contrast(1.0, 0.78, 0.34, oedema=0.72, enhancing=1.60, necrosis=0.46, solid=0.60, vessel=1.65),
    Modality.T2: Contrast(1.0, 1.35, 2.70, oedema=2.05, enhancing=1.70, necrosis=2.30, solid=1.95, vessel=0.80),
    Modality.FLAIR: Contrast(1.0, 1.22, 0.36, oedema=2.05, enhancing=1.75, necrosis=1.20, solid=1.62, vessel=0.70),
}
"""Our own table, chosen by eye so that the phantoms look like glioma cases beside each other: the orders are those of
the sequences (T1: white > grey > fluid; T2: fluid brightest; FLAIR: fluid dark, oedema brightest)."""


@dataclass(frozen=True)
class Composition:
    """Share of each material in each voxel of the head's box, float32, adding up to 1 inside the brain."""

    white: Float3D
    grey: Float3D
    csf: Float3D
    oedema: Float3D
    enhancing: Float3D
    necrosis: Float3D
    vessel: Float3D


@dataclass(frozen=True)
class Subject:
    """What lies in the scanner, the same for all four images.

    Attributes:
        head: the anatomy.
        composition: its materials.
        necrosis: as in `Lesions`.
        texture, mottle: unevenness of normal tissue and of the tumour's, mean 0 and deviation 1.
        conspicuity: as in `ScannerSettings`, the one value of this case.
    """

    head: Head
    composition: Composition
    necrosis: float
    texture: Float3D
    mottle: Float3D
    conspicuity: float


def compose(rng: np.random.Generator, head: Head, lesions: Lesions) -> Composition:
    """Mix the healthy tissues, the tumour's (softened at their borders: partial volume) and vessels."""
    from scipy import ndimage

    soft: dict[Label, Float3D] = {}
    tumour = np.zeros(head.shape, dtype=np.float32)
    window = _window_of(lesions.labels > 0, margin=6)
    for label, width in ((Label.ED, 1.1), (Label.NCR, 0.7), (Label.ET, 0.6)):
        share = np.zeros(head.shape, dtype=np.float32)
        mask = (lesions.labels[window] == label).astype(np.float32)
        if label is Label.ED:
            mask *= lesions.infiltration[window]
        share[window] = ndimage.gaussian_filter(mask, width / head.voxel_mm, truncate=3.0)
        soft[label] = share
        tumour += share
    # Differently wide borders can add up to a little more than the whole voxel.
    one = np.float32(1)
    excess = np.maximum(tumour, one)
    for share in soft.values():
        share /= excess
    healthy: Float3D = np.maximum(one - tumour / excess, np.float32(0))
    vessel = _vessels(rng, head) * healthy
    healthy -= vessel
    return Composition(
        white=head.white * healthy,
        grey=head.grey * healthy,
        csf=head.csf * healthy,
        oedema=soft[Label.ED],
        enhancing=soft[Label.ET],
        necrosis=soft[Label.NCR],
        vessel=vessel,
    )


def _window_of(mask: NDArray[np.bool_], margin: int) -> tuple[slice, slice, slice]:
    """Bounding box of a mask, `margin` voxels wider (the whole volume if the mask is empty)."""
    parts = []
    for axis in range(3):
        line = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        size = mask.shape[axis]
        parts.append(
            slice(max(int(line[0]) - margin, 0), min(int(line[-1]) + margin + 1, size)) if line.size else slice(0, size)
        )
    return parts[0], parts[1], parts[2]


def _vessels(rng: np.random.Generator, head: Head) -> Float3D:
    """Share of vessel in each voxel: thin curves in the sulci, and the sagittal sinus.

    A curve is where two smooth random fields are both near zero.
    """
    spacing = 9.0 / head.voxel_mm
    first, second = random_field(rng, head.shape, spacing), random_field(rng, head.shape, spacing)
    # Fields of 9 mm spacing change by about 0.12 per mm: this is a vessel about 2 mm wide.
    near = np.exp(-(first * first + second * second) / np.float32(2 * 0.13**2))
    sulcal = np.clip((head.csf + 0.5 * head.grey - 0.3) * 2.0, 0.0, 1.0) * (head.depth < 22) * (head.depth > 0.5)
    curves = near * sulcal
    sinus = np.clip(2.6 - head.midline, 0.0, 1.0) * np.clip(3.6 - head.depth, 0.0, 1.0) * (head.height > 8)
    return np.asarray(np.clip(0.85 * curves + 0.75 * sinus, 0.0, 0.9) * head.brain, dtype=np.float32)


def scan(
    rng: np.random.Generator, head: Head, lesions: Lesions, settings: ScannerSettings
) -> dict[Modality, NDArray[np.int16]]:
    """Take the four images.

    Args:
        rng: source of everything about this scanner and session.
        head, lesions: what lies in it.
        settings: limits.

    Returns:
        int16 images of the head's box, 0 outside the brain and at least 1 inside.
    """
    subject = prepare(rng, head, lesions, settings)
    return {modality: _take(rng, modality, subject, settings) for modality in CHANNEL_ORDER}


def prepare(rng: np.random.Generator, head: Head, lesions: Lesions, settings: ScannerSettings) -> Subject:
    """Fix what all images of a case share: its materials, their texture, and how clear its tumours are."""
    composition = compose(rng, head, lesions)
    texture = random_field(rng, head.shape, 4.0 / head.voxel_mm)
    mottle = random_field(rng, head.shape, 7.0 / head.voxel_mm)
    low, high = settings.conspicuity
    # Drawn only where there is a choice: phantoms of the full contrast keep the draws that they always had.
    conspicuity = float(rng.uniform(low, high)) if low < high else low
    return Subject(head, composition, lesions.necrosis, texture, mottle, conspicuity)


def tissue_signal(rng: np.random.Generator, modality: Modality, subject: Subject, spread: float) -> Float3D:
    """Signal of the brain's and the tumour's tissue in one modality, relative to white matter; no noise, no shading.

    Args:
        rng: source of this image's own contrast.
        modality: which one.
        subject: what lies in the scanner.
        spread: standard deviation of the logarithm of each tissue's signal.

    Returns:
        float32 of the head's box, 0 outside its brain.
    """
    contrast = CONTRASTS[modality].with_conspicuity(subject.conspicuity)
    composition, necrotic = subject.composition, subject.necrosis
    vary = np.exp(rng.normal(0.0, spread, 7)).astype(np.float32)
    signal = composition.white * (contrast.white * vary[0])
    signal += composition.grey * (contrast.grey * vary[0])
    signal += composition.csf * (contrast.csf * vary[1])
    signal *= 1 + np.float32(0.02) * subject.texture
    # Tumour tissue is mottled; the same places in every modality, more or less strongly.
    uneven = 1 + np.float32(rng.uniform(0.04, 0.10)) * subject.mottle
    signal += composition.oedema * uneven * (contrast.oedema * vary[2])
    signal += composition.enhancing * uneven * (contrast.enhancing * vary[3])
    inner = necrotic * contrast.necrosis + (1 - necrotic) * contrast.solid
    signal += composition.necrosis * uneven * (inner * vary[4])
    signal += composition.vessel * (contrast.vessel * vary[5])
    return np.asarray(signal)


def _take(
    rng: np.random.Generator, modality: Modality, subject: Subject, settings: ScannerSettings
) -> NDArray[np.int16]:
    """One image: contrast, coil shading, slices, noise, scale."""
    head = subject.head
    signal = tissue_signal(rng, modality, subject, settings.contrast_spread)
    strength = np.float32(rng.uniform(0.3, 1.0) * settings.bias)
    signal *= np.exp(strength * random_field(rng, head.shape, 70.0))
    signal *= head.brain

    noise = float(np.exp(rng.uniform(np.log(settings.noise[0]), np.log(settings.noise[1]))))
    if rng.random() < settings.thick_slice:
        thickness = int(rng.integers(settings.slice_mm[0], settings.slice_mm[1] + 1))
        axis = int(rng.choice(3, p=(0.15, 0.15, 0.7)))
        signal = _thick_slices(rng, signal, head.brain, axis, thickness, noise)
    else:
        signal = rician(rng, signal, noise)
    brightness = np.float32(np.exp(rng.uniform(*np.log(settings.brightness))))
    values = np.clip(np.rint(signal * brightness), 1, np.iinfo(np.int16).max)
    return np.where(head.brain, values, 0).astype(np.int16)


def rician(rng: np.random.Generator, signal: Float3D, sigma: float, *, everywhere: bool = False) -> Float3D:
    """Magnitude of a signal with complex Gaussian noise (Gudbjartsson and Patz, 1995); 0 stays 0, unless `everywhere`.

    A stripped image is 0 outside; a scanner's is noise.
    """
    inside = np.ones(signal.shape, dtype=np.bool_) if everywhere else signal > 0
    values = signal[inside]
    real = values + np.float32(sigma) * rng.standard_normal(values.size, dtype=np.float32)
    imaginary = np.float32(sigma) * rng.standard_normal(values.size, dtype=np.float32)
    out = np.zeros_like(signal)
    out[inside] = np.sqrt(real * real + imaginary * imaginary)
    return out


def _thick_slices(
    rng: np.random.Generator, signal: Float3D, brain: NDArray[np.bool_], axis: int, thickness: int, sigma: float
) -> Float3D:
    """Average slabs of `thickness` mm along `axis`, add noise, and interpolate back to 1 mm as BraTS does.

    Slabs at the surface are averaged over their brain voxels only: in real data the skull, not zero, lies beyond.
    """
    moved, inside = np.moveaxis(signal, axis, 0), np.moveaxis(brain, axis, 0)
    starts = np.arange(0, moved.shape[0], thickness)
    counts = np.add.reduceat(inside.astype(np.float32), starts, axis=0)
    slabs = (np.add.reduceat(moved, starts, axis=0) / np.maximum(counts, np.float32(1))).astype(np.float32)
    # Thicker slices see more tissue; they are also taken faster, which costs part of the gain.
    slabs = rician(rng, slabs, sigma / thickness**0.4)
    filled = (slabs > 0).astype(np.float32)

    position = np.clip((np.arange(moved.shape[0]) + 0.5) / thickness - 0.5, 0, len(starts) - 1)
    low = np.minimum(np.floor(position).astype(np.intp), len(starts) - 1)
    high = np.minimum(low + 1, len(starts) - 1)
    weight = (position - low).astype(np.float32)[:, None, None]
    value = slabs[low] * (1 - weight) + slabs[high] * weight
    share = filled[low] * (1 - weight) + filled[high] * weight
    return np.ascontiguousarray(np.moveaxis(value / np.maximum(share, np.float32(1e-3)), 0, axis))
