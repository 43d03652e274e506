"""NIfTI files from strangers: read exactly, or refused in one line."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_runtime import nifti
from eenet_runtime.errors import CaseError
from eenet_runtime.nifti import is_nifti_name, nifti_stem, read_volume
from tests.synthetic import write_volume

AFFINE = np.array([[-1.0, 0, 0, 3], [0, -1.5, 0, 20], [0, 0, 2.0, -7], [0, 0, 0, 1]])
VOXELS: NDArray[np.int16] = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4) * 7 - 60
HEADER_BYTES = 348
VOXEL_OFFSET = 352


@pytest.fixture
def volume_file(tmp_path: Path) -> Path:
    """A small int16 volume, gzip-compressed."""
    return write_volume(tmp_path / "A_t1.nii.gz", VOXELS, AFFINE)


def nifti_bytes(volume: NDArray[Any] = VOXELS) -> bytes:
    """An uncompressed NIfTI-1 file."""
    content: bytes = nib.Nifti1Image(volume, AFFINE).to_bytes()
    return content


def patched(offset: int, layout: str, *values: float) -> bytes:
    """`nifti_bytes` with other header fields at a byte offset of the NIfTI-1 standard."""
    content = bytearray(nifti_bytes())
    struct.pack_into(layout, content, offset, *values)
    return bytes(content)


def refusal(path: Path, content: bytes | None = None) -> str:
    """The one line with which a file is refused."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CaseError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
def test_voxels_and_grid_are_read_as_stored(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"A{suffix}"
    path.write_bytes(nifti_bytes() if suffix == ".nii" else gzip.compress(nifti_bytes()))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, VOXELS)
    assert volume.data.dtype == np.int16
    assert volume.grid.shape == (2, 3, 4)
    np.testing.assert_array_equal(volume.grid.affine, AFFINE)


def test_a_plain_file_with_a_gzip_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "A.nii.gz"
    path.write_bytes(nifti_bytes())
    np.testing.assert_array_equal(read_volume(path).data, VOXELS)


def test_a_file_of_several_gzip_members_is_read_whole(tmp_path: Path) -> None:
    content = nifti_bytes()
    path = tmp_path / "A.nii.gz"
    path.write_bytes(gzip.compress(content[:360]) + gzip.compress(content[360:]))
    np.testing.assert_array_equal(read_volume(path).data, VOXELS)


def test_a_fourth_axis_of_one_volume_is_dropped(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "A.nii.gz", VOXELS[..., None, None], AFFINE)
    np.testing.assert_array_equal(read_volume(path).data, VOXELS)


def test_a_fourth_axis_of_several_volumes_is_kept(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "A.nii.gz", np.stack([VOXELS, VOXELS + 1], axis=-1), AFFINE)
    volume = read_volume(path)
    assert volume.data.shape == (2, 3, 4, 2)
    assert volume.grid.shape == (2, 3, 4)


def test_nifti_2_is_read(tmp_path: Path) -> None:
    path = tmp_path / "A.nii"
    nib.Nifti2Image(VOXELS, AFFINE).to_filename(path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, VOXELS)
    assert isinstance(volume.header, nib.Nifti2Header)


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    path = tmp_path / "A.nii"
    nib.Nifti1Image(VOXELS, AFFINE, header).to_filename(path)
    assert path.read_bytes()[:4] == struct.pack(">i", HEADER_BYTES)
    np.testing.assert_array_equal(read_volume(path).data, VOXELS)


def test_slope_and_intercept_of_the_header_are_applied(tmp_path: Path) -> None:
    path = tmp_path / "A.nii"
    path.write_bytes(patched(112, "<ff", 2.0, -10.0))
    np.testing.assert_array_equal(read_volume(path).data, VOXELS * 2.0 - 10.0)


def test_what_nibabel_mends_in_a_header_is_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "A.nii"
    path.write_bytes(patched(80, "<f", -1.0))
    assert read_volume(path).grid.spacing_mm == (1.0, 1.5, 2.0)
    assert capfd.readouterr() == ("", "")


