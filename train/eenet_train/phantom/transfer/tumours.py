"""Tumours of the wide kind: which, how many, how large; their cores and oedema as labels and as layers.

Sizes are log-normal around the medians of the Decathlon's Task01 (`settings.TumourSettings`); the shares of the kinds
are near those of the BraTS cohorts (Bakas et al., Scientific Data 4, 2017: about a quarter low-grade), lesions of about
1 cm added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.labels import Label
from eenet_train.phantom.anatomy import Lattice
from eenet_train.phantom.fields import Float3D, random_field
from eenet_train.phantom.settings import TumourSettings
from eenet_train.phantom.transfer.ageing import ball
from eenet_train.phantom.transfer.anatomy import WideHead
from eenet_train.phantom.transfer.cores import fill_core
from eenet_train.phantom.transfer.looks import Family, Look
from eenet_train.phantom.transfer.scene import Material, Scene, window_of
from eenet_train.phantom.tumour import VOXELS_PER_ML, Lesions, Site, TumourPlan, grow_tumours


@dataclass(frozen=True)
class Disease:
    """What one case is to contain: the kind, and the volumes (`plan` is None where there is no tumour)."""

    family: Family
    plan: TumourPlan | None


def plan_disease(rng: np.random.Generator, look: Look) -> Disease:
    """Draw the kind of disease and its volumes."""
    names = list(look.families)
    family = names[int(rng.choice(len(names), p=[look.families[name] for name in names]))]
    if family is Family.NONE:
        return Disease(family, None)
    if family is Family.SMALL_RINGS:
        count = int(rng.integers(1, 6))
        diameters = rng.uniform(7.0, 18.0, count)
        volumes = np.sort(np.pi / 6 * diameters**3 / VOXELS_PER_ML)[::-1]
        oedema = float(np.clip(rng.lognormal(np.log(12.0), 0.9), 0.5, 90.0))
        return Disease(family, TumourPlan(tuple(float(v) for v in volumes), 0.0, oedema))
    median = {Family.RING: 26.0, Family.SOLID: 18.0, Family.DIFFUSE: 38.0, Family.MIXED: 36.0}[family]
    core = float(np.clip(rng.lognormal(np.log(median), 0.7), 1.5, 130.0))
    oedema = float(np.clip(rng.lognormal(np.log(14.0 if family is Family.DIFFUSE else 42.0), 0.8), 0.3, 170.0))
    count = 1 + int(rng.choice(3, p=(0.72, 0.18, 0.10)))
    shares = np.sort(rng.dirichlet(np.array([6.0, 1.0, 0.8])[:count]))[::-1]
    return Disease(family, TumourPlan(tuple(max(core * float(s), 0.3) for s in shares), 0.0, oedema))


def add_tumours(
    rng: np.random.Generator,
    disease: Disease,
    sites: list[Site],
    lattice: Lattice,
    head: WideHead,
    scene: Scene,
    look: Look,
) -> None:
    """Grow the tumours into labels and layers; with no plan nothing changes."""
    if disease.plan is None or not sites:
        return
    lobed, patchy = rng.random() < look.lobed, rng.random() < look.patchy_oedema
    if lobed or patchy:
        lesions = _by_balls(rng, disease.plan, sites, head)
    else:
        lesions = grow_tumours(rng, disease.plan, sites, lattice, head.head, TumourSettings())
    scene.labels[...] = lesions.labels
    _paint_oedema(rng, lesions, scene)
    _fill_cores(rng, disease.family, head, scene)


def _by_balls(rng: np.random.Generator, plan: TumourPlan, sites: list[Site], head: WideHead) -> Lesions:
    """The other synthesis: cores are unions of balls, oedema is what is nearest to them in white matter."""
    from scipy import ndimage

    shape, brain = head.head.shape, head.head.brain
    labels = np.zeros(shape, dtype=np.uint8)
    for site in sites:
        for lobe in range(int(rng.integers(2, 7))):
            reach = 0.0 if lobe == 0 else 0.7
            middle = np.array(site.centre) + rng.uniform(-reach, reach, 3) * site.radius
            radii = site.radius * rng.uniform(0.45, 0.85, 3)
            voxel = tuple(int(np.clip(c, 0, size - 1)) for c, size in zip(middle, shape, strict=True))
            window, share = ball(rng, shape, (voxel[0], voxel[1], voxel[2]), np.maximum(radii, 2.0), rough=0.08)
            labels[window][(share > 0.5) & brain[window] & (head.fluid[window] < 0.6)] = Label.NCR
    core = labels > 0
    infiltration = np.zeros(shape, dtype=np.float32)
    window = window_of(core, margin=45)
    if not core.any():
        return Lesions(labels, infiltration, 0.0)
    away = ndimage.distance_transform_edt(~core[window]).astype(np.float32)
    size = away.shape
    away *= np.exp(np.float32(0.35) * random_field(rng, (size[0], size[1], size[2]), 11.0))
    away += 20.0 * head.grey[window] + 50.0 * head.fluid[window]
    away[core[window] | ~brain[window]] = np.inf
    wanted = min(round(plan.oedema_ml * VOXELS_PER_ML), int(np.isfinite(away).sum()) - 1)
    if wanted > 0:
        limit = np.partition(away.ravel(), wanted)[wanted]
        reached = away < limit
        labels[window][reached] = Label.ED
        infiltration[window] = np.where(reached, 1.0 - 0.35 * np.clip(away / max(float(limit), 1.0), 0, 1), 0.0)
    return Lesions(labels, infiltration, 0.0)


def _paint_oedema(rng: np.random.Generator, lesions: Lesions, scene: Scene) -> None:
    """Oedema that fades outwards, from hardly at all to a ghost at its margin, with a sharp or a graded border."""
    from scipy import ndimage

    region = lesions.labels == Label.ED
    if not region.any():
        return
    window = window_of(region, margin=6)
    outermost = np.float32(rng.uniform(0.2, 0.95))
    near = np.clip((lesions.infiltration[window] - 0.65) / 0.35, 0.0, 1.0)
    share = np.where(region[window], outermost + (1 - outermost) * near ** np.float32(rng.uniform(0.5, 2.0)), 0.0)
    # A core soaks what is right beside it: no dark line between the two.
    share = np.where(lesions.labels[window] == Label.NCR, 1.0, share).astype(np.float32)
    share = ndimage.gaussian_filter(share, float(rng.uniform(0.6, 2.0)), truncate=3.0)
    scene.add(Material.OEDEMA, np.clip(share, 0, 1), window=window, uneven=float(rng.uniform(0.03, 0.15)))


def _fill_cores(rng: np.random.Generator, family: Family, head: WideHead, scene: Scene) -> None:
    """Give each connected core its inside."""
    from scipy import ndimage

    cores: NDArray[np.int32]
    cores, count = ndimage.label(scene.labels == Label.NCR)
    for number, place in enumerate(ndimage.find_objects(cores, count), start=1):
        if place is None:
            continue
        core = cores == number
        window = window_of(core, margin=5)
        # Satellites of a ring may be solid, and those of a diffuse tumour stay without enhancement.
        kind = family
        if number > 1 and family in (Family.RING, Family.MIXED) and rng.random() < 0.4:
            kind = Family.SOLID if family is Family.RING else Family.DIFFUSE
        fill_core(rng, kind, np.ascontiguousarray(core[window]), window, scene, _cortex(head, window))


def _cortex(head: WideHead, window: tuple[slice, slice, slice]) -> Float3D:
    return head.grey[window]
