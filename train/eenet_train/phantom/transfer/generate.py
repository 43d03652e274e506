"""One wide phantom from a seed, an index and a look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.labels import Modality
from eenet_train.phantom.anatomy import Lattice, push_aside
from eenet_train.phantom.fields import Float3D
from eenet_train.phantom.template import Template
from eenet_train.phantom.transfer.ageing import add_ageing
from eenet_train.phantom.transfer.anatomy import WideHead, broad_pushes, pose_wide, render_wide
from eenet_train.phantom.transfer.looks import Family, Look
from eenet_train.phantom.transfer.scanner import scan_wide
from eenet_train.phantom.transfer.scene import Scene
from eenet_train.phantom.transfer.stripping import add_surroundings, strip
from eenet_train.phantom.transfer.tumours import add_tumours, plan_disease
from eenet_train.phantom.transfer.vessels import add_vessels
from eenet_train.phantom.tumour import mass_effect, place_tumours

_STEPS: Final = 6


@dataclass(frozen=True)
class Subject:
    """A head before it is scanned.

    Attributes:
        family: kind of disease.
        lattice: the head at 4 mm, which knows where its box lies in the grid.
        head: the anatomy.
        scene: what lies where; its labels end at the mask.
        sinus: share of venous sinus.
        brain: the mask that stripping made.
    """

    family: Family
    lattice: Lattice
    head: WideHead
    scene: Scene
    sinus: Float3D
    brain: NDArray[np.bool_]


def _streams(seed: int, index: int, look: Look) -> list[np.random.Generator]:
    """One stream for each step: a change in one step then leaves the draws of the others alone."""
    return [np.random.default_rng(s) for s in np.random.SeedSequence((seed, index, look.stream)).spawn(_STEPS)]


def make_subject(seed: int, index: int, look: Look, template: Template) -> Subject:
    """Everything but the images."""
    planner, poser, grower, painter, stripper, _ = _streams(seed, index, look)
    disease = plan_disease(planner, look)
    lattice = pose_wide(poser, look, template)
    sites = place_tumours(planner, disease.plan, lattice, template) if disease.plan else []
    if sites:
        lattice = push_aside(lattice, broad_pushes(planner, mass_effect(planner, sites)), template)
    head = render_wide(poser, lattice, look, template)
    scene = Scene(head.white, head.grey, head.fluid, np.zeros(head.head.shape, dtype=np.uint8))
    add_surroundings(stripper, head, scene)
    add_ageing(painter, head, scene, often=disease.family is Family.NONE)
    add_tumours(grower, disease, sites, lattice, head, scene, look)
    sinus = add_vessels(painter, head, scene)
    brain = strip(stripper, head, sinus, look)
    # No vessel is tumour, and nothing is labelled that stripping took away.
    scene.labels[(sinus > 0.5) | ~brain] = 0
    return Subject(disease.family, lattice, head, scene, sinus, brain)


def make_wide(
    seed: int, index: int, look: Look, template: Template
) -> tuple[Lattice, dict[Modality, NDArray[np.int16]], NDArray[np.uint8]]:
    """A phantom in the box of its head: where the box lies, int16 images and network classes."""
    subject = make_subject(seed, index, look, template)
    scanner = _streams(seed, index, look)[-1]
    return subject.lattice, scan_wide(scanner, subject.scene, subject.brain, look), subject.scene.labels
