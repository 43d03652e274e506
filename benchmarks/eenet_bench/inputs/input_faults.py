"""Cases that are wrong in a known way, and cases that are only unusual: what the input checks are measured on.

Everything is done to a sound case in memory; no file is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_bench.inputs.intensity_faults import nearly_empty, spiked, uneven, with_bright_vessels
from eenet_runtime.cases.missing_modality import MAY_BE_MISSING
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.files.nifti import Volume
from eenet_runtime.volumes.boxes import bounding_box, union
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality

EXCHANGES: Final = frozenset({"t2-exchanged", "flair-exchanged", "t1ce-exchanged"})
"""The rules about images under each other's names."""


@dataclass(frozen=True)
class Variant:
    """One way to change a case.

    Attributes:
        name: what it is, for tables.
        rules: any of these should speak; none where the case stays sound.
        images: the changed case.
    """

    name: str
    rules: frozenset[str]
    images: CaseImages


def variants(images: CaseImages, labels: NDArray[np.uint8] | None, rng: np.random.Generator) -> Iterator[Variant]:
    """All variants of one case, one at a time in memory.

    Args:
        images: a sound case of four images, of 1 mm (or the voxel sizes in the names are not what they say).
        labels: its tumour, on the same grid; None for a case without, which then is not given its label as an image.
        rng: draws the directions in which images are moved.
    """
    yield Variant("as it is", frozenset(), images)
    for kind in (_unusual, _faulty, _moved, _exchanged):
        yield from kind(images, labels, rng)


def _unusual(images: CaseImages, labels: NDArray[np.uint8] | None, rng: np.random.Generator) -> Iterator[Variant]:
    def sound(name: str, changed: CaseImages) -> Variant:
        return Variant(name, frozenset(), changed)

    yield sound("voxels of 1 x 1 x 2 mm", _thicker(images, 2))
    yield sound("voxels of 1 x 1 x 3 mm", _thicker(images, 3))
    yield sound("gamma 0.5", _each(images, lambda image: _gamma(image, 0.5)))
    yield sound("gamma 2", _each(images, lambda image: _gamma(image, 2.0)))
    yield sound("noise of 5 %", _each(images, lambda image: _noisy(image, 0.05, rng)))
    yield sound("shading of 40 %", _each(images, _shaded))
    yield sound("no enhancement", _with(images, Modality.T1CE, _dimmed(images.volumes[Modality.T1CE].data)))
    yield sound("flair 0 in fluid", _with(images, Modality.FLAIR, _emptied(images.volumes[Modality.FLAIR].data)))
    yield sound("bright vessels", with_bright_vessels(images))
    yield sound("stored along other axes", _turned(images))
    yield sound("mirrored left to right", _each(images, lambda image: image[::-1]))
    yield sound("each image its own gamma and scale", _of_other_scanners(images))
    yield sound("qform without the sform's shear", _sheared(images))
    for modality in MAY_BE_MISSING:
        rest = {name: volume for name, volume in images.volumes.items() if name is not modality}
        yield sound(f"without {modality.value}", CaseImages(images.case_id, rest))


