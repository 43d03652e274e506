"""Phantoms of the wide kind: what each family promises, on a template of half the size (one phantom takes a second)."""

from __future__ import annotations

import pickle
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

pytest.importorskip("nilearn", reason="phantoms need the template that nilearn brings")
from scipy import ndimage

from eenet_runtime.volumes.labels import Label, Modality
from eenet_train.phantom.fields import Float3D
from eenet_train.phantom.generate import case_id, make_phantom
from eenet_train.phantom.settings import WIDE, WIDE_B, Difficulty
from eenet_train.phantom.template import Template, load_template
from eenet_train.phantom.transfer import faults
from eenet_train.phantom.transfer.contrast import draw_signals
from eenet_train.phantom.transfer.cores import fill_core
from eenet_train.phantom.transfer.generate import Subject, make_subject, make_wide
from eenet_train.phantom.transfer.looks import LOOK_A, LOOK_B, LOOKS, Family, Look
from eenet_train.phantom.transfer.scanner import paint
from eenet_train.phantom.transfer.scene import Layer, Material, Scene
from eenet_train.phantom.transfer.stripping import strip
from eenet_train.phantom.transfer.tumours import plan_disease
from eenet_train.phantom.transfer.vessels import add_vessels


def only(look: Look, family: Family) -> Look:
    """The look with one kind of disease."""
    return replace(look, families=MappingProxyType({family: 1.0}))


@pytest.fixture(scope="module")
def small() -> Template:
    """Every second voxel of the template: half as wide a head, an eighth of the work."""
    whole = load_template()
    return Template(
        csf=np.ascontiguousarray(whole.csf[::2, ::2, ::2]),
        grey=np.ascontiguousarray(whole.grey[::2, ::2, ::2]),
        depth=np.ascontiguousarray(whole.depth[::2, ::2, ::2]),
        origin=(whole.origin[0] / 2, whole.origin[1] / 2, whole.origin[2] / 2),
        centre=(whole.centre[0] / 2, whole.centre[1] / 2, whole.centre[2] / 2),
    )


@pytest.fixture(scope="module")
def healthy(small: Template) -> Subject:
    return make_subject(3, 0, only(LOOK_A, Family.NONE), small)


def layers_of(scene: Scene, material: Material) -> list[Layer]:
    return [layer for layer in scene.layers if layer.material is material]


def share_of(scene: Scene, material: Material) -> Float3D:
    """Largest share of a material in each voxel of the box."""
    out = np.zeros(scene.shape, dtype=np.float32)
    for layer in layers_of(scene, material):
        out[layer.window] = np.maximum(out[layer.window], layer.share)
    return out


def filled_ball(family: Family, seed: int, radius: int = 16) -> Scene:
    """A scene of white matter with one round core of a family."""
    size = 2 * radius + 11
    x, y, z = np.indices((size, size, size)) - size // 2
    core = x * x + y * y + z * z <= radius * radius
    ground = np.zeros(core.shape, dtype=np.float32)
    scene = Scene(ground + 1, ground, ground, np.where(core, np.uint8(Label.NCR), np.uint8(0)))
    whole = (slice(0, size),) * 3
    fill_core(np.random.default_rng(seed), family, core, whole, scene, ground)
    return scene


def test_the_same_seed_and_index_give_the_same_bytes(small: Template) -> None:
    first, again = (make_wide(7, 2, LOOK_A, small) for _ in range(2))
    assert first[0].offset == again[0].offset
    np.testing.assert_array_equal(first[2], again[2])
    for modality in Modality:
        np.testing.assert_array_equal(first[1][modality], again[1][modality])


def test_the_two_looks_differ_in_draws_and_in_ranges(small: Template) -> None:
    a, b = (make_wide(7, 2, look, small) for look in (LOOK_A, LOOK_B))
    assert not (a[2].shape == b[2].shape and np.array_equal(a[2], b[2]))
    assert LOOK_A.stream != LOOK_B.stream
    assert LOOK_A.deformation != LOOK_B.deformation
    assert (LOOK_A.lobed, LOOK_A.patchy_oedema) == (0, 0)
    assert (LOOK_B.lobed, LOOK_B.patchy_oedema) == (1, 1)


def test_the_kinds_have_names_and_travel_to_other_processes() -> None:
    assert Difficulty("wide").settings == WIDE
    assert Difficulty("wide-b").settings == WIDE_B
    assert case_id(41, 3, WIDE) == "PhantomWide_0041_0003"
    assert case_id(41, 3, WIDE_B) == "PhantomWideB_0041_0003"
    assert pickle.loads(pickle.dumps(WIDE)) == WIDE
    assert set(LOOKS) == {"A", "B"}


