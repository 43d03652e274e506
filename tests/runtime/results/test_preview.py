"""The preview: what a person sees in it is where the patient has it, and nothing in it names the patient."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from eenet_runtime.cases.content_checks import Finding, Severity
from eenet_runtime.codes import Reason
from eenet_runtime.pictures.colours import REGION_COLOURS_ON_GREY
from eenet_runtime.results import preview, preview_sheet
from eenet_runtime.results.preview import draw_preview, render_preview
from eenet_runtime.results.preview_sheet import SheetText, _drawable
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import Label, Modality, Region
from tests.synthetic import ORIENTATIONS, Head, case_files, make_head

VOLUMES = {Region.ET: 1.25, Region.TC: 20.0, Region.WT: 300.5}
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""How BraTS stores: the first axis to the left, the second to the back, the third to the top."""

Picture = NDArray[np.uint8]


def draw(
    labels: NDArray[np.uint8],
    images: Mapping[Modality, NDArray[Any]] | None = None,
    affine: NDArray[np.float64] = LPS,
    **texts: Any,
) -> Picture:
    """The preview as pixels: uint8 (rows, columns, 3)."""
    images = {name: head_of(labels.shape) for name in Modality} if images is None else images
    png = draw_preview(labels, images, Grid(labels.shape, affine), VOLUMES, **texts)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def head_of(shape: tuple[int, ...]) -> NDArray[np.int16]:
    """A box of tissue with two voxels of background around it."""
    image = np.zeros(shape, np.int16)
    image[2:-2, 2:-2, 2:-2] = 100
    return image


def lesion(shape: tuple[int, int, int], *boxes: tuple[slice, slice, slice]) -> NDArray[np.uint8]:
    labels = np.zeros(shape, np.uint8)
    for box in boxes:
        labels[box] = Label.ED
    return labels


def pixels_of(picture: Picture, region: Region) -> NDArray[np.intp]:
    """Rows and columns of a region's lines, without the legend: (n, 2)."""
    found = (picture == REGION_COLOURS_ON_GREY[region]).all(axis=-1)
    found[:60] = False
    return np.argwhere(found)


def panels(picture: Picture) -> list[list[tuple[slice, slice]]]:
    """Where the heads lie, row by row: found by their grey, apart from texts by their size."""
    bright = picture.max(axis=-1) > 60
    rows = _long_runs(bright.sum(axis=1) > 60)
    found = []
    for row in rows:
        columns = _long_runs(bright[row].sum(axis=0) > 20)
        heights = [_long_runs(bright[row, column].sum(axis=1) > 20)[0] for column in columns]
        found.append(
            [
                (slice(row.start + height.start, row.start + height.stop), column)
                for height, column in zip(heights, columns, strict=True)
            ]
        )
    return found


def _long_runs(line: NDArray[np.bool_]) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]]).astype(int)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 60]


def in_panel(points: NDArray[np.intp], panel: tuple[slice, slice]) -> NDArray[np.float64]:
    """Points in or at the edge of a panel, as fractions of its height and width."""
    rows, columns = panel
    height, width = rows.stop - rows.start, columns.stop - columns.start
    place = (points - [rows.start, columns.start] + 0.5) / [height, width]
    near: NDArray[np.float64] = place[((place > -0.05) & (place < 1.05)).all(axis=1)]
    return near


# Where things are


SHAPE = (60, 60, 60)
LEFT_FRONT_TOP = (slice(38, 50), slice(10, 20), slice(42, 50))
"""A box off the centre to the patient's left, front and top, in a volume stored LPS."""


def test_what_is_left_in_front_and_on_top_in_the_patient_is_right_up_and_left_in_the_picture() -> None:
    picture = draw(lesion(SHAPE, LEFT_FRONT_TOP))
    both = panels(picture)
    assert [len(row) for row in both] == [3, 3]
    points = pixels_of(picture, Region.WT)
    for axial, coronal, sagittal in both:
        # Fractions from the top and from the left; the head is 56 voxels from voxel 2 on.
        assert in_panel(points, axial).mean(axis=0) == pytest.approx([(15 - 2) / 56, (44 - 2) / 56], abs=0.02)
        assert in_panel(points, coronal).mean(axis=0) == pytest.approx([1 - (46 - 2) / 56, (44 - 2) / 56], abs=0.02)
        assert in_panel(points, sagittal).mean(axis=0) == pytest.approx([1 - (46 - 2) / 56, (15 - 2) / 56], abs=0.02)


