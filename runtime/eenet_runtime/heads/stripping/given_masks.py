"""What a site may have instead of our networks: a program, a mask of its own, or heads that are stripped already.

Nothing that comes from elsewhere is believed: a mask lies on the T1ce's grid, holds 0 and 1 and is as large as a brain
can be, or the case is refused in one line that says what was found.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError, EENetError
from eenet_runtime.files.nifti import Volume, header_like, read_volume
from eenet_runtime.heads.stripping.brain_mask import BrainMask, brain_mask, clean_mask
from eenet_runtime.heads.stripping.working_grid import working_grid
from eenet_runtime.volumes.grid import to_stored_order

SMALLEST_ML: Final = 200.0
"""A slab of 20 mm through a brain; less is no brain for this purpose."""
LARGEST_ML: Final = 2400.0
"""The largest brains have 2 litres, heads with their skulls 3."""
TIME_LIMIT_S: Final = 900.0
"""For a command, unless somebody says otherwise."""
INPUT, OUTPUT = "{input}", "{output}"


@dataclass(frozen=True)
class MaskFile:
    """A mask that the user gives, on the grid of the T1ce.

    Attributes:
        path: a NIfTI file of 0 and 1.
    """

    path: Path

    def strip(self, t1ce: Volume, t1: Volume | None, t1ce_to_t1: NDArray[np.float64] | None) -> BrainMask:
        """See `BrainMasker.strip`; the T1 is not looked at.

        Raises:
            CaseError: the file cannot be read, or is no mask of this head.
        """
        return given_mask(read_volume(self.path), t1ce, "a mask that was given")


@dataclass(frozen=True)
class MaskCommand:
    """A program of the site's that strips, run without a shell.

    Attributes:
        command: as one would type it, with `{input}` (the T1ce, a NIfTI file) and `{output}` (where the mask must be,
            a `.nii.gz` file of 0 and 1 on the same grid).
        time_limit_s: after which it is ended, with all that it started.
    """

    command: str
    time_limit_s: float = TIME_LIMIT_S
    arguments: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Split the command as a shell would.

        Raises:
            EENetError: quotes that do not close, or a place for the input or the output is missing.
        """
        try:
            arguments = tuple(shlex.split(self.command))
        except ValueError as error:
            raise EENetError(f"strip command {self.command!r}: {error}") from error
        for place in (INPUT, OUTPUT):
            if not any(place in argument for argument in arguments[1:]):
                raise EENetError(f"strip command {self.command!r}: no {place} found, expected one")
        object.__setattr__(self, "arguments", arguments)

    def strip(self, t1ce: Volume, t1: Volume | None, t1ce_to_t1: NDArray[np.float64] | None) -> BrainMask:
        """See `BrainMasker.strip`; the command sees the T1ce alone, under a name that says nothing of the patient.

        Raises:
            CaseError: it cannot be started, fails, takes too long, or leaves no mask of this head.
        """
        name = Path(self.arguments[0]).name
        with tempfile.TemporaryDirectory(prefix="eenet-strip-", ignore_cleanup_errors=True) as folder:
            image, output = Path(folder) / "t1ce.nii.gz", Path(folder) / "mask.nii.gz"
            _write_image(image, t1ce)
            self._run(name, image, output)
            if not output.is_file():
                raise CaseError(
                    f"{t1ce.source}: strip command {name} left no file at {OUTPUT}, expected a mask",
                    code="strip-command",
                )
            try:
                mask = read_volume(output)
            except CaseError as error:
                raise CaseError(
                    f"{t1ce.source}: strip command {name} left an unreadable mask ({error})", code="strip-command"
                ) from error
            return given_mask(replace(mask, source=f"the mask of strip command {name}"), t1ce, f"strip command {name}")

    def _run(self, name: str, image: Path, output: Path) -> None:
        words = [word.replace(INPUT, str(image)).replace(OUTPUT, str(output)) for word in self.arguments]
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=image.parent,
                start_new_session=True,
            )
        except OSError as error:
            raise CaseError(
                f"strip command {name}: cannot be started ({error.strerror or error})", code="strip-command"
            ) from error
        try:
            code = process.wait(self.time_limit_s)
        except subprocess.TimeoutExpired:
            raise CaseError(
                f"strip command {name}: not done after {self.time_limit_s:g} s, and ended", code="strip-command"
            ) from None
        finally:
            _end(process)
        if code != 0:
            raise CaseError(f"strip command {name}: exit code {code} found, expected 0", code="strip-command")


@dataclass(frozen=True)
class StrippedHeads:
    """Heads that are stripped already: brain is what is not the background."""

    def strip(self, t1ce: Volume, t1: Volume | None, t1ce_to_t1: NDArray[np.float64] | None) -> BrainMask:
        """See `BrainMasker.strip`; the T1 is not looked at.

        Raises:
            CaseError: what is not the background is no brain by its size.
        """
        data = np.nan_to_num(np.asarray(t1ce.data, np.float32))
        faces = np.concatenate([np.take(data, (0, -1), axis=axis).ravel() for axis in range(3)])
        shown = (data != np.median(faces)).astype(np.uint8)
        return given_mask(replace(t1ce, data=shown), t1ce, "stripped before", holes=True)


def given_mask(mask: Volume, t1ce: Volume, source: str, *, holes: bool = False) -> BrainMask:
    """A mask from elsewhere, checked, on the working grid.

    Args:
        mask: what was given.
        t1ce: the image it must belong to.
        source: for the report.
        holes: whether it may have holes and stray voxels that are ours to mend; otherwise it is taken as it is.

    Raises:
        CaseError: another grid, values other than 0 and 1, or a volume that no brain has.
    """
    working = working_grid(t1ce)
    if mask.data.ndim != 3:
        raise CaseError(f"{mask.source}: {mask.data.ndim} axes found, expected a mask of three", code="bad-brain-mask")
    data, grid = to_stored_order(mask.data, mask.grid, t1ce.grid)
    if not grid.matches(t1ce.grid):
        raise CaseError(
            f"{mask.source}: {mask.grid.describe()} found, expected the T1ce's grid, {t1ce.grid.describe()}",
            code="bad-brain-mask",
        )
    brain = data == 1
    if not np.array_equal(brain, data != 0):
        raise CaseError(f"{mask.source}: values other than 0 and 1 found, expected a mask", code="bad-brain-mask")
    volume = float(np.count_nonzero(brain)) * t1ce.grid.voxel_ml
    if not SMALLEST_ML <= volume <= LARGEST_ML:
        raise CaseError(
            f"{mask.source}: {volume:.0f} ml found, expected a brain of {SMALLEST_ML:.0f} to {LARGEST_ML:.0f} ml",
            code="bad-brain-mask",
        )
    share = working.sampled(replace(t1ce, data=brain.astype(np.float32)), None, None)
    fine = share >= np.float32(0.5)
    return brain_mask(clean_mask(fine) if holes else fine, working, None, source, t1ce.source)


def _write_image(path: Path, image: Volume) -> None:
    """The image as it is, without what its header says about the patient."""
    header = header_like(image, image.data.shape, image.data.dtype.type)
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    nib.save(kind(image.data, image.grid.affine, header), path)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it started."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
