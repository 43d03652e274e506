"""The head around a brain: layers from the dura to the skin, and a face and a neck made of simple bodies.

The bones of the vault follow the brain at a distance; everything else is placed by landmarks of the template's space
(millimetres from the anterior commissure: left, front, up), moved from person to person and from side to side.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from eenet_train.phantom.anatomy import LATTICE_MM, voxel_shape
from eenet_train.phantom.fields import random_field, upsample
from eenet_train.phantom.raw.person import Person
from eenet_train.phantom.raw.shapes import (
    Float3D,
    Point,
    Points,
    blend,
    capsule,
    ellipsoid,
    shell,
    union,
    without,
)
from eenet_train.phantom.template import DEPTH_STEP, Template, load_template

COARSE_MM: Final = 2
"""Distances are smooth: they are computed at every other millimetre and interpolated."""
HULL_RADIUS_MM: Final = 20.0
"""The skull's inner surface is the brain's, closed over clefts narrower than about twice this."""
HULL_PADDING: Final = 32


class Tissue(enum.IntEnum):
    """What a head is made of, besides the brain."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    BONE = 4
    MARROW = 5
    DURA = 6
    FLUID = 7
    MUCOSA = 8
    VITREOUS = 9
    LENS = 10
    NERVE = 11
    CORD = 12


@dataclass(frozen=True)
class Layer:
    """One body of one tissue: signed distance in mm, negative inside, at every `step` mm of the head's box."""

    tissue: Tissue
    distance: Float3D


@dataclass(frozen=True)
class Anatomy:
    """The layers of a head; a later one lies over the earlier ones.

    Attributes:
        layers: in the order in which they are painted.
        step: millimetres between two points.
        skin, inner: distances to the head's surface and to the skull's inner surface.
    """

    layers: tuple[Layer, ...]
    step: int
    skin: Float3D
    inner: Float3D


@lru_cache(maxsize=1)
def hull_distance() -> Float3D:
    """Distance to the brain's closed surface in the template, mm, negative inside; every 2 mm, `HULL_PADDING` wider."""
    from scipy import ndimage

    brain = np.pad(load_template().depth > 0, HULL_PADDING)
    near = ndimage.distance_transform_edt(~brain) * DEPTH_STEP <= HULL_RADIUS_MM
    inside = ndimage.distance_transform_edt(near) * DEPTH_STEP
    # The distance from the far side of the dilated brain is that from the closed one, less the radius.
    outside = ndimage.distance_transform_edt(~near) * DEPTH_STEP
    distance = np.where(near, HULL_RADIUS_MM - inside, HULL_RADIUS_MM + outside)
    return np.asarray(ndimage.gaussian_filter(distance, 1.5), dtype=np.float32)


def build_anatomy(rng: np.random.Generator, person: Person, template: Template, voxel_mm: int) -> Anatomy:
    """Draw and place everything around the brain.

    Args:
        rng: source of thicknesses, sizes and places.
        person: the geometry.
        template: the space of the landmarks.
        voxel_mm: of the head; no finer than needed for it is computed.
    """
    step = max(voxel_mm, COARSE_MM)
    shape = voxel_shape(person.shape, step)
    source = np.stack([upsample(row, shape, LATTICE_MM / step) for row in person.source])
    hull = _sample_hull(source) * np.float32(person.scale)
    left = (source[0] - np.float32(template.origin[0])) * np.float32(person.scale)
    front = (np.float32(template.origin[1]) - source[1]) * np.float32(person.scale)
    up = (source[2] - np.float32(template.origin[2])) * np.float32(person.scale)
    return _Builder(rng, (left, front, up), hull, person.scale, step).build()


def _sample_hull(source: Float3D) -> Float3D:
    from scipy import ndimage

    at = source / np.float32(DEPTH_STEP) + np.float32(HULL_PADDING)
    return np.asarray(ndimage.map_coordinates(hull_distance(), at, order=1, mode="nearest", output=np.float32))


