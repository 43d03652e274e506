"""Tumours: how large, where, and in which shape.

Shapes are level sets of smooth random fields, cut at the rank that gives the planned volume; oedema is what a front
reaches that starts at the core and travels fast in white matter, slowly in grey and hardly through fluid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.labels import Label
from eenet_train.phantom.anatomy import LATTICE_MM, Head, Lattice, Push
from eenet_train.phantom.fields import Float3D, Shape3, random_field, upsample
from eenet_train.phantom.settings import TumourSettings
from eenet_train.phantom.template import Template

VOXELS_PER_ML: Final = 1000
"""At 1 mm."""
LARGEST_CORE_ML: Final = 130.0
LARGEST_OEDEMA_ML: Final = 190.0
"""Larger ones do not fit into the white matter of one head; volumes approach these limits smoothly."""
UNREACHED: Final = 1e4
"""Travel time given to places that cannot be reached."""


@dataclass(frozen=True)
class TumourPlan:
    """What one case is to contain.

    Attributes:
        core_ml: volume of each tumour's core (enhancing and necrotic), the largest first.
        enhancing_share: enhancing part of the core, 0 in a low-grade case.
        oedema_ml: oedema of all tumours together.
    """

    core_ml: tuple[float, ...]
    enhancing_share: float
    oedema_ml: float


@dataclass(frozen=True)
class Site:
    """Where a tumour sits: box voxel of its centre, and the radius of a ball of its volume in mm."""

    centre: tuple[float, float, float]
    radius: float


@dataclass(frozen=True)
class Lesions:
    """The tumours of a case in the head's box.

    Attributes:
        labels: network classes, uint8.
        infiltration: how strongly oedema changes the tissue, float32: 1 at the core, less towards its margin.
        necrosis: how far the non-enhancing core is necrotic (1) rather than solid tumour (0).
    """

    labels: NDArray[np.uint8]
    infiltration: Float3D
    necrosis: float


def plan_tumours(rng: np.random.Generator, settings: TumourSettings) -> TumourPlan:
    """Draw the volumes of one case: log-normal around the medians, within tenfold either way."""
    size = rng.normal(0.0, settings.spread)
    parts = np.exp(np.clip(size + rng.normal(0.0, settings.part_spread, 3), -math.log(10), math.log(10)))
    low_grade = rng.random() < settings.low_grade
    count = 1 + int(rng.choice(3, p=settings.counts))
    shares = np.sort(rng.dirichlet(np.array([6.0, 1.5, 1.5])[:count]))[::-1]
    enhancing = settings.enhancing_ml * float(parts[0])
    necrotic = settings.necrotic_ml * float(parts[1])
    core = LARGEST_CORE_ML * math.tanh((enhancing + necrotic) / LARGEST_CORE_ML)
    oedema = LARGEST_OEDEMA_ML * math.tanh(settings.oedema_ml * float(parts[2]) / LARGEST_OEDEMA_ML)
    if low_grade:  # no enhancing part, and less swelling
        core, oedema = 0.7 * core, 0.6 * oedema
    return TumourPlan(
        core_ml=tuple(max(core * float(share), 0.4) for share in shares),
        enhancing_share=0.0 if low_grade else enhancing / (enhancing + necrotic),
        oedema_ml=oedema,
    )


def place_tumours(rng: np.random.Generator, plan: TumourPlan, lattice: Lattice, template: Template) -> list[Site]:
    """Choose a centre for each tumour: in the white matter of the cerebrum, deep enough for its size, apart."""
    from scipy import ndimage

    x, y, z = lattice.positions()
    left, back, up = (lattice.source[axis] - template.origin[axis] for axis in range(3))
    # Cerebellum and brain stem, in template millimetres from the anterior commissure (back > 0 is posterior).
    hindbrain = ((up < -8) & (back > 36)) | ((up < -4) & (np.abs(left) < 20) & (back > 5)) | (up < -34)
    wanted = np.clip(lattice.white - 0.35, 0.0, None) * ~hindbrain
    wanted = np.where(np.abs(left) < 8, wanted * 0.15, wanted)  # few begin in the corpus callosum
    sites: list[Site] = []
    for volume in plan.core_ml:
        radius = (3.0 * volume * VOXELS_PER_ML / (4.0 * math.pi)) ** (1.0 / 3.0)
        # Few straddle a fissure or wrap a ventricle: the less fluid around, the likelier.
        fluid = ndimage.gaussian_filter(lattice.csf, 0.5 * radius / LATTICE_MM)
        deep = wanted * np.exp(np.float32(-18.0) * fluid) * (lattice.depth > min(0.75 * radius + 3.0, 24.0))
        for site in sites:
            gap = np.sqrt((x - site.centre[0]) ** 2 + (y - site.centre[1]) ** 2 + (z - site.centre[2]) ** 2)
            deep = deep * (gap > radius + site.radius + 6.0)
        if not deep.any():
            continue  # no room beside the larger ones: this case has a tumour less
        weights = deep.ravel().astype(np.float64)
        point = np.unravel_index(int(rng.choice(weights.size, p=weights / weights.sum())), deep.shape)
        jitter = rng.uniform(-2.0, 2.0, 3)
        centre = [float((int(p) - 1) * LATTICE_MM + j) for p, j in zip(point, jitter, strict=True)]
        sites.append(Site((centre[0], centre[1], centre[2]), radius))
    return sites


def mass_effect(rng: np.random.Generator, sites: list[Site]) -> list[Push]:
    """Push of each tumour: 25 to 50 % of its radius, up to 11 mm."""
    return [Push(site.centre, site.radius, min(float(rng.uniform(0.25, 0.5)) * site.radius, 11.0)) for site in sites]


def grow_tumours(
    rng: np.random.Generator,
    plan: TumourPlan,
    sites: list[Site],
    lattice: Lattice,
    head: Head,
    settings: TumourSettings,
) -> Lesions:
    """Shape cores, rims and oedema in the head's box.

    Args:
        rng: source of the shapes.
        plan: the volumes.
        sites: the places, as many as could be placed.
        lattice, head: the same head at 4 mm and at 1 mm, mass effect included.
        settings: for the limits of the rim.
    """
    labels = np.zeros(head.shape, dtype=np.uint8)
    for volume, site in zip(plan.core_ml, sites, strict=False):
        _grow_core(rng, labels, head, lattice, site, volume, plan.enhancing_share, settings)
    infiltration = _spread_oedema(rng, labels, head, lattice, plan.oedema_ml)
    necrosis = rng.uniform(0.6, 1.0) if plan.enhancing_share > 0 else rng.uniform(0.0, 0.3)
    return Lesions(labels, infiltration, float(necrosis))


def _window(site: Site, shape: Shape3, voxel_mm: int) -> tuple[slice, slice, slice]:
    """Part of the box that a core can reach."""
    reach = 2.3 * site.radius + 6.0
    x, y, z = (
        slice(max(math.floor((c - reach) / voxel_mm), 0), min(math.ceil((c + reach) / voxel_mm), size))
        for c, size in zip(site.centre, shape, strict=True)
    )
    return x, y, z


def _grow_core(
    rng: np.random.Generator,
    labels: NDArray[np.uint8],
    head: Head,
    lattice: Lattice,
    site: Site,
    volume_ml: float,
    enhancing_share: float,
    settings: TumourSettings,
) -> None:
    """Write one core (NCR, and ET where it enhances) into `labels`."""
    from scipy import ndimage

    voxel_mm = head.voxel_mm
    window = _window(site, head.shape, voxel_mm)
    brain = head.brain[window] & (labels[window] == 0)
    detour = _detour(site, lattice, head)[window]
    size: Shape3 = (brain.shape[0], brain.shape[1], brain.shape[2])
    offsets = [
        (np.arange(part.start, part.stop, dtype=np.float32) * voxel_mm - np.float32(c)) / np.float32(stretch)
        for part, c, stretch in zip(window, site.centre, np.exp(rng.normal(0.0, 0.18, 3)), strict=True)
    ]
    distance = np.sqrt(offsets[0][:, None, None] ** 2 + offsets[1][None, :, None] ** 2 + offsets[2][None, None, :] ** 2)
    irregular = random_field(rng, size, max(0.9 * site.radius, 5.0) / voxel_mm) * np.float32(0.26)
    irregular += random_field(rng, size, max(0.4 * site.radius, 3.0) / voxel_mm) * np.float32(0.10)
    # The way through tissue counts, not the straight line alone: no core leaps over a fissure.
    score = (distance + np.float32(0.5) * detour) / np.float32(site.radius) + irregular
    score += np.float32(0.5) * head.csf[window]
    score[~brain] = np.inf
    core = _largest_component(_lowest(score, round(volume_ml * head.voxels_per_ml)))
    # A core has swallowed the sulci within it: closed, without holes.
    core = ndimage.binary_fill_holes(ndimage.binary_closing(core, iterations=max(2 // voxel_mm, 1))) & brain

    written = np.where(core, np.uint8(Label.NCR), np.uint8(0))
    if enhancing_share > 0:
        written[_rim(rng, core, enhancing_share, site.radius, settings.rim_mm, voxel_mm)] = Label.ET
    labels[window] = np.maximum(labels[window], written)


def _detour(site: Site, lattice: Lattice, head: Head) -> Float3D:
    """How much longer than the straight line the way from a tumour's centre is, in mm; fluid counts eightfold."""
    starts = np.zeros(lattice.csf.shape, dtype=np.bool_)
    centre = tuple(round(c / LATTICE_MM) + 1 for c in site.centre)
    starts[centre] = True
    passable = starts | (lattice.depth > 0)
    fluid = np.clip(np.float32(1.5) * lattice.csf - np.float32(0.2), np.float32(0), np.float32(1))
    time = _travel_time(starts, passable, np.float32(1) + np.float32(7) * fluid)
    # Steps to the 26 neighbours alone make a "straight" line of diagonal and axial pieces; compare with that one.
    steps = np.abs(np.indices(starts.shape, dtype=np.float32) - np.array(centre, dtype=np.float32)[:, None, None, None])
    short, middle, long = np.sort(steps, axis=0)
    straight = LATTICE_MM * (
        long + np.float32(math.sqrt(2) - 1) * middle + np.float32(math.sqrt(3) - math.sqrt(2)) * short
    )
    further = np.clip(time - straight, 0.0, np.float32(4.0 * site.radius + 20.0))
    return upsample(further, head.shape, LATTICE_MM / head.voxel_mm)


