"""NIfTI files from strangers: read exactly, or refused in one line."""

from __future__ import annotations

import gzip
import hashlib
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_runtime.errors import CaseError
from eenet_runtime.files.input_file import ReadLimits
from eenet_runtime.files.nifti import is_nifti_name, nifti_stem, read_header, read_volume, sha256_of_image, write_labels
from eenet_runtime.files.nifti_header import ImageHeader, check_against_file, parse_header
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


def read_header_of_ones() -> ImageHeader:
    """The header of a large image, without the image."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((200, 200, 100))
    header.set_sform(AFFINE, code=1)
    header["magic"], header["vox_offset"] = header.single_magic, VOXEL_OFFSET
    return parse_header(header.binaryblock, Path("A.nii.gz"), ReadLimits())


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


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_type_of_real_number_is_read_as_stored_in_this_machines_byte_order(
    tmp_path: Path, code: str, order: str
) -> None:
    voxels = np.abs(VOXELS).astype(code)
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(voxels.dtype)
    path = tmp_path / "A.nii.gz"
    nib.Nifti1Image(voxels, AFFINE, header).to_filename(path)
    data = read_volume(path).data
    assert data.dtype == np.dtype(code)
    np.testing.assert_array_equal(data, voxels)


def test_the_bytes_of_the_file_are_the_array(volume_file: Path) -> None:
    data = read_volume(volume_file).data
    assert data.flags.f_contiguous
    assert not data.flags.owndata
    assert not data.flags.writeable  # several threads and results may share it


def test_the_hash_is_that_of_the_file_on_disk(volume_file: Path, tmp_path: Path) -> None:
    for path in (volume_file, write_volume(tmp_path / "plain.nii", VOXELS, AFFINE)):
        volume = read_volume(path)
        assert volume.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == sha256_of_image(path)
        assert volume.file_bytes == path.stat().st_size


def test_slope_and_intercept_of_the_header_are_applied(tmp_path: Path) -> None:
    path = tmp_path / "A.nii"
    path.write_bytes(patched(112, "<ff", 2.0, -10.0))
    np.testing.assert_array_equal(read_volume(path).data, VOXELS * 2.0 - 10.0)


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf, -np.inf])
def test_a_slope_without_sense_means_no_scaling(tmp_path: Path, slope: float) -> None:
    path = tmp_path / "A.nii"
    path.write_bytes(patched(112, "<ff", slope, 5.0))
    data = read_volume(path).data
    assert data.dtype == np.int16
    np.testing.assert_array_equal(data, VOXELS)


def test_an_intercept_without_sense_is_refused(tmp_path: Path) -> None:
    assert "intercept" in refusal(tmp_path / "A.nii", patched(112, "<ff", 2.0, np.nan))


@given(slope=st.floats(2**-20, 2**20, width=32), background=st.integers(-60, 100))
def test_what_a_writer_stored_for_background_is_0_again(
    slope: float, background: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "scaled.nii"
    path.write_bytes(patched(112, "<ff", slope, float(np.float32(-background) * np.float32(slope))))
    data = read_volume(path).data
    assert data.dtype == np.float32
    np.testing.assert_array_equal(data == 0, background == VOXELS)


def test_scaled_values_are_double_where_single_would_merge_them(tmp_path: Path) -> None:
    path = tmp_path / "A.nii"
    path.write_bytes(patched(112, "<ff", 0.001, 1e6))
    data = read_volume(path).data
    assert data.dtype == np.float64
    assert np.unique(data).size == VOXELS.size


@pytest.mark.parametrize("suffix", [".hdr", ".img"])
@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("image_class", [nib.Nifti1Pair, nib.Nifti2Pair])
def test_a_pair_is_read_given_either_half(tmp_path: Path, image_class: Any, packed: str, suffix: str) -> None:
    image_class(VOXELS, AFFINE).to_filename(tmp_path / f"A_t1.img{packed}")
    path = tmp_path / f"A_t1{suffix}{packed}"
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, VOXELS)
    halves = [(tmp_path / f"A_t1{half}{packed}").read_bytes() for half in (".hdr", ".img")]
    assert volume.sha256 == hashlib.sha256(b"".join(halves)).hexdigest() == sha256_of_image(path)
    assert volume.file_bytes == sum(map(len, halves))
    assert read_header(path).shape == VOXELS.shape
    write_labels(tmp_path / "mask.nii.gz", np.ones(VOXELS.shape, np.uint8), volume)
    np.testing.assert_array_equal(read_volume(tmp_path / "mask.nii.gz").grid.affine, AFFINE)


def test_half_a_pair_is_refused_with_the_name_of_the_other(tmp_path: Path) -> None:
    nib.Nifti1Pair(VOXELS, AFFINE).to_filename(tmp_path / "A.img")
    (tmp_path / "A.img").unlink()
    assert "expected A.img beside it" in refusal(tmp_path / "A.hdr")


def test_an_image_of_a_pair_that_does_not_fit_its_header_is_refused(tmp_path: Path) -> None:
    nib.Nifti1Pair(VOXELS, AFFINE).to_filename(tmp_path / "A.img")
    (tmp_path / "A.img").write_bytes(bytes(47))
    with pytest.raises(CaseError, match=r"A\.img: 47 bytes of voxels found, its header announces 48"):
        read_volume(tmp_path / "A.hdr")


def test_bytes_between_header_and_voxels_are_passed_over(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOXELS, AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"about nobody" * 100))
    for name in ("A.nii", "A.nii.gz"):
        image.to_filename(tmp_path / name)
        np.testing.assert_array_equal(read_volume(tmp_path / name).data, VOXELS)


def test_a_header_is_read_without_its_voxels(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 99, (40, 40, 20), dtype=np.int16)
    path = write_volume(tmp_path / "A.nii.gz", voxels, AFFINE)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    refusal(path)
    header = read_header(path)
    assert header.shape == voxels.shape
    assert header.dtype == np.int16
    assert header.scaling is None
    np.testing.assert_array_equal(header.grid.affine, AFFINE)


def test_threads_read_what_one_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 99, (40, 40, 20), dtype=np.int16) for _ in range(4)]
    paths = [write_volume(tmp_path / f"{index}.nii.gz", image, AFFINE) for index, image in enumerate(images)]
    with ThreadPoolExecutor(16) as pool:
        volumes = list(pool.map(read_volume, paths * 16))
    for index, volume in enumerate(volumes):
        np.testing.assert_array_equal(volume.data, images[index % 4])


def test_what_nibabel_mends_in_a_header_is_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "A.nii"
    path.write_bytes(patched(80, "<f", -1.0))
    assert read_volume(path).grid.spacing_mm == (1.0, 1.5, 2.0)
    assert capfd.readouterr() == ("", "")


def test_reading_reserves_no_more_memory_than_the_file_needs(volume_file: Path) -> None:
    program = f"""
