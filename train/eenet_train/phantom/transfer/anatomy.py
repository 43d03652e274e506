"""A head of the wide kind: bent, aged, narrowed, with ventricles of its own, and what lies around the brain."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_train.phantom.anatomy import LATTICE_MM, SURFACE_DEPTH_MM, Head, Lattice, Push, pose_head, push_aside
from eenet_train.phantom.fields import Float3D, random_field, upsample
from eenet_train.phantom.template import DEPTH_STEP, Template
from eenet_train.phantom.transfer.looks import Look

EDGE_MM: Final = 20.0
"""Deformation fades over this distance towards the box of the posed head, which is not made anew."""


@dataclass(frozen=True)
class WideHead:
    """A head at 1 mm and what is around it.

    Attributes:
        head: as the tumours need it: `brain` is all that lies within the brain's surface, nothing stripped yet.
        white, grey, fluid: shares of the ground; outside the brain's surface all fluid.
        inside: distance to the brain's surface in mm, negative outside, float32.
        place: left, back and up of the anterior commissure in template mm, float32 (3, I, J, K).
        ventricle: deep fluid, float32 in [0, 1].
    """

    head: Head
    white: Float3D
    grey: Float3D
    fluid: Float3D
    inside: Float3D
    place: NDArray[np.float32]
    ventricle: Float3D


def pose_wide(rng: np.random.Generator, look: Look, template: Template) -> Lattice:
    """A posed head, narrowed, bent and with ventricles driven apart or together, on its lattice."""
    lattice = pose_head(rng, template)
    centre = np.array(template.centre, dtype=np.float32)[:, None, None, None]
    narrow = rng.uniform(look.narrowing[0], look.narrowing[1], 3).astype(np.float32)[:, None, None, None]
    # Two heads in three keep their proportions.
    if rng.random() < 2 / 3:
        narrow = np.full_like(narrow, narrow.mean())
    source = centre + (lattice.source - centre) / narrow
    fade = _edge_fade(lattice)
    for amplitude, spacing in look.deformation:
        strength = np.float32(amplitude * rng.uniform(0.3, 1.0))
        for axis in range(3):
            source[axis] += strength * fade * random_field(rng, fade.shape, spacing / LATTICE_MM)
    bent = _remade(lattice, source, template)
    return _widen_ventricles(bent, float(rng.uniform(*look.ventricles_mm)), template)


def _remade(lattice: Lattice, source: NDArray[np.float32], template: Template) -> Lattice:
    """The lattice with tissues read anew at changed template positions."""
    return push_aside(dataclasses.replace(lattice, source=source.astype(np.float32)), [], template)


def _edge_fade(lattice: Lattice) -> Float3D:
    """1 inside, falling to 0 at the faces of the lattice's box."""
    fade = np.ones(lattice.csf.shape, dtype=np.float32)
    for axis in range(3):
        size = int(fade.shape[axis])
        steps = np.minimum(np.arange(size), np.arange(size)[::-1]) * LATTICE_MM
        line = np.clip(steps / EDGE_MM, 0.0, 1.0).astype(np.float32)
        fade *= line.reshape([-1 if other == axis else 1 for other in range(3)])
    return fade


def _widen_ventricles(lattice: Lattice, amplitude: float, template: Template) -> Lattice:
    """Drive tissue away from the deep fluid: there, what lay nearer to the ventricles is seen."""
    from scipy import ndimage

    deep = lattice.csf * (lattice.depth > 20.0)
    near = ndimage.gaussian_filter(deep, 2.0)
    slopes = np.stack([np.gradient(near, axis=axis) for axis in range(3)]).astype(np.float32)
    steepest = np.float32(np.sqrt((slopes**2).sum(axis=0)).max() + 1e-6)
    return _remade(lattice, lattice.source + np.float32(amplitude) / steepest * slopes, template)


def broad_pushes(rng: np.random.Generator, pushes: list[Push]) -> list[Push]:
    """Mass effect that reaches far beyond a tumour: it bends the midline, and varies from none to strong."""
    wide = [
        Push(push.centre, 2.2 * push.radius, min(float(rng.uniform(0.0, 0.45)) * push.radius, 9.0)) for push in pushes
    ]
    return [*pushes, *wide]


def render_wide(rng: np.random.Generator, lattice: Lattice, look: Look, template: Template) -> WideHead:
    """Bring a lattice to 1 mm, with sulci and an amount of fluid of the head's own."""
    from scipy import ndimage

    shape = lattice.shape
    source = np.stack([upsample(lattice.source[axis], shape, LATTICE_MM) for axis in range(3)])
    depth = ndimage.map_coordinates(template.depth, source / np.float32(DEPTH_STEP), order=1, output=np.float32)
    csf = ndimage.map_coordinates(template.csf, source, order=1, output=np.float32)
    grey = ndimage.map_coordinates(template.grey, source, order=1, output=np.float32)
    brain = depth > SURFACE_DEPTH_MM

    sharpness = np.float32(rng.uniform(1.3, 2.6))
    amount = np.float32(rng.normal(0.0, look.fluid))
    # More fluid on one side or lobe than elsewhere.
    varied = np.exp(amount + 0.6 * random_field(rng, shape, 14.0) + 0.4 * random_field(rng, shape, 60.0))
    white = np.clip(1.0 - csf - grey, 0.0, 1.0) ** sharpness
    grey, csf = grey**sharpness, csf**sharpness * varied
    if rng.random() < look.sulci:
        _fold(random_field(rng, shape, 12.0), depth, np.float32(rng.uniform(0.4, 1.0)), csf, grey, white)
    total = csf + grey + white
    ground = [np.where(brain, part / (total + np.float32(1e-6)), np.float32(0)) for part in (csf, grey, white)]
    ground = [part.astype(np.float32) for part in ground]

    origin = np.array(template.origin, dtype=np.float32)[:, None, None, None]
    place = source - origin
    head = Head(
        shape=shape,
        offset=lattice.offset,
        brain=brain,
        csf=ground[0],
        grey=ground[1],
        white=ground[2],
        depth=depth * brain,
        midline=np.abs(place[0]),
        height=place[2],
    )
    return WideHead(
        head=head,
        white=ground[2],
        grey=ground[1],
        fluid=np.where(brain, ground[0], np.float32(1)),
        inside=np.where(brain, depth, -_outwards(brain)).astype(np.float32),
        place=place,
        ventricle=ground[0] * np.clip((depth - 18.0) / 4.0, 0.0, 1.0).astype(np.float32),
    )


def _fold(folds: Float3D, depth: Float3D, amount: np.float32, csf: Float3D, grey: Float3D, white: Float3D) -> None:
    """Sulci of a head's own, in place: sheets of fluid in ribbons of grey where a random field is near 0."""
    reach = amount * np.clip((20.0 - depth) / 10.0, 0.0, 1.0).astype(np.float32)
    ribbon = reach * np.exp(-((folds / np.float32(0.32)) ** 4))
    sheet = reach * np.exp(-((folds / np.float32(0.08)) ** 2))
    total = csf + grey + white
    grey += ribbon * white
    white *= 1 - ribbon
    for part in (csf, grey, white):
        part *= 1 - sheet
    csf += sheet * total


def _outwards(brain: NDArray[np.bool_]) -> Float3D:
    """Distance to the brain in mm outside it, from every second voxel."""
    from scipy import ndimage

    coarse = ndimage.distance_transform_edt(~brain[::2, ::2, ::2]).astype(np.float32) * 2
    fine = coarse.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    x, y, z = brain.shape
    return np.asarray(ndimage.uniform_filter(fine[:x, :y, :z], 2))