def test_a_whole_phantom_is_shaped_like_a_brats_case() -> None:
    phantom = make_phantom(7, 0, WIDE)
    brain = np.any([image > 0 for image in phantom.images.values()], axis=0)
    assert phantom.labels.shape == (240, 240, 155)
    assert set(np.unique(phantom.labels)) <= {int(label) for label in Label}
    assert not (phantom.labels[~brain] > 0).any()
    assert 700_000 < brain.sum() < 2_200_000
    for image in phantom.images.values():
        assert image.shape == (240, 240, 155)
        assert image.dtype == np.int16
        assert image.min() >= 0
        assert (image[0] == 0).all()


@pytest.mark.parametrize("look", [LOOK_A, LOOK_B], ids=["A", "B"])
def test_a_head_without_disease_has_no_label(look: Look, small: Template) -> None:
    subject = make_subject(1, 0, only(look, Family.NONE), small)
    assert not subject.scene.labels.any()


@pytest.mark.parametrize("look", [LOOK_A, LOOK_B], ids=["A", "B"])
def test_a_diffuse_tumour_is_label_1_without_any_enhancement(look: Look, small: Template) -> None:
    subject = make_subject(5, 1, only(look, Family.DIFFUSE), small)
    assert (subject.scene.labels == Label.NCR).sum() > 100
    assert not (subject.scene.labels == Label.ET).any()
    assert not layers_of(subject.scene, Material.ENHANCING)
    assert layers_of(subject.scene, Material.SOLID)


def test_tumour_that_does_not_enhance_stays_grey_after_gadolinium() -> None:
    for seed in range(100):
        signals = draw_signals(np.random.default_rng(seed), LOOK_A)[Modality.T1CE]
        assert signals[Material.SOLID] < 1.25 * signals[Material.GREY]
        assert signals[Material.ENHANCING] >= 1.3 * signals[Material.GREY]
        assert signals[Material.ENHANCING] >= 1.4 * signals[Material.SOLID]


def test_a_cyst_is_label_1_and_dark_in_flair() -> None:
    scene = next(s for s in (filled_ball(Family.DIFFUSE, seed) for seed in range(20)) if layers_of(s, Material.CYST))
    cyst = share_of(scene, Material.CYST) > 0.9
    assert cyst.sum() > 50
    assert (scene.labels[cyst] == Label.NCR).all()
    flat = np.zeros(scene.shape, dtype=np.float32)
    signals = draw_signals(np.random.default_rng(0), LOOK_A)[Modality.FLAIR]
    flair = paint(np.random.default_rng(0), scene, signals, flat, flat)
    solid = (share_of(scene, Material.SOLID) > 0.9) & (share_of(scene, Material.CYST) < 0.05)
    solid &= (share_of(scene, Material.BLOOD) < 0.05) & (share_of(scene, Material.CALCIFICATION) < 0.05)
    assert np.median(flair[cyst]) < 0.9 * np.median(flair[solid])


def test_a_ring_of_one_centimetre_has_a_rim_and_a_core() -> None:
    inside_out = 0
    for seed in range(10):
        labels = filled_ball(Family.SMALL_RINGS, seed, radius=5).labels
        inward = ndimage.distance_transform_edt(labels > 0)
        rim, core = inward[labels == Label.ET], inward[labels == Label.NCR]
        inside_out += bool(rim.size and core.size and rim.mean() < core.mean())
    assert inside_out >= 8


def test_some_rims_are_broken_and_some_thick() -> None:
    shares = [float((s.labels == Label.ET).sum() / (s.labels > 0).sum()) for s in map(ring_ball, range(20))]
    assert min(shares) < 0.25
    assert max(shares) > 0.5


def ring_ball(seed: int) -> Scene:
    return filled_ball(Family.RING, seed)


def test_a_mixed_tumour_enhances_in_its_smaller_part() -> None:
    for seed in range(10):
        labels = filled_ball(Family.MIXED, seed).labels
        assert 0 < (labels == Label.ET).sum() < 0.5 * (labels > 0).sum()


