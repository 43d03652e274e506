"""Figures of the package `brats-evaluation`, the challenges' own, for a comparison and for nothing else.

The package is under AGPL-3.0. It is no dependency: nothing of ours imports it. It runs as a program of its own, in a
Python that has it, and leaves a JSON file that is read here.

Three of its habits matter for reading its figures (0.0.10 with panoptica 2.1.7). Where the masks have no voxel in
common a distance is infinite, for which its table writes 373 mm. The HD95 of a whole region counts voxels, whatever
their size. The HD95 of lesions takes the voxel's sizes along X and Z for each other. The last two are nothing where
voxels are 1 mm, as in the challenges; so here it is given all masks as if theirs were.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import EENetError
from eenet_runtime.volumes.labels import BRATS2023, Region
from eenet_train.metrics.surfaces import WORST_POOLED_HD95_MM

PACKAGE: Final = "brats-evaluation"
_PROGRAM: Final = "brats_evaluation.evaluation"
_CONFIGURATION: Final = "gli"
_VERSION: Final = f"from importlib.metadata import version; print(version({PACKAGE!r}))"


@dataclass(frozen=True)
class PackageFigures:
    """What the package says of one region; None where it says that there is no value.

    Attributes:
        dice, pooled_hd95: of the region as a whole; the distance in voxels of 1 mm.
        matched_dice, matched_hd95: means over matched lesions.
        true_positives, false_positives, false_negatives: numbers of lesions.
    """

    dice: float | None
    pooled_hd95: float | None
    matched_dice: float | None
    matched_hd95: float | None
    true_positives: int
    false_positives: int
    false_negatives: int


def package_version(python: Path) -> str:
    """The version of the package that a Python has.

    Raises:
        EENetError: the Python does not run, or has no such package.
    """
    try:
        done = subprocess.run([python, "-c", _VERSION], capture_output=True, text=True, check=False)
    except OSError as error:
        raise EENetError(f"{python}: this Python cannot be started ({error.strerror})") from error
    if done.returncode:
        raise EENetError(f"{python}: {PACKAGE} is not installed there; install the extra brats, or name a Python")
    return done.stdout.strip()


class PackageRun:
    """Cases for one run of the package.

    Args:
        folder: an empty folder for its files.
        python: a Python that has the package.
    """

    def __init__(self, folder: Path, python: Path) -> None:
        self._folders = {kind: folder / kind for kind in ("truth", "masks")}
        self._summary = folder / "summary.json"
        self._python = python
        self._count = 0
        for path in self._folders.values():
            path.mkdir()

    def add(self, mask: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """Add a case: uint8 network classes of one shape, (X, Y, Z)."""
        import nibabel as nib

        for kind, labels in (("masks", mask), ("truth", truth)):
            # Its program looks for a patient's number of five digits at the end of a name.
            path = self._folders[kind] / f"case-{self._count:05d}.nii.gz"
            nib.save(nib.Nifti1Image(BRATS2023.to_file(labels), np.eye(4)), path)
        self._count += 1

    def figures(self) -> list[Mapping[Region, PackageFigures]]:
        """Run the package. Returns the figures of every case, in the order in which they were added.

        Raises:
            EENetError: the program failed, as a whole or for a case.
        """
        command: list[str | Path] = [self._python, "-m", _PROGRAM, "--config", _CONFIGURATION]
        command += ["--ref_path", self._folders["truth"], "--pred_path", self._folders["masks"]]
        command += ["--summary_json", self._summary]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not self._summary.is_file():
            last = done.stderr.strip().rpartition("\n")[2]
            raise EENetError(f"{PACKAGE}: its program ended with code {done.returncode} and without figures ({last})")
        by_name = {case["subject_name"]: case for case in json.loads(self._summary.read_text())["metrics"]}
        return [_figures_of_case(by_name[f"case-{number:05d}.nii.gz"]) for number in range(self._count)]


def _figures_of_case(case: Mapping[str, Any]) -> Mapping[Region, PackageFigures]:
    if "error" in case:
        raise EENetError(f"{PACKAGE}: a case failed there ({case['error']})")
    return {region: _figures_of_region(case[region.value.lower()]) for region in Region}


def _figures_of_region(found: Mapping[str, Any]) -> PackageFigures:
    return PackageFigures(
        dice=_number(found["global_bin_dsc"]),
        pooled_hd95=_number(found["global_bin_hd95"]),
        matched_dice=_number(found["sq_dsc"]),
        matched_hd95=_number(found["sq_hd95"]),
        true_positives=int(found["tp"]),
        false_positives=int(found["fp"]),
        false_negatives=int(found["fn"]),
    )


def _number(value: float) -> float | None:
    if math.isnan(value):
        return None
    return WORST_POOLED_HD95_MM if math.isinf(value) else float(value)
