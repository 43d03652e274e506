"""What enhances in a head without a tumour: venous sinuses, dura, arteries, choroid plexus and pituitary.

Courses are given by hand in template millimetres from the anterior commissure (left, back, up), read off the template
and general anatomy; each vertex is moved at random. All of it carries label 0.
"""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_train.phantom.fields import Float3D, random_field
from eenet_train.phantom.transfer.anatomy import WideHead
from eenet_train.phantom.transfer.scene import Material, Scene

Point = tuple[float, float, float]

# One side; the other is its mirror image, with draws of its own.
_SIDE_SINUSES: Final[tuple[tuple[float, tuple[Point, ...]], ...]] = (
    # Transverse, then sigmoid.
    (4.0, ((2, 96, -20), (22, 93, -23), (42, 80, -27), (58, 58, -28), (60, 46, -36), (48, 40, -52))),
    # Superior petrosal, and cavernous beside the pituitary.
    (2.0, ((57, 50, -30), (38, 32, -30), (14, 6, -28))),
    (4.5, ((12, 10, -30), (11, -4, -27))),
)
_MIDDLE_SINUSES: Final[tuple[tuple[float, tuple[Point, ...]], ...]] = (
    # Straight sinus with the great vein; torcular; inferior sagittal.
    (2.2, ((0, 36, 6), (0, 46, 6), (0, 68, -4), (0, 94, -18))),
    (5.0, ((0, 92, -17), (0, 97, -21))),
    (1.2, ((0, -18, 26), (0, 5, 33), (0, 32, 20), (0, 42, 8))),
)
_ARTERIES: Final[tuple[tuple[float, tuple[Point, ...]], ...]] = (
    (1.6, ((12, -4, -24), (13, -4, -15), (22, -3, -16), (36, -2, -13), (42, 6, -2))),
    (1.2, ((12, -5, -15), (3, -14, -12), (2, -34, 2), (2, -36, 18), (2, -20, 34))),
    (1.2, ((3, 17, -14), (14, 22, -12), (24, 32, -4))),
)
_BASILAR: Final[tuple[float, tuple[Point, ...]]] = (1.8, ((3, 32, -55), (0, 22, -38), (0, 17, -15)))
_PLEXUS: Final[tuple[tuple[float, tuple[Point, ...]], ...]] = (
    (4.5, ((22, 40, 6), (25, 38, 0))),
    (1.6, ((4, 4, 16), (8, 20, 20), (20, 38, 10))),
    (1.6, ((26, 34, -4), (32, 18, -16))),
)


def add_vessels(rng: np.random.Generator, head: WideHead, scene: Scene) -> Float3D:
    """Paint everything that enhances though it is no tumour.

    Returns:
        Share of sinus in each voxel of the box: stripping may leave it, though it lies outside the brain.
    """
    sinus = _sinuses(rng, head)
    dura = _dura(rng, head)
    scene.add(Material.DURA, dura, uneven=0.15)
    scene.add(Material.ARTERY, _cortical_vessels(rng, head))
    scene.add(Material.ARTERY, _tubes(rng, head, [*_mirrored(_ARTERIES), _BASILAR], jitter=2.5, width=(0.7, 1.3)))
    plexus = _tubes(rng, head, _mirrored(_PLEXUS), jitter=3.0, width=(0.6, 1.5)) * np.sqrt(head.ventricle)
    scene.add(Material.PLEXUS, plexus, uneven=0.2)
    if rng.random() < 0.7:
        gland: list[tuple[float, tuple[Point, ...]]] = [(float(rng.uniform(2.5, 5.0)), ((0, -3, -30), (0, 1, -30)))]
        scene.add(Material.PITUITARY, _tubes(rng, head, gland, jitter=1.5, width=(0.8, 1.2)))
        pineal: list[tuple[float, tuple[Point, ...]]] = [(float(rng.uniform(1.0, 3.0)), ((0, 27, 2), (0, 29, 2)))]
        scene.add(Material.PITUITARY, _tubes(rng, head, pineal, jitter=1.5, width=(0.8, 1.2)))
    scene.add(Material.SINUS, sinus, uneven=0.08)
    return sinus


def _mirrored(courses: tuple[tuple[float, tuple[Point, ...]], ...]) -> list[tuple[float, tuple[Point, ...]]]:
    other = [(radius, tuple((-x, y, z) for x, y, z in points)) for radius, points in courses]
    return [*courses, *other]