def _faulty(images: CaseImages, labels: NDArray[np.uint8] | None, rng: np.random.Generator) -> Iterator[Variant]:
    def fault(name: str, rule: str, changed: CaseImages) -> Variant:
        return Variant(name, frozenset({rule}), changed)

    t1 = images.volumes[Modality.T1].data.astype(np.float64)
    yield fault("t1 twice", "duplicate", _with(images, Modality.T1CE, images.volumes[Modality.T1].data.copy()))
    yield fault("t1 twice, rescaled", "duplicate", _with(images, Modality.T1CE, np.where(t1 != 0, t1 * 0.37 + 5, 0)))
    if labels is not None:
        yield fault("label as t2", "label-volume", _with(images, Modality.T2, labels))
    yield fault("z-scored before", "negative", _each(images, _zscored))
    yield fault("no positive voxel", "negative", _with(images, Modality.FLAIR, -t1))
    yield fault("a CT as t1", "negative", _with(images, Modality.T1, np.where(t1 != 0, 30 + t1 / 100, -1000.0)))
    yield fault("a CT without skull and air as t1", "stripped-ct", _with(images, Modality.T1, _stripped_ct(t1, rng)))
    yield fault("qform mirrored", "two-orientations", _with_qform(images, CHANNEL_ORDER, _mirrored))
    yield fault("qform of t2 shifted by 10 mm", "two-orientations", _with_qform(images, (Modality.T2,), _shifted))
    yield fault("background of a tenth", "not-stripped", _each(images, _lifted))
    for name, changed in spiked(images):
        yield fault(name, "spikes", changed)
    for name, changed in uneven(images):
        yield fault(name, "uneven-slices", changed)
    for name, changed in nearly_empty(images):
        yield fault(name, "background", changed)
    yield fault("header says half the voxel size", "head-size", _rescaled(images, 0.5))
    yield fault("header says twice the voxel size", "head-size", _rescaled(images, 2.0))
    yield fault("header names back-front as left-right", "head-size", _relabelled(images, (1, 0, 2)))
    yield fault("header names back-front as up-down", "head-size", _relabelled(images, (0, 2, 1)))
    yield fault("voxels of 1 x 1 x 5 mm", "coarse-voxels", _thicker(images, 5))
    yield fault("flair without its lower half", "coverage", _halved(images, (Modality.FLAIR,)))
    yield fault("lower half missing", "head-size", _halved(images, CHANNEL_ORDER))


def _moved(images: CaseImages, labels: NDArray[np.uint8] | None, rng: np.random.Generator) -> Iterator[Variant]:
    from scipy import ndimage

    for millimetres in (2, 4, 8, 12):
        for modality in CHANNEL_ORDER:
            axis, sign = int(rng.integers(3)), int(rng.choice((-1, 1)))
            voxels = max(1, round(millimetres / images.grid.spacing_mm[axis]))
            image = np.roll(images.volumes[modality].data, sign * voxels, axis)
            name = f"{modality.value} moved by {millimetres} mm"
            yield Variant(name, frozenset({"misaligned"}), _with(images, modality, image))
    for degrees in (5, 10):
        turned = ndimage.rotate(images.volumes[Modality.T1CE].data, degrees, (0, 1), reshape=False, order=0)
        name = f"t1ce turned by {degrees} degrees"
        yield Variant(name, frozenset({"misaligned"}), _with(images, Modality.T1CE, turned))


def _exchanged(images: CaseImages, labels: NDArray[np.uint8] | None, rng: np.random.Generator) -> Iterator[Variant]:
    for order in permutations(CHANNEL_ORDER):
        wrong = [name for name, given in zip(CHANNEL_ORDER, order, strict=True) if name is not given]
        if not wrong:
            continue
        given = {name: images.volumes[other] for name, other in zip(CHANNEL_ORDER, order, strict=True)}
        name = f"{wrong[0].value} and {wrong[1].value} exchanged" if len(wrong) == 2 else f"{len(wrong)} names wrong"
        rules = frozenset({_rule_of(wrong[0], wrong[1])}) if len(wrong) == 2 else EXCHANGES
        yield Variant(name, rules, CaseImages(images.case_id, given))


def _rule_of(first: Modality, second: Modality) -> str:
    """The rule for two images under each other's names: the plainest of what then does not fit."""
    plainest = next(name for name in (Modality.T2, Modality.FLAIR, Modality.T1CE) if name in (first, second))
    return f"{plainest.value}-exchanged"


def _each(images: CaseImages, change: Callable[[NDArray[Any]], NDArray[Any]]) -> CaseImages:
    volumes = {name: replace(volume, data=change(volume.data)) for name, volume in images.volumes.items()}
    return CaseImages(images.case_id, volumes)


def _with(images: CaseImages, modality: Modality, data: NDArray[Any]) -> CaseImages:
    return CaseImages(images.case_id, {**images.volumes, modality: replace(images.volumes[modality], data=data)})


