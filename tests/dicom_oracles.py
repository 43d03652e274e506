"""Programs and libraries of other people that say what a DICOM object of ours holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import highdicom as hd
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.grid import Grid

_TO_RAS: Final = np.diag([-1.0, -1, 1, 1])
_NEAR_VOXELS: Final = 0.02
"""How far from the middle of a voxel of ours one of theirs may lie and still be that one."""


def program(name: str) -> Path:
    """A program that came with this Python's packages."""
    return Path(sys.executable).with_name(name)


def dciodvfy(path: Path) -> list[str]:
    """What dicom3tools' validator says of an object, line by line."""
    done = subprocess.run([program("dciodvfy"), path], capture_output=True, text=True, errors="replace", check=False)
    return (done.stdout + done.stderr).splitlines()


def errors_of(path: Path) -> list[str]:
    """Those of its lines that are errors."""
    return [line for line in dciodvfy(path) if "Error" in line]


def segments_by_highdicom(path: Path, grid: Grid) -> NDArray[np.uint8]:
    """Segment numbers on a grid, as highdicom reads them."""
    volume = hd.seg.segread(path).get_volume(combine_segments=True)
    return on_grid(volume.array, _TO_RAS @ volume.affine, grid)


def segments_by_dcmqi(path: Path, folder: Path, grid: Grid) -> NDArray[np.uint8]:
    """Segment numbers on a grid, as dcmqi's segimage2itkimage reads them; into a folder that is made for it."""
    folder.mkdir()
    reader: list[str | Path] = [program("segimage2itkimage"), "--mergeSegments", "-t", "nii", "-p", "seg"]
    subprocess.run([*reader, "--outputDirectory", folder, "--inputDICOM", path], check=True, capture_output=True)
    (found,) = folder.glob("seg*.nii.gz")
    image = nib.load(found)
    return on_grid(np.asarray(image.dataobj), image.affine, grid)


def on_grid(values: NDArray[Any], affine: NDArray[np.float64], grid: Grid) -> NDArray[np.uint8]:
    """The voxels of an array that are not 0, by their places in the world, on another grid of the same voxels."""
    found = np.zeros(grid.shape, np.uint8)
    indices = np.argwhere(values)
    mine = nib.affines.apply_affine(np.linalg.inv(grid.affine) @ affine, indices)
    nearest = np.rint(mine).astype(int)
    assert np.abs(mine - nearest).max() < _NEAR_VOXELS, "their voxels lie between ours"
    found[tuple(nearest.T)] = values[tuple(indices.T)]
    return found


def by_dcm2niix(folder: Path, output: Path) -> list[Any]:
    """The volumes that dcm2niix makes of a folder, as nibabel images; into a folder that is made for it."""
    output.mkdir()
    command: list[str | Path] = [program("dcm2niix"), "-z", "n", "-b", "n", "-o", output, folder]
    subprocess.run(command, check=True, capture_output=True)
    return [nib.load(path) for path in sorted(output.glob("*.nii"))]
