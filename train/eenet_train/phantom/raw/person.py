"""One person: the template posed, deformed and made asymmetric, with room for a whole head around the brain.

Two raw phantoms must be two people for a registration that looks at anatomy, so everything varies more here than in
phantoms without a skull: size and proportions, shape, the two sides of the ventricles, and the sulci (`render_head`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_train.phantom.anatomy import (
    LATTICE_MM,
    Lattice,
    make_lattice,
    random_deformation,
    rotation_matrix,
    sample_at,
)
from eenet_train.phantom.fields import Shape3, control_positions
from eenet_train.phantom.template import DEPTH_STEP, Template

DEFORMATION: Final = ((5.0, 48.0), (3.2, 24.0), (1.2, 12.0))
"""Individual shape: amplitude and distance of control points of random fields, mm."""
MARGINS_MM: Final = ((36, 36), (60, 40), (96, 36))
"""Room around the brain's box: to the right and left, to the front and back, below and above."""
VENTRICLE: Final = (17.0, 8.0, 16.0)
"""Middle of the left lateral ventricle in template mm from the anterior commissure: left, back, up."""
VENTRICLE_REACH: Final = (17.0, 40.0, 20.0)


@dataclass(frozen=True)
class Person:
    """A head's geometry, before mass effect.

    Attributes:
        brain: the lattice of the brain's box; its `offset` is that of its first voxel in the head's box, mm.
        shape: size of the head's box in mm; lattice point (i, j, k) lies at ((i, j, k) - 1) * 4.
        source: template voxel of each lattice point of the head's box, float32, shape (3, I, J, K).
        scale: size of the brain relative to the template, the mean of the three axes.
    """

    brain: Lattice
    shape: Shape3
    source: NDArray[np.float32]
    scale: float


def pose_person(rng: np.random.Generator, template: Template) -> Person:
    """Draw a person.

    Args:
        rng: source of pose (up to 7 degrees), size (84 to 97 % of the template, axes up to 5 % more or less), torque
            of the hemispheres, ventricles and deformation.
        template: the average head.
    """
    rotation = rotation_matrix(np.radians(np.clip(rng.normal(0.0, 3.0, 3), -7.0, 7.0)))
    scale = rng.uniform(0.86, 0.95) * rng.uniform(0.96, 1.04, 3)
    torque = rng.uniform(2.0, 5.0)
    widening = np.clip(rng.uniform(-0.3, 0.3) + rng.normal(0.0, 0.12, 2), -0.4, 0.45)
    to_template = rotation / scale

    margins = np.asarray(MARGINS_MM, dtype=np.float64)
    brain_mm = np.asarray(template.csf.shape) * scale * 1.05 + 24
    size = np.ceil((brain_mm + margins.sum(axis=1)) / LATTICE_MM).astype(int) * LATTICE_MM
    middle = margins[:, 0] + brain_mm / 2
    shape: Shape3 = (int(size[0]), int(size[1]), int(size[2]))
    displacement = random_deformation(rng, shape, DEFORMATION)
    axes = [control_positions(length, LATTICE_MM) - centre for length, centre in zip(shape, middle, strict=True)]
    source = np.empty(displacement.shape, dtype=np.float32)
    for row in range(3):
        x, y, z = (to_template[row, axis] * axes[axis] for axis in range(3))
        source[row] = x[:, None, None] + y[None, :, None] + z[None, None, :] + template.centre[row]
    source += displacement
    _twist(source, torque, template)
    for side, amount in zip((1.0, -1.0), widening, strict=True):
        _widen_ventricle(source, side, float(amount), template)
    return _cut(source, float(scale.mean()), template)


def _twist(source: NDArray[np.float32], torque: float, template: Template) -> None:
    """Petalia: the right hemisphere reaches further to the front, the left one further to the back, by `torque` mm."""
    left = (source[0] - np.float32(template.origin[0])) / np.float32(70)
    source[1] -= np.float32(torque) * np.clip(left, -1.3, 1.3)


def _widen_ventricle(source: NDArray[np.float32], side: float, amount: float, template: Template) -> None:
    """Magnify (or shrink) a lateral ventricle by 1 / (1 - amount) at its middle; nothing folds below 0.6."""
    offsets = [
        source[axis] - np.float32(template.origin[axis] + VENTRICLE[axis] * (side if axis == 0 else 1.0))
        for axis in range(3)
    ]
    squared = np.zeros_like(source[0])
    for offset, reach in zip(offsets, VENTRICLE_REACH, strict=True):
        squared += (offset / np.float32(reach)) ** 2
    gain = np.float32(amount) * np.exp(np.float32(-0.5) * squared)
    for axis, offset in enumerate(offsets):
        source[axis] -= gain * offset


def _cut(source: NDArray[np.float32], scale: float, template: Template) -> Person:
    """The box of the brain, two lattice points wider, and that of the head around it."""
    occupied = np.argwhere(sample_at(template.depth, source / np.float32(DEPTH_STEP)) > 0)
    low, high = occupied.min(axis=0), occupied.max(axis=0)
    inner, outer, shape = [], [], []
    offset = []
    for axis, (before, behind) in enumerate(MARGINS_MM):
        first, last = int(low[axis]) - 2, int(high[axis]) + 3
        start = max(first - before // LATTICE_MM, 0)
        stop = min(last + behind // LATTICE_MM, source.shape[axis + 1])
        outer.append(slice(start, stop))
        inner.append(slice(first, last))
        # The point that lies one step before voxel 0 of the head's box is `start`.
        offset.append((first - start) * LATTICE_MM)
        shape.append((stop - start - 4) * LATTICE_MM + 1)
    head = np.ascontiguousarray(source[(slice(None), *outer)])
    brain = np.ascontiguousarray(source[(slice(None), *inner)])
    size = tuple((part.stop - part.start - 4) * LATTICE_MM + 1 for part in inner)
    lattice = make_lattice(brain, (size[0], size[1], size[2]), (offset[0], offset[1], offset[2]), template)
    return Person(lattice, (shape[0], shape[1], shape[2]), head, scale)