@pytest.mark.parametrize(("permutation", "flips"), ORIENTATIONS[::5])
def test_the_picture_is_the_same_however_the_volume_is_stored(permutation: Any, flips: Any) -> None:
    head = make_head((40, 48, 36))
    stored = head.stored_as(permutation, flips)
    expected = draw_preview(head.labels, head.images, Grid((40, 48, 36), head.affine), VOLUMES)
    grid = Grid(stored.labels.shape, stored.affine)
    assert draw_preview(stored.labels, stored.images, grid, VOLUMES) == expected


def test_a_line_runs_just_outside_of_its_region_on_every_side() -> None:
    image = np.zeros(SHAPE, np.int16)
    image[2:-2, 2:-2, 2:-2] = 30
    image[LEFT_FRONT_TOP] = 100
    picture = draw(lesion(SHAPE, LEFT_FRONT_TOP), {Modality.T1CE: image, Modality.FLAIR: image})
    line = (picture == REGION_COLOURS_ON_GREY[Region.WT]).all(axis=-1)
    for row in panels(picture):
        for rows, columns in row:
            grey, lines = picture[rows, columns, 0], line[rows, columns]
            inside = (grey > 200) & ~lines
            found, drawn = np.argwhere(inside), np.argwhere(lines)
            # The bright lesion is seen whole, and the line encloses it closely.
            assert np.abs(found.min(axis=0) - drawn.min(axis=0)).max() <= 4
            assert np.abs(found.max(axis=0) - drawn.max(axis=0)).max() <= 4
            assert inside.sum() > 0.8 * np.prod(np.ptp(found, axis=0) + 1)


def test_each_region_has_its_line_also_where_two_run_together() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[20:40, 20:40, 20:40] = Label.ED
    labels[24:36, 24:36, 24:36] = Label.ET
    labels[28:32, 28:32, 28:32] = Label.NCR
    picture = draw(labels)
    counts = {region: len(pixels_of(picture, region)) for region in Region}
    # The outer edge of the enhancing rim is the core's edge too: both colours take turns there.
    assert counts[Region.WT] > counts[Region.TC] > 200
    assert counts[Region.ET] > 200


def test_the_planes_go_through_the_largest_lesion_not_through_the_most_lesions() -> None:
    # Eight small ones in a slice have more of its area than the large one has.
    places = [(y, z) for y in (22, 30, 38, 46) for z in (10, 22)]
    small = [(slice(6, 8), slice(y, y + 5), slice(z, z + 5)) for y, z in places]
    picture = draw(lesion(SHAPE, *small, LEFT_FRONT_TOP))
    alone = draw(lesion(SHAPE, LEFT_FRONT_TOP))
    np.testing.assert_array_equal(picture, alone)


def test_the_planes_go_through_the_core_of_a_lesion_rather_than_past_it() -> None:
    labels = lesion(SHAPE, (slice(10, 50), slice(20, 40), slice(20, 40)))
    labels[44:48, 24:28, 30:34] = Label.ET
    points = pixels_of(draw(labels), Region.ET)
    assert all(in_panel(points, panel).size for row in panels(draw(labels)) for panel in row)


