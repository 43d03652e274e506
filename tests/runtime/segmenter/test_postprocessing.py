"""The steps after the network: off by default, and exactly what they say when on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from eenet_runtime.bundle.manifest import PostprocessingSettings
from eenet_runtime.segmenter.postprocessing import clean, restore, restore_labels
from eenet_runtime.volumes.grid import Grid, to_network_axes
from eenet_runtime.volumes.labels import Label, Region
from eenet_runtime.volumes.placement import place_box
from tests.synthetic import ORIENTATIONS, TINY, make_head

NOTHING = PostprocessingSettings()
LABELS = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7), elements=st.sampled_from([0, 0, 0, 0, 1, 2, 3])
)


def _labels() -> NDArray[np.uint8]:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:8, 2:8, 2:8] = Label.ED
    labels[3:5, 3:5, 3:5] = Label.ET
    labels[8, 8, 8] = Label.ED  # touches the first by a corner
    labels[15:17, 15, 15] = Label.NCR
    return labels


def test_nothing_changes_by_default() -> None:
    labels = _labels()
    cleaning = clean(labels, 0.001, NOTHING).cleaning
    assert np.array_equal(labels, _labels())
    assert (cleaning.dropped_components, cleaning.dropped_ml, cleaning.enhancing_relabelled_ml) == (0, 0.0, 0.0)


def test_voxels_that_touch_by_a_corner_are_one_component() -> None:
    assert clean(_labels(), 0.001, NOTHING).components == 2


def test_an_empty_mask_has_no_components_and_no_volume() -> None:
    tumour = clean(np.zeros((4, 4, 4), np.uint8), 0.001, PostprocessingSettings(0.1, 0.1))
    assert tumour.components == 0
    assert set(tumour.volumes_ml.values()) == {0.0}


def test_small_components_are_dropped_and_counted() -> None:
    labels = _labels()
    tumour = clean(labels, 0.001, PostprocessingSettings(min_tumour_ml=0.003))
    assert tumour.cleaning.dropped_components == 1
    assert tumour.cleaning.dropped_ml == pytest.approx(0.002)
    assert tumour.components == 1
    assert tumour.volumes_ml[Region.WT] == pytest.approx(0.217)
    assert not labels[15:17].any()
    assert labels[8, 8, 8] == Label.ED


def test_little_enhancing_tumour_becomes_necrotic_core() -> None:
    labels = _labels()
    tumour = clean(labels, 0.001, PostprocessingSettings(min_enhancing_ml=0.009))
    assert (labels[3:5, 3:5, 3:5] == Label.NCR).all()
    assert tumour.cleaning.enhancing_relabelled_ml == pytest.approx(0.008)
    assert tumour.volumes_ml[Region.ET] == 0
    assert tumour.volumes_ml[Region.TC] == pytest.approx(0.010)
    kept = _labels()
    clean(kept, 0.001, PostprocessingSettings(min_enhancing_ml=0.008))
    assert np.array_equal(kept, _labels())


def test_volumes_are_those_of_the_regions() -> None:
    volumes = clean(_labels(), 0.001, NOTHING).volumes_ml
    assert volumes[Region.ET] == pytest.approx(0.008)
    assert volumes[Region.TC] == pytest.approx(0.010)
    assert volumes[Region.WT] == pytest.approx(0.219)


@given(labels=LABELS, order=st.sampled_from(["C", "F"]), smallest=st.integers(0, 6), enhancing=st.integers(0, 6))
def test_one_look_at_the_tumours_box_finds_what_scipy_finds_in_the_whole(
    labels: NDArray[np.uint8], order: Any, smallest: int, enhancing: int
) -> None:
    expected = labels.copy()
    numbered, count = ndimage.label(labels != 0, structure=np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(labels != 0, numbered, range(1, count + 1))
    dropped = [number for number, size in enumerate(sizes, start=1) if size < smallest]
    expected[np.isin(numbered, dropped)] = 0
    if np.count_nonzero(expected == Label.ET) < enhancing:
        expected[expected == Label.ET] = Label.NCR
    cleaned = np.array(labels, order=order)
    tumour = clean(cleaned, 1.0, PostprocessingSettings(min_tumour_ml=smallest, min_enhancing_ml=enhancing))
    np.testing.assert_array_equal(cleaned, expected)
    assert tumour.components == count - len(dropped)
    assert tumour.cleaning.dropped_components == len(dropped)
    assert tumour.volumes_ml == {region: np.count_nonzero(region.mask(expected)) for region in Region}


@pytest.mark.parametrize(("permutation", "flips"), ORIENTATIONS)
def test_a_mask_comes_back_in_the_stored_axes_and_lies_in_memory_as_in_a_file(
    permutation: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    head = make_head((20, 22, 12)).stored_as(permutation, flips)
    grid = Grid((head.shape[0], head.shape[1], head.shape[2]), head.affine)
    turned = to_network_axes(head.labels, grid)
    shape = (turned.shape[0], turned.shape[1], turned.shape[2])
    placement = place_box((slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])), shape, (1.0, 1.0, 1.0), TINY)
    found = placement.labels_to_network(turned)
    probabilities = np.moveaxis(np.stack([found == label for label in Label]).astype(np.float32), 0, -1)
    for mask in (restore_labels(found, placement, grid), restore(probabilities, placement, grid)):
        np.testing.assert_array_equal(mask, head.labels)
        assert mask.flags.f_contiguous


def test_a_mask_ends_where_all_images_are_exactly_0() -> None:
    labels = _labels()
    images = [np.ones(labels.shape, np.int16) for _ in range(4)]
    for image in images:
        image[2:4] = 0
    images[0][4:6] = 0  # one image shows it
    images[1][3, 3, 3] = -1
    tumour = clean(labels, 0.001, NOTHING, images)
    expected = _labels()
    kept = expected[3, 3, 3]
    expected[2:4] = 0
    expected[3, 3, 3] = kept
    np.testing.assert_array_equal(labels, expected)
    assert tumour.cleaning.outside_head_ml == pytest.approx(0.071)
    assert tumour.volumes_ml[Region.WT] == pytest.approx(np.count_nonzero(expected) * 0.001)


def test_values_near_0_are_head() -> None:
    labels = _labels()
    clean(labels, 0.001, NOTHING, [np.full(labels.shape, 1e-30, np.float32)])
    np.testing.assert_array_equal(labels, _labels())


def test_what_lies_outside_the_head_joins_no_components_and_counts_for_no_limit() -> None:
    """The step comes first: a bridge through the air does not save a speck, nor does air make it large enough."""
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:8, 2:8, 2:8] = Label.ED
    labels[8:15, 5, 5] = Label.ED
    labels[15, 5, 5] = Label.ED
    image = np.ones(labels.shape, np.int16)
    image[8:15] = 0
    tumour = clean(labels, 0.001, PostprocessingSettings(min_tumour_ml=0.003), [image])
    assert (tumour.components, tumour.cleaning.dropped_components) == (1, 1)
    assert not labels[8:].any()


def test_the_head_can_be_left_out_of_it() -> None:
    labels = _labels()
    cleaning = clean(labels, 0.001, PostprocessingSettings(head_only=False), [np.zeros(labels.shape)]).cleaning
    np.testing.assert_array_equal(labels, _labels())
    assert cleaning.outside_head_ml == 0


@given(labels=LABELS, order=st.permutations(range(3)), seed=st.integers(0, 99))
def test_the_head_is_the_union_of_the_images_in_every_order_of_memory(
    labels: NDArray[np.uint8], order: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    images = [
        rng.integers(0, 2, labels.shape) * (rng.random(labels.shape) < 0.3) for _ in range(int(rng.integers(1, 5)))
    ]
    expected = np.where(np.any([image != 0 for image in images], axis=0), labels, 0)
    turned = np.ascontiguousarray(labels.transpose(order)).transpose(np.argsort(order)).copy(order="K")
    tumour = clean(turned, 1.0, NOTHING, images)
    np.testing.assert_array_equal(turned, expected)
    assert tumour.cleaning.outside_head_ml == np.count_nonzero(labels) - np.count_nonzero(expected)
