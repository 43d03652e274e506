"""One head: the template posed, deformed and pushed aside by tumours, on the BraTS grid.

Everything is a backward map: for each point of the phantom, where to look in the template. The map is made on a
4 mm lattice (pose, smooth deformation, mass effect) and brought to 1 mm by cubic B-splines, which reproduce the pose
exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_train.phantom.fields import (
    Float3D,
    Shape3,
    control_count,
    control_positions,
    random_field,
    upsample,
)
from eenet_train.phantom.template import DEPTH_STEP, Template

GRID_SHAPE: Shape3 = (240, 240, 155)
LATTICE_MM: Final = 4
"""Distance between lattice points in mm (= voxels)."""
SURFACE_DEPTH_MM: Final = 1.0
"""Where the sampled depth map, 0 outside and 2 mm at the outermost inner voxel of its 2 mm grid, has the surface."""
SQUEEZED_MM: Final = 14.0
"""Thickness of the layer under the skull in which mass effect fades."""
UNSTRIPPED_DEPTH_MM: Final = 0.3
"""A head that keeps its skull is rendered out to here, a little beyond the brain's surface: what mixes with the fluid
around it is tissue, too."""
DEFORMATION: Final = ((3.0, 32.0), (1.3, 14.0))
"""Individual shape: amplitude and distance of control points of two random fields, mm."""


@dataclass(frozen=True)
class Lattice:
    """A head at 4 mm: where tumours are placed and oedema is spread.

    Attributes:
        shape: size of the head's box at 1 mm; lattice point (i, j, k) lies at box voxel ((i, j, k) - 1) * 4.
        offset: the box's first voxel in the grid of 240 x 240 x 155.
        source: template voxel of each lattice point, float32, shape (3, I, J, K).
        csf, grey, white: tissue fractions, float32, shape (I, J, K).
        depth: distance to the brain's surface in mm, 0 outside, float32.
    """

    shape: Shape3
    offset: Shape3
    source: NDArray[np.float32]
    csf: Float3D
    grey: Float3D
    white: Float3D
    depth: Float3D

    def positions(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Box coordinates of the lattice points, three arrays that broadcast to (I, J, K)."""
        x, y, z = (control_positions(size, LATTICE_MM).astype(np.float32) for size in self.shape)
        return x[:, None, None], y[None, :, None], z[None, None, :]


@dataclass(frozen=True)
class Head:
    """A head at 1 mm (or coarser, where a test wants a small one), in its bounding box.

    Attributes:
        shape: size of the box in voxels.
        offset: the box's first voxel, as in `Lattice`.
        brain: voxels of the skull-stripped brain, bool.
        csf, grey, white: tissue fractions that add up to 1, float32; outside the brain they are 0.
        depth: distance to the brain's surface in mm, float32.
        midline: distance to the plane between the hemispheres in mm, float32.
        height: template millimetres above the anterior commissure, float32.
        voxel_mm: edge of a voxel; voxel (i, j, k) lies at (i, j, k) * voxel_mm in the lattice's box.
    """

    shape: Shape3
    offset: Shape3
    brain: NDArray[np.bool_]
    csf: Float3D
    grey: Float3D
    white: Float3D
    depth: Float3D
    midline: Float3D
    height: Float3D
    voxel_mm: int = 1

    @property
    def voxels_per_ml(self) -> float:
        """Voxels in a millilitre."""
        return 1000 / self.voxel_mm**3

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The head's box in the grid of 240 x 240 x 155."""
        x, y, z = (slice(start, start + size) for start, size in zip(self.offset, self.shape, strict=True))
        return x, y, z


@dataclass(frozen=True)
class Push:
    """Mass effect of one tumour: tissue is driven outwards from `centre`.

    Attributes:
        centre: box voxel.
        radius: of the tumour core, mm.
        amplitude: largest displacement, mm; below 0.78 `radius` (where the slope at the centre reaches 1) a tumour by
            itself folds no tissue.
    """

    centre: tuple[float, float, float]
    radius: float
    amplitude: float