def test_venous_sinuses_are_bright_after_gadolinium_and_never_tumour(healthy: Subject) -> None:
    head = replace(healthy.head, place=healthy.head.place * 2, inside=healthy.head.inside)  # the head is half as wide
    scene = Scene(head.white, head.grey, head.fluid, np.zeros(healthy.scene.shape, dtype=np.uint8))
    sinus = add_vessels(np.random.default_rng(2), head, scene)
    assert not scene.labels.any()
    assert (sinus > 0.9).sum() > 300
    for kind in (Material.DURA, Material.ARTERY, Material.PLEXUS):
        assert layers_of(scene, kind), kind
    for seed in range(100):
        signals = draw_signals(np.random.default_rng(seed), LOOK_A)
        for kind in (Material.SINUS, Material.DURA, Material.PLEXUS, Material.PITUITARY):
            before, after = (signals[modality][kind] for modality in (Modality.T1, Modality.T1CE))
            assert after > 0.75 * before
        assert signals[Modality.T1CE][Material.SINUS] > 0.78
    drawn = [draw_signals(np.random.default_rng(seed), LOOK_A) for seed in range(99)]
    medians = {modality: np.median([one[modality][Material.SINUS] for one in drawn]) for modality in Modality}
    assert medians[Modality.T1CE] > 1.5 * max(medians[m] for m in Modality if m is not Modality.T1CE)


def test_a_sinus_over_a_tumour_takes_its_label(small: Template) -> None:
    for index in range(3):
        subject = make_subject(9, index, only(LOOK_A, Family.RING), small)
        assert not subject.scene.labels[subject.sinus > 0.5].any()
        assert not subject.scene.labels[~subject.brain].any()


def test_lesions_of_the_aged_carry_no_label_and_are_bright_in_flair(small: Template) -> None:
    painted = 0
    for index in range(4):
        subject = make_subject(11, index, only(LOOK_A, Family.NONE), small)
        painted += len(layers_of(subject.scene, Material.LESION))
        assert not subject.scene.labels.any()
    assert painted >= 3
    for seed in range(50):
        flair = draw_signals(np.random.default_rng(seed), LOOK_A)[Modality.FLAIR]
        assert flair[Material.LESION] > flair[Material.WHITE]


def test_stripping_errs_both_ways_and_leaves_sinuses(healthy: Subject) -> None:
    none = np.zeros_like(healthy.sinus)
    masks = [strip(np.random.default_rng(seed), healthy.head, none, LOOK_A) for seed in range(12)]
    left = [int((mask & (healthy.head.inside < -1.5)).sum()) for mask in masks]
    cut = [int((~mask & (healthy.head.inside > 3)).sum()) for mask in masks]
    assert max(left) > 200
    assert max(cut) > 200
    assert min(left) < 100
    outside = ((healthy.head.inside < -1) & (healthy.head.inside > -5)).astype(np.float32)
    with_sinus = [strip(np.random.default_rng(seed), healthy.head, outside, LOOK_A) for seed in range(12)]
    assert sum(int(mask.sum()) for mask in with_sinus) > sum(int(mask.sum()) for mask in masks)


def test_every_family_is_drawn_as_often_as_its_look_says() -> None:
    drawn = [plan_disease(np.random.default_rng((13, index)), LOOK_A) for index in range(2000)]
    for family, share in LOOK_A.families.items():
        assert abs(np.mean([disease.family is family for disease in drawn]) - share) < 0.045  # four standard errors
    assert all((disease.plan is None) == (disease.family is Family.NONE) for disease in drawn)
    assert sum(LOOK_B.families.values()) == pytest.approx(1)


def test_slices_keep_a_constant_and_average_a_ramp() -> None:
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32), (3, 4, 40)).copy() + 10
    for seed in range(5):
        rng = np.random.default_rng(seed)
        out = faults.slices(rng, ramp, 2, 4.0, 1e-6, uneven_gain=False)
        assert out.shape == ramp.shape
        np.testing.assert_allclose(out[..., 8:-8], ramp[..., 8:-8], atol=2.6)
        flat = faults.slices(rng, np.ones_like(ramp), 2, 5.5, 1e-6, uneven_gain=False)
        np.testing.assert_allclose(flat, 1, atol=1e-4)


def test_a_registration_error_stays_within_its_limit() -> None:
    spot = np.zeros((41, 41, 41), dtype=np.float32)
    spot[18:23, 18:23, 18:23] = 1
    for seed in range(10):
        moved = faults.misplace(np.random.default_rng(seed), spot, 2.0)
        shift = np.array(ndimage.center_of_mass(moved)) - 20
        assert np.abs(shift).max() <= 2.1


def test_the_lowest_slices_may_be_empty_half_empty_or_striped() -> None:
    kinds = set()
    for seed in range(12):
        image = np.ones((8, 30, 60), dtype=np.int16)
        faults.miss_lowest(np.random.default_rng(seed), image, 5)
        assert (image[:, :, 28:] == 1).all()
        filled = (image.mean(axis=(0, 1)) > 0)[:5]
        kinds.add("empty" if not image[:, :, :9].any() else "striped" if filled.any() and not filled.all() else "half")
    assert {"empty", "striped"} <= kinds