def _rim(
    rng: np.random.Generator,
    core: NDArray[np.bool_],
    share: float,
    radius: float,
    limits: tuple[float, float],
    voxel_mm: int,
) -> NDArray[np.bool_]:
    """Enhancing rim: a shell of varying thickness under the surface of the core.

    The mean thickness is the one that gives the wanted share of the core, kept within `limits` (mm).
    """
    from scipy import ndimage

    inward = (ndimage.distance_transform_edt(core) * voxel_mm).astype(np.float32)
    size: Shape3 = (core.shape[0], core.shape[1], core.shape[2])
    uneven = np.exp(np.float32(0.35) * random_field(rng, size, max(0.7 * radius, 5.0) / voxel_mm))
    relative = np.where(core, inward / uneven, np.float32(np.inf))
    wanted = round(share * int(core.sum()))
    if wanted < 1:
        return np.zeros_like(core)
    thickness = float(np.partition(relative[core], wanted - 1)[wanted - 1])
    return np.asarray(relative <= np.clip(thickness, *limits))


def _lowest(score: Float3D, count: int) -> NDArray[np.bool_]:
    """The `count` voxels of lowest score (fewer if not so many are finite)."""
    finite = score[np.isfinite(score)]
    if count >= finite.size:
        return np.isfinite(score)
    return np.asarray(score < np.partition(finite, count)[count])


