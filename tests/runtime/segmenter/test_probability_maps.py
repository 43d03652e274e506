"""Probability maps: what the network said, at the right place, to the precision that is promised."""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_runtime.files.nifti import Volume, read_volume
from eenet_runtime.segmenter.probability_maps import MAP_LABELS, MAPS_SUFFIX, SCALE, probability_maps_to_bytes
from eenet_runtime.segmenter.segmentation import NetworkProbabilities
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.grid import Grid, to_network_axes
from eenet_runtime.volumes.labels import Label
from eenet_runtime.volumes.placement import Placement
from eenet_runtime.volumes.sampling import AxisPlacement
from tests.places import ROOT
from tests.synthetic import ORIENTATIONS, Head, case_files, make_head, write_volume

HALF_A_STEP = 0.5 / SCALE + 1e-7
"""What is promised, and the last digit of float32."""


def load(content: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_stream(io.BytesIO(gzip.decompress(content)))


def random_probabilities(shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.float32]:
    logits = np.random.default_rng(seed).normal(size=(*shape, 4)).astype(np.float32) * 4
    powers = np.exp(logits)
    values: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return values


def reference(tmp_path: Path, shape: tuple[int, int, int], affine: NDArray[np.float64] | None = None) -> Volume:
    voxels = np.ones(shape, np.int16)
    return read_volume(
        write_volume(tmp_path / "t1.nii", voxels, np.diag([-1.0, -1, 1, 1]) if affine is None else affine)
    )


def copying(*axes: tuple[int, int, int]) -> Placement:
    """A placement without resampling from (offset, source size, network size) of each axis."""
    first, second, third = (AxisPlacement(float(offset), 1.0, source, network) for offset, source, network in axes)
    return Placement((first, second, third))


@pytest.mark.parametrize("bundle", ["segmenter", "segmenter_2mm"])
def test_the_largest_probability_is_the_label_before_cleaning(
    bundle: str, head: Head, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    segmenter: Segmenter = request.getfixturevalue(bundle)
    result = segmenter.segment(case_files(tmp_path, "A", head), keep_probabilities=True)
    assert result.cleaning.dropped_components == 0
    assert result.probabilities is not None
    maps = load(probability_maps_to_bytes(result.probabilities, result.images.reference))
    np.testing.assert_array_equal(maps.affine, nib.load(result.images.reference.source).affine)
    tumour = np.asarray(maps.dataobj, np.float32)
    everything = np.concatenate([1 - tumour.sum(axis=-1, keepdims=True), tumour], axis=-1)
    labels = everything.argmax(axis=-1)
    # Outside the box there is no tumour; inside, only ties closer than the rounding may go another way.
    ordered = np.sort(everything, axis=-1)
    clear = ordered[..., -1] - ordered[..., -2] > 4 / SCALE
    assert np.count_nonzero(clear) > 0.99 * clear.size
    # Outside the head the mask is background whatever the network says; maps show what it says.
    clear &= np.any([volume.data != 0 for volume in result.images.volumes.values()], axis=0)
    np.testing.assert_array_equal(labels[clear], result.labels[clear])
    assert np.count_nonzero(labels) > 100


def test_values_are_right_to_half_a_step_and_where_the_network_saw_nothing_they_are_zero(tmp_path: Path) -> None:
    like = reference(tmp_path, (9, 10, 11))  # Stored LPS: network axes are (10, 9, 11).
    placement = copying((3, 10, 4), (-2, 9, 8), (8, 11, 5))
    values = random_probabilities((4, 8, 5))
    maps = load(probability_maps_to_bytes(NetworkProbabilities(values, placement), like))
    assert maps.shape == (9, 10, 11, 3)
    assert maps.header.get_data_dtype() == np.uint16
    found = to_network_axes(np.asarray(maps.dataobj, np.float64), like.grid)
    seen = np.zeros(found.shape[:3], np.bool_)
    seen[3:7, 0:6, 8:11] = True
    for index, label in enumerate(MAP_LABELS):
        np.testing.assert_allclose(found[3:7, 0:6, 8:11, index], values[:, 2:8, :3, label], atol=HALF_A_STEP, rtol=0)
    assert not found[~seen].any()


def test_the_classes_stand_in_the_promised_order() -> None:
    assert MAP_LABELS == (Label.NCR, Label.ED, Label.ET)


def test_interpolated_maps_agree_with_interpolation_in_the_open(tmp_path: Path) -> None:
    like = reference(tmp_path, (8, 8, 8))
    axis = AxisPlacement(0.5, 2.0, 8, 4)
    values = random_probabilities((4, 4, 4))
    maps = load(probability_maps_to_bytes(NetworkProbabilities(values, Placement((axis, axis, axis))), like))
    found = to_network_axes(np.asarray(maps.dataobj, np.float64), like.grid)
    expected = values.astype(np.float64)
    place = np.clip((np.arange(8) - 0.5) / 2, 0, 3)
    for direction in range(3):
        expected = np.apply_along_axis(lambda line: np.interp(place, np.arange(4), line), direction, expected)
    np.testing.assert_allclose(found, expected[..., 1:], atol=HALF_A_STEP, rtol=0)


@given(st.sampled_from(ORIENTATIONS), st.integers(0, 5))
def test_the_same_head_has_the_same_maps_however_it_is_stored(orientation: Any, seed: int) -> None:
    permutation, flips = orientation
    head = make_head((7, 8, 9))
    values = NetworkProbabilities(random_probabilities((8, 7, 9), seed), copying((0, 8, 8), (0, 7, 7), (0, 9, 9)))
    found = []
    for shown in (head, head.stored_as(permutation, flips)):
        image = nib.Nifti1Image(np.zeros(shown.shape, np.int16), shown.affine)
        like = Volume("t1", np.zeros(shown.shape, np.int16), Grid(shown.labels.shape, shown.affine), image.header)
        maps = load(probability_maps_to_bytes(values, like))
        found.append(to_network_axes(np.asarray(maps.dataobj, np.float32), like.grid))
    np.testing.assert_array_equal(found[0], found[1])


def test_zero_and_one_stay_zero_and_one_and_overshoot_is_cut(tmp_path: Path) -> None:
    like = reference(tmp_path, (3, 3, 3))
    values = np.zeros((3, 3, 3, 4), np.float32)
    values[..., 0] = 1
    values[1, 1, 1] = [-1e-7, 0, 0, 1 + 1e-6]
    placement = copying((0, 3, 3), (0, 3, 3), (0, 3, 3))
    maps = load(probability_maps_to_bytes(NetworkProbabilities(values, placement), like))
    assert np.asarray(maps.dataobj.get_unscaled())[1, 1, 1].tolist() == [0, 0, SCALE]
    assert np.count_nonzero(np.asarray(maps.dataobj)) == 1


def test_the_bytes_are_the_same_each_time_and_the_kept_values_are_not_changed(tmp_path: Path) -> None:
    like = reference(tmp_path, (6, 6, 6))
    values = random_probabilities((6, 6, 6))
    before = values.copy()
    kept = NetworkProbabilities(values, copying((0, 6, 6), (0, 6, 6), (0, 6, 6)))
    assert probability_maps_to_bytes(kept, like) == probability_maps_to_bytes(kept, like)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("kind", ["nifti2", "big-endian"])
def test_maps_beside_an_unusual_file_are_right_too(tmp_path: Path, kind: str) -> None:
    voxels = np.ones((4, 5, 6), np.int16)
    if kind == "nifti2":
        image: Any = nib.Nifti2Image(voxels, np.eye(4))
    else:
        image = nib.Nifti1Image(voxels, np.eye(4), nib.Nifti1Header(endianness=">"))
    image.to_filename(tmp_path / "t1.nii")
    like = read_volume(tmp_path / "t1.nii")
    values = random_probabilities((5, 4, 6))
    content = probability_maps_to_bytes(NetworkProbabilities(values, copying((0, 5, 5), (0, 4, 4), (0, 6, 6))), like)
    (tmp_path / "maps.nii.gz").write_bytes(content)
    maps = nib.load(tmp_path / "maps.nii.gz")
    assert isinstance(maps, nib.Nifti2Image) == (kind == "nifti2")
    found = to_network_axes(np.asarray(maps.dataobj, np.float64), like.grid)
    np.testing.assert_allclose(found, values[..., 1:], atol=HALF_A_STEP, rtol=0)


def test_no_text_of_the_input_header_reaches_the_maps(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.ones((3, 3, 3), np.int16), np.eye(4))
    for field in ("descrip", "aux_file", "db_name", "data_type", "intent_name"):
        image.header[field] = b"Jane Roe"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Roe, born 1970"))
    image.to_filename(tmp_path / "t1.nii")
    kept = NetworkProbabilities(random_probabilities((3, 3, 3)), copying((0, 3, 3), (0, 3, 3), (0, 3, 3)))
    content = gzip.decompress(probability_maps_to_bytes(kept, read_volume(tmp_path / "t1.nii")))
    assert b"Jane" not in content
    assert b"probabilities of NCR, ED, ET" in content
    assert len(content) == 352 + 3 * 27 * 2


def test_arrays_that_do_not_fit_together_are_a_bug(tmp_path: Path) -> None:
    like = reference(tmp_path, (6, 6, 6))
    kept = NetworkProbabilities(random_probabilities((6, 6, 6)), copying((0, 6, 6), (0, 6, 6), (0, 6, 6)))
    with pytest.raises(ValueError, match="probabilities are"):
        probability_maps_to_bytes(replace(kept, values=kept.values[1:]), like)
    with pytest.raises(ValueError, match="probabilities are"):
        probability_maps_to_bytes(replace(kept, values=kept.values[..., :3]), like)
    with pytest.raises(ValueError, match="the placement is for"):
        probability_maps_to_bytes(kept, reference(tmp_path, (6, 6, 7)))


def test_the_snippet_in_the_documentation_gives_the_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "outputs.md").read_text()
    snippet = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    values = random_probabilities((5, 4, 6))
    kept = NetworkProbabilities(values, copying((0, 5, 5), (0, 4, 4), (0, 6, 6)))
    like = reference(tmp_path, (4, 5, 6))
    monkeypatch.chdir(tmp_path)
    Path(f"CASE{MAPS_SUFFIX}").write_bytes(probability_maps_to_bytes(kept, like))
    names: dict[str, Any] = {}
    exec(snippet, names)
    found = to_network_axes(names["whole_tumour"], like.grid)
    np.testing.assert_allclose(found, 1 - values[..., Label.BACKGROUND], atol=4 * HALF_A_STEP, rtol=0)
    found = to_network_axes(names["tumour_core"], like.grid)
    np.testing.assert_allclose(found, values[..., Label.NCR] + values[..., Label.ET], atol=4 * HALF_A_STEP, rtol=0)


PEAK = """
import numpy as np
from eenet_runtime.machine.memory import peak_rss_bytes
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.files.nifti import Volume
from eenet_runtime.volumes.placement import Placement
from eenet_runtime.volumes.sampling import AxisPlacement
from eenet_runtime.segmenter.probability_maps import probability_maps_to_bytes
from eenet_runtime.segmenter.segmentation import NetworkProbabilities
import nibabel as nib

def peak():
    return peak_rss_bytes() / 2**20

shape = (240, 240, 155)
affine = np.diag([-1.0, -1.0, 1.0, 1.0])
voxel = np.zeros((1, 1, 1), np.int16)
like = Volume("t1", voxel, Grid(shape, affine), nib.Nifti1Image(voxel, affine).header)
axes = [AxisPlacement(0.5, 2.0, *sizes) for sizes in ((240, 96), (240, 96), (155, 72))]
values = np.zeros((96, 96, 72, 4), np.float32)
values[20:60, 20:60, 20:60] = 0.25
before = peak()
probability_maps_to_bytes(NetworkProbabilities(values, Placement(tuple(axes))), like)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_second_array_of_all_classes_is_made() -> None:
    run = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    # Four classes of float32 on this grid would take 143 MB, three of uint16 another 54.
    assert float(run.stdout) < 100
