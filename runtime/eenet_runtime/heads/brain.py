"""Which voxels are the brain: the mask that all series of a case share, wherever it comes from."""

from __future__ import annotations

import math
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import cc3d
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.inputs import volume_of_array
from eenet_runtime.errors import BackendError, CaseError
from eenet_runtime.files.atomic import sha256_of_file
from eenet_runtime.files.nifti import Volume, read_volume
from eenet_runtime.heads.figures import BrainFigures
from eenet_runtime.heads.resampling import resample
from eenet_runtime.volumes.grid import Grid

MASK_SPACING_MM: Final = 1.0
INPUT, OUTPUT = "{input}", "{output}"
"""What a strip command must name."""
_COMMAND_LIMIT_S: Final = 3600.0
_TOLD: Final = 200
"""Characters of a command's own error message that are repeated."""


@dataclass(frozen=True)
class Brain:
    """A brain mask.

    Attributes:
        mask: bool (X, Y, Z).
        grid: of about 1 mm, in the T1ce's world.
        figures: what it measures.
    """

    mask: NDArray[np.bool_]
    grid: Grid
    figures: BrainFigures

    def on(self, target: Grid, target_to_t1ce: NDArray[np.float64], threads: int | None = None) -> NDArray[np.bool_]:
        """The mask on another grid: where at least half of a voxel is brain.

        Args:
            target: any grid.
            target_to_t1ce: float64 (4, 4), from its world to the T1ce's.
            threads: for the resampling.
        """
        image = volume_of_array(self.mask.astype(np.float32), self.grid.affine, "brain mask")
        return np.asarray(resample(image, target, target_to_t1ce, threads=threads) >= 0.5)


class BrainMasker(Protocol):
    """Anything that says where the brain is.

    Attributes:
        identity: what its masks follow from, for reports and for resuming.
    """

    @property
    def identity(self) -> dict[str, str]: ...

    def brain(self, t1ce: Volume, t1: Volume, t1ce_to_t1: NDArray[np.float64], threads: int | None) -> Brain:
        """The brain of a case.

        Raises:
            CaseError: there is none, or what should be one cannot be used.
            BackendError: this machine cannot tell.
        """
        ...

    def release(self) -> None:
        """Free what it holds in memory; it can be used again."""
        ...