import resource
from pathlib import Path
from eenet_runtime.files.nifti import read_volume
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
    assert "a folder found, expected a regular file" in refusal(tmp_path / "A.nii")


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
    assert "a NIfTI file" in refusal(tmp_path / "A.nii.gz", stored)


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


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_voxels_that_are_not_real_numbers_are_refused(tmp_path: Path, dtype: Any) -> None:
    message = refusal(tmp_path / "A.nii", nifti_bytes(np.zeros((2, 3, 4), dtype=dtype)))
    assert "expected integers or real numbers" in message


def test_quadruple_precision_is_refused(tmp_path: Path) -> None:
    # Where the C compiler has it nibabel reads it, elsewhere not: the same file must mean the same everywhere.
    assert "expected integers" in (message := refusal(tmp_path / "A.nii", patched(70, "<hh", 1536, 128))) or (
        "data code 1536 not supported" in message
    )


@pytest.mark.parametrize("shape", [(5,), (5, 6), (2, 3, 4, 2, 2)])
def test_an_array_that_is_no_volume_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    message = refusal(tmp_path / "A.nii", nifti_bytes(np.zeros(shape, dtype=np.int16)))
    assert " x ".join(map(str, shape)) in message or str(shape) in message


@pytest.mark.parametrize("sizes", [(-2, 3, 4), (0, 3, 4)])
def test_a_size_below_one_is_refused(tmp_path: Path, sizes: tuple[int, int, int]) -> None:
    assert "expected a volume" in refusal(tmp_path / "A.nii", patched(42, "<3h", *sizes))


def test_a_header_that_announces_more_than_a_file_can_hold_is_refused(tmp_path: Path) -> None:
    assert "truncated" in refusal(tmp_path / "A.nii", patched(40, "<8h", 3, 2000, 2000, 60, 1, 1, 1, 1))
    # 16384^7 is 0 in 64-bit arithmetic.
    assert "expected a volume" in refusal(tmp_path / "A.nii", patched(40, "<8h", 7, *[16384] * 7))


@pytest.mark.parametrize("extra", [b"\0", bytes(1000), b"voxels"])
@pytest.mark.parametrize("compress", [False, True])
def test_more_bytes_than_announced_are_refused(tmp_path: Path, extra: bytes, compress: bool) -> None:
    # In a plain file they may be bytes that slipped in between the voxels: then every voxel behind them is displaced.
    content = nifti_bytes() + extra
    assert "its header announces" in refusal(tmp_path / "A.nii", gzip.compress(content) if compress else content)


def test_a_caller_may_take_files_that_are_padded_with_zeros(tmp_path: Path) -> None:
    path = tmp_path / "A.nii"
    path.write_bytes(nifti_bytes() + bytes(100))
    np.testing.assert_array_equal(read_volume(path, ReadLimits(padding_bytes=100)).data, VOXELS)
    with pytest.raises(CaseError, match="announces"):
        read_volume(path, ReadLimits(padding_bytes=99))
    path.write_bytes(nifti_bytes() + b"\1")
    with pytest.raises(CaseError, match="expected the end"):
        read_volume(path, ReadLimits(padding_bytes=100))


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


