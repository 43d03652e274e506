"""Sample pictures: the right slice, truth and prediction told apart, and files that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from eenet_runtime.errors import OutputError
from eenet_runtime.pictures.colours import CLASS_COLOURS_ON_GREY as COLOURS
from eenet_runtime.volumes.labels import Label
from eenet_train.pictures.sample_pictures import SampleCase, sample_picture, write_sample_pictures

SHAPE = (96, 64, 24)


def _volume() -> NDArray[np.float16]:
    """A head of normal noise, 0 outside."""
    volume = np.zeros((*SHAPE, 4), np.float16)
    volume[8:-8, 8:-8, 4:-4] = np.random.default_rng(0).normal(size=(80, 48, 16, 4))
    return volume


def _labels(*boxes: tuple[Label, slice, slice, slice]) -> NDArray[np.uint8]:
    labels = np.zeros(SHAPE, np.uint8)
    for label, *box in boxes:
        labels[tuple(box)] = label
    return labels


TUMOUR = _labels(
    (Label.ED, slice(30, 60), slice(20, 40), slice(8, 16)), (Label.ET, slice(40, 50), slice(25, 35), slice(10, 14))
)
EMPTY = np.zeros(SHAPE, np.uint8)


def _count(picture: Image.Image, label: Label) -> int:
    return int(np.count_nonzero((np.asarray(picture) == COLOURS[label]).all(axis=-1)))


def _columns(picture: Image.Image, label: Label) -> NDArray[np.intp]:
    """Columns in which the colour of a class is drawn, below the header with its legend."""
    pixels = np.asarray(picture)[64:]
    return np.flatnonzero((pixels == COLOURS[label]).all(axis=-1).any(axis=0))


def test_a_picture_shows_both_modalities_in_three_planes_twice() -> None:
    picture = sample_picture(SampleCase("case", _volume(), TUMOUR, TUMOUR))
    # Two rows of (axial and coronal 64, sagittal 96 wide; 96 high at most), enlarged twice.
    assert picture.mode == "RGB"
    assert picture.size == ((64 + 64 + 96) * 2 * 2 + 7 * 6, 64 + 2 * (96 * 2 + 6) + 24)


def test_truth_and_prediction_stand_side_by_side() -> None:
    found = _labels((Label.NCR, slice(30, 60), slice(20, 40), slice(8, 16)))
    picture = sample_picture(SampleCase("case", _volume(), TUMOUR, found))
    truth, predicted = _columns(picture, Label.ED), _columns(picture, Label.NCR)
    assert set(truth).isdisjoint(predicted)
    for first, last in ((6, 134), (274, 402), (542, 734)):  # Of the truth's panels; the prediction's follow.
        assert ((truth >= first) & (truth < last)).any()
        width = last - first + 6
        assert ((predicted >= first + width) & (predicted < last + width)).any()


def test_an_outline_leaves_the_inside_of_a_class_visible() -> None:
    picture = np.asarray(sample_picture(SampleCase("case", _volume(), TUMOUR, EMPTY)))
    axial = picture[64 : 64 + 192, 6 : 6 + 128]
    drawn = (axial == COLOURS[Label.ED]).all(axis=-1)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (60, 119, 40, 79), "the box, enlarged twice"
    inside = axial[64:76, 44:48]
    assert not (inside == COLOURS[Label.ED]).all(axis=-1).any()


def test_the_slice_with_most_tumour_of_the_truth_is_cut() -> None:
    truth = _labels(
        (Label.ED, slice(30, 40), slice(20, 30), slice(6, 10)), (Label.ET, slice(30, 70), slice(20, 50), slice(15, 16))
    )
    elsewhere = _labels((Label.ED, slice(20, 80), slice(10, 50), slice(5, 8)))
    picture = np.asarray(sample_picture(SampleCase("case", _volume(), truth, elsewhere)))
    axial = picture[64 : 64 + 192, 6 : 6 + 128]
    assert (axial == COLOURS[Label.ET]).all(axis=-1).any()
    assert not (axial == COLOURS[Label.ED]).all(axis=-1).any()


def test_without_a_tumour_in_the_truth_the_prediction_decides() -> None:
    found = _labels((Label.ET, slice(30, 40), slice(20, 30), slice(6, 7)))
    with_found = sample_picture(SampleCase("case", _volume(), EMPTY, found))
    assert _columns(with_found, Label.ET).size > 0
    nothing = sample_picture(SampleCase("case", _volume(), EMPTY, EMPTY))
    assert all(_columns(nothing, label).size == 0 for label in COLOURS)


def test_outside_the_head_is_black_and_the_head_is_not() -> None:
    picture = np.asarray(sample_picture(SampleCase("case", _volume(), EMPTY, EMPTY)))
    axial = picture[64 + 30 : 64 + 192, 6 : 6 + 128]
    assert axial[:, :12].max() == 0
    assert 90 < axial[20:-40, 30:-30].mean() < 160


def test_an_empty_volume_can_be_drawn() -> None:
    picture = sample_picture(SampleCase("case", np.zeros((*SHAPE, 4), np.float32), EMPTY, TUMOUR))
    assert _count(picture, Label.ED) > 0


@pytest.mark.parametrize(("height", "zoom"), [(32, 6), (64, 3), (96, 2), (192, 1), (256, 1)])
def test_small_volumes_are_enlarged(height: int, zoom: int) -> None:
    labels = np.zeros((height, 32, 24), np.uint8)
    picture = sample_picture(SampleCase("case", np.zeros((height, 32, 24, 4)), labels, labels))
    assert picture.width == zoom * 2 * (32 + 32 + height) + 7 * 6


def test_files_carry_epoch_and_case_and_are_replaced(tmp_path: Path) -> None:
    cases = [SampleCase("BraTS20_001", _volume(), TUMOUR, TUMOUR), SampleCase("a/b c", _volume(), TUMOUR, EMPTY)]
    paths = write_sample_pictures(tmp_path / "samples", 12, cases)
    assert [path.name for path in paths] == ["epoch-0012-BraTS20_001.png", "epoch-0012-a_b_c.png"]
    first = paths[0].read_bytes()
    assert write_sample_pictures(tmp_path / "samples", 12, cases) == paths
    assert paths[0].read_bytes() == first, "the same case gives the same bytes"
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == sorted(path.name for path in paths)
    with Image.open(paths[1]) as picture:
        assert picture.size == sample_picture(cases[1]).size


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("a file")
    with pytest.raises(OutputError, match="samples"):
        write_sample_pictures(tmp_path / "samples", 1, [])


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"case x: shapes \(96, 64, 24, 4\), \(96, 64, 24\) and \(96, 64, 23\)"):
        SampleCase("x", _volume(), TUMOUR, TUMOUR[..., :-1])
