"""Headers whose two orientations contradict each other: one viewer shows the head as another does not.

The images are read by their sforms, which are held against each other when they are read (`on_one_grid`); a mask says
the same in both of its forms (`eenet_runtime.files.nifti`). What is left to say is that somebody's viewer, or another
program, may see the case otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.content_checks.finding import Finding, Severity
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.files.orientation_forms import FORMS_TOLERANCE_MM, find_contradiction
from eenet_runtime.volumes.grid import Grid, corner_distance_mm
from eenet_runtime.volumes.labels import Modality

_SAID = "the sform was used, and the mask says the same in both"


def find_two_orientations(images: CaseImages) -> list[Finding]:
    """One finding where all images contradict themselves alike; else one for each image that does, which is told."""
    found = {modality: find_contradiction(volume.header) for modality, volume in images.volumes.items()}
    told = {modality: contradiction for modality, contradiction in found.items() if contradiction is not None}
    if not told:
        return []
    moves = [np.eye(4) if contradiction is None else contradiction.to_qform for contradiction in found.values()]
    if all(_alike(move, moves[0], images.grid) for move in moves):
        words = next(iter(told.values())).words
        message = f"{images.reference.source} and its other images: qform and sform differ ({words}); {_SAID}"
        return [_finding(message)]
    return [
        _finding(
            f"{_name(images, modality)}: qform and sform differ ({contradiction.words}), and by their qforms the "
            f"images do not lie on each other; {_SAID}"
        )
        for modality, contradiction in told.items()
    ]


def _alike(first: NDArray[np.float64], second: NDArray[np.float64], grid: Grid) -> bool:
    """Whether two ways from the sforms' world lead to one place; those that lead nowhere do not."""
    apart = corner_distance_mm(Grid(grid.shape, first @ grid.affine), Grid(grid.shape, second @ grid.affine))
    return apart <= FORMS_TOLERANCE_MM


def _name(images: CaseImages, modality: Modality) -> str:
    return f"{images.volumes[modality].source} ({modality.value})"


def _finding(message: str) -> Finding:
    return Finding("two-orientations", Severity.SUSPECTED, message)