def test_reading_reserves_no_more_memory_than_the_file_needs(volume_file: Path) -> None:
    program = f"""
import resource
from pathlib import Path
from eenet_runtime.nifti import read_volume
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)
read_volume(Path({str(volume_file)!r}))
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs Linux's /proc")
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "file not found" in refusal(tmp_path / "A.nii.gz")


def test_a_folder_with_the_name_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "A.nii").mkdir()
    assert "cannot be read" in refusal(tmp_path / "A.nii")


@pytest.mark.parametrize("missing", [1, 4, 8, 9, 100])
def test_a_truncated_gzip_is_refused(volume_file: Path, missing: int) -> None:
    # The last 8 bytes are checksum and length: without them every voxel is there and yet nothing is proved.
    assert "truncated" in refusal(volume_file, volume_file.read_bytes()[:-missing])


def test_no_changed_byte_in_a_gzip_stream_ever_changes_a_voxel_unnoticed(volume_file: Path) -> None:
    whole = volume_file.read_bytes()
    refused = 0
    for position in range(10, len(whole)):  # the first 10 bytes are the gzip header
        changed = bytearray(whole)
        changed[position] ^= 0x10
        volume_file.write_bytes(changed)
        try:
            np.testing.assert_array_equal(read_volume(volume_file).data, VOXELS)
        except CaseError:
            refused += 1
    # A few bits mean nothing: the filling of the last byte, and repetitions that can be copied from either of two
    # places. Everything else must be refused.
    assert refused > 0.95 * (len(whole) - 10)


def test_garbage_after_the_gzip_stream_is_refused(volume_file: Path) -> None:
    assert "gzip" in refusal(volume_file, volume_file.read_bytes() + b"garbage")


@pytest.mark.parametrize("content", [b"", b"I am a text.\n" * 100, b"\x89PNG\r\n\x1a\n" + bytes(400)])
@pytest.mark.parametrize("compress", [False, True])
def test_something_else_under_the_name_is_refused(tmp_path: Path, content: bytes, compress: bool) -> None:
    stored = gzip.compress(content) if compress else content
    assert "not a NIfTI file" in refusal(tmp_path / "A.nii.gz", stored)


@pytest.mark.parametrize("missing", [1, 47, 48])
def test_too_few_voxels_are_refused_with_both_sizes(tmp_path: Path, missing: int) -> None:
    message = refusal(tmp_path / "A.nii", nifti_bytes()[:-missing])
    assert f"{48 - missing} bytes of voxels found" in message
    assert "announces 48" in message


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    refusal(tmp_path / "A.nii", nifti_bytes()[:HEADER_BYTES])


def test_a_pair_of_header_and_image_is_refused(tmp_path: Path) -> None:
    content = bytearray(nifti_bytes())
    content[344:348] = b"ni1\0"
    assert ".hdr/.img pair" in refusal(tmp_path / "A.nii", bytes(content))


@pytest.mark.parametrize("dtype", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]], ids=["complex", "RGB"])
def test_voxels_that_are_not_real_numbers_are_refused(tmp_path: Path, dtype: Any) -> None:
    message = refusal(tmp_path / "A.nii", nifti_bytes(np.zeros((2, 3, 4), dtype=dtype)))
    assert "expected integers or real numbers" in message


@pytest.mark.parametrize("shape", [(5,), (5, 6), (2, 3, 4, 2, 2)])
def test_an_array_that_is_no_volume_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    message = refusal(tmp_path / "A.nii", nifti_bytes(np.zeros(shape, dtype=np.int16)))
    assert " x ".join(map(str, shape)) in message or str(shape) in message


@pytest.mark.parametrize("sizes", [(-2, 3, 4), (0, 3, 4)])
def test_a_size_below_one_is_refused(tmp_path: Path, sizes: tuple[int, int, int]) -> None:
    assert "expected a volume" in refusal(tmp_path / "A.nii", patched(42, "<3h", *sizes))


def test_a_header_that_announces_more_than_a_file_can_hold_is_refused(tmp_path: Path) -> None:
    # 16384^7 is 0 in 64-bit arithmetic.
    message = refusal(tmp_path / "A.nii", patched(40, "<8h", 7, *[16384] * 7))
    assert "truncated" in message


def test_a_file_that_grows_without_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nifti, "MAX_FILE_BYTES", 1 << 20)
    bomb = gzip.compress(nifti_bytes() + bytes(8 << 20))
    assert len(bomb) < 20_000
    assert "more than 1 MiB" in refusal(tmp_path / "A.nii.gz", bomb)


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([np.nan, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0], "NaN"),
        ([1, 0, 0, np.inf, 0, 1, 0, 0, 0, 0, 1, 0], "infinity"),
        ([1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0], "singular"),
        ([0] * 12, "singular"),
        ([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], "singular"),
    ],
)
def test_an_affine_without_orientation_is_refused(tmp_path: Path, rows: list[float], word: str) -> None:
    content = bytearray(nifti_bytes())
    struct.pack_into("<h", content, 254, 1)  # sform_code
    struct.pack_into("<12f", content, 280, *rows)
    assert word in refusal(tmp_path / "A.nii", bytes(content))


@pytest.mark.parametrize("offset", [0.0, -352.0, 8.0, 351.0, float("nan"), 1e30])
def test_voxels_that_would_lie_in_the_header_or_nowhere_are_refused(tmp_path: Path, offset: float) -> None:
    # nibabel takes offset 0 at its word and reads the header as intensities.
    refusal(tmp_path / "A.nii", patched(108, "<f", offset))


def test_an_impossible_quaternion_is_refused(tmp_path: Path) -> None:
    content = bytearray(nifti_bytes())
    struct.pack_into("<hh3f", content, 252, 1, 0, 2.0, 2.0, 2.0)
    assert "unusable NIfTI header" in refusal(tmp_path / "A.nii", bytes(content))


@given(edits=st.lists(st.tuples(st.integers(0, VOXEL_OFFSET - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_no_header_whatever_its_bytes_does_more_than_be_read_or_refused(
    edits: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(nifti_bytes())
    for position, value in edits:
        content[position] = value
    path = tmp_path_factory.getbasetemp() / "fuzzed.nii"
    path.write_bytes(content)
    try:
        volume = read_volume(path)
    except CaseError:
        return
    assert volume.data.shape[:3] == volume.grid.shape
    assert np.isfinite(volume.grid.affine).all()


@pytest.mark.parametrize(
    ("name", "is_nifti", "stem"),
    [
        ("A_t1.nii.gz", True, "A_t1"),
        ("A.b_T1.NII", True, "A.b_T1"),
        ("A.Nii.Gz", True, "A"),
        ("A.nii.gz.part", False, "A.nii.gz"),
        ("A.gz", False, "A"),
    ],
)
def test_names_are_split_at_the_nifti_suffix(name: str, is_nifti: bool, stem: str) -> None:
    assert is_nifti_name(Path(name)) is is_nifti
    assert nifti_stem(Path(name)) == stem
