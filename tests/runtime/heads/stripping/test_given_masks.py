"""Masks from elsewhere: each thing that may be wrong with one is refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from eenet_runtime.errors import CaseError, EENetError
from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.stripping import MaskCommand, MaskFile, StrippedHeads
from eenet_runtime.volumes.grid import Grid
from tests.strip_stand_in import ball

SHAPE = (50, 55, 24)
AFFINE = np.diag([-3.0, 3.0, 6.0, 1.0])
BRAIN = ball((50, 55, 24), 21) & ball((50, 55, 48), 21)[:, :, ::2]


def volume(data: np.ndarray, affine: np.ndarray = AFFINE) -> Volume:
    image = nib.Nifti1Image(data, affine)
    return Volume("t1ce.nii.gz", data, Grid(data.shape, affine), image.header)


T1CE = volume((BRAIN * 300 + 20).astype(np.int16))


def write(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def command(code: str) -> str:
    return f'{sys.executable} -c "import sys, time, nibabel as nib; import numpy as np; {code}" {{input}} {{output}}'


COPY = "i = nib.load(sys.argv[1]); m = (np.asarray(i.dataobj) > 100).astype('u1'); "


def test_a_mask_file_on_the_t1ces_grid_is_taken_as_it_is(tmp_path: Path) -> None:
    found = MaskFile(write(tmp_path / "mask.nii.gz", BRAIN.astype(np.uint8))).strip(T1CE, None, None)
    assert found.figures.volume_ml == pytest.approx(BRAIN.sum() * 0.054, rel=0.02)
    assert found.grid.spacing_mm == pytest.approx((1, 1, 1))
    assert found.figures.agreement is None


def test_a_mask_stored_in_another_order_is_the_same_mask(tmp_path: Path) -> None:
    turned = np.diag([3.0, 3.0, 6.0, 1.0])
    turned[0, 3] = -3.0 * 49
    lopsided = BRAIN.copy()
    lopsided[:20] = False
    plain = MaskFile(write(tmp_path / "a.nii.gz", lopsided.astype(np.uint8))).strip(T1CE, None, None)
    other = MaskFile(write(tmp_path / "b.nii.gz", lopsided[::-1].astype(np.uint8), turned)).strip(T1CE, None, None)
    assert np.array_equal(plain.mask, other.mask)


@pytest.mark.parametrize(
    ("data", "affine", "message"),
    [
        (BRAIN[:-1].astype(np.uint8), AFFINE, r"49 x 55 x 24 voxels .* expected the T1ce's grid, 50 x 55 x 24"),
        (BRAIN.astype(np.uint8), np.diag([-3.0, 3.1, 6.0, 1.0]), "expected the T1ce's grid"),
        (BRAIN.astype(np.uint8) * 2, AFFINE, "values other than 0 and 1 found"),
        (BRAIN.astype(np.float32) * 0.5, AFFINE, "values other than 0 and 1 found"),
        (np.zeros(SHAPE, np.uint8), AFFINE, "0 ml found, expected a brain of 200 to 2400 ml"),
        (np.ones(SHAPE, np.uint8), AFFINE, "3564 ml found, expected a brain of 200 to 2400 ml"),
    ],
)
def test_a_wrong_mask_is_refused_by_its_name(
    tmp_path: Path, data: np.ndarray, affine: np.ndarray, message: str
) -> None:
    path = write(tmp_path / "mask.nii.gz", data, affine)
    with pytest.raises(CaseError, match=message) as caught:
        MaskFile(path).strip(T1CE, None, None)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_command_gets_the_t1ce_and_leaves_the_mask() -> None:
    found = MaskCommand(command(COPY + "nib.save(nib.Nifti1Image(m, i.affine), sys.argv[2])")).strip(T1CE, None, None)
    assert found.figures.volume_ml == pytest.approx(BRAIN.sum() * 0.054, rel=0.02)
    assert found.source.startswith("strip command python")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (COPY + "nib.save(nib.Nifti1Image(m[1:], i.affine), sys.argv[2])", "expected the T1ce's grid"),
        (COPY + "nib.save(nib.Nifti1Image(m * 3, i.affine), sys.argv[2])", "values other than 0 and 1"),
        (COPY + "nib.save(nib.Nifti1Image(m * 0, i.affine), sys.argv[2])", "0 ml found"),
        ("pass", r"left no file at \{output\}"),
        ("open(sys.argv[2], 'w').write('x')", "left an unreadable mask"),
        ("sys.exit(7)", "exit code 7 found, expected 0"),
    ],
)
def test_what_a_command_does_wrong_is_told_in_one_line(code: str, message: str) -> None:
    with pytest.raises(CaseError, match=message) as caught:
        MaskCommand(command(code)).strip(T1CE, None, None)
    assert "\n" not in str(caught.value)


def test_a_command_that_takes_too_long_is_ended() -> None:
    with pytest.raises(CaseError, match=r"not done after 0\.3 s, and ended"):
        MaskCommand(command("time.sleep(60)"), time_limit_s=0.3).strip(T1CE, None, None)


def test_a_command_that_is_not_there_is_told() -> None:
    with pytest.raises(CaseError, match="strip command no-such-program: cannot be started"):
        MaskCommand("no-such-program {input} {output}").strip(T1CE, None, None)


@pytest.mark.parametrize("wrong", ["strip {input}", "strip {output}", "strip '{input} {output}", "{input} {output}"])
def test_a_command_without_its_places_is_refused_before_it_runs(wrong: str) -> None:
    with pytest.raises(EENetError, match="strip command"):
        MaskCommand(wrong)


def test_no_shell_sees_a_command(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    with pytest.raises(CaseError):
        MaskCommand(f"true {{input}} {{output}} ; touch {witness}").strip(T1CE, None, None)
    assert not witness.exists()


def test_of_stripped_heads_brain_is_what_is_not_background() -> None:
    stripped = volume(np.where(BRAIN & ~ball(SHAPE, 3), 300, 0).astype(np.int16))
    found = StrippedHeads().strip(stripped, None, None)
    assert found.figures.volume_ml == pytest.approx(BRAIN.sum() * 0.054, rel=0.03)


def test_a_head_that_is_all_background_but_noise_is_no_stripped_one() -> None:
    with pytest.raises(CaseError, match="expected a brain of 200 to 2400 ml"):
        StrippedHeads().strip(volume(np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int32)), None, None)
