"""One phantom: the same anywhere, shaped like a BraTS case, and with the contrasts of a glioma."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("nilearn", reason="phantoms need the template that nilearn brings")
from scipy import ndimage

from eenet_runtime.volumes.labels import Label, Modality
from eenet_train.phantom.anatomy import Head, pose_head, push_aside, render_head
from eenet_train.phantom.generate import case_id, make_phantom
from eenet_train.phantom.scanner import CONTRASTS, scan
from eenet_train.phantom.settings import (
    HARD,
    STANDARD,
    Difficulty,
    Phantom,
    PhantomSettings,
    ScannerSettings,
    TumourSettings,
)
from eenet_train.phantom.template import Template, load_template
from eenet_train.phantom.tumour import (
    Lesions,
    grow_tumours,
    mass_effect,
    place_tumours,
    plan_tumours,
)

SEED, INDEX = 5, 0


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template()


@pytest.fixture(scope="module")
def phantom(template: Template) -> Phantom:
    return make_phantom(SEED, INDEX)


@pytest.fixture(scope="module")
def head_and_lesions(template: Template) -> tuple[Head, Lesions]:
    """A head with an enhancing tumour, before it is scanned."""
    rng = np.random.default_rng(3)
    settings = TumourSettings(low_grade=0.0)
    plan = plan_tumours(rng, settings)
    lattice = pose_head(rng, template)
    sites = place_tumours(rng, plan, lattice, template)
    lattice = push_aside(lattice, mass_effect(rng, sites), template)
    head = render_head(rng, lattice, template)
    return head, grow_tumours(rng, plan, sites, lattice, head, settings)


def brain_of(phantom: Phantom) -> NDArray[np.bool_]:
    return phantom.images[Modality.T1] > 0


def test_same_seed_and_index_give_the_same_voxels(phantom: Phantom) -> None:
    make_phantom(SEED, INDEX + 1)  # another one in between must leave no trace
    again = make_phantom(SEED, INDEX)
    assert again.case_id == phantom.case_id
    np.testing.assert_array_equal(again.labels, phantom.labels)
    for modality, image in phantom.images.items():
        np.testing.assert_array_equal(again.images[modality], image)


@pytest.mark.parametrize(("seed", "index"), [(SEED, INDEX + 1), (SEED + 1, INDEX)])
def test_another_index_or_seed_gives_another_case(phantom: Phantom, seed: int, index: int) -> None:
    other = make_phantom(seed, index)
    assert other.case_id != phantom.case_id
    assert not np.array_equal(other.labels, phantom.labels)
    assert not np.array_equal(other.images[Modality.T1], phantom.images[Modality.T1])


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1)])
def test_negative_seeds_and_indices_are_refused(seed: int, index: int) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        make_phantom(seed, index)


def test_the_case_name_tells_seed_and_index() -> None:
    assert case_id(7, 12) == "Phantom_0007_0012"


def test_the_name_of_a_harder_phantom_says_so_and_one_with_other_settings_is_neither() -> None:
    assert case_id(7, 12, HARD) == "PhantomHard_0007_0012"
    own = PhantomSettings(scanner=ScannerSettings(bias=0.5))
    assert case_id(7, 12, own) == "PhantomOwn_0007_0012"
    assert Difficulty("hard").settings == HARD


def test_a_fainter_tumour_is_nearer_to_white_matter_and_full_contrast_is_the_table_itself() -> None:
    for contrast in CONTRASTS.values():
        assert contrast.with_conspicuity(1.0) == contrast
        faint = contrast.with_conspicuity(0.5)
        assert faint.enhancing - faint.white == pytest.approx(0.5 * (contrast.enhancing - contrast.white))
        assert (faint.grey, faint.csf, faint.vessel) == (contrast.grey, contrast.csf, contrast.vessel)


def test_harder_phantoms_are_noisier_and_their_tumours_stand_out_less(
    head_and_lesions: tuple[Head, Lesions],
) -> None:
    head, lesions = head_and_lesions
    clear = replace(HARD.scanner, noise=(0.001, 0.001), thick_slice=0.0, bias=0.0, contrast_spread=0.0)
    tumour = (lesions.labels == Label.ED) & (lesions.infiltration > 0.9)
    healthy = (lesions.labels == 0) & (head.white > 0.95)

    def standing_out(conspicuity: float) -> float:
        settings = replace(clear, conspicuity=(conspicuity, conspicuity))
        image = scan(np.random.default_rng(0), head, lesions, settings)[Modality.FLAIR]
        return float(np.median(image[tumour]) / np.median(image[healthy]))

    assert 1 < standing_out(0.6) < standing_out(1.0)
    noise = HARD.scanner.noise
    assert noise[0] > STANDARD.scanner.noise[0]
    assert noise[1] > STANDARD.scanner.noise[1]


def test_a_phantom_has_the_grid_of_brats(phantom: Phantom) -> None:
    assert list(phantom.images) == list(Modality)
    for image in phantom.images.values():
        assert image.shape == (240, 240, 155)
        assert image.dtype == np.int16
    assert phantom.labels.shape == (240, 240, 155)
    assert phantom.labels.dtype == np.uint8
    np.testing.assert_array_equal(phantom.affine, [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_the_background_is_zero_and_the_brain_is_not(phantom: Phantom) -> None:
    brain = brain_of(phantom)
    for image in phantom.images.values():
        np.testing.assert_array_equal(image > 0, brain)
        assert int(image.min()) == 0
    assert 1.0e6 < int(brain.sum()) < 1.8e6  # a brain with its ventricles, in cubic millimetres
    for axis in range(3):
        assert not brain.take(0, axis=axis).any()
        assert not brain.take(-1, axis=axis).any()
    _, pieces = ndimage.label(brain)
    holes = ndimage.binary_fill_holes(brain) & ~brain
    assert int(holes.sum()) < 1000
    assert pieces < 50


def test_every_label_lies_inside_the_brain(phantom: Phantom) -> None:
    assert set(np.unique(phantom.labels)) <= {int(label) for label in Label}
    assert phantom.labels.any()
    assert not (phantom.labels[~brain_of(phantom)] > 0).any()


def test_heads_of_any_pose_stay_inside_the_grid(template: Template) -> None:
    for seed in range(12):
        lattice = pose_head(np.random.default_rng(seed), template)
        points = np.argwhere(lattice.depth > 0)
        low = (points.min(axis=0) - 1) * 4 + lattice.offset
        high = (points.max(axis=0) - 1) * 4 + lattice.offset
        assert (low > 0).all()
        assert (high < np.array([239, 239, 154])).all()


def test_mass_effect_pushes_tissue_away_and_never_folds_it(template: Template) -> None:
    rng = np.random.default_rng(3)
    plan = plan_tumours(rng, PhantomSettings().tumour)
    before = pose_head(rng, template)
    sites = place_tumours(rng, plan, before, template)
    after = push_aside(before, mass_effect(rng, sites), template)
    moved = np.linalg.norm(after.source - before.source, axis=0)
    assert 1.0 < float(moved.max()) <= 11.0 / 0.85  # the head is drawn smaller than the template
    jacobian = np.stack([np.stack(np.gradient(axis, 4.0)) for axis in after.source])
    determinant = np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1)))
    assert float(determinant[after.depth > 0].min()) > 0.0


def mean_by_tissue(image: NDArray[np.int16], head: Head, lesions: Lesions) -> dict[str, float]:
    """Mean signal where a voxel is (almost) one material, relative to white matter."""
    healthy = ndimage.distance_transform_edt(lesions.labels == 0) > 4
    masks = {
        "white": healthy & (head.white > 0.9),
        "grey": healthy & (head.grey > 0.9),
        "csf": healthy & (head.csf > 0.97),
    }
    for name, label in (("oedema", Label.ED), ("necrosis", Label.NCR), ("enhancing", Label.ET)):
        masks[name] = ndimage.binary_erosion(lesions.labels == label)
    return {name: float(image[mask].mean()) for name, mask in masks.items()}


def test_modalities_have_the_contrasts_of_their_sequences(head_and_lesions: tuple[Head, Lesions]) -> None:
    head, lesions = head_and_lesions
    plain = ScannerSettings(thick_slice=0.0)
    images = scan(np.random.default_rng(0), head, lesions, plain)
    t1, t1ce, t2, flair = (mean_by_tissue(images[modality], head, lesions) for modality in Modality)
    assert t1["white"] > 1.1 * t1["grey"] > 1.3 * t1["csf"]
    assert t1["necrosis"] < 0.8 * t1["white"]
    assert t1ce["white"] > 1.1 * t1ce["grey"] > 1.3 * t1ce["csf"]
    assert t1ce["enhancing"] > 1.2 * max(value for name, value in t1ce.items() if name != "enhancing")
    assert t2["csf"] > max(value for name, value in t2.items() if name != "csf")
    assert t2["oedema"] > 1.2 * t2["grey"] > 1.2 * t2["white"]
    assert flair["csf"] < 0.6 * min(value for name, value in flair.items() if name != "csf")
    assert flair["oedema"] > 1.2 * flair["grey"] > 1.2 * flair["white"]


def test_the_contrast_table_keeps_the_orders_of_the_sequences() -> None:
    for modality in (Modality.T1, Modality.T1CE):
        assert CONTRASTS[modality].white > CONTRASTS[modality].grey > CONTRASTS[modality].csf
    assert CONTRASTS[Modality.T2].csf == max(vars(CONTRASTS[Modality.T2]).values())
    assert CONTRASTS[Modality.FLAIR].csf == min(vars(CONTRASTS[Modality.FLAIR]).values())


def anisotropy(image: NDArray[np.int16], interior: NDArray[np.bool_]) -> float:
    """Mean step between neighbours along the smoothest axis, relative to the roughest; 1 is isotropic."""
    steps = []
    for axis in range(3):
        both = interior & np.roll(interior, -1, axis=axis)
        difference = np.abs(np.roll(image, -1, axis=axis).astype(np.int32) - image)
        steps.append(float(difference[both].mean()))
    return min(steps) / max(steps)


def test_thick_slices_blur_one_axis_and_keep_the_outline(head_and_lesions: tuple[Head, Lesions]) -> None:
    head, lesions = head_and_lesions
    # Noise strong enough to be most of the step between neighbours: it shows the slices best.
    thin_slices = ScannerSettings(thick_slice=0.0, noise=(0.05, 0.05))
    thick_slices = ScannerSettings(thick_slice=1.0, slice_mm=(5, 5), noise=(0.05, 0.05))
    thin = scan(np.random.default_rng(0), head, lesions, thin_slices)
    thick = scan(np.random.default_rng(0), head, lesions, thick_slices)
    interior = ndimage.binary_erosion(head.brain, iterations=2)
    for modality in Modality:
        np.testing.assert_array_equal(thick[modality] > 0, head.brain)
        assert anisotropy(thin[modality], interior) > 0.8
        assert anisotropy(thick[modality], interior) < 0.6


def test_the_enhancing_rim_separates_the_core_from_everything_else(head_and_lesions: tuple[Head, Lesions]) -> None:
    _, lesions = head_and_lesions
    labels = lesions.labels
    assert (labels == Label.ET).any()
    around_necrosis = ndimage.binary_dilation(labels == Label.NCR) & (labels != Label.NCR)
    assert around_necrosis.any()
    assert set(np.unique(labels[around_necrosis])) == {int(Label.ET)}


def test_rims_are_two_to_six_millimetres_thick_in_the_mean(head_and_lesions: tuple[Head, Lesions]) -> None:
    labels = head_and_lesions[1].labels
    core = (labels == Label.ET) | (labels == Label.NCR)
    inner = ndimage.distance_transform_edt(core)[ndimage.binary_dilation(labels == Label.NCR) & (labels == Label.ET)]
    assert 1.5 < float(inner.mean()) < 6.5  # half a voxel beyond 2 and 6 mm: the surface lies between voxels


def test_oedema_spares_the_cortex_and_hangs_on_the_core(head_and_lesions: tuple[Head, Lesions]) -> None:
    head, lesions = head_and_lesions
    oedema, core = lesions.labels == Label.ED, np.isin(lesions.labels, (Label.NCR, Label.ET))
    # White and grey matter fill about the same space in the head; oedema must prefer white clearly.
    assert float(head.white[oedema].sum()) > 4.0 * float(head.grey[oedema].sum())
    components, count = ndimage.label(oedema | core)
    touched = {int(index) for index in np.unique(components[core])}
    assert touched == set(range(1, count + 1))