def _on_grid(images: CaseImages, data: Mapping[Modality, NDArray[Any]], affine: NDArray[np.float64]) -> CaseImages:
    def volume(old: Volume, image: NDArray[Any]) -> Volume:
        return replace(old, data=image, grid=Grid((image.shape[0], image.shape[1], image.shape[2]), affine))

    return CaseImages(images.case_id, {name: volume(images.volumes[name], image) for name, image in data.items()})


def cut_to_head(
    images: CaseImages, labels: NDArray[np.uint8] | None, margin: int = 16
) -> tuple[CaseImages, NDArray[np.uint8] | None]:
    """A case without most of its air, which only costs time: the head's box and some voxels around it.

    Args:
        images: a case.
        labels: on the same grid, or None.
        margin: voxels; an image that is moved by less does not come in again at the other side.
    """
    boxes = [bounding_box(volume.data != 0) for volume in images.volumes.values()]
    box = tuple(
        slice(max(0, part.start - margin), min(size, part.stop + margin))
        for part, size in zip(union(boxes), images.grid.shape, strict=True)
    )
    moved = np.eye(4)
    moved[:3, 3] = [part.start for part in box]
    cut = {name: volume.data[box] for name, volume in images.volumes.items()}
    return _on_grid(images, cut, images.grid.affine @ moved), None if labels is None else labels[box]


def _of_other_scanners(images: CaseImages) -> CaseImages:
    """Contrasts bent one way in T1 and FLAIR, the other way in T1ce and T2, on scales from 0.001 to 1000."""
    bent = {Modality.T1: 0.7, Modality.T1CE: 1.5, Modality.T2: 1.5, Modality.FLAIR: 0.7}
    changed = images
    for (modality, exponent), scale in zip(bent.items(), (1e-3, 1.0, 30.0, 1e3), strict=True):
        changed = _with(changed, modality, _gamma(images.volumes[modality].data, exponent) * np.float32(scale))
    return changed


