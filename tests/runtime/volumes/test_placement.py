"""The network's box in a head: crop, pad, resample, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_runtime.volumes.boxes import Box, bounding_box, whole
from eenet_runtime.volumes.labels import NUM_CLASSES
from eenet_runtime.volumes.placement import Placement, most_probable, place_box
from eenet_runtime.volumes.presets import GeometryPreset
from eenet_runtime.volumes.sampling import AxisPlacement

Triple = tuple[int, int, int]


BOX_1MM = GeometryPreset("box", (32, 32, 12), 1.0, (1, 2, 2))
BOX_2MM = GeometryPreset("box-2mm", (32, 32, 12), 2.0, (1, 2, 2))


@st.composite
def heads(draw: st.DrawFn) -> tuple[Triple, tuple[slice, slice, slice]]:
    """The shape of a volume, from much smaller to larger than the box, and the bounding box of a head in it."""
    shape, box = [], []
    for largest in (60, 60, 30):
        size = draw(st.integers(1, largest))
        start = draw(st.integers(0, size - 1))
        shape.append(size)
        box.append(slice(start, draw(st.integers(start + 1, size))))
    return (shape[0], shape[1], shape[2]), (box[0], box[1], box[2])


SPACINGS = st.tuples(*[st.sampled_from([0.5, 0.7, 0.9375, 1.0, 1.2, 2.0, 3.3, 6.0])] * 3)


def one_hot(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Certain probabilities of the given classes."""
    return np.eye(NUM_CLASSES, dtype=np.float32)[labels]


