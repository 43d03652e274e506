"""One phantom from a seed and an index."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.labels import Modality
from eenet_train.phantom.anatomy import GRID_SHAPE, Head, Lattice, pose_head, push_aside, render_head
from eenet_train.phantom.scanner import scan
from eenet_train.phantom.settings import BRATS_AFFINE, HARD, STANDARD, WIDE, WIDE_B, Phantom, PhantomSettings
from eenet_train.phantom.template import load_template
from eenet_train.phantom.transfer.generate import make_wide
from eenet_train.phantom.transfer.looks import LOOKS
from eenet_train.phantom.tumour import grow_tumours, mass_effect, place_tumours, plan_tumours


def case_id(seed: int, index: int, settings: PhantomSettings = STANDARD) -> str:
    """Name of a phantom: `Phantom_<seed>_<index>`, or `PhantomHard_...`, `PhantomWide_...`, `PhantomWideB_...`.

    Settings without a name of their own make `PhantomOwn_...`.
    """
    kind = {STANDARD: "", HARD: "Hard", WIDE: "Wide", WIDE_B: "WideB"}.get(settings, "Own")
    return f"Phantom{kind}_{seed:04d}_{index:04d}"


def make_phantom(seed: int, index: int, settings: PhantomSettings = STANDARD) -> Phantom:
    """Make one phantom; it depends on the arguments only, not on how many others are made, in which order or where.

    The same arguments give the same voxels with the same versions of NumPy, SciPy and nilearn on the same kind of
    processor; elsewhere the last bit of an exponential may differ.

    Args:
        seed: seed of the whole set, 0 or above.
        index: number of the case in the set, 0 or above.
        settings: kind of phantom.

    Raises:
        EENetError: nilearn, which brings the template, is not installed.
        ValueError: a negative seed or index.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed {seed} and index {index} must not be negative")
    template = load_template()
    if settings.look:
        lattice, images, labels = make_wide(seed, index, LOOKS[settings.look], template)
        return _placed(case_id(seed, index, settings), lattice, images, labels)
    # One stream for each step: a change in one step then leaves the draws of the others alone.
    streams = np.random.SeedSequence((seed, index)).spawn(4)
    planner, poser, grower, scanner = (np.random.default_rng(stream) for stream in streams)

    plan = plan_tumours(planner, settings.tumour)
    lattice = pose_head(poser, template)
    sites = place_tumours(planner, plan, lattice, template)
    lattice = push_aside(lattice, mass_effect(planner, sites), template)
    head = render_head(poser, lattice, template)
    lesions = grow_tumours(grower, plan, sites, lattice, head, settings.tumour)
    images = scan(scanner, head, lesions, settings.scanner)
    return _placed(case_id(seed, index, settings), head, images, lesions.labels)


def _placed(
    name: str, box: Head | Lattice, images: dict[Modality, NDArray[np.int16]], labels: NDArray[np.uint8]
) -> Phantom:
    """A phantom on the BraTS grid, from the box of its head."""
    return Phantom(
        case_id=name,
        images={modality: _on_grid(image, box) for modality, image in images.items()},
        labels=_labels_on_grid(labels, box),
        affine=BRATS_AFFINE.copy(),
    )


def _box(place: Head | Lattice) -> tuple[slice, slice, slice]:
    x, y, z = (slice(start, start + size) for start, size in zip(place.offset, place.shape, strict=True))
    return x, y, z


def _on_grid(image: NDArray[np.int16], place: Head | Lattice) -> NDArray[np.int16]:
    out = np.zeros(GRID_SHAPE, dtype=np.int16)
    out[_box(place)] = image
    return out


def _labels_on_grid(labels: NDArray[np.uint8], place: Head | Lattice) -> NDArray[np.uint8]:
    out = np.zeros(GRID_SHAPE, dtype=np.uint8)
    out[_box(place)] = labels
    return out