def _largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage

    components, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return np.asarray(components == int(sizes.argmax()))


def _travel_time(starts: NDArray[np.bool_], passable: NDArray[np.bool_], cost: Float3D) -> Float3D:
    """Least effort of getting from any start to each lattice point (Dijkstra on the 26 neighbours).

    Args:
        starts, passable: lattice masks; the starts are passable.
        cost: effort of one millimetre.

    Returns:
        float32, the unit of `cost` times mm; `UNREACHED` where there is no way.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    shape, total = passable.shape, int(passable.sum())
    number = np.full(shape, -1, dtype=np.int32)
    number[passable] = np.arange(total, dtype=np.int32)
    rows, columns, efforts = [], [], []
    for step in _half_neighbourhood():
        here = tuple(slice(max(-s, 0), min(n - s, n)) for s, n in zip(step, shape, strict=True))
        there = tuple(slice(max(s, 0), min(n + s, n)) for s, n in zip(step, shape, strict=True))
        both = passable[here] & passable[there]
        rows.append(number[here][both])
        columns.append(number[there][both])
        mean_cost = (cost[here][both] + cost[there][both]) / 2
        efforts.append(mean_cost * (LATTICE_MM * math.sqrt(sum(s * s for s in step))))
    ends = (np.concatenate(rows), np.concatenate(columns))
    graph = coo_array((np.concatenate(efforts).astype(np.float64), ends), shape=(total, total)).tocsr()
    time = dijkstra(graph, directed=False, indices=number[starts], min_only=True)
    out = np.full(shape, UNREACHED, dtype=np.float32)
    out[passable] = np.minimum(time, UNREACHED)
    return out


def _half_neighbourhood() -> list[tuple[int, int, int]]:
    """One of each pair of opposite steps to the 26 neighbours."""
    steps = [(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
    return [step for step in steps if step > (0, 0, 0)]


def _spread_oedema(
    rng: np.random.Generator, labels: NDArray[np.uint8], head: Head, lattice: Lattice, volume_ml: float
) -> Float3D:
    """Write ED into `labels`; return how strongly it changes the tissue (0 where there is none)."""
    from scipy import ndimage

    infiltration = np.zeros(head.shape, dtype=np.float32)
    core = labels > 0
    starts = np.zeros(lattice.csf.shape, dtype=np.bool_)
    points = np.argwhere(core) * head.voxel_mm // LATTICE_MM + 1
    starts[points[:, 0], points[:, 1], points[:, 2]] = True
    passable = starts | ((lattice.depth > 1) & (lattice.csf < 0.75))
    # A millimetre of grey matter costs about as much as four of white, fluid thirty.
    ease = lattice.white + np.float32(0.22) * lattice.grey + np.float32(0.03)
    time = _travel_time(starts, passable, np.float32(1) / ease)
    # A ceiling keeps the spline from overshooting between reached and unreached points.
    ceiling = np.float32(1.5 * np.percentile(time[time < UNREACHED], 60))
    effort = upsample(np.minimum(time, ceiling), head.shape, LATTICE_MM / head.voxel_mm)
    effort *= np.exp(np.float32(0.22) * random_field(rng, head.shape, 16.0 / head.voxel_mm))
    effort += np.float32(26.0) * head.grey + np.float32(60.0) * head.csf
    effort[~head.brain | core] = np.inf
    oedema = _lowest(effort, round(volume_ml * head.voxels_per_ml))
    # Islands that the front did not reach through tissue are dropped.
    components, _ = ndimage.label(oedema | core)
    touched = np.unique(components[core])
    oedema &= np.isin(components, touched[touched > 0])
    labels[oedema] = Label.ED
    if oedema.any():
        reach = np.float32(max(float(effort[oedema].max()), 1.0))
        infiltration[oedema] = 1.0 - np.float32(0.35) * np.clip(effort[oedema] / reach, 0.0, 1.0)
    return infiltration
