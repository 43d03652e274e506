"""Raw phantoms: what they promise about grids, motion, tissues and their truth. Small heads, 4 mm."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("nilearn", reason="phantoms need the template that nilearn brings")
from scipy import ndimage

from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import Modality
from eenet_train.phantom.raw import (
    SMALL,
    Displacement,
    Orientation,
    Plan,
    Range,
    RawPhantom,
    RawSettings,
    Series,
    make_raw_phantom,
    raw_case_id,
)
from eenet_train.phantom.raw.acquire import profile, sample
from eenet_train.phantom.raw.anatomy import Tissue
from eenet_train.phantom.raw.geometry import about, inverse, move, rotation_about
from eenet_train.phantom.raw.scene import SIGNALS, Scene, make_scene
from eenet_train.phantom.raw.write import series_bytes
from eenet_train.phantom.settings import HARD

OTHERS = (Modality.T1, Modality.T2, Modality.FLAIR)
FINE = RawSettings(voxel_mm=2)


@pytest.fixture(scope="module")
def phantom() -> RawPhantom:
    return make_raw_phantom(5, 0, SMALL)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A head of 2 mm, which has every layer."""
    return make_scene([np.random.default_rng((7, stream)) for stream in range(5)], FINE)


def angle_degrees(matrix: NDArray[np.float64]) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1))))


def centres(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    """World coordinates of a mask's voxels."""
    return move(grid.affine, np.argwhere(mask).astype(np.float64))


def indices(shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """The index of each voxel, shape (X, Y, Z, 3)."""
    return np.moveaxis(np.indices(shape, dtype=np.float64), 0, -1)


def looked_up(volume: NDArray[Any], grid: Grid, points: NDArray[np.float64]) -> NDArray[Any]:
    """The voxels in which points of the world lie; those outside the grid are left out."""
    voxels = np.rint(move(inverse(grid.affine), points)).astype(int)
    inside = ((voxels >= 0) & (voxels < np.array(grid.shape))).all(axis=1)
    return np.asarray(volume[tuple(voxels[inside].T)])


# --- the truth -------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    angle=st.floats(-60, 60),
    shift=st.tuples(*[st.floats(-5, 5)] * 3),
    thickness=st.floats(0.5, 8),
    axis=st.integers(0, 2),
)
def test_a_voxel_shows_what_lies_at_its_middle_in_the_phantom(
    angle: float, shift: tuple[float, float, float], thickness: float, axis: int
) -> None:
    """Of an image whose value is a place, interpolation and averaging over a slice give back the place itself."""
    scene_grid = Grid((40, 40, 40), np.diag((-2.0, -2, 2, 1)) + np.outer([1, 1, -1, 0], [0, 0, 0, 40.0]))
    ramp = move(scene_grid.affine, indices(scene_grid.shape))
    rotation = rotation_about(np.array([0.6, 0.0, 0.8]), angle)
    to_scene = about(np.zeros(3), rotation, np.array(shift))
    target = Grid((5, 4, 3), np.diag((1.5, 2.0, 3.0, 1)))
    wanted = move(to_scene @ target.affine, indices(target.shape))
    for coordinate in range(3):
        image = np.ascontiguousarray(ramp[..., coordinate], dtype=np.float32)
        found = sample(image, scene_grid, target, to_scene, axis, thickness)
        np.testing.assert_allclose(found, wanted[..., coordinate], atol=1e-3)


@given(thickness=st.floats(0.3, 10), voxel=st.sampled_from([1.0, 2.0, 4.0]))
def test_slice_profiles_are_symmetric_add_up_to_one_and_are_as_wide_as_the_slice(
    thickness: float, voxel: float
) -> None:
    offsets, weights = (np.array(values) for values in zip(*profile(thickness, voxel), strict=True))
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, weights[::-1], atol=1e-9)
    assert np.abs(offsets).max() <= 0.6 * thickness
    assert len(offsets) == 1 or np.diff(offsets).max() <= 1.5 * voxel + 1e-9


def test_the_matrices_carry_each_series_brain_into_the_t1ces(phantom: RawPhantom) -> None:
    t1ce = phantom.series[Modality.T1CE]
    for modality in OTHERS:
        series = phantom.series[modality]
        core = ndimage.binary_erosion(series.brain)
        points = move(inverse(series.t1ce_to_series), centres(core, series.grid))
        assert looked_up(t1ce.brain, t1ce.grid, points).mean() > 0.995
        # The check can fail: with the matrix left out, the brains lie apart.
        if np.linalg.norm(move(series.t1ce_to_series, np.zeros(3))) > 6:
            assert looked_up(t1ce.brain, t1ce.grid, centres(core, series.grid)).mean() < 0.99


