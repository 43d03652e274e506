"""A whole head in voxels: what each series is sampled from, once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality
from eenet_train.phantom.anatomy import (
    SURFACE_DEPTH_MM,
    UNSTRIPPED_DEPTH_MM,
    Head,
    Rendering,
    push_aside,
    render_head,
    voxel_shape,
)
from eenet_train.phantom.fields import Float3D, Shape3, random_field
from eenet_train.phantom.raw.anatomy import Anatomy, Tissue, build_anatomy
from eenet_train.phantom.raw.geometry import move
from eenet_train.phantom.raw.person import pose_person
from eenet_train.phantom.raw.settings import RawSettings
from eenet_train.phantom.scanner import prepare, tissue_signal
from eenet_train.phantom.template import load_template
from eenet_train.phantom.tumour import grow_tumours, mass_effect, place_tumours, plan_tumours

SIGNALS: Final[dict[Modality, dict[Tissue, float]]] = {
    modality: dict(zip(Tissue, values, strict=True))
    for modality, values in {
        # air, skin, fat, muscle, bone, marrow, dura, fluid, mucosa, vitreous, lens, nerve, cord
        Modality.T1: (0.0, 0.75, 1.60, 0.65, 0.12, 1.25, 0.55, 0.34, 0.65, 0.30, 0.60, 0.80, 0.95),
        Modality.T1CE: (0.0, 0.85, 1.60, 0.72, 0.12, 1.28, 1.20, 0.34, 1.45, 0.30, 0.60, 0.80, 0.95),
        Modality.T2: (0.0, 0.75, 1.75, 0.60, 0.10, 1.25, 0.45, 2.70, 2.20, 2.90, 0.60, 1.00, 1.05),
        Modality.FLAIR: (0.0, 0.80, 1.50, 0.55, 0.10, 1.10, 0.60, 0.36, 1.80, 0.32, 0.60, 1.10, 1.05),
    }.items()
}
"""Signal relative to white matter. Fat, muscle and fluid follow the spin-echo equation with BrainWeb's relaxation times
(docs/decisions/0042); fluid is that of the brain's own table, so that the rim around the brain is the sulci's fluid."""


@dataclass(frozen=True)
class Scene:
    """A head as it would lie in any scanner.

    Attributes:
        signals: float32 (X, Y, Z) for each modality, relative to white matter; no noise, no shading.
        labels: network classes, uint8.
        brain: what a perfect skull stripping keeps, bool; all of the tumour is in it.
        tissue: the `Tissue` that each voxel outside the brain mostly is, uint8.
        grid: axes to the left, to the back and up; the world's origin is the middle of the brain's box.
    """

    signals: dict[Modality, Float3D]
    labels: NDArray[np.uint8]
    brain: NDArray[np.bool_]
    tissue: NDArray[np.uint8]
    grid: Grid

    @cached_property
    def brain_points(self) -> NDArray[np.float64]:
        """The brain, at every fourth millimetre, in the scene's world, shape (N, 3)."""
        return self._points(self.brain, 4)

    @cached_property
    def head_points(self) -> NDArray[np.float64]:
        """The head, at every eighth millimetre, in the scene's world, shape (N, 3)."""
        return self._points(self.tissue > 0, 8)

    @cached_property
    def lesion_points(self) -> NDArray[np.float64]:
        """All voxels of the tumours, in the scene's world, shape (N, 3); none where there is no tumour."""
        return self._points(self.labels > 0, 1)

    def _points(self, mask: NDArray[np.bool_], every_mm: int) -> NDArray[np.float64]:
        step = max(every_mm // round(self.grid.spacing_mm[0]), 1)
        return move(self.grid.affine, (np.argwhere(mask[::step, ::step, ::step]) * step).astype(np.float64))


def make_scene(streams: list[np.random.Generator], settings: RawSettings) -> Scene:
    """Make one head.

    Args:
        streams: sources of the tumours' plan, the person, the tumours' growth, the head around the brain, the contrast.
        settings: kind of phantom and voxel size.
    """
    planner, poser, grower, builder, scanner = streams
    template, voxel_mm, kind = load_template(), settings.voxel_mm, settings.phantom
    plan = plan_tumours(planner, kind.tumour)
    person = pose_person(poser, template)
    sites = place_tumours(planner, plan, person.brain, template)
    lattice = push_aside(person.brain, mass_effect(planner, sites), template)
    head = render_head(poser, lattice, template, Rendering(voxel_mm, stripped=False, own_sulci=0.85))
    lesions = grow_tumours(grower, plan, sites, lattice, head, kind.tumour)

    anatomy = build_anatomy(builder, person, template, voxel_mm)
    shape = voxel_shape(person.shape, voxel_mm)
    mixture = _paint(anatomy, shape, voxel_mm)
    texture = 1 + np.float32(0.05) * random_field(builder, shape, 6.0 / voxel_mm)
    subject = prepare(scanner, head, lesions, kind.scanner)
    box = _box(head)
    share = np.clip((head.depth - np.float32(UNSTRIPPED_DEPTH_MM - 0.1)) / np.float32(1.2), 0, 1) * head.brain
    signals = {}
    for modality in CHANNEL_ORDER:
        image = mixture.signal(scanner, SIGNALS[modality], kind.scanner.contrast_spread)
        image *= texture
        tissue = tissue_signal(scanner, modality, subject, kind.scanner.contrast_spread)
        image[box] += share * (tissue - image[box])
        signals[modality] = image
    brain = np.zeros(shape, dtype=np.bool_)
    brain[box] = (head.depth > SURFACE_DEPTH_MM) & head.brain | (lesions.labels > 0)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[box] = lesions.labels
    return Scene(signals, labels, brain, mixture.mostly(), _grid(shape, head))


def _box(head: Head) -> tuple[slice, slice, slice]:
    """The brain's box in the head's, in voxels; both meet at a lattice point, so at a voxel of 1, 2 or 4 mm."""
    x, y, z = (
        slice(start // head.voxel_mm, start // head.voxel_mm + size)
        for start, size in zip(head.offset, head.shape, strict=True)
    )
    return x, y, z


def _grid(shape: Shape3, head: Head) -> Grid:
    affine = np.diag((-float(head.voxel_mm), -float(head.voxel_mm), float(head.voxel_mm), 1.0))
    middle = np.array([(part.start + part.stop - 1) / 2 for part in _box(head)])
    affine[:3, 3] = -affine[:3, :3] @ middle
    return Grid(shape, affine)


@dataclass(frozen=True)
class Mixture:
    """Two tissues in each voxel: `share` of `front`, the rest `back`."""

    front: NDArray[np.uint8]
    back: NDArray[np.uint8]
    share: Float3D

    def signal(self, rng: np.random.Generator, signals: dict[Tissue, float], spread: float) -> Float3D:
        """What each voxel gives, each tissue's signal varied by `spread` (standard deviation of the logarithm)."""
        vary = np.exp(rng.normal(0.0, spread, len(Tissue)))
        table = (np.array([signals[tissue] for tissue in Tissue]) * vary).astype(np.float32)
        out = np.take(table, self.front)
        front, back = table[self.front.ravel()[self._mixed]], table[self.back.ravel()[self._mixed]]
        out.ravel()[self._mixed] = back + self.share.ravel()[self._mixed] * (front - back)
        return out

    @cached_property
    def _mixed(self) -> NDArray[np.intp]:
        """The few voxels at surfaces."""
        return np.flatnonzero(self.share < 1)

    def mostly(self) -> NDArray[np.uint8]:
        """The tissue of which there is more."""
        return np.where(self.share >= 0.5, self.front, self.back)


def _paint(anatomy: Anatomy, shape: Shape3, voxel_mm: int) -> Mixture:
    """Bring the layers to voxels, with partial volume at each surface."""
    front = np.zeros(shape, dtype=np.uint8)
    back = np.zeros(shape, dtype=np.uint8)
    share = np.ones(shape, dtype=np.float32)
    for layer in anatomy.layers:
        window, distance = _refine(layer.distance, anatomy.step, voxel_mm, shape)
        covered = np.clip(np.float32(0.5) - distance / np.float32(voxel_mm), np.float32(0), np.float32(1))
        touched = np.flatnonzero(covered)
        covered = covered.ravel()[touched]
        part_front, part_back, part_share = front[window], back[window], share[window]
        under = np.where(part_share >= 0.5, part_front, part_back).ravel()[touched]
        for target, values in ((part_back, under), (part_front, np.uint8(layer.tissue)), (part_share, covered)):
            flat = target.ravel()
            flat[touched] = values
            target[...] = flat.reshape(target.shape)
    return Mixture(front, back, share)


def _refine(distance: Float3D, step: int, voxel_mm: int, shape: Shape3) -> tuple[tuple[slice, slice, slice], Float3D]:
    """The part of a layer that is not far outside, at voxels, and where it lies."""
    near = distance < step
    window, coarse = [], []
    factor = step // voxel_mm
    for axis in range(3):
        line = np.flatnonzero(near.any(axis=tuple(other for other in range(3) if other != axis)))
        first, last = (int(line[0]), int(line[-1])) if line.size else (0, 0)
        first, last = max(first - 1, 0), min(last + 1, distance.shape[axis] - 1)
        coarse.append(slice(first, last + 1))
        window.append(slice(first * factor, min(last * factor + 1, shape[axis])))
    values = distance[coarse[0], coarse[1], coarse[2]]
    for axis in range(3):
        values = _double(values, axis) if factor == 2 else values
    return (window[0], window[1], window[2]), values


def _double(values: Float3D, axis: int) -> Float3D:
    """Linear interpolation in the middle between all neighbours along an axis."""
    moved = np.moveaxis(values, axis, 0)
    out = np.empty((2 * moved.shape[0] - 1, *moved.shape[1:]), dtype=np.float32)
    out[::2] = moved
    out[1::2] = (moved[:-1] + moved[1:]) * np.float32(0.5)
    return np.moveaxis(out, 0, axis)