def _tubes(
    rng: np.random.Generator,
    head: WideHead,
    courses: list[tuple[float, tuple[Point, ...]]],
    *,
    jitter: float,
    width: tuple[float, float],
) -> Float3D:
    """Share of tubes along courses whose vertices and radii vary."""
    out = np.zeros(head.inside.shape, dtype=np.float32)
    for radius, points in courses:
        thick = radius * float(rng.uniform(*width))
        moved = np.array(points) + rng.normal(0.0, jitter / 2, (len(points), 3))
        for start, end in itertools.pairwise(moved):
            _add_tube(out, head.place, start, end, thick)
    return out


def _add_tube(
    out: Float3D, place: NDArray[np.float32], start: NDArray[np.float64], end: NDArray[np.float64], radius: float
) -> None:
    """Raise `out` to the share of a straight tube with round ends, one voxel soft at its surface."""
    low, high = np.minimum(start, end) - radius - 1, np.maximum(start, end) + radius + 1
    near = (place[0] > low[0]) & (place[0] < high[0])
    for axis in (1, 2):
        near &= (place[axis] > low[axis]) & (place[axis] < high[axis])
    points = place[:, near]
    if not points.size:
        return
    way = (end - start).astype(np.float32)[:, None]
    offset = points - start.astype(np.float32)[:, None]
    along = np.clip((offset * way).sum(axis=0) / max(float((way**2).sum()), 1e-6), 0.0, 1.0)
    distance = np.sqrt(((offset - along * way) ** 2).sum(axis=0))
    out[near] = np.maximum(out[near], np.clip(np.float32(radius + 0.5) - distance, 0.0, 1.0))


def _sinuses(rng: np.random.Generator, head: WideHead) -> Float3D:
    left, back, up = head.place
    sinus = _tubes(rng, head, list(_MIDDLE_SINUSES), jitter=2.0, width=(0.6, 1.5))
    # One transverse sinus is often far larger than the other.
    for side in (1, -1):
        courses = [(radius, tuple((side * x, y, z) for x, y, z in points)) for radius, points in _SIDE_SINUSES]
        sinus = np.maximum(sinus, _tubes(rng, head, courses, jitter=4.0, width=(0.4, 1.7)))
    # Superior sagittal: a wedge under the vault.
    half = np.float32(rng.uniform(1.5, 5.0)) * np.clip((back + 70.0) / 120.0, 0.3, 1.0)
    middle = np.abs(left - np.float32(rng.normal(0.0, 1.5)))
    wedge = np.clip(half - middle - 0.35 * np.clip(head.inside, 0.0, None) + 0.5, 0.0, 1.0)
    wedge *= np.clip(4.5 - np.abs(head.inside + 0.5), 0.0, 1.0) * ((up > 5) | (back > 60)) * (up > -22)
    return np.asarray(np.maximum(sinus, wedge), dtype=np.float32)


def _dura(rng: np.random.Generator, head: WideHead) -> Float3D:
    """Sheets around the brain, between its halves and over the cerebellum, thicker here than there."""
    left, back, up = head.place
    patchy = random_field(rng, head.inside.shape, 25.0)
    thickness = np.float32(rng.uniform(0.3, 1.4)) * np.exp(np.float32(0.5) * patchy)
    shell = np.clip(thickness - np.abs(head.inside + 1.0), 0.0, 1.0)
    wet = np.clip(head.fluid * 2.0, 0.0, 1.0)
    falx = np.clip(np.float32(rng.uniform(0.3, 1.2)) - np.abs(left), 0.0, 1.0) * wet * ((up > 25) | (back > 40))
    roof = 2.0 - 0.35 * np.abs(left) - 0.35 * (back - 45.0)
    tent = np.clip(np.float32(rng.uniform(0.3, 1.3)) - np.abs(up - roof), 0.0, 1.0) * wet * (back > 30) * (up < 8)
    return np.asarray(np.maximum(np.maximum(shell, falx), tent), dtype=np.float32)


def _cortical_vessels(rng: np.random.Generator, head: WideHead) -> Float3D:
    """Thin curves in the sulci, and a few through white matter: where two smooth random fields are both near 0."""
    shape = head.inside.shape
    spacing = float(rng.uniform(8.0, 14.0))
    first, second = random_field(rng, shape, spacing), random_field(rng, shape, spacing)
    width = np.float32(rng.uniform(0.05, 0.16) * 9.0 / spacing)
    curves = np.exp(-(first * first + second * second) / (2 * width * width))
    bed = np.clip((head.fluid + 0.5 * head.grey - 0.3) * 2.0, 0.0, 1.0) * (head.inside < 22) * (head.inside > -1)
    strength = np.float32(rng.uniform(0.3, 0.95))
    return np.asarray(curves * (bed + np.float32(0.1)) * strength * (head.inside > -2), dtype=np.float32)