def test_a_tumour_voxel_of_any_series_lands_on_the_phantoms_tumour(phantom: RawPhantom) -> None:
    wide = ndimage.binary_dilation(phantom.labels > 0)
    for series in phantom.series.values():
        points = move(inverse(series.phantom_to_series), centres(series.labels > 0, series.grid))
        assert len(points) > 50
        assert looked_up(wide, phantom.grid, points).mean() > 0.99
        same = looked_up(phantom.labels, phantom.grid, points) > 0
        assert same.mean() > 0.75


def test_the_matrices_of_a_series_agree_with_each_other(phantom: RawPhantom) -> None:
    t1ce = phantom.series[Modality.T1CE]
    np.testing.assert_array_equal(t1ce.t1ce_to_series, np.eye(4))
    for series in phantom.series.values():
        np.testing.assert_allclose(series.phantom_to_series, series.t1ce_to_series @ t1ce.phantom_to_series, atol=1e-9)
        rotation = series.t1ce_to_series[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) > 0


def test_brain_and_tumour_have_the_same_volume_on_every_whole_grid(phantom: RawPhantom) -> None:
    brain = phantom.brain.sum() * phantom.grid.voxel_ml
    tumour = (phantom.labels > 0).sum() * phantom.grid.voxel_ml
    for series in phantom.series.values():
        assert series.taken.slab_mm is None
        assert series.brain.sum() * series.grid.voxel_ml == pytest.approx(brain, rel=0.02)
        assert (series.labels > 0).sum() * series.grid.voxel_ml == pytest.approx(tumour, rel=0.15)


# --- motion and headers ----------------------------------------------------------------------------------------------


def test_heads_move_up_to_10_degrees_and_18_mm_between_series_and_headers_do_not_know() -> None:
    seen = []
    for index in range(3):
        made = make_raw_phantom(6, index, SMALL)
        middle = made.series[Modality.T1CE].phantom_to_series[:3, 3]
        for modality in OTHERS:
            matrix = made.series[modality].t1ce_to_series
            np.testing.assert_array_equal(matrix, made.series[modality].motion)
            seen.append((angle_degrees(matrix), np.linalg.norm(move(matrix, middle) - middle)))
    angles, shifts = np.array(seen).T
    assert 5 < angles.max() <= 10 + 1e-6
    assert 9 < shifts.max() <= 18 + 1e-6


def test_headers_can_be_wrong_by_a_known_turn_of_60_degrees_and_80_mm() -> None:
    turned = replace(
        SMALL,
        motion=Displacement(Range(0, 0), Range(0, 0)),
        turn=Displacement(Range(60, 60), Range(80, 80)),
    )
    made = make_raw_phantom(5, 0, turned)
    middle = made.series[Modality.T1CE].phantom_to_series[:3, 3]
    for modality in OTHERS:
        matrix = made.series[modality].t1ce_to_series
        assert angle_degrees(matrix) == pytest.approx(60)
        assert np.linalg.norm(move(matrix, middle) - middle) == pytest.approx(80)
        # The voxels are those of a head that lies well in the field of view: only the header is wrong.
        assert made.series[modality].brain_covered == 1


# --- grids -----------------------------------------------------------------------------------------------------------


def test_each_series_has_a_grid_of_its_own(phantom: RawPhantom) -> None:
    for first, second in combinations(phantom.series.values(), 2):
        assert not first.grid.matches(second.grid)


def test_orientations_kinds_and_stored_axes_vary_from_case_to_case() -> None:
    made = [make_raw_phantom(8, index, SMALL).series[modality] for index in range(3) for modality in Modality]
    assert {series.taken.orientation for series in made} == set(Orientation)
    assert {series.taken.is_3d for series in made} == {True, False}
    assert len({series.grid.axes for series in made}) >= 6
    assert max(series.taken.tilt_degrees for series in made) > 5
    assert all(series.taken.tilt_degrees <= 20 for series in made)
    assert {series.slope == 1 for series in made} == {True, False}


@pytest.mark.parametrize("orientation", Orientation)
def test_slices_lie_in_the_plane_that_the_plan_names(orientation: Orientation) -> None:
    plan = Plan(orientation=orientation, is_3d=False, spacing_mm=5, thickness_mm=4, in_plane_mm=3.5, tilt_degrees=15)
    series = make_raw_phantom(5, 1, SMALL, {Modality.T2: plan}).series[Modality.T2]
    axis = {Orientation.AXIAL: 2, Orientation.SAGITTAL: 0, Orientation.CORONAL: 1}[orientation]
    normal = series.grid.affine[:3, series.taken.slice_axis] / series.grid.spacing_mm[series.taken.slice_axis]
    assert series.grid.spacing_mm[series.taken.slice_axis] == pytest.approx(5, rel=1e-5)
    assert sorted(series.grid.spacing_mm) == pytest.approx([3.5, 3.5, 5], rel=1e-5)
    assert abs(normal[axis]) > np.cos(np.radians(15 + 1e-3))
    assert series.taken.tilt_degrees == 15