@dataclass
class _Builder:
    """Makes one head's layers.

    Attributes:
        points: millimetres from the anterior commissure, to the left, to the front, up.
        hull: distance to the brain's closed surface.
        scale: of the head; landmarks are those of the template.
        step: millimetres between points.
    """

    rng: np.random.Generator
    points: Points
    hull: Float3D
    scale: float
    step: int

    def build(self) -> Anatomy:
        rng = self.rng
        inner = self.hull - self._thickness(rng.uniform(2.0, 4.5), 0.25, 40.0, (1.8, 8.0))
        bone = self._thickness(rng.uniform(5.0, 8.5), 0.18, 35.0, (3.5, 12.0))
        outer = inner - bone
        skin_mm = rng.uniform(1.6, 2.4)
        fat = self._thickness(np.exp(rng.uniform(np.log(2.0), np.log(6.0))), 0.3, 35.0, (1.0, 12.0))
        skin = self._outline(outer - (fat + np.float32(skin_mm + 1.0)))

        under_skin = skin + np.float32(skin_mm)
        muscle = under_skin + fat
        lobules = np.float32(rng.uniform(0.5, 1.1)) - self._field(11.0)
        diploe = np.maximum(
            np.abs(inner + bone * np.float32(rng.uniform(-0.6, -0.45))) - bone * np.float32(rng.uniform(0.18, 0.28)),
            inner - bone,
        )
        eyes = self._eyes(inner)
        bones, marrow = self._bones()
        column, column_marrow, canal, cord = self._column()
        air = without(self._air(), inner - np.float32(2))
        skull = np.maximum(outer, -inner)
        layers = [
            (Tissue.SKIN, skin),
            (Tissue.FAT, under_skin),
            (Tissue.MUSCLE, muscle),
            (Tissue.FAT, np.maximum(lobules * np.float32(6), muscle + np.float32(2))),
            (Tissue.BONE, np.maximum(union(bones, column), under_skin)),
            (Tissue.MARROW, np.maximum(union(marrow, column_marrow), under_skin)),
            *eyes,
            (Tissue.BONE, skull),
            (Tissue.MARROW, diploe),
            (Tissue.MUCOSA, np.maximum(air - np.float32(rng.uniform(1.0, 2.0)), under_skin)),
            (Tissue.AIR, air),
            (Tissue.DURA, inner),
            (Tissue.FLUID, inner + np.float32(1)),
            (Tissue.FLUID, canal),
            (Tissue.CORD, cord),
        ]
        return Anatomy(tuple(Layer(tissue, body) for tissue, body in layers), self.step, skin, inner)

    def _field(self, spacing_mm: float) -> Float3D:
        shape = self.hull.shape
        return random_field(self.rng, (shape[0], shape[1], shape[2]), spacing_mm / self.step)

    def _thickness(self, mean: float, spread: float, spacing_mm: float, limits: tuple[float, float]) -> Float3D:
        """A layer's thickness in mm, log-normal around its mean, varying from place to place."""
        values = np.float32(mean) * np.exp(np.float32(spread) * self._field(spacing_mm))
        return np.asarray(np.clip(values, np.float32(limits[0]), np.float32(limits[1])))

    def _body(self, centre: Point, radii: Point, jitter_mm: float = 2.0, spread: float = 0.08) -> Float3D:
        """An ellipsoid near a landmark of the template, a little elsewhere and of another size in each person."""
        place = (
            np.asarray(centre) + self.rng.normal(0.0, jitter_mm, 3).clip(-3 * jitter_mm, 3 * jitter_mm)
        ) * self.scale
        size = np.asarray(radii) * np.exp(self.rng.normal(0.0, spread, 3).clip(-0.3, 0.3)) * self.scale
        return ellipsoid(self.points, (place[0], place[1], place[2]), (size[0], size[1], size[2]))

    def _pair(self, centre: Point, radii: Point, jitter_mm: float = 2.0, spread: float = 0.08) -> Float3D:
        """One body on each side, alike but not the same."""
        common = self.rng.normal(0.0, jitter_mm, 3)
        moved = (centre[0] + common[0], centre[1] + common[1], centre[2] + common[2])
        mirrored = (-moved[0], moved[1], moved[2])
        make: Callable[[Point], Float3D] = lambda at: self._body(at, radii, jitter_mm / 2, spread)  # noqa: E731
        return union(make(moved), make(mirrored))

    def _outline(self, vault: Float3D) -> Float3D:
        """The head's surface: the vault's, with face, chin, neck, nose, ears and temporal muscles."""
        rng, (left, front, up) = self.rng, self.points
        temporal = np.float32(rng.uniform(3.0, 7.0)) * np.exp(
            -(((front - 12) / 30) ** 2) - ((up + 18) / 30) ** 2, dtype=np.float32
        )
        vault = vault - temporal * np.clip((np.abs(left) - 35) / 20, 0, 1)
        surface = blend(vault, self._body((0, 36, -66), (62, 54, 62), 3.0, 0.05), 14)
        surface = blend(surface, self._body((0, 60, -112), (32, 28, 22), 4.0, 0.1), 16)
        lean = front + np.float32(22) + (up + 80) * np.float32(rng.uniform(-0.15, 0.25))
        neck = ellipsoid((left, lean, np.zeros_like(up)), (0, 0, 0), (rng.uniform(50, 62), rng.uniform(52, 64), 1e3))
        surface = blend(surface, np.maximum(neck, up + np.float32(50)), 22)
        nose_side = float(rng.uniform(1.5, 5.0) * rng.choice((-1, 1)))
        surface = blend(surface, self._body((nose_side, 96, -58), (14, 19, 24), 2.0, 0.12), 10)
        return blend(surface, self._pair((86, -24, -42), (7, 17, 30), 3.0, 0.15), 5)

    def _eyes(self, inner: Float3D) -> list[tuple[Tissue, Float3D]]:
        """Orbits with fat, muscle cones, globes, lenses and optic nerves; the skull lies over what reaches into it."""
        rng = self.rng
        distance, rise = rng.uniform(29, 34), rng.uniform(-3, 3)
        layers: dict[Tissue, Float3D] = {}

        def add(tissue: Tissue, body: Float3D) -> None:
            layers[tissue] = union(layers[tissue], body) if tissue in layers else body

        for side in (1.0, -1.0):
            eye = np.array([side * distance, rng.uniform(63, 67), -35 + rise]) + rng.normal(0.0, 0.8, 3)
            apex = np.array([side * 14.0, 26.0, -32 + rise])
            globe = ellipsoid(self.points, _point(eye), (12.0, 12.0, 12.0))
            orbit = ellipsoid(self.points, _point(0.62 * eye + 0.38 * apex), (17.0, 25.0, 16.0))
            cone = ellipsoid(self.points, _point(0.55 * eye + 0.45 * apex), (11.0, 21.0, 11.0))
            add(Tissue.BONE, np.maximum(orbit - np.float32(2), self.points[1] - np.float32(60)))
            add(Tissue.FAT, np.maximum(orbit, self.points[1] - np.float32(70)))
            add(Tissue.MUSCLE, shell(cone, 2.0))
            add(Tissue.NERVE, capsule(self.points, _point(eye), _point(apex), 2.2))
            add(Tissue.SKIN, globe - np.float32(1))
            add(Tissue.VITREOUS, globe)
            add(Tissue.LENS, ellipsoid(self.points, _point(eye + np.array([0.0, 9.0, 0.0])), (4.6, 2.3, 4.6)))
        skull = inner - np.float32(2.5)
        return [(tissue, without(body, skull)) for tissue, body in layers.items()]

    def _bones(self) -> tuple[Float3D, Float3D]:
        """Cheek bones, upper jaw, palate and lower jaw: compact bone, and the marrow within."""
        cheeks = self._pair((48, 52, -58), (11, 15, 8))
        palate = self._body((0, 56, -80), (26, 28, 4))
        upper = shell(self._body((0, 58, -86), (28, 30, 12)), 6.0)
        rng, (left, front, up) = self.rng, self.points
        level, width, depth = rng.uniform(-118, -108), rng.uniform(38, 46), rng.uniform(58, 68)
        arch = ellipsoid((left, front - 4, np.zeros_like(up)), (0, 0, 0), (width, depth, 1e3))
        jaw = np.sqrt(arch**2 + ((up - np.float32(level)) / np.float32(1.7)) ** 2) - np.float32(6.5)
        jaw = np.maximum(jaw, np.float32(2) - front).astype(np.float32)
        rami = self._pair((46, 2, -88), (5, 14, 26))
        thick = union(cheeks, jaw, rami)
        return union(thick, palate, upper), union(thick + np.float32(2.2), shell(upper + np.float32(1.5), 3.0))

    def _column(self) -> tuple[Float3D, Float3D, Float3D, Float3D]:
        """Vertebrae and their marrow, the canal's fluid and the cord, below the skull."""
        rng, (left, front, up) = self.rng, self.points
        lean = front + (up + 70) * np.float32(rng.uniform(-0.1, 0.2))
        below = up + np.float32(64)
        flat = np.zeros_like(up)
        round_body = np.maximum(ellipsoid((left, lean, flat), (0, -24, 0), (13, 10, 1e3)), below)
        period = float(rng.uniform(17, 20))
        # The distance to the next disc's middle plane.
        disc = np.float32(period / 2) - np.abs(np.mod(up, np.float32(period)) - np.float32(period / 2))
        marrow = np.maximum(round_body + np.float32(1.5), np.float32(4.5) - disc)
        arch = np.maximum(ellipsoid((left, lean, flat), (0, -42, 0), (15, 13, 1e3)), below)
        canal = np.maximum(ellipsoid((left, lean, flat), (0, -42, 0), (10, 8, 1e3)), up + np.float32(58))
        cord = np.maximum(ellipsoid((left, lean, flat), (0, -42, 0), (6.5, 4.5, 1e3)), up + np.float32(56))
        return union(round_body, shell(arch, 3.5)), marrow, canal, cord

    def _air(self) -> Float3D:
        """Sinuses, nose, throat and mastoid cells."""
        rng, points = self.rng, self.points
        cells = np.maximum(
            self._pair((54, -34, -48), (10, 13, 15)), np.float32(3) * (np.float32(0.1) - self._field(6.0))
        )
        throat = self._body((0, 6, -84), (11, 7, 34), 2.0)
        windpipe = capsule(points, (0.0, 0.0, -112.0), (0.0, -6.0, -220.0), float(rng.uniform(8, 10)))
        frontal = [
            self._body((side * 13, 80, -20), (rng.uniform(4, 14), 5, rng.uniform(5, 14)), 1.5) for side in (1, -1)
        ]
        return union(
            cells,
            throat,
            windpipe,
            *frontal,
            self._pair((30, 56, -64), (13, 15, 16), 2.0, 0.15),
            self._pair((6.5, 60, -60), (4, 26, 20), 1.0, 0.1),
            self._pair((8, 24, -50), (7, 9, 8), 1.0, 0.2),
        )


def _point(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Point:
    return float(values[0]), float(values[1]), float(values[2])