@dataclass(frozen=True)
class StrippedHeads:
    """The heads are stripped: the brain is where the T1ce is not 0, without its holes."""

    @property
    def identity(self) -> dict[str, str]:
        """Nothing but that."""
        return {"strip": "none: the heads came stripped"}

    def brain(self, t1ce: Volume, t1: Volume, t1ce_to_t1: NDArray[np.float64], threads: int | None) -> Brain:
        """See `BrainMasker`."""
        return _brain_of(t1ce.data != 0, t1ce.grid, t1ce.grid, threads)

    def release(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class MaskFile:
    """A mask that somebody made.

    Attributes:
        path: a NIfTI file in the T1ce's world, on any grid; what is above 0 is brain.
    """

    path: Path

    @property
    def identity(self) -> dict[str, str]:
        """The file's bytes."""
        try:
            return {"strip": f"brain mask {sha256_of_file(self.path)}"}
        except OSError as error:
            raise CaseError(f"{self.path}: the brain mask cannot be read ({error.strerror or error})") from error

    def brain(self, t1ce: Volume, t1: Volume, t1ce_to_t1: NDArray[np.float64], threads: int | None) -> Brain:
        """See `BrainMasker`."""
        mask = read_volume(self.path)
        if mask.data.ndim != 3:
            raise CaseError(f"{self.path}: {mask.data.shape[3]} channels found, expected one brain mask")
        return _brain_of(np.asarray(mask.data > 0), mask.grid, t1ce.grid, threads)

    def release(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class StripCommand:
    """A program of the site's own. It gets the T1ce as a file and leaves a mask, or the stripped T1ce, as another.

    Attributes:
        command: a command line with `{input}` and `{output}`, both names of `.nii.gz` files; run without a shell.
    """

    command: str

    def __post_init__(self) -> None:
        words = self._words()
        if not all(any(place in word for word in words) for place in (INPUT, OUTPUT)):
            raise BackendError(f"strip command {self.command!r}: expected {INPUT} and {OUTPUT} in it")
        if shutil.which(words[0]) is None:
            raise BackendError(f"strip command {self.command!r}: no program {words[0]} found")

    @property
    def identity(self) -> dict[str, str]:
        """The command line; what it runs is the site's own affair."""
        return {"strip": f"command {self.command}"}

    def brain(self, t1ce: Volume, t1: Volume, t1ce_to_t1: NDArray[np.float64], threads: int | None) -> Brain:
        """See `BrainMasker`. A file that is not there, is unreadable or lies on another grid refuses the case."""
        with tempfile.TemporaryDirectory(prefix="eenet-strip-") as folder:
            given, made = Path(folder) / "t1ce.nii.gz", Path(folder) / "brain.nii.gz"
            # A fresh header: a site's program gets the voxels and where they lie, and no text of the scanner's.
            nib.Nifti1Image(np.asarray(t1ce.data), t1ce.grid.affine).to_filename(given)
            words = [word.replace(INPUT, str(given)).replace(OUTPUT, str(made)) for word in self._words()]
            self._run(words)
            if not made.is_file():
                raise CaseError(f"{t1ce.source}: the strip command left no file under the name of {OUTPUT}")
            mask = read_volume(made)
            if mask.data.ndim != 3 or not mask.grid.matches(t1ce.grid):
                raise CaseError(
                    f"{t1ce.source}: the strip command's image lies on another grid ({mask.grid.describe()}) than the "
                    f"t1ce ({t1ce.grid.describe()})"
                )
            return _brain_of(np.asarray(mask.data > 0), mask.grid, t1ce.grid, threads)

    def release(self) -> None:
        """Nothing is held."""

    def _words(self) -> list[str]:
        try:
            return shlex.split(self.command) or [""]
        except ValueError as error:
            raise BackendError(f"strip command {self.command!r}: {error}") from error

    def _run(self, words: list[str]) -> None:
        try:
            done = subprocess.run(words, capture_output=True, timeout=_COMMAND_LIMIT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise CaseError(f"the strip command took more than {_COMMAND_LIMIT_S:g} s") from error
        except OSError as error:
            raise BackendError(f"strip command {self.command!r}: {error.strerror or error}") from error
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()[-_TOLD:]
            raise CaseError(f"the strip command ended with exit code {done.returncode}{f': {said}' if said else ''}")


def _brain_of(mask: NDArray[np.bool_], grid: Grid, t1ce: Grid, threads: int | None) -> Brain:
    """A mask on the T1ce's axes at 1 mm, without holes, and its figures.

    Raises:
        CaseError: it is empty.
    """
    fine = isotropic(t1ce)
    image = volume_of_array(mask.astype(np.float32), grid.affine, "brain mask")
    found = np.asarray(resample(image, fine, np.eye(4), threads=threads) >= 0.5)
    if not found.any():
        raise CaseError("the brain mask is empty, expected a brain")
    filled = without_holes(found)
    return Brain(filled, fine, brain_figures(filled, fine))


def isotropic(grid: Grid, spacing_mm: float = MASK_SPACING_MM) -> Grid:
    """A grid of cubes over the same part of the world, along the same axes, outer face on outer face."""
    sizes = [max(1, math.ceil(size * old / spacing_mm - 1e-6)) for size, old in zip(grid.shape, grid.spacing_mm)]
    directions = grid.affine[:3, :3] / np.array(grid.spacing_mm)
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing_mm
    face = grid.affine[:3, 3] - grid.affine[:3, :3] @ np.full(3, 0.5)
    affine[:3, 3] = face + affine[:3, :3] @ np.full(3, 0.5)
    return Grid((sizes[0], sizes[1], sizes[2]), affine)


def without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest piece of a mask, with what it encloses."""
    pieces = cc3d.connected_components(np.asfortranarray(mask), connectivity=6, binary_image=True)
    sizes = np.bincount(pieces.ravel(order="K"))
    sizes[0] = 0
    largest = pieces == sizes.argmax()
    outside = cc3d.connected_components(np.asfortranarray(np.pad(~largest, 1, constant_values=True)), connectivity=6)
    return np.asarray(outside[1:-1, 1:-1, 1:-1] != outside[0, 0, 0])


def brain_figures(mask: NDArray[np.bool_], grid: Grid, agreement: float | None = None) -> BrainFigures:
    """Volume, compactness and contact with the border of a mask; see `BrainFigures`."""
    volume = int(np.count_nonzero(mask))
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(3):
        for step in (slice(0, -2), slice(2, None)):
            inner &= padded[tuple(step if other == axis else slice(1, -1) for other in range(3))]
    surface = volume - int(np.count_nonzero(inner))
    edge = np.zeros_like(mask)
    for axis in range(3):
        for index in (0, -1):
            edge[tuple(index if other == axis else slice(None) for other in range(3))] = True
    at_border = int(np.count_nonzero(mask & edge))
    compactness = 36 * math.pi * volume**2 / max(surface, 1) ** 3
    return BrainFigures(volume * grid.voxel_ml, compactness, at_border / max(volume, 1), agreement)
