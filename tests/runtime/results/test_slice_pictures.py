"""Slices with outlines: colours where the mask's border is and nowhere else, greys where the image is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.pictures.colours import REGION_COLOURS_ON_GREY
from eenet_runtime.pictures.panels import border
from eenet_runtime.results.slice_pictures import SlicePictures, draw_slices
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import Label, Region

NOTICE = "research use, not for diagnosis"
SHAPE = (160, 150, 12)
"""Voxels of a slice are pixels of a picture: it is neither small nor large."""
LPS = np.diag([-1.0, -1, 1, 1])


def head(shape: tuple[int, int, int] = SHAPE) -> NDArray[np.int16]:
    """A bright box in air."""
    image = np.zeros(shape, np.int16)
    image[10:-10, 10:-10, 1:-1] = 500
    image[20:-20, 20:-20, 2:-2] = np.random.default_rng(0).integers(300, 700, image[20:-20, 20:-20, 2:-2].shape)
    return image


def tumour(shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    """Three classes, each within the one before, and a voxel of each on its own."""
    labels = np.zeros(shape, np.uint8)
    labels[40:90, 50:100, 3:9] = Label.ED
    labels[50:80, 60:90, 4:8] = Label.ET
    labels[60:70, 65:80, 4:8] = Label.NCR
    labels[120, 40, 5], labels[120, 60, 5], labels[120, 80, 5] = Label.ED, Label.ET, Label.NCR
    return labels


def draw(
    image: NDArray[Any] | None = None, labels: NDArray[np.uint8] | None = None, affine: NDArray[np.float64] = LPS
) -> SlicePictures:
    image = head() if image is None else image
    labels = tumour(image.shape) if labels is None else labels
    return draw_slices(image, labels, Grid((image.shape[0], image.shape[1], image.shape[2]), affine), NOTICE)


def coloured(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray(picture.max(axis=-1) > picture.min(axis=-1))


def test_colours_are_where_the_masks_border_is_and_nowhere_else() -> None:
    labels, pictures = tumour(), draw()
    left = pictures.image[1].start
    for index, picture in enumerate(pictures.pixels):
        shown = picture[pictures.image]
        # A pixel is a voxel; rows run along the second axis, columns along the first.
        corner = np.linalg.inv(LPS) @ pictures.grid.affine @ [left, 0, index, 1]
        x, y, z = np.rint(corner[:3]).astype(int)
        np.testing.assert_allclose(corner[:3], [x, y, z], atol=1e-9)
        cut = labels[x : x + shown.shape[1], y : y + shown.shape[0], z].T
        assert shown.shape[:2] == cut.shape
        borders = {region: border(region.mask(cut)) for region in Region}
        expected = np.logical_or.reduce(list(borders.values()))
        np.testing.assert_array_equal(coloured(shown), expected)
        for region, line in borders.items():
            mine = (shown == REGION_COLOURS_ON_GREY[region]).all(axis=-1)
            assert not (mine & ~line).any()
            assert mine.any() == line.any()


def test_an_empty_mask_leaves_the_slices_grey() -> None:
    pictures = draw(labels=np.zeros(SHAPE, np.uint8))
    assert not any(coloured(picture[pictures.image]).any() for picture in pictures.pixels)


def test_every_picture_says_what_it_is_not_for_and_what_the_colours_mean() -> None:
    pictures = draw()
    rows = pictures.image[0].stop
    strips = pictures.pixels[:, rows:]
    assert (strips == strips[0]).all()
    lower = strips[0, 16:]
    assert coloured(lower).sum() == 0
    assert (lower > 100).sum() > 300, "no words in the lower half of the strip"
    for region in Region:
        assert (strips[0, :16] == REGION_COLOURS_ON_GREY[region]).all(axis=-1).any()
    others = draw_slices(head(), tumour(), Grid(SHAPE, LPS), "another notice")
    assert (others.pixels[0, rows:] != strips[0]).any()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)], ids=["axial", "coronal", "sagittal"])
def test_a_voxel_is_seen_where_it_lies_in_the_patient_however_it_is_stored(
    order: tuple[int, int, int], sign: int
) -> None:
    spacing = np.array([1.0, 1.2, 3.0])
    affine = np.eye(4)
    affine[:3, :3] = (np.diag(spacing) * [sign, -1, 1])[:, list(order)]
    affine[:3, 3] = [5, -7, 11]
    sizes = (140, 120, 20)
    shape = (sizes[order[0]], sizes[order[1]], sizes[order[2]])
    image = np.zeros(shape, np.int16)
    image[tuple(slice(size // 10, -size // 10) for size in shape)] = 100
    place = tuple((0.4 * np.array(shape)).astype(int))
    image[place] = 1000
    pictures = draw_slices(image, np.zeros(shape, np.uint8), Grid(shape, affine), NOTICE)
    shown = pictures.pixels[:, : pictures.image[0].stop, pictures.image[1], 0].astype(int)
    # Letters are as bright as 200; the voxel is white.
    found = np.argwhere(shown > 230).mean(axis=0)
    column_row_slice = [found[2] + pictures.image[1].start, found[1], found[0], 1]
    expected = (affine @ [*place, 1])[:3]
    assert np.abs((pictures.grid.affine @ column_row_slice)[:3] - expected).max() <= 0.6


def test_columns_run_to_the_left_rows_to_the_back_and_slices_upwards() -> None:
    for affine in (LPS, np.eye(4), np.diag([1.0, -1, -1, 1])):
        directions = draw(affine=affine).grid.affine[:3, :3]
        np.testing.assert_allclose(np.sign(np.diag(directions)), [-1, -1, 1])


def test_pixels_are_square_and_a_slice_is_at_most_256_pixels_long() -> None:
    image = np.full((500, 300, 4), 100, np.int16)
    image[1::2] = 50
    affine = np.diag([-0.5, -0.9, 4.0, 1])
    pictures = draw_slices(image, np.zeros(image.shape, np.uint8), Grid((500, 300, 4), affine), NOTICE)
    rows, columns = (part.stop - part.start for part in pictures.image)
    assert max(rows, columns) == 256
    assert rows / columns == pytest.approx(270 / 250, rel=0.01)
    across, down, between = pictures.grid.spacing_mm
    assert across == pytest.approx(down, rel=0.01)
    assert between == pytest.approx(4)


def test_slices_are_2_mm_apart_or_as_far_as_the_images_own() -> None:
    thin, thick = draw(affine=np.diag([-1.0, -1, 0.5, 1])), draw(affine=np.diag([-1.0, -1, 3, 1]))
    assert thin.grid.spacing_mm[2] == pytest.approx(2)
    assert thick.grid.spacing_mm[2] == pytest.approx(3)
    assert 10 <= len(thick.pixels) <= 12


def test_there_are_at_most_96_slices_however_far_the_image_reaches() -> None:
    image = np.full((40, 40, 400), 100, np.int16)
    image[::2] = 50
    pictures = draw(image, np.zeros(image.shape, np.uint8))
    assert pictures.grid.spacing_mm[2] == pytest.approx(5)
    assert len(pictures.pixels) == 80


def test_grey_levels_follow_the_brain_not_the_skulls_fat_and_not_the_airs_noise() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 20, (120, 120, 40)).astype(np.int16)
    image[20:100, 20:100, 5:35] = 4000
    image[26:94, 26:94, 8:32] = rng.integers(900, 1100, (68, 68, 24))
    labels = np.zeros(image.shape, np.uint8)
    low, high = draw(image, labels).window
    assert 890 <= low < high <= 1110
    brain = np.zeros(image.shape, np.bool_)
    brain[26:94, 26:94, 8:32] = True
    known = draw_slices(image, labels, Grid((120, 120, 40), LPS), NOTICE, brain)
    assert 890 <= known.window[0] < known.window[1] <= 1110


def test_an_image_of_one_value_is_drawn_all_the_same() -> None:
    for value in (0, 7):
        pictures = draw(np.full(SHAPE, value, np.int16))
        assert pictures.pixels.shape[0] == 6
        assert any(coloured(picture[pictures.image]).any() for picture in pictures.pixels)


def test_a_tumour_beyond_the_head_is_shown_too() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 2, 0] = Label.ET
    pictures = draw(labels=labels)
    assert coloured(pictures.pixels[0][pictures.image]).sum() == 4


def test_the_same_input_gives_the_same_pixels() -> None:
    np.testing.assert_array_equal(draw().pixels, draw().pixels)