def _stripped_ct(t1: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Hounsfield units by what a T1 shows: fluid 8, white matter 28, grey matter about 38, noise of 3."""
    tissue = t1 / np.quantile(t1[t1 != 0], 0.9)
    units = np.where(tissue < 0.5, 8.0, 28.0 + 40.0 * np.clip(1.0 - tissue, 0.0, 0.5))
    noise = 3.0 * rng.standard_normal(t1.shape, dtype=np.float32)
    return np.where(t1 != 0, units + noise, 0.0).astype(np.float32)


def _with_qform(
    images: CaseImages, modalities: tuple[Modality, ...], change: Callable[[Grid], NDArray[np.float64]]
) -> CaseImages:
    """Headers whose sform is the grid's and whose qform is another."""
    volumes = dict(images.volumes)
    for modality in modalities:
        volume = volumes[modality]
        volumes[modality] = replace(volume, header=_header(volume.grid, volume.grid.affine, change(volume.grid)))
    return CaseImages(images.case_id, volumes)


def _header(grid: Grid, sform: NDArray[np.float64], qform: NDArray[np.float64]) -> nib.Nifti1Header:
    header = nib.Nifti1Header()
    header.set_data_shape(grid.shape)
    header.set_sform(sform, 1)
    header.set_qform(qform, 1, strip_shears=True)
    return header


def _mirrored(grid: Grid) -> NDArray[np.float64]:
    return np.asarray(np.diag([-1.0, 1.0, 1.0, 1.0]) @ grid.affine)


def _shifted(grid: Grid) -> NDArray[np.float64]:
    affine = grid.affine.copy()
    affine[2, 3] += 10
    return affine


def _sheared(images: CaseImages) -> CaseImages:
    """As an affine registration leaves its headers: 2 % of shear in the sform, which a quaternion cannot hold."""
    shear = np.eye(4)
    shear[0, 1] = 0.02
    affine = images.grid.affine @ shear
    sheared = _on_grid(images, {name: volume.data for name, volume in images.volumes.items()}, affine)
    return _with_qform(sheared, CHANNEL_ORDER, lambda grid: grid.affine)


def _thicker(images: CaseImages, factor: int) -> CaseImages:
    """Slices averaged in groups along the third axis, over their head voxels only."""
    data = {}
    for name, volume in images.volumes.items():
        depth = volume.data.shape[2] // factor * factor
        groups = volume.data[..., :depth].astype(np.float32).reshape(*volume.data.shape[:2], -1, factor)
        shown = np.maximum(np.count_nonzero(groups, axis=-1), 1)
        data[name] = groups.sum(axis=-1) / shown.astype(np.float32)
    # The first voxel's centre moves to the middle of its group.
    step = np.diag([1.0, 1.0, float(factor), 1.0])
    step[2, 3] = (factor - 1) / 2
    return _on_grid(images, data, images.grid.affine @ step)


def _gamma(image: NDArray[Any], exponent: float) -> NDArray[Any]:
    """Also of the few negative voxels that interpolation leaves in real images."""
    top = float(image.max())
    scaled = image.astype(np.float32) / top
    return np.asarray(top * np.sign(scaled) * np.abs(scaled) ** exponent, dtype=np.float32)


def _noisy(image: NDArray[Any], share: float, rng: np.random.Generator) -> NDArray[Any]:
    """Rician noise of a share of the mean."""
    shown = image != 0
    sigma = share * float(image[shown].mean())
    real, imaginary = (rng.standard_normal(image.shape, dtype=np.float32) * sigma for _ in range(2))
    return np.where(shown, np.hypot(image + real, imaginary), np.float32(0))


def _shaded(image: NDArray[Any]) -> NDArray[Any]:
    """Darker by 40 % at one end of the head than at the other, in every image the same."""
    line = np.linspace(1.0, 0.6, image.shape[1], dtype=np.float32)
    return np.asarray(image * line[None, :, None], dtype=np.float32)


def _dimmed(image: NDArray[Any]) -> NDArray[Any]:
    """Cut where healthy tissue ends: vessels and rims no brighter than the brightest twentieth of the head."""
    return np.asarray(np.minimum(image, np.quantile(image[image != 0], 0.95)), dtype=np.float32)


def _emptied(image: NDArray[Any]) -> NDArray[Any]:
    """The darkest tenth of the head rounded to 0, as a scanner does that gives its range to the bright tissue."""
    return np.where(image < np.quantile(image[image != 0], 0.1), image.dtype.type(0), image)


def _lifted(image: NDArray[Any]) -> NDArray[Any]:
    """Everything brighter by a tenth of the brightest voxel."""
    return np.asarray(image + 0.1 * float(image.max()), dtype=np.float32)


def _zscored(image: NDArray[Any]) -> NDArray[Any]:
    values = image[image != 0].astype(np.float64)
    return np.where(image != 0, (image - values.mean()) / values.std(), 0.0)


def _turned(images: CaseImages) -> CaseImages:
    """The same head stored from the top down, its axes in another order."""
    order = np.zeros((4, 4))
    depth = images.grid.shape[2]
    order[2, 0], order[0, 1], order[1, 2], order[3, 3] = -1, 1, 1, 1
    order[2, 3] = depth - 1
    data = {name: volume.data.transpose(2, 0, 1)[::-1] for name, volume in images.volumes.items()}
    return _on_grid(images, data, images.grid.affine @ order)


def _rescaled(images: CaseImages, factor: float) -> CaseImages:
    affine = images.grid.affine @ np.diag([factor, factor, factor, 1.0])
    return _on_grid(images, {name: volume.data for name, volume in images.volumes.items()}, affine)


def _relabelled(images: CaseImages, order: tuple[int, int, int]) -> CaseImages:
    """The same arrays under a header that exchanges the names of two axes."""
    affine = images.grid.affine.copy()
    affine[:3, :3] = affine[list(order), :3]
    return _on_grid(images, {name: volume.data for name, volume in images.volumes.items()}, affine)


def _halved(images: CaseImages, modalities: tuple[Modality, ...]) -> CaseImages:
    def cut(image: NDArray[Any]) -> NDArray[Any]:
        kept = image.copy()
        filled = np.flatnonzero(kept.any(axis=(0, 1)))
        kept[..., : (filled[0] + filled[-1]) // 2] = 0
        return kept

    changed = images
    for modality in modalities:
        changed = _with(changed, modality, cut(images.volumes[modality].data))
    return changed