@pytest.mark.parametrize("slab_mm", [33.0, 66.0])
def test_a_slab_covers_what_it_says_and_the_t1ce_is_whole(slab_mm: float) -> None:
    always = replace(SMALL, slab_chance=1.0, slab_mm=Range(slab_mm, slab_mm))
    plan = Plan(orientation=Orientation.AXIAL, is_3d=False, spacing_mm=5.5)
    made = make_raw_phantom(5, 2, always, {Modality.T2: plan})
    assert made.series[Modality.T1].brain_covered == 1
    assert made.series[Modality.T1CE].brain_covered == 1
    for modality in (Modality.T2, Modality.FLAIR):
        series = made.series[modality]
        axis, covered = series.taken.slice_axis, series.taken.slab_mm
        assert covered is not None
        assert covered == pytest.approx(series.grid.shape[axis] * series.grid.spacing_mm[axis])
        assert abs(covered - slab_mm) <= series.taken.spacing_mm / 2 + 1e-9
        assert 0.1 < series.brain_covered < 0.95
        # A slab is laid through the tumour, and every slice of it holds brain.
        assert series.labels.any()
        assert series.brain.any(axis=tuple(other for other in range(3) if other != axis)).all()


# --- anatomy ---------------------------------------------------------------------------------------------------------


def test_the_brain_lies_in_fluid_dura_bone_and_scalp(scene: Scene) -> None:
    middle = tuple(np.argwhere(scene.brain).mean(axis=0).astype(int))
    x, y, z = middle
    lines = [
        scene.tissue[x:, y, z],
        scene.tissue[x::-1, y, z],
        scene.tissue[x, y:, z],
        scene.tissue[x, y, z:],
    ]
    brains = [scene.brain[x:, y, z], scene.brain[x::-1, y, z], scene.brain[x, y:, z], scene.brain[x, y, z:]]
    for line, brain in zip(lines, brains, strict=True):
        outward = line[int(np.flatnonzero(brain)[-1]) + 1 :]
        first = {tissue: int(np.argmax(outward == tissue)) for tissue in np.unique(outward)}
        assert Tissue.BONE in first
        assert first[Tissue.BONE] < first[Tissue.FAT] < first[Tissue.AIR]
        assert outward[0] in (Tissue.FLUID, Tissue.DURA)
        assert outward[-1] == Tissue.AIR
    # Skin is thinner than these voxels: it is seen in places, always next to air.
    skin = scene.tissue == Tissue.SKIN
    skin &= ~ndimage.binary_dilation(scene.tissue == Tissue.VITREOUS, iterations=2)
    beside_air = ndimage.binary_dilation(scene.tissue == Tissue.AIR, iterations=2)
    assert (skin & beside_air).sum() > 0.9 * skin.sum() > 0


def test_the_brain_is_nowhere_bone_or_outside(scene: Scene) -> None:
    inside = scene.tissue[scene.brain]
    assert np.isin(inside, (Tissue.FLUID, Tissue.DURA, Tissue.CORD)).mean() > 0.98
    assert 900 < scene.brain.sum() * scene.grid.voxel_ml < 2000
    assert scene.brain[scene.labels > 0].all()


def test_a_head_has_every_tissue(scene: Scene) -> None:
    millilitres = np.bincount(scene.tissue.ravel(), minlength=len(Tissue)) * scene.grid.voxel_ml
    assert (millilitres > 0.1).all()
    assert 8 < millilitres[Tissue.VITREOUS] < 20  # two eyes of 7 ml
    assert 200 < millilitres[Tissue.BONE] + millilitres[Tissue.MARROW] < 1500


def mean_signal(scene: Scene, modality: Modality, tissue: Tissue) -> float:
    where = ndimage.binary_erosion(scene.tissue == tissue) & ~ndimage.binary_dilation(scene.brain, iterations=2)
    return float(np.median(scene.signals[modality][where if where.sum() > 20 else scene.tissue == tissue]))


