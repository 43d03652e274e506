"""From the files of a case to the network's input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.cases.case_files import CaseFiles, ImageSource
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.cases.preprocessing import CaseImages, prepare, read_case, read_label
from eenet_runtime.codes import Reason
from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import Volume, read_volume
from eenet_runtime.volumes.grid import to_network_axes
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality
from eenet_runtime.volumes.presets import GeometryPreset
from tests.synthetic import (
    LAYOUTS,
    TINY,
    TINY_2MM,
    Head,
    case_files,
    make_head,
    write_case,
    write_volume,
    zscore,
)


def refusal(files: CaseFiles) -> str:
    """The one line with which a case is refused."""
    with pytest.raises(CaseError) as caught:
        read_case(files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def replaced(files: CaseFiles, modality: Modality, volume: NDArray[Any], affine: NDArray[np.float64]) -> CaseFiles:
    """The case with another file for one modality."""
    path = files.images[modality].path.with_name("other.nii.gz")
    write_volume(path, volume, affine)
    return replace(files, images={**files.images, modality: ImageSource(path)})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_layout_gives_the_same_images_and_label(tmp_path: Path, head: Head, layout: str, suffix: str) -> None:
    write_case(tmp_path, "BRATS_001", head, layout, suffix=suffix)
    (files,) = find_cases(tmp_path).cases
    images = read_case(files)
    for modality in Modality:
        np.testing.assert_array_equal(images.volumes[modality].data, head.images[modality])
    np.testing.assert_array_equal(images.grid.affine, head.affine)
    np.testing.assert_array_equal(read_label(files, images), head.labels)


def test_an_image_on_another_grid_is_refused_with_both_grids(tmp_path: Path, head: Head) -> None:
    files = case_files(tmp_path, "A", head)
    flair = head.images[Modality.FLAIR]
    shifted = head.affine.copy()
    shifted[2, 3] += 1.0
    message = refusal(replaced(files, Modality.FLAIR, flair, shifted))
    assert "other.nii.gz: flair lies on another grid" in message
    assert "origin (0, 53, 1)" in message
    assert "origin (0, 53, 0)" in message
    message = refusal(replaced(files, Modality.FLAIR, flair[:-1], head.affine))
    assert "45 x 54 x 22 voxels" in message
    assert "46 x 54 x 22 voxels" in message


@pytest.mark.parametrize("modality", list(Modality))
def test_an_image_stored_along_other_axes_is_turned_to_match(tmp_path: Path, head: Head, modality: Modality) -> None:
    other = head.stored_as((2, 0, 1), (False, True, True))
    files = replaced(case_files(tmp_path, "A", head), modality, other.images[modality], other.affine)
    images = read_case(files)
    expected = other if modality is Modality.T1 else head
    for name in Modality:
        np.testing.assert_array_equal(images.volumes[name].data, expected.images[name])
    np.testing.assert_array_equal(read_label(files, images), expected.labels)


def test_a_label_stored_along_other_axes_is_turned_to_match(tmp_path: Path, head: Head) -> None:
    files = case_files(tmp_path, "A", head)
    other = head.stored_as((1, 2, 0), (True, False, True))
    values = files.scheme.to_file(other.labels)
    files = replace(files, label=write_volume(tmp_path / "turned.nii", values, other.affine))
    np.testing.assert_array_equal(read_label(files, read_case(files)), head.labels)


def test_a_label_on_another_grid_is_refused(tmp_path: Path, head: Head) -> None:
    files = case_files(tmp_path, "A", head)
    images = read_case(files)
    moved = head.affine + np.diag([0, 0, 0.5, 0])
    files = replace(files, label=write_volume(tmp_path / "moved.nii", head.labels, moved))
    with pytest.raises(CaseError, match=r"moved\.nii: the label lies on another grid"):
        read_label(files, images)


def test_a_label_of_several_volumes_is_refused(tmp_path: Path, head: Head) -> None:
    files = case_files(tmp_path, "A", head)
    images = read_case(files)
    twice = np.stack([head.labels, head.labels], axis=-1)
    files = replace(files, label=write_volume(tmp_path / "twice.nii", twice, head.affine))
    with pytest.raises(CaseError, match=r"twice\.nii: the label lies on another grid"):
        read_label(files, images)


def test_a_label_with_a_value_that_the_layout_does_not_know_is_refused(tmp_path: Path, head: Head) -> None:
    files = case_files(tmp_path, "A", head)  # BraTS 2020: 1, 2, 4
    assert files.label is not None
    write_volume(files.label, head.labels, head.affine)  # network classes: 1, 2, 3
    with pytest.raises(CaseError, match=r"A_seg\.nii\.gz: label values 3 found, expected only 0, 1, 2, 4"):
        read_label(files, read_case(files))


def test_a_case_without_a_label_says_so(tmp_path: Path, head: Head) -> None:
    files = case_files(tmp_path, "A", head, label=False)
    with pytest.raises(CaseError, match="the case A has no label file"):
        read_label(files, read_case(files))


def test_a_4d_file_where_one_image_is_expected_is_refused(tmp_path: Path, head: Head) -> None:
    stack = np.stack([head.images[Modality.T2]] * 3, axis=-1)
    files = replaced(case_files(tmp_path, "A", head), Modality.T2, stack, head.affine)
    assert "other.nii.gz: 3 channels found, expected one 3D image of t2" in refusal(files)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_4d_file_of_the_wrong_channel_count_is_refused(tmp_path: Path, head: Head, channels: int) -> None:
    write_case(tmp_path, "BRATS_001", head, "msd")
    stack = np.stack([head.images[Modality.T1]] * channels, axis=-1)
    write_volume(tmp_path / "imagesTr/BRATS_001.nii.gz", stack, head.affine)
    (files,) = find_cases(tmp_path).cases
    plural = "" if channels == 1 else "s"
    assert f"BRATS_001.nii.gz: {channels} channel{plural} found, expected a 4D file of 4" in refusal(files)


def test_the_network_reads_normalised_images_in_its_own_axes(tmp_path: Path, head: Head) -> None:
    network_input = prepare(read_case(case_files(tmp_path, "A", head)), TINY)
    assert network_input.volume.dtype == np.float32
    assert network_input.volume.shape == (64, 64, 24, 4)
    assert network_input.warnings == ()
    # LPS with the first two axes swapped, centred: (46, 54, 22) -> (54, 46, 22) in (64, 64, 24).
    centred = (slice(5, 59), slice(9, 55), slice(1, 23))
    for channel, modality in enumerate(CHANNEL_ORDER):
        image = network_input.volume[..., channel]
        expected = zscore(head.images[modality], "x").transpose(1, 0, 2)
        np.testing.assert_array_equal(image[centred], expected)
        assert np.count_nonzero(image) == np.count_nonzero(expected)


def test_preparing_changes_no_image(tmp_path: Path, head: Head) -> None:
    images = read_case(case_files(tmp_path, "A", head.astype(np.float32)))
    for volume in images.volumes.values():
        volume.data.setflags(write=False)
    prepare(images, TINY)
    prepare(images, TINY_2MM)
    for modality, volume in images.volumes.items():
        np.testing.assert_array_equal(volume.data, head.images[modality])


def test_a_head_larger_than_the_box_is_cropped_and_the_loss_counted(tmp_path: Path, head: Head) -> None:
    small = GeometryPreset("small", (32, 32, 12), 1.0, (1, 2, 2))
    images = read_case(case_files(tmp_path, "A", head))
    network_input = prepare(images, small)
    mask = head.images[Modality.T1] != 0
    x, y, z = (slice((size - box) // 2, (size + box) // 2) for size, box in zip(mask.shape, (32, 32, 12), strict=True))
    outside = int(mask.sum() - mask[x, y, z].sum())
    assert outside > 0
    assert network_input.head_voxels_outside == outside
    assert network_input.warnings[0].text.startswith(f"{outside} head voxels lie outside the network's box")


def test_the_head_is_what_any_of_the_four_images_shows(tmp_path: Path, head: Head) -> None:
    # A T1 whose field of view ends early must not pull the box away from what the others show.
    t1 = head.images[Modality.T1].copy()
    t1[:, :, 11:] = 0
    full = prepare(read_case(case_files(tmp_path, "A", head)), TINY)
    short = prepare(read_case(case_files(tmp_path, "B", head.with_image(Modality.T1, t1))), TINY)
    assert short.placement == full.placement


def test_resampling_is_reported(tmp_path: Path, head: Head) -> None:
    network_input = prepare(read_case(case_files(tmp_path, "A", head)), TINY_2MM)
    text = "resampled from 1 x 1 x 1 mm to the network's 2 mm and back"
    assert network_input.warnings == (Reason("resampled", text),)


def test_a_header_without_orientation_is_reported(tmp_path: Path, head: Head) -> None:
    images = read_case(case_files(tmp_path, "A", head, qform=0, sform=0))
    (warning,) = prepare(images, TINY).warnings
    assert warning.code == "no-orientation"
    assert "gives no orientation" in warning.text


def test_a_case_of_2_mm_voxels_fills_a_2_mm_network_without_resampling(tmp_path: Path) -> None:
    images = read_case(case_files(tmp_path, "A", make_head((30, 28, 20), spacing_mm=2.0)))
    network_input = prepare(images, TINY_2MM)
    assert not network_input.placement.resamples
    assert network_input.warnings == ()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda image: image * 0, "all voxels are 0"),
        (lambda image: np.where(image != 0, 7, 0).astype(np.int16), "every non-zero voxel is 7"),
        (lambda image: np.where(image == image.max(), np.nan, image), "NaN or infinite"),
    ],
    ids=["zeros", "constant", "NaN"],
)
def test_an_image_that_shows_nothing_is_refused_by_its_file(tmp_path: Path, head: Head, spoil: Any, words: str) -> None:
    bad = head.with_image(Modality.T2, spoil(head.images[Modality.T2]))
    images: CaseImages = read_case(case_files(tmp_path, "A", bad))
    with pytest.raises(CaseError, match=rf"A_t2\.nii\.gz: .*{words}"):
        prepare(images, TINY)


def test_a_bad_channel_of_a_4d_file_is_named(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "BRATS_001", head.with_image(Modality.T1CE, head.labels * 0), "msd")
    (files,) = find_cases(tmp_path).cases
    with pytest.raises(CaseError, match=r"BRATS_001\.nii\.gz \(channel 2\): all voxels are 0"):
        prepare(read_case(files), TINY)


def test_engines_read_the_networks_input_without_a_copy(tmp_path: Path, head: Head) -> None:
    images = read_case(case_files(tmp_path, "A", head))
    for preset in (TINY, TINY_2MM):
        volume = prepare(images, preset).volume
        channels_first = np.ascontiguousarray(np.moveaxis(volume, -1, 0)[np.newaxis])
        assert np.shares_memory(channels_first, volume)


def test_each_file_is_read_once(tmp_path: Path, head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(path: Path) -> Volume:
        read.append(path)
        return read_volume(path)

    monkeypatch.setattr("eenet_runtime.cases.preprocessing.read_volume", counted)
    write_case(tmp_path, "BRATS_001", head, "msd")
    (files,) = find_cases(tmp_path).cases
    read_case(files)
    assert len(read) == 1
    read_case(case_files(tmp_path / "four", "A", head))
    assert len(set(read)) == len(read) == 5


def test_the_number_of_threads_changes_no_voxel(tmp_path: Path, head: Head) -> None:
    files = case_files(tmp_path, "A", head.astype(np.float32))
    for preset in (TINY, TINY_2MM):
        one = prepare(read_case(files, threads=1), preset, threads=1)
        many = prepare(read_case(files, threads=4), preset, threads=4)
        np.testing.assert_array_equal(one.volume, many.volume)


def test_a_modality_that_is_not_there_is_0(tmp_path: Path, head: Head) -> None:
    images = read_case(case_files(tmp_path, "A", head))
    whole = prepare(images, TINY).volume
    without = dict(images.volumes)
    del without[Modality.T2]
    volume = prepare(CaseImages("A", without), TINY).volume
    channel = CHANNEL_ORDER.index(Modality.T2)
    assert not volume[..., channel].any()
    np.testing.assert_array_equal(np.delete(volume, channel, axis=-1), np.delete(whole, channel, axis=-1))


@pytest.mark.parametrize("box", [(32, 32, 12), (64, 32, 24), (64, 64, 12), (32, 64, 24)])
@pytest.mark.parametrize("spacing_mm", [1.0, 0.4])
def test_head_voxels_outside_are_those_that_any_image_shows_beside_the_box(
    tmp_path: Path, head: Head, box: tuple[int, int, int], spacing_mm: float
) -> None:
    # The T1 alone shows the lower half, the others the upper: counting one image would miss some.
    t1, t2 = head.images[Modality.T1].copy(), head.images[Modality.T2].copy()
    t1[:, :, 12:] = 0
    t2[:, :, :10] = 0
    cut = head.with_image(Modality.T1, t1)
    for name in (Modality.T1CE, Modality.T2, Modality.FLAIR):
        cut = cut.with_image(name, t2)
    images = read_case(case_files(tmp_path, "A", cut.stored_as((2, 0, 1), (True, False, True))))
    preset = GeometryPreset("small", box, spacing_mm, (1, 2, box[2] // 6))
    prepared = prepare(images, preset)
    seen = np.zeros([axis.source_size for axis in prepared.placement.axes], dtype=np.bool_)
    seen[prepared.placement.covered] = True
    visible = to_network_axes(
        (images.volumes[Modality.T1].data != 0) | (images.volumes[Modality.T2].data != 0), images.grid
    )
    assert prepared.head_voxels_outside == np.count_nonzero(visible & ~seen)
    assert prepared.head_voxels_outside > 0