def random_image(shape: Triple, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_labels(shape: Triple, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, NUM_CLASSES, shape).astype(np.uint8)


@given(case=heads())
def test_cropping_and_uncropping_keeps_what_is_covered_and_leaves_background_outside(
    case: tuple[Triple, tuple[slice, slice, slice]],
) -> None:
    shape, head = case
    placement = place_box(head, shape, (1.0, 1.0, 1.0), BOX_1MM)
    labels = random_labels(shape)
    back = placement.labels_from_probabilities(one_hot(placement.labels_to_network(labels)))
    expected = np.zeros_like(labels)
    expected[placement.covered] = labels[placement.covered]
    np.testing.assert_array_equal(back, expected)
    assert back.dtype == np.uint8


@given(case=heads())
def test_an_image_is_copied_where_it_is_covered_and_padded_with_0(
    case: tuple[Triple, tuple[slice, slice, slice]],
) -> None:
    shape, head = case
    placement = place_box(head, shape, (1.0, 1.0, 1.0), BOX_1MM)
    image = random_image(shape)
    result = placement.to_network(image)
    assert result.shape == BOX_1MM.shape
    assert result.dtype == np.float32
    np.testing.assert_array_equal(np.sort(result[result != 0]), np.sort(image[placement.covered].ravel()))


def test_a_small_head_is_padded_around_its_middle() -> None:
    shape = (10, 12, 8)
    result = place_box(whole(shape), shape, (1.0, 1.0, 1.0), BOX_1MM).to_network(np.ones(shape, np.float32))
    assert bounding_box(result > 0) == (slice(11, 21), slice(10, 22), slice(2, 10))
    assert result.sum() == 10 * 12 * 8


@given(case=heads(), spacing=SPACINGS)
def test_the_box_is_centred_on_the_head_to_half_a_voxel(
    case: tuple[Triple, tuple[slice, slice, slice]], spacing: tuple[float, ...]
) -> None:
    shape, head = case
    for preset in (BOX_1MM, BOX_2MM):
        placement = place_box(head, shape, spacing, preset)
        for axis, part, size in zip(placement.axes, head, preset.shape, strict=True):
            centre_of_box = axis.offset + axis.scale * (size - 1) / 2 + 0.5
            assert abs(centre_of_box - (part.start + part.stop) / 2) <= 0.5 + 1e-9
            # Its outer face lies between two voxels of the file.
            face = axis.offset + 0.5 - axis.scale / 2
            assert abs(face - round(face)) < 1e-9


@given(case=heads(), spacing=SPACINGS)
def test_a_head_that_fits_into_the_box_is_covered_whole(
    case: tuple[Triple, tuple[slice, slice, slice]], spacing: tuple[float, ...]
) -> None:
    shape, head = case
    placement = place_box(head, shape, spacing, BOX_2MM)
    for part, covered, axis, size in zip(head, placement.covered, placement.axes, BOX_2MM.shape, strict=True):
        if part.stop - part.start <= np.floor(size * axis.scale) - 1:
            assert covered.start <= part.start
            assert covered.stop >= part.stop
        assert 0 <= covered.start <= covered.stop <= axis.source_size


@given(case=heads(), spacing=SPACINGS)
def test_a_uniform_answer_stays_uniform_where_covered_and_is_background_elsewhere(
    case: tuple[Triple, tuple[slice, slice, slice]], spacing: tuple[float, ...]
) -> None:
    shape, head = case
    placement = place_box(head, shape, spacing, BOX_2MM)
    probabilities = one_hot(np.full(BOX_2MM.shape, 3, dtype=np.uint8))
    expected = np.zeros(shape, dtype=np.uint8)
    expected[placement.covered] = 3
    np.testing.assert_array_equal(placement.labels_from_probabilities(probabilities), expected)


@pytest.mark.parametrize("shape", [(64, 64, 24), (63, 61, 23), (40, 30, 11)])
def test_a_factor_of_2_averages_whole_blocks_of_8_voxels(shape: Triple) -> None:
    image = random_image(shape)
    placement = place_box(whole(shape), shape, (1.0, 1.0, 1.0), BOX_2MM)
    faces = [int(axis.offset - 0.5) for axis in placement.axes]
    padded = np.zeros((64, 64, 24), dtype=np.float64)
    target = tuple(slice(-face, size - face) for face, size in zip(faces, shape, strict=True))
    padded[target] = image
    blocks = padded.reshape(32, 2, 32, 2, 12, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(placement.to_network(image), blocks, rtol=0, atol=1e-6)


@given(spacing=SPACINGS)
def test_a_constant_image_stays_constant_away_from_its_faces(spacing: tuple[float, ...]) -> None:
    shape = (50, 51, 40)
    placement = place_box(whole(shape), shape, spacing, BOX_1MM)
    result = placement.to_network(np.full(shape, 5.0, dtype=np.float32))
    inside = []
    for axis, size in zip(placement.axes, BOX_1MM.shape, strict=True):
        position = axis.offset + axis.scale * np.arange(size)
        inside.append(np.flatnonzero((position >= 0) & (position <= axis.source_size - 1)))
    np.testing.assert_allclose(result[np.ix_(*inside)], 5.0, rtol=1e-6)
    assert result.min() >= 0.0
    assert result.max() <= 5.0 * (1 + 1e-6)


@given(spacing=SPACINGS, seed=st.integers(0, 99))
def test_a_linear_ramp_is_sampled_at_the_world_position_of_each_voxel(spacing: tuple[float, ...], seed: int) -> None:
    # The strictest test of geometry: a shift of a tenth of a voxel on any axis would show.
    shape = (50, 51, 40)
    slope = np.random.default_rng(seed).normal(size=3)
    placement = place_box(whole(shape), shape, spacing, BOX_1MM)
    faces = [axis.offset + 0.5 - axis.scale / 2 for axis in placement.axes]
    source_mm = [(np.arange(size) + 0.5) * step for size, step in zip(shape, spacing, strict=True)]
    network_mm = [
        face * step + (np.arange(size) + 0.5) * BOX_1MM.spacing_mm
        for face, step, size in zip(faces, spacing, BOX_1MM.shape, strict=True)
    ]
    ramp = sum(
        s * line.reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, (s, line) in enumerate(zip(slope, source_mm, strict=True))
    )
    wanted = sum(
        s * line.reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, (s, line) in enumerate(zip(slope, network_mm, strict=True))
    )
    inside = np.ix_(*[(line >= own[0]) & (line <= own[-1]) for line, own in zip(network_mm, source_mm, strict=True)])
    result = placement.to_network(np.asarray(ramp, dtype=np.float32))
    np.testing.assert_allclose(result[inside], np.asarray(wanted)[inside], atol=2e-4)  # float32 at values up to 500


def test_probabilities_are_interpolated_before_the_decision_not_after() -> None:
    # One line of voxels: class 1 with 0.9 beside class 2 with 0.6 (and 0.4 for class 1). A nearest neighbour or
    # interpolated labels would put the border in the middle; the probabilities say that it lies further right.
    shape = (64, 64, 24)
    placement = place_box(whole(shape), shape, (1.0, 1.0, 1.0), BOX_2MM)
    probabilities = np.zeros((*BOX_2MM.shape, NUM_CLASSES), dtype=np.float32)
    probabilities[:16, ..., 1] = 0.9
    probabilities[:16, ..., 2] = 0.1
    probabilities[16:, ..., 1] = 0.4
    probabilities[16:, ..., 2] = 0.6
    line = placement.labels_from_probabilities(probabilities)[:, 32, 12]
    # Between the centres of network voxels 15 and 16 lie file voxels 31 (a quarter of the way) and 32 (three quarters).
    # At 32: class 1 has 0.25 * 0.9 + 0.75 * 0.4 = 0.525, class 2 0.475.
    np.testing.assert_array_equal(line, [1] * 33 + [2] * 31)


@given(case=heads(), spacing=SPACINGS, seed=st.integers(0, 99))
def test_skipping_what_background_cannot_lose_changes_no_voxel(
    case: tuple[Triple, tuple[slice, slice, slice]], spacing: tuple[float, ...], seed: int
) -> None:
    shape, head = case
    placement = place_box(head, shape, spacing, BOX_2MM)
    # Background everywhere but in a small box, where every class may win, with ties among few values.
    rng = np.random.default_rng(seed)
    probabilities = np.zeros((*BOX_2MM.shape, NUM_CLASSES), dtype=np.float32)
    probabilities[..., 0] = rng.integers(1, 3, BOX_2MM.shape)
    start = rng.integers(0, np.array(BOX_2MM.shape) - 3)
    small = tuple(slice(first, first + size) for first, size in zip(start, rng.integers(0, 4, 3), strict=True))
    probabilities[small] = rng.integers(0, 4, probabilities[small].shape)
    channels_first = np.moveaxis(np.ascontiguousarray(np.moveaxis(probabilities, -1, 0)), 0, -1)
    expected = np.zeros(shape, dtype=np.uint8)
    by_class = [placement.values_from_network(probabilities[..., label]) for label in range(NUM_CLASSES)]
    expected[placement.covered] = np.argmax(by_class, axis=0)
    for given_as in (probabilities, channels_first):
        np.testing.assert_array_equal(placement.labels_from_probabilities(given_as), expected)


@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_the_way_back_may_be_written_where_the_caller_wants_it(spacing: float) -> None:
    shape = (40, 41, 30)
    placement = place_box((slice(3, 30), slice(0, 41), slice(2, 29)), shape, (spacing,) * 3, BOX_2MM)
    probabilities = np.random.default_rng(0).random((*BOX_2MM.shape, NUM_CLASSES)).astype(np.float32)
    target = np.zeros(shape[::-1], dtype=np.uint8).T
    assert placement.labels_from_probabilities(probabilities, out=target) is target
    np.testing.assert_array_equal(target, placement.labels_from_probabilities(probabilities))


def test_the_most_probable_class_is_what_argmax_finds() -> None:
    probabilities = np.random.default_rng(0).integers(0, 3, (9, 8, 7, NUM_CLASSES)).astype(np.float32)
    np.testing.assert_array_equal(most_probable(probabilities), probabilities.argmax(axis=-1))


@given(case=heads(), spacing=SPACINGS)
def test_only_the_head_and_what_touches_it_is_asked_for(
    case: tuple[Triple, tuple[slice, slice, slice]], spacing: tuple[float, ...]
) -> None:
    shape, head = case
    image = np.zeros(shape, dtype=np.float32)
    image[head] = random_image(shape)[head]
    for preset in (BOX_1MM, BOX_2MM):
        placement = place_box(head, shape, spacing, preset)
        asked: list[Box] = []

        def read(box: Box, out: NDArray[np.float32], asked: list[Box] = asked) -> None:
            asked.append(box)
            out[...] = image[box]

        result = np.zeros(preset.shape, dtype=np.float32)
        placement.fill(result, read, head)
        np.testing.assert_array_equal(result, placement.to_network(image))
        for box in asked:
            for part, of_head in zip(box, head, strict=True):
                assert part.start >= of_head.start - 1
                assert part.stop <= of_head.stop + 1


def test_certain_answers_come_back_as_blocks_of_the_network_voxels() -> None:
    shape = (64, 64, 24)
    placement = place_box(whole(shape), shape, (1.0, 1.0, 1.0), BOX_2MM)
    labels = np.zeros(BOX_2MM.shape, dtype=np.uint8)
    labels[8:24, 8:24, 3:9] = 2
    back = placement.labels_from_probabilities(one_hot(labels))
    blocks = labels.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    # Exact but for edges and corners, where two or three faces are interpolated at once.
    different = np.argwhere(back != blocks)
    assert 0 < len(different) < 0.05 * np.count_nonzero(blocks)
    on_face = (different == [16, 16, 6]) | (different == [47, 47, 17])
    assert (on_face.sum(axis=1) >= 2).all()


def test_equal_probabilities_go_to_the_lower_class_on_either_road() -> None:
    shape = (32, 32, 12)
    for spacing, preset in ((1.0, BOX_1MM), (1.0, BOX_2MM)):
        placement = place_box(whole(shape), shape, (spacing,) * 3, preset)
        probabilities = np.full((*preset.shape, NUM_CLASSES), 0.25, dtype=np.float32)
        assert not placement.labels_from_probabilities(probabilities).any()


@given(case=heads(), spacing=SPACINGS)
def test_labels_to_the_network_take_the_nearest_voxel(
    case: tuple[Triple, tuple[slice, slice, slice]], spacing: tuple[float, ...]
) -> None:
    shape, head = case
    placement = place_box(head, shape, spacing, BOX_2MM)
    labels = random_labels(shape)
    result = placement.labels_to_network(labels)
    assert result.shape == BOX_2MM.shape
    for index in np.random.default_rng(0).integers(0, BOX_2MM.shape, (20, 3)):
        position = np.array([axis.offset + axis.scale * i for axis, i in zip(placement.axes, index, strict=True)])
        nearest = np.floor(position + 0.5 + 1e-12).astype(int)
        if np.abs(position + 0.5 - np.round(position + 0.5)).min() < 1e-6:
            continue  # two voxels are equally near
        inside = ((nearest >= 0) & (nearest < shape)).all()
        assert result[tuple(index)] == (labels[tuple(nearest)] if inside else 0)


@pytest.mark.parametrize("preset", [BOX_1MM, BOX_2MM])
def test_no_argument_is_changed(preset: GeometryPreset) -> None:
    shape = (40, 41, 30)
    placement = place_box((slice(3, 30), slice(0, 41), slice(2, 29)), shape, (1.0, 1.0, 1.0), preset)
    image, labels = random_image(shape), random_labels(shape)
    probabilities = np.random.default_rng(0).random((*preset.shape, NUM_CLASSES)).astype(np.float32)
    for array in (image, labels, probabilities):
        array.setflags(write=False)
    results = [
        placement.to_network(image),
        placement.labels_to_network(labels),
        placement.labels_from_probabilities(probabilities),
    ]
    for result in results:
        assert not any(np.shares_memory(result, array) for array in (image, labels, probabilities))


@pytest.mark.parametrize(("spacing", "resamples"), [(1.0, False), (1.0005, False), (1.002, True), (2.0, True)])
def test_a_spacing_counts_as_the_presets_up_to_a_thousandth(spacing: float, resamples: bool) -> None:
    shape = (32, 32, 12)
    placement = place_box(whole(shape), shape, (1.0, spacing, 1.0), BOX_1MM)
    assert placement.resamples is resamples


def test_only_the_axes_that_need_it_are_interpolated() -> None:
    # Thick slices: 1 x 1 x 3 mm into 1 mm. In the plane every value stays what it was.
    shape = (32, 32, 4)
    image = np.zeros(shape, dtype=np.float32)
    image[5, 6, :] = 1.0
    result = place_box(whole(shape), shape, (1.0, 1.0, 3.0), BOX_1MM).to_network(image)
    assert np.count_nonzero(result.any(axis=2)) == 1
    np.testing.assert_allclose(result[5, 6, 1:-1], 1.0)


def test_covered_never_leaves_the_volume() -> None:
    far = AxisPlacement(offset=100.0, scale=1.0, source_size=10, network_size=5)
    assert Placement((far, far, far)).covered[0] == slice(10, 10)


def test_labels_are_never_interpolated() -> None:
    shape = (40, 41, 30)
    placement = place_box(whole(shape), shape, (1.0, 1.0, 1.0), BOX_2MM)
    with pytest.raises(ValueError, match="differ in voxel size: labels come from interpolated probabilities"):
        placement.labels_from_network(np.ones(BOX_2MM.shape, dtype=np.uint8))


def test_an_axis_of_one_network_voxel_fills_what_it_covers() -> None:
    line = AxisPlacement(offset=0.5, scale=2.0, source_size=2, network_size=1)
    back = Placement((line, line, line)).values_from_network(np.full((1, 1, 1), 7, dtype=np.float32))
    np.testing.assert_array_equal(back, np.full((2, 2, 2), 7, dtype=np.float32))