@pytest.mark.parametrize(
    ("modality", "order"),
    [
        (Modality.T1, [Tissue.FAT, Tissue.MARROW, None, Tissue.MUSCLE, Tissue.VITREOUS, Tissue.AIR]),
        (Modality.T1CE, [Tissue.FAT, None, Tissue.MUSCLE, Tissue.VITREOUS, Tissue.AIR]),
        (Modality.T2, [Tissue.VITREOUS, Tissue.FAT, None, Tissue.MUSCLE, Tissue.AIR]),
        (Modality.FLAIR, [Tissue.FAT, None, Tissue.MUSCLE, Tissue.VITREOUS, Tissue.AIR]),
    ],
)
def test_tissues_are_as_bright_beside_white_matter_as_the_sequence_makes_them(
    scene: Scene, modality: Modality, order: list[Tissue | None]
) -> None:
    """None stands for white matter, the unit of all signals."""
    seen = [1.0 if tissue is None else mean_signal(scene, modality, tissue) for tissue in order]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == len(seen)


def test_fluid_is_brightest_in_t2_and_dark_in_t1_and_flair() -> None:
    assert SIGNALS[Modality.T2][Tissue.FLUID] > SIGNALS[Modality.T2][Tissue.FAT]
    for modality in (Modality.T1, Modality.T1CE, Modality.FLAIR):
        assert SIGNALS[modality][Tissue.FLUID] < SIGNALS[modality][Tissue.MUSCLE]
    assert SIGNALS[Modality.T1CE][Tissue.MUCOSA] > 2 * SIGNALS[Modality.T1][Tissue.MUCOSA]


def test_left_and_right_can_be_told_apart(scene: Scene) -> None:
    """A mirrored head, laid middle on middle, is another head: in its outline, its brain and its eyes' sockets."""
    for mask in (scene.brain, scene.tissue > 0):
        box = mask[ndimage.find_objects(mask.astype(np.uint8))[0]]
        dice = 2 * (box & box[::-1]).sum() / (2 * box.sum())
        assert dice < 0.975


def test_two_phantoms_are_two_people() -> None:
    boxes = []
    for index in range(2):
        brain = make_raw_phantom(9, index, SMALL).brain
        boxes.append(brain[ndimage.find_objects(brain.astype(np.uint8))[0]])
    size = np.minimum(boxes[0].shape, boxes[1].shape)
    first, second = (box[: size[0], : size[1], : size[2]] for box in boxes)
    assert 2 * (first & second).sum() / (first.sum() + second.sum()) < 0.96


# --- files -----------------------------------------------------------------------------------------------------------


def same(first: Series, second: Series) -> bool:
    return series_bytes(first) == series_bytes(second) and bool((first.labels == second.labels).all())


def test_the_same_seed_gives_the_same_bytes_and_another_index_another_head(phantom: RawPhantom) -> None:
    again = make_raw_phantom(5, 0, SMALL)
    assert all(same(phantom.series[modality], again.series[modality]) for modality in Modality)
    assert series_bytes(phantom.series[Modality.T1]) != series_bytes(make_raw_phantom(5, 1, SMALL).series[Modality.T1])


def test_a_plan_for_one_series_leaves_the_others_as_they_were(phantom: RawPhantom) -> None:
    planned = make_raw_phantom(5, 0, SMALL, {Modality.FLAIR: Plan(orientation=Orientation.CORONAL, is_3d=False)})
    assert all(same(phantom.series[modality], planned.series[modality]) for modality in Modality if modality != "flair")
    assert planned.series[Modality.FLAIR].taken.orientation is Orientation.CORONAL


def test_a_volume_in_memory_is_what_a_reader_returns(phantom: RawPhantom, tmp_path: Path) -> None:
    from eenet_runtime.files.nifti import read_volume

    for modality, volume in phantom.volumes.items():
        path = tmp_path / f"{modality.value}.nii.gz"
        path.write_bytes(series_bytes(phantom.series[modality]))
        read = read_volume(path)
        assert read.data.dtype == volume.data.dtype
        np.testing.assert_array_equal(read.data, volume.data)
        np.testing.assert_array_equal(read.grid.affine, volume.grid.affine)
        assert bytes(read.header["srow_x"]) == bytes(volume.header["srow_x"])


def test_names_tell_the_kind() -> None:
    assert raw_case_id(1, 2) == "PhantomRaw_0001_0002"
    assert raw_case_id(1, 2, SMALL) == "PhantomRawSmall_0001_0002"
    assert raw_case_id(1, 2, RawSettings(HARD)) == "PhantomRawHard_0001_0002"
    assert raw_case_id(1, 2, RawSettings(slab_chance=1.0)) == "PhantomRawOwn_0001_0002"


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(ValueError, match="voxel_mm is 3, expected 1, 2 or 4"):
        RawSettings(voxel_mm=3)
    with pytest.raises(ValueError, match="must not be negative"):
        make_raw_phantom(-1, 0, SMALL)