def test_an_empty_mask_is_shown_through_the_middle_of_the_head_and_said_to_be_empty() -> None:
    image = np.zeros(SHAPE, np.int16)
    image[30:50, 4:24, 4:44] = 50
    image[38:42, 12:16, 22:26] = 100
    labels = np.zeros(SHAPE, np.uint8)
    picture = draw(labels, {Modality.T1CE: image, Modality.FLAIR: image})
    assert all(len(pixels_of(picture, region)) == 0 for region in Region)
    for row in panels(picture):
        assert len(row) == 3
        for rows, columns in row:
            shown = picture[rows, columns, 0]
            assert shown[shown.shape[0] // 2, shown.shape[1] // 2] > 200
    marked = draw(lesion(SHAPE, LEFT_FRONT_TOP), {Modality.T1CE: image, Modality.FLAIR: image})
    assert picture.shape[0] == marked.shape[0] + 19


# Proportions


@pytest.mark.parametrize("thickness", [1.0, 3.0, 5.0])
def test_voxels_keep_their_proportions(thickness: float) -> None:
    shape = (64, 64, round(64 / thickness) + 4)
    image = np.zeros(shape, np.int16)
    image[2:-2, 2:-2, 2:-2] = 100
    affine = LPS @ np.diag([1, 1, thickness, 1])
    picture = draw(np.zeros(shape, np.uint8), {Modality.T1CE: image, Modality.FLAIR: image}, affine)
    height_mm = (shape[2] - 4) * thickness
    for axial, coronal, sagittal in panels(picture):
        for (rows, columns), ratio in ((axial, 1.0), (coronal, height_mm / 60), (sagittal, height_mm / 60)):
            assert (rows.stop - rows.start) / (columns.stop - columns.start) == pytest.approx(ratio, abs=0.06)


@pytest.mark.parametrize("size", [20, 60, 110])
def test_the_scale_bar_is_as_long_as_it_says(size: int) -> None:
    picture = draw(np.zeros((size, size, size), np.uint8))
    ((rows, _), *_), _ = panels(picture)
    pixels_per_mm = (rows.stop - rows.start) / (size - 4)
    bar = _long_runs((picture[-70:, :, 0] > 200).any(axis=0) & (picture[-61, :, 0] > 200))[0]
    length_mm = (bar.stop - bar.start) / pixels_per_mm
    assert min(abs(length_mm - nice) / nice for nice in (5, 10, 20, 50)) < 0.03


def test_an_oblique_grid_is_drawn_along_its_nearest_axes() -> None:
    angle = np.radians(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    straight = draw(lesion(SHAPE, LEFT_FRONT_TOP))
    oblique = draw(lesion(SHAPE, LEFT_FRONT_TOP), affine=turn @ LPS)
    np.testing.assert_array_equal(oblique[:-70], straight[:-70])
    assert (oblique[-70:] != straight[-70:]).any()


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 1), (60, 50, 1), (1, 50, 40), (4, 300, 4)])
def test_a_volume_of_any_shape_gives_a_picture(shape: tuple[int, int, int]) -> None:
    image = np.full(shape, 7, np.int16)
    picture = draw(np.full(shape, Label.ET, np.uint8), {Modality.T1CE: image, Modality.FLAIR: image})
    assert 600 < picture.shape[1] < 2000
    assert 300 < picture.shape[0] < 2000


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, ">i2"])
def test_the_type_of_the_images_makes_no_difference(dtype: Any) -> None:
    head = make_head()
    images = {name: image.astype(dtype) for name, image in head.images.items()}
    grid = Grid(head.labels.shape, head.affine)
    assert draw_preview(head.labels, images, grid, VOLUMES) == draw_preview(head.labels, head.images, grid, VOLUMES)


def test_background_is_black_also_in_an_image_with_negative_values() -> None:
    image = head_of(SHAPE).astype(np.float32)
    image[2:30] = -100
    picture = draw(np.zeros(SHAPE, np.uint8), {Modality.T1CE: image, Modality.FLAIR: image})
    _, columns = panels(picture)[0][0]
    assert (picture[110:300, columns.stop + 2 : columns.stop + 6] == 0).all()


# Missing images and texts


@pytest.mark.parametrize("zeros", [True, False])
def test_an_image_that_was_not_given_is_black_and_the_lines_are_there(zeros: bool) -> None:
    image = head_of(SHAPE)
    images = {Modality.T1CE: image} | ({Modality.FLAIR: image * 0} if zeros else {})
    picture = draw(lesion(SHAPE, LEFT_FRONT_TOP), images)
    (row,) = panels(picture)
    assert len(row) == 3
    points = pixels_of(picture, Region.WT)
    below = points[points[:, 0] > row[0][0].stop + 20]
    assert len(below) == pytest.approx(len(points) / 2, rel=0.01)


def test_alerts_take_a_line_each_and_are_marked() -> None:
    labels = lesion(SHAPE, LEFT_FRONT_TOP)
    plain, alerted = draw(labels), draw(labels, alerts=("one", "two"))
    assert alerted.shape[0] == plain.shape[0] + 2 * 19
    amber = (255, 190, 60)
    assert (alerted[60:110, :30] == amber).all(axis=-1).sum() == 2 * 100
    assert not (plain[60:110, :30] == amber).all(axis=-1).any()