@pytest.mark.parametrize("offset", [0.0, -352.0, 8.0, 351.0, 352.5, float("nan"), float("inf"), 2.0**25, 1e30])
def test_voxels_that_would_lie_in_the_header_or_nowhere_are_refused(tmp_path: Path, offset: float) -> None:
    # nibabel takes offset 0 at its word and reads the header as intensities.
    refusal(tmp_path / "A.nii", patched(108, "<f", offset))


@pytest.mark.parametrize("field", [252, 254])
def test_an_orientation_of_an_unknown_kind_is_refused(tmp_path: Path, field: int) -> None:
    # Mended to "none", as nibabel does, the head would be turned to a default and could come out mirrored.
    assert "form_code 77" in refusal(tmp_path / "A.nii", patched(field, "<h", 77))


@pytest.mark.parametrize("size", [0.0, float("nan"), float("inf")])
def test_a_voxel_size_that_is_used_must_be_one(tmp_path: Path, size: float) -> None:
    content = bytearray(patched(80, "<f", size))
    path = tmp_path / "A.nii"
    path.write_bytes(content)
    assert read_volume(path).grid.spacing_mm == (1.0, 1.5, 2.0)  # the sform has its own
    struct.pack_into("<hh", content, 252, 1, 0)
    assert "voxel sizes" in refusal(path, bytes(content))


def test_a_handedness_that_is_neither_is_refused(tmp_path: Path) -> None:
    content = bytearray(patched(76, "<f", -3.0))
    struct.pack_into("<hh", content, 252, 1, 0)
    assert "handedness -3" in refusal(tmp_path / "A.nii", bytes(content))


def test_voxels_of_another_width_than_their_type_are_refused(tmp_path: Path) -> None:
    assert "8 bits a voxel" in refusal(tmp_path / "A.nii", patched(72, "<h", 8))


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


@pytest.mark.parametrize("handedness", [-1.0, 1.0])
def test_a_file_whose_only_placement_is_its_qform_lies_where_that_says(tmp_path: Path, handedness: float) -> None:
    affine = np.diag([handedness * 1.0, 1.5, 2.0, 1.0])
    affine[:3, 3] = 30, -20, 7
    image = nib.Nifti1Image(VOXELS, None)
    image.header.set_qform(affine, code=1)
    image.header["sform_code"] = 0
    assert float(image.header["pixdim"][0]) == handedness
    path = tmp_path / "A.nii"
    path.write_bytes(image.to_bytes())
    np.testing.assert_allclose(read_volume(path).grid.affine, affine, atol=1e-5)


def test_a_header_that_does_not_say_how_wide_a_voxel_is_goes_by_its_type(tmp_path: Path) -> None:
    path = tmp_path / "A.nii"
    path.write_bytes(patched(72, "<h", 0))
    np.testing.assert_array_equal(read_volume(path).data, VOXELS)


@pytest.mark.parametrize(("intercept", "dtype"), [(2.0**21, np.float32), (2.0**22, np.float64)])
def test_scaled_integers_are_single_while_four_of_its_steps_part_two_of_theirs(
    tmp_path: Path, intercept: float, dtype: Any
) -> None:
    path = tmp_path / "A.nii"
    path.write_bytes(patched(112, "<ff", 1.0, intercept))
    data = read_volume(path).data
    assert data.dtype == dtype
    np.testing.assert_array_equal(data, VOXELS + intercept)


@pytest.mark.parametrize(("growth", "accepted"), [(1.009, True), (1.011, False)])
def test_a_gzip_stream_is_at_most_a_hundredth_larger_than_what_it_holds(growth: float, accepted: bool) -> None:
    image, limits, path = read_header_of_ones(), ReadLimits(), Path("A.nii.gz")
    size = int(growth * (image.offset + image.voxel_bytes)) + limits.header_bytes
    if accepted:
        check_against_file(image, size, True, path, limits)
    else:
        with pytest.raises(CaseError, match="bytes of gzip found for"):
            check_against_file(image, size, True, path, limits)


def test_free_text_and_display_range_of_the_mri_are_not_the_masks(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOXELS, AFFINE)
    image.header["cal_min"], image.header["cal_max"] = 5, 1200
    image.header["descrip"], image.header["aux_file"] = b"DOE^JANE", b"jane.txt"
    path = tmp_path / "A.nii"
    path.write_bytes(image.to_bytes())
    write_labels(tmp_path / "mask.nii.gz", np.ones(VOXELS.shape, dtype=np.uint8), read_volume(path))
    written = nib.load(tmp_path / "mask.nii.gz").header
    assert (float(written["cal_min"]), float(written["cal_max"])) == (0, 0)
    assert b"JANE" not in gzip.decompress((tmp_path / "mask.nii.gz").read_bytes()).upper()