def rotation_matrix(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation by three angles in radians about x, y and z, shape (3, 3)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def pose_head(rng: np.random.Generator, template: Template) -> Lattice:
    """Give a head its pose, size and individual shape.

    Args:
        rng: source of the pose (rotation up to 7 degrees, size 85-94 % of the template, which is larger than most
            heads) and of the deformation.
        template: the average head.

    Returns:
        The lattice of the head's bounding box; nothing of the head lies outside the grid.
    """
    rotation = rotation_matrix(np.radians(np.clip(rng.normal(0.0, 3.0, 3), -7.0, 7.0)))
    scale = rng.uniform(0.86, 0.93) * rng.uniform(0.985, 1.015, 3)
    to_template = rotation / scale
    shift = np.clip(rng.normal(0.0, (2.0, 2.0, 0.7)), (-5.0, -5.0, -2.0), (5.0, 5.0, 2.0))

    # Wider than any turned and deformed head needs; cut to the head below.
    shape = tuple(math.ceil(size * 1.1) + 24 for size in np.asarray(template.csf.shape) * scale)
    displacement = random_deformation(rng, (shape[0], shape[1], shape[2]))
    axes = [control_positions(size, LATTICE_MM) - size / 2 for size in shape]
    source = np.empty(displacement.shape, dtype=np.float32)
    for row in range(3):
        x, y, z = (to_template[row, axis] * axes[axis] for axis in range(3))
        affine = x[:, None, None] + y[None, :, None] + z[None, None, :] + template.centre[row]
        source[row] = affine + displacement[row]
    return _crop_to_head(source, np.asarray(GRID_SHAPE) / 2 + shift, template)


def random_deformation(
    rng: np.random.Generator, shape: Shape3, parts: tuple[tuple[float, float], ...] = DEFORMATION
) -> NDArray[np.float32]:
    """Smooth displacement in mm at the lattice points of a box, shape (3, I, J, K).

    Args:
        rng: source of the fields.
        shape: size of the box in mm.
        parts: amplitude (standard deviation) and distance of the control points of each part, mm.
    """
    lattice = tuple(control_count(size, LATTICE_MM) for size in shape)
    size = (lattice[0], lattice[1], lattice[2])
    out = np.zeros((3, *size), dtype=np.float32)
    for row in out:
        for amplitude, spacing in parts:
            row += amplitude * random_field(rng, size, spacing / LATTICE_MM)
    return out


def _crop_to_head(source: NDArray[np.float32], middle: NDArray[np.float64], template: Template) -> Lattice:
    """Cut the lattice down to the head's bounding box, one lattice step wider, and place it in the grid.

    Args:
        source: template voxel of each lattice point of a generous box, shape (3, I, J, K).
        middle: grid voxel for the middle of the head's bounding box.
    """
    occupied = np.argwhere(sample_at(template.depth, source / np.float32(DEPTH_STEP)) > 0)
    window, offset, shape = [], [], []
    for axis in range(3):
        low, high = int(occupied[:, axis].min()), int(occupied[:, axis].max())
        # Point p lies at (p - 1) * 4, so a lattice cut at point `begin` has its voxel 0 at begin * 4.
        first = round(float(middle[axis]) - ((low + high) / 2 - 1) * LATTICE_MM)
        first = min(first, GRID_SHAPE[axis] - 2 - (high - 1) * LATTICE_MM)
        first = max(first, 1 - (low - 1) * LATTICE_MM)
        begin = max(low - 2, math.ceil(-first / LATTICE_MM))
        start = first + begin * LATTICE_MM
        size = min((high - begin) * LATTICE_MM + 1, GRID_SHAPE[axis] - start)
        window.append(slice(begin, begin + control_count(size, LATTICE_MM)))
        offset.append(start)
        shape.append(size)
    cut = np.ascontiguousarray(source[:, window[0], window[1], window[2]])
    return make_lattice(cut, (shape[0], shape[1], shape[2]), (offset[0], offset[1], offset[2]), template)


def make_lattice(source: NDArray[np.float32], shape: Shape3, offset: Shape3, template: Template) -> Lattice:
    csf, grey = sample_at(template.csf, source), sample_at(template.grey, source)
    white = np.clip(1.0 - csf - grey, 0.0, 1.0)
    depth = sample_at(template.depth, source / np.float32(DEPTH_STEP))
    return Lattice(shape, offset, source, csf, grey, white, depth)


def sample_at(volume: Float3D, coordinates: NDArray[np.float32]) -> Float3D:
    """Linear interpolation at voxel coordinates of shape (3, ...); 0 outside the volume."""
    from scipy import ndimage

    return np.asarray(ndimage.map_coordinates(volume, coordinates, order=1, output=np.float32))


def push_aside(lattice: Lattice, pushes: list[Push], template: Template) -> Lattice:
    """Apply mass effect: around each tumour, tissue that was nearer to its centre is seen further out.

    The displacement at distance r is amplitude * (s * exp((1 - s^2) / 2)) with s = r / (1.3 radius): 0 at the centre,
    largest just outside the core, fading into the rest of the head. Towards the skull it fades to nothing: tissue is
    squeezed there, and the head keeps its outline.
    """
    x, y, z = lattice.positions()
    step = np.zeros_like(lattice.source)
    yielding = np.clip(lattice.depth / np.float32(SQUEEZED_MM), np.float32(0), np.float32(1))
    for push in pushes:
        offsets = [axis - np.float32(c) for axis, c in zip((x, y, z), push.centre, strict=True)]
        reach = np.float32(1.3 * push.radius)
        squared = (offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2) / reach**2
        gain = yielding * np.float32(push.amplitude) / reach * np.exp((1 - squared) / 2)
        for axis in range(3):
            step[axis] -= gain * offsets[axis]
    return make_lattice(lattice.source + step, lattice.shape, lattice.offset, template)


@dataclass(frozen=True)
class Rendering:
    """How a head is brought from its lattice to voxels; the defaults are those of a skull-stripped phantom.

    Attributes:
        voxel_mm: edge of a voxel, a divisor of `LATTICE_MM`.
        stripped: cut the surface as skull stripping does; if not, keep all that is brain and a little more.
        own_sulci: 0 to 1, how far the cortex gets folds of its own beside the template's, which all heads share.
    """

    voxel_mm: int = 1
    stripped: bool = True
    own_sulci: float = 0.0


STRIPPED: Final = Rendering()


def render_head(
    rng: np.random.Generator, lattice: Lattice, template: Template, rendering: Rendering = STRIPPED
) -> Head:
    """Bring a head to 1 mm, with individual sulci: the average is sharpened and its fluid varied from place to place.

    Args:
        rng: source of the sulcal variation and of the amount of fluid (young or atrophic).
        lattice: the head at 4 mm.
        template: the average head.
        rendering: voxel size and surface.
    """
    shape = voxel_shape(lattice.shape, rendering.voxel_mm)
    mm = 1.0 / rendering.voxel_mm
    source = np.stack([upsample(lattice.source[axis], shape, LATTICE_MM * mm) for axis in range(3)])
    near = upsample(lattice.depth, shape, LATTICE_MM * mm) > 0.02
    points = np.ascontiguousarray(source[:, near])
    depth = sample_at(template.depth, points / np.float32(DEPTH_STEP))
    if rendering.stripped:
        # Skull stripping takes more of the surface here, less there.
        surface = SURFACE_DEPTH_MM + rng.uniform(0.2, 1.2) + 0.4 * random_field(rng, shape, 20.0 * mm)[near]
        inside = depth > np.maximum(surface, SURFACE_DEPTH_MM)
    else:
        inside = depth > UNSTRIPPED_DEPTH_MM
    brain = np.zeros(shape, dtype=np.bool_)
    brain[near] = inside
    points, depth = np.ascontiguousarray(points[:, inside]), depth[inside]

    fluid = rng.normal(0.0, 0.35)
    variation = (0.8 * random_field(rng, shape, 14.0 * mm) + np.float32(fluid))[brain]
    csf, grey = sample_at(template.csf, points), sample_at(template.grey, points)
    white = np.clip(1.0 - csf - grey, 0.0, 1.0) ** 2
    grey, csf = grey**2, csf**2 * np.exp(variation)
    if rendering.own_sulci > 0:
        folds = random_field(rng, shape, 13.0 * mm)[brain]
        csf, grey, white = _fold(folds, depth, rendering.own_sulci, csf, grey, white)
    total = csf + grey + white + np.float32(1e-6)

    def spread(values: NDArray[np.float32]) -> Float3D:
        out = np.zeros(shape, dtype=np.float32)
        out[brain] = values
        return out

    return Head(
        shape=shape,
        offset=lattice.offset,
        brain=brain,
        csf=spread(csf / total),
        grey=spread(grey / total),
        white=spread(white / total),
        depth=spread(depth),
        midline=spread(np.abs(points[0] - np.float32(template.origin[0]))),
        height=spread(points[2] - np.float32(template.origin[2])),
        voxel_mm=rendering.voxel_mm,
    )


def voxel_shape(box_mm: Shape3, voxel_mm: int) -> Shape3:
    """Voxels of a box whose first voxel lies at 0 and whose last one at most at its size less 1 mm."""
    x, y, z = ((size - 1) // voxel_mm + 1 for size in box_mm)
    return x, y, z


def _fold(
    folds: Float3D, depth: Float3D, amount: float, csf: Float3D, grey: Float3D, white: Float3D
) -> tuple[Float3D, Float3D, Float3D]:
    """Sulci of a head's own: sheets of fluid in a ribbon of grey matter where a random field is near 0.

    A field of 13 mm changes by about 0.08 per mm, so the ribbon is about 7 mm wide and the fluid in it 1.5 mm; both
    fade 12 to 22 mm under the surface.
    """
    reach = np.float32(amount) * np.clip((22.0 - depth) / 10.0, 0.0, 1.0).astype(np.float32)
    ribbon = reach * np.exp(-((folds / np.float32(0.3)) ** 4))
    fluid = reach * np.exp(-((folds / np.float32(0.07)) ** 2))
    kept = np.float32(1) - ribbon
    grey, white = grey * kept + ribbon * (grey + white), white * kept
    rest = np.float32(1) - fluid
    return csf * rest + fluid * (csf + grey + white), grey * rest, white * rest