def test_the_name_of_the_case_is_written_only_where_it_is_given(
    segmenter: Segmenter, head: Head, tmp_path: Path
) -> None:
    results = [segmenter.segment(case_files(tmp_path, name, head)) for name in ("Jane_Roe", "Someone_else")]
    anonymous, other = (render_preview(result) for result in results)
    assert anonymous == other
    assert render_preview(results[0], case_id="Jane_Roe") != anonymous
    assert b"Jane" not in render_preview(results[0], case_id="Jane_Roe")


def test_a_degraded_case_is_marked_and_warnings_are_counted_but_not_quoted(
    segmenter: Segmenter, head: Head, tmp_path: Path
) -> None:
    result = segmenter.segment(case_files(tmp_path, "A", head))
    volumes = dict(result.images.volumes)
    del volumes[Modality.FLAIR]
    degraded = replace(result, images=replace(result.images, volumes=volumes))
    sizes = [Image.open(io.BytesIO(render_preview(shown))).size for shown in (result, degraded)]
    assert sizes[1][1] == sizes[0][1] + 19
    one, other = (
        replace(result, notes=(Reason("spikes", text),)) for text in ("/data/Jane_Roe/t1.nii.gz is odd", "nothing")
    )
    assert render_preview(one) == render_preview(other) != render_preview(result)


def test_a_suspicion_is_told_from_a_notice_in_words_and_names_no_file(
    segmenter: Segmenter, head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = segmenter.segment(case_files(tmp_path, "A", head))
    written: list[SheetText] = []
    compose = preview_sheet.compose

    def noted(rows: Any, text: SheetText, pixels_per_mm: float) -> bytes:
        written.append(text)
        return compose(rows, text, pixels_per_mm)

    monkeypatch.setattr(preview, "compose", noted)
    message = "/data/Jane_Roe/t2.nii.gz: odd"
    findings = tuple(
        Finding(rule, Severity.SUSPECTED, message) for rule in ("t2-exchanged", "misaligned", "coarse-voxels")
    )
    volumes = dict(result.images.volumes)
    del volumes[Modality.FLAIR]
    odd = replace(
        result,
        findings=findings,
        notes=(Reason("spikes", message),) * 4,
        images=replace(result.images, volumes=volumes),
    )
    with_alerts, without = render_preview(odd), render_preview(result)
    assert list(written[0].alerts) == [
        "suspicion: the T2 may be exchanged with another image",
        "suspicion: the images may not be registered",
        "notice: degraded mode: the flair is missing and the network was given zeros for it; expect a worse mask",
    ]
    assert written[0].notes[-1].endswith("; 2 suspicions and 2 notices: see the report")
    assert list(written[1].alerts) == []
    assert "see the report" not in written[1].notes[-1]
    assert with_alerts != without


def test_a_name_of_any_letters_and_any_length_is_one_line_and_leaves_the_frame_alone() -> None:
    labels = lesion(SHAPE, LEFT_FRONT_TOP)
    plain = draw(labels)
    for name in ("Müller 患者", "a\nb\x1b[31m", "\udcff", "long " * 100):
        named = draw(labels, title=name)
        assert named.shape == plain.shape
        np.testing.assert_array_equal(named[35:], plain[35:])
        np.testing.assert_array_equal(named[:35, -180:], plain[:35, -180:])
    assert _drawable("Müller 患\n") == "Muller \\u60a3\\n"


def test_the_same_case_gives_the_same_small_file_with_no_text_chunk() -> None:
    head = make_head((90, 110, 80))
    grid = Grid((90, 110, 80), head.affine)
    first, second = (draw_preview(head.labels, head.images, grid, VOLUMES, title="A") for _ in range(2))
    assert first == second
    assert len(first) < 250_000
    picture = Image.open(io.BytesIO(first))
    assert picture.mode == "P"
    assert picture.info.keys() <= {"transparency"}


def test_the_arrays_are_left_as_they_were() -> None:
    head = make_head()
    before = [array.copy() for array in (head.labels, *head.images.values())]
    draw(head.labels, head.images, head.affine)
    for array, copy in zip((head.labels, *head.images.values()), before, strict=True):
        np.testing.assert_array_equal(array, copy)
