"""Whether the images hold what their names say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eenet_runtime.cases.content_checks import RULES, CheckPolicy, Finding, Severity, alignment, find_problems, judge
from eenet_runtime.cases.content_checks.sample import take_sample
from eenet_runtime.cases.preprocessing import CaseImages, prepare, read_case
from eenet_runtime.codes import Reason
from eenet_runtime.errors import CaseError
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality
from eenet_runtime.volumes.presets import EENET_144
from tests.brain import make_brain, volume, with_affine, with_data, with_names
from tests.real_heads import stripped_cases
from tests.synthetic import TINY

T1, T1CE, T2, FLAIR = CHANNEL_ORDER


@pytest.fixture(scope="module")
def brain() -> CaseImages:
    """A sound case. Shared: do not change it."""
    return make_brain()


def rules_of(findings: Sequence[Finding]) -> list[str]:
    """The rules that spoke."""
    return [finding.rule for finding in findings]


def the_finding(images: CaseImages) -> Finding:
    """The only finding, checked to be one plain line of a known rule."""
    (finding,) = find_problems(images, EENET_144)
    assert finding.rule in RULES
    assert "\n" not in finding.message
    return finding


def voxels(images: CaseImages, modality: Modality) -> Any:
    """A copy of one image's voxels."""
    return images.volumes[modality].data.copy()


@pytest.mark.parametrize("seed", range(4))
def test_a_sound_case_gives_no_finding(seed: int) -> None:
    assert find_problems(make_brain(seed), EENET_144) == ()


def test_the_images_are_not_changed() -> None:
    images = make_brain()
    before = {name: volume.data.copy() for name, volume in images.volumes.items()}
    find_problems(images, EENET_144)
    assert all(np.array_equal(before[name], volume.data) for name, volume in images.volumes.items())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4"])
def test_a_scanners_scale_and_type_make_no_difference(brain: CaseImages, scale: float, dtype: Any) -> None:
    images = brain
    for modality in CHANNEL_ORDER:
        images = with_data(images, modality, (voxels(brain, modality) * scale).astype(dtype))
    assert find_problems(images, EENET_144) == ()


@pytest.mark.parametrize("missing", [T1CE, T2, FLAIR])
def test_a_case_with_a_missing_modality_can_be_sound(brain: CaseImages, missing: Modality) -> None:
    rest = {name: volume for name, volume in brain.volumes.items() if name is not missing}
    assert find_problems(CaseImages("case", rest), EENET_144) == ()


# Duplicates


@pytest.mark.parametrize(("first", "second"), [(T1, T1CE), (T2, FLAIR), (T1, FLAIR)])
def test_the_same_voxels_twice_are_certain(brain: CaseImages, first: Modality, second: Modality) -> None:
    finding = the_finding(with_data(brain, second, voxels(brain, first)))
    assert (finding.rule, finding.severity) == ("duplicate", Severity.CERTAIN)
    assert f"case_{first.value}.nii.gz" in finding.message
    assert f"case_{second.value}.nii.gz" in finding.message


def test_one_different_voxel_between_the_samples_is_no_certain_duplicate(brain: CaseImages) -> None:
    # The images are compared whole, not only where samples were taken; a copy all the same, so suspected.
    thin = with_data(brain, T1CE, voxels(brain, T1))
    thin.volumes[T1CE].data[0, 0, 0] = 1
    findings = find_problems(_finer(thin), EENET_144)
    assert [(finding.rule, finding.severity) for finding in findings if finding.rule == "duplicate"] == [
        ("duplicate", Severity.SUSPECTED)
    ]


def _finer(images: CaseImages) -> CaseImages:
    """Every voxel twice along each axis, so that samples are every second or third voxel."""
    data = {name: volume.data.repeat(2, 0).repeat(2, 1).repeat(2, 2) for name, volume in images.volumes.items()}
    affine = images.grid.affine @ np.diag([0.5, 0.5, 0.5, 1])
    grids = {name: replace(images.grid, shape=image.shape, affine=affine) for name, image in data.items()}
    return CaseImages(
        images.case_id,
        {name: replace(images.volumes[name], data=image, grid=grids[name]) for name, image in data.items()},
    )


def test_a_rescaled_copy_is_suspected(brain: CaseImages) -> None:
    image = voxels(brain, T2)
    finding = the_finding(with_data(brain, FLAIR, np.where(image != 0, 0.37 * image + 5, 0)))
    assert (finding.rule, finding.severity) == ("duplicate", Severity.SUSPECTED)
    assert "rescaled copy of case_t2.nii.gz" in finding.message


def test_channels_of_one_file_are_not_taken_for_one_image(brain: CaseImages) -> None:
    same_file = {name: replace(volume, sha256="5" * 64) for name, volume in brain.volumes.items()}
    assert find_problems(CaseImages("case", same_file), EENET_144) == ()


# Voxels that no MRI has


@pytest.mark.parametrize("values", [(1, 2, 4), (1, 2, 3), (1, 255)])
def test_a_label_volume_as_an_image_is_certain(brain: CaseImages, values: tuple[int, ...]) -> None:
    shown = voxels(brain, T2)
    steps = np.quantile(shown[shown != 0], np.linspace(0, 1, len(values) + 1)[1:-1])
    labels = np.where(shown != 0, np.asarray(values)[np.searchsorted(steps, shown)], 0)
    findings = find_problems(with_data(brain, T2, labels.astype(np.uint8)), EENET_144)
    assert rules_of(findings) == ["label-volume"]
    assert f"only the values {', '.join(map(str, values))}" in findings[0].message
    assert findings[0].severity is Severity.CERTAIN


def test_an_image_of_few_grey_levels_is_an_image(brain: CaseImages) -> None:
    images = brain
    for modality in CHANNEL_ORDER:
        images = with_data(images, modality, np.ceil(voxels(brain, modality) / 12).astype(np.uint8))
    assert find_problems(images, EENET_144) == ()


def test_an_image_without_a_positive_voxel_is_certain(brain: CaseImages) -> None:
    finding = the_finding(with_data(brain, FLAIR, -voxels(brain, FLAIR)))
    assert (finding.rule, finding.severity) == ("negative", Severity.CERTAIN)
    assert "no positive voxel" in finding.message


def test_a_ct_is_certain(brain: CaseImages) -> None:
    image = voxels(brain, T1)
    ct = np.where(image != 0, 30 + image / 10, -1000)
    findings = find_problems(with_data(brain, T1, ct), EENET_144)
    assert "Hounsfield" in findings[0].message
    assert findings[0].severity is Severity.CERTAIN


def test_images_that_were_z_scored_before_are_suspected(brain: CaseImages) -> None:
    images = brain
    for modality in CHANNEL_ORDER:
        image = voxels(brain, modality).astype(float)
        shown = image != 0
        image[shown] = (image[shown] - image[shown].mean()) / image[shown].std()
        images = with_data(images, modality, image)
    findings = find_problems(images, EENET_144)
    assert rules_of(findings) == ["negative"] * 4
    assert {finding.severity for finding in findings} == {Severity.SUSPECTED}


def test_a_little_ringing_of_interpolation_is_no_finding(brain: CaseImages) -> None:
    image = voxels(brain, T1)
    image[::15, ::5, ::5][image[::15, ::5, ::5] != 0] = -1
    assert find_problems(with_data(brain, T1, image), EENET_144) == ()


# How much of a head there is


def test_a_background_that_is_not_0_is_certain(brain: CaseImages) -> None:
    finding = the_finding(with_data(brain, T2, voxels(brain, T2) + 20))
    assert (finding.rule, finding.severity) == ("not-stripped", Severity.CERTAIN)
    assert "case_t2.nii.gz" in finding.message
    assert "strip the skull" in finding.message


def test_a_head_of_three_litres_on_black_is_certain(brain: CaseImages) -> None:
    # The same head a fifth larger: 2.9 litres, about the least that a head with its skull has.
    finding = find_problems(with_affine(brain, np.diag([-3.7, -3.7, 3.7, 1])), EENET_144)[0]
    assert (finding.rule, finding.severity) == ("not-stripped", Severity.CERTAIN)


@pytest.mark.parametrize(
    ("factor", "severity"), [(0.5, Severity.CERTAIN), (0.7, Severity.SUSPECTED), (2, Severity.CERTAIN)]
)
def test_a_header_with_a_wrong_voxel_size_is_found(brain: CaseImages, factor: float, severity: Severity) -> None:
    findings = find_problems(with_affine(brain, np.diag([-3.0, -3.0, 3.0, 1 / factor]) * factor), EENET_144)
    assert ("head-size", severity) in [(finding.rule, finding.severity) for finding in findings]
    assert "check" in findings[0].message


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1)])
def test_a_header_that_names_the_axes_wrongly_is_suspected(brain: CaseImages, order: tuple[int, int, int]) -> None:
    affine = brain.grid.affine.copy()
    affine[:3] = affine[list(order)]
    finding = the_finding(with_affine(brain, affine))
    assert (finding.rule, finding.severity) == ("head-size", Severity.SUSPECTED)
    assert "orientation" in finding.message


def test_half_a_brain_is_suspected(brain: CaseImages) -> None:
    images = brain
    for modality in CHANNEL_ORDER:
        image = voxels(brain, modality)
        image[:, :, :30] = 0
        images = with_data(images, modality, image)
    finding = the_finding(images)
    assert (finding.rule, finding.severity) == ("head-size", Severity.SUSPECTED)


def test_one_image_that_shows_half_of_the_head_is_suspected(brain: CaseImages) -> None:
    image = voxels(brain, FLAIR)
    image[:, :, :30] = 0
    finding = the_finding(with_data(brain, FLAIR, image))
    assert (finding.rule, finding.severity) == ("coverage", Severity.SUSPECTED)
    assert "case_flair.nii.gz" in finding.message


def test_thick_slices_are_suspected(brain: CaseImages) -> None:
    data = {name: volume.data[:, :, ::2] for name, volume in brain.volumes.items()}
    affine = brain.grid.affine @ np.diag([1, 1, 2, 1])
    images = CaseImages(
        "case",
        {
            name: replace(brain.volumes[name], data=image, grid=replace(brain.grid, shape=image.shape, affine=affine))
            for name, image in data.items()
        },
    )
    finding = the_finding(images)
    assert (finding.rule, finding.severity) == ("coarse-voxels", Severity.SUSPECTED)
    assert "3 x 3 x 6 mm" in finding.message


def test_a_network_for_parts_of_a_head_says_nothing_about_its_size(brain: CaseImages) -> None:
    assert find_problems(with_affine(brain, np.diag([-1.0, -1.0, 1.0, 1])), TINY) == ()


# Registration and names


@pytest.mark.parametrize("modality", CHANNEL_ORDER)
@pytest.mark.parametrize(
    ("axis", "voxels_too_far", "where"),
    [(0, 2, "to the right"), (0, -1, "to the left"), (1, 1, "to the front"), (1, -2, "to the back"), (2, 2, "down")],
)
def test_an_image_that_lies_off_is_suspected_and_told_where_to_go(
    brain: CaseImages, modality: Modality, axis: int, voxels_too_far: int, where: str
) -> None:
    # Stored LPS: the axes run to the left, to the back, up.
    moved = np.roll(voxels(brain, modality), voxels_too_far, axis)
    finding = the_finding(with_data(brain, modality, moved))
    assert (finding.rule, finding.severity) == ("misaligned", Severity.SUSPECTED)
    assert f"case_{modality.value}.nii.gz" in finding.message
    assert f"moved about {3 * abs(voxels_too_far)} mm {where};" in finding.message


@pytest.mark.parametrize("voxels_too_far", [0, 1, -2])
def test_the_first_look_at_a_fifth_of_the_places_decides_as_all_places_do(
    brain: CaseImages, monkeypatch: pytest.MonkeyPatch, voxels_too_far: int
) -> None:
    images = with_data(brain, FLAIR, np.roll(voxels(brain, FLAIR), voxels_too_far, 1))
    sample = take_sample(images)
    assert np.count_nonzero(sample.inside) > 5 * alignment.FIRST_LOOK
    quick = alignment.find_misalignment(images, sample)
    monkeypatch.setattr(alignment, "FIRST_LOOK", 10**9)
    assert quick == alignment.find_misalignment(images, sample)
    assert bool(quick) is bool(voxels_too_far)


@pytest.mark.parametrize(
    ("first", "second", "rule"),
    [
        (T1, T1CE, "t1ce-exchanged"),
        (T2, FLAIR, "t2-exchanged"),
        (T1, T2, "t2-exchanged"),
        (T1CE, T2, "t2-exchanged"),
        (T1, FLAIR, "flair-exchanged"),
        (T1CE, FLAIR, "flair-exchanged"),
    ],
)
def test_two_images_under_each_others_names_are_suspected(
    brain: CaseImages, first: Modality, second: Modality, rule: str
) -> None:
    finding = the_finding(with_names(brain, {first: second, second: first}))
    assert (finding.rule, finding.severity) == (rule, Severity.SUSPECTED)
    assert f"case_{first.value}.nii.gz" in finding.message
    assert f"case_{second.value}.nii.gz" in finding.message
    assert "exchanged" in finding.message


def test_every_wrong_order_of_the_names_is_suspected(brain: CaseImages) -> None:
    for order in permutations(CHANNEL_ORDER):
        findings = find_problems(with_names(brain, dict(zip(CHANNEL_ORDER, order, strict=True))), EENET_144)
        assert bool(findings) == (order != CHANNEL_ORDER), order


def test_without_any_enhancement_nothing_is_said_about_t1_and_t1ce(brain: CaseImages) -> None:
    image = voxels(brain, T1CE)
    bright = image > 125
    image[bright] = (78 + 4 * np.random.default_rng(5).standard_normal(np.count_nonzero(bright))).astype(int)
    images = with_data(with_data(brain, T1CE, image), T1, np.where(bright, 78, voxels(brain, T1)))
    assert find_problems(images, EENET_144) == ()
    assert find_problems(with_names(images, {T1: T1CE, T1CE: T1}), EENET_144) == ()


@pytest.mark.parametrize("first", [T1, T1CE])
def test_a_flair_exchanged_where_fluid_alone_makes_the_images_alike_is_found(
    brain: CaseImages, first: Modality
) -> None:
    # As in many patients: little contrast of white and grey matter, so that dark fluid makes T1, T1ce and FLAIR alike.
    images = brain
    for modality, low, high, middle in ((T1, 55, 130, 90), (T1CE, 55, 130, 90), (FLAIR, 60, 150, 105)):
        image = voxels(brain, modality).astype(float)
        tissue = (image > low) & (image < high)
        image[tissue] = middle + 0.3 * (image[tissue] - middle)
        images = with_data(images, modality, image)
    assert find_problems(images, EENET_144) == ()
    finding = the_finding(with_names(images, {first: FLAIR, FLAIR: first}))
    assert finding.rule == "flair-exchanged"
    assert f"case_{first.value}.nii.gz" in finding.message


def test_t1_and_t1ce_exchanged_are_found_where_vessels_alone_enhance_a_little(brain: CaseImages) -> None:
    image = voxels(brain, T1CE).astype(float)
    enhanced = image > 125
    image[enhanced] = 78 + 0.34 * (image[enhanced] - 78)
    images = with_data(with_data(brain, T1CE, image), T1, np.where(enhanced, 78, voxels(brain, T1)))
    assert find_problems(images, EENET_144) == ()
    assert the_finding(with_names(images, {T1: T1CE, T1CE: T1})).rule == "t1ce-exchanged"


def test_without_the_t2_a_flair_exchanged_with_the_t1ce_is_still_found(brain: CaseImages) -> None:
    exchanged = with_names(brain, {T1CE: FLAIR, FLAIR: T1CE})
    rest = {name: image for name, image in exchanged.volumes.items() if name is not T2}
    assert the_finding(CaseImages("case", rest)).rule == "flair-exchanged"


def test_without_the_t1ce_a_flair_exchanged_with_the_t1_is_found(brain: CaseImages) -> None:
    exchanged = with_names(brain, {T1: FLAIR, FLAIR: T1})
    rest = {name: image for name, image in exchanged.volumes.items() if name is not T1CE}
    assert the_finding(CaseImages("case", rest)).rule == "flair-exchanged"


# The cause that is named


def stripped_ct(brain: CaseImages) -> Any:
    """Hounsfield units by tissue: fluid 8, white matter 28, grey matter 38."""
    t1 = voxels(brain, T1).astype(float)
    units = np.where(t1 < 45, 8.0, np.where(t1 < 88, 38.0, 28.0))
    return np.where(t1 != 0, units + 3 * np.random.default_rng(0).standard_normal(t1.shape), 0)


@pytest.mark.parametrize("modality", [T1, T1CE])
def test_a_ct_without_skull_and_air_is_called_a_ct_and_no_exchange(brain: CaseImages, modality: Modality) -> None:
    finding = the_finding(with_data(brain, modality, stripped_ct(brain)))
    assert (finding.rule, finding.severity) == ("stripped-ct", Severity.SUSPECTED)
    assert f"case_{modality.value}.nii.gz" in finding.message
    assert "CT" in finding.message


@pytest.mark.parametrize("modality", CHANNEL_ORDER)
def test_an_mri_whose_scale_happens_to_be_a_cts_is_no_finding(brain: CaseImages, modality: Modality) -> None:
    scaled = voxels(brain, modality) * (33.0 / np.median(voxels(brain, modality)[voxels(brain, modality) != 0]))
    assert find_problems(with_data(brain, modality, scaled), EENET_144) == ()


def test_images_on_a_cts_scale_that_are_exchanged_are_called_exchanged(brain: CaseImages) -> None:
    images = brain
    for modality in CHANNEL_ORDER:
        images = with_data(images, modality, voxels(brain, modality) * 0.33)
    assert the_finding(with_names(images, {T1: T2, T2: T1})).rule == "t2-exchanged"


def test_a_voxel_size_a_fifth_too_large_is_named_beside_the_skull(brain: CaseImages) -> None:
    finding = find_problems(with_affine(brain, np.diag([-3.6, -3.6, 3.6, 1])), EENET_144)[0]
    assert (finding.rule, finding.severity) == ("not-stripped", Severity.CERTAIN)
    assert "2.73 litres" in finding.message
    assert "strip the skull" in finding.message
    assert "mend the voxel size in the header (3.6 x 3.6 x 3.6 mm)" in finding.message


def test_nan_around_the_brain_is_left_to_normalisation_which_names_it(brain: CaseImages) -> None:
    images = brain
    for modality in CHANNEL_ORDER:
        image = voxels(brain, modality).astype(np.float32)
        images = with_data(images, modality, np.where(image == 0, np.float32(np.nan), image))
    assert find_problems(images, EENET_144) == ()
    with pytest.raises(CaseError, match=r"^case_t1\.nii\.gz: \d+ voxels are NaN or infinite, expected real .* 0 as"):
        prepare(images, EENET_144)


def test_slices_of_3_mm_that_a_header_rounds_are_not_thicker_than_3_mm(brain: CaseImages) -> None:
    assert find_problems(with_affine(brain, np.diag([-3.0, -3.0, 3.0000002, 1])), EENET_144) == ()


def test_slices_a_little_thicker_are_told_with_the_digits_that_tell_it(brain: CaseImages) -> None:
    finding = the_finding(with_affine(brain, np.diag([-3.0, -3.0, 3.004, 1])))
    assert "voxels of 3 x 3 x 3.004 mm" in finding.message


def test_labels_a_rounding_away_from_whole_numbers_are_labels_also_as_an_image(brain: CaseImages) -> None:
    shown = voxels(brain, T2)
    labels = np.where(shown != 0, 1 + (shown > 110) + 2 * (shown > 200), 0).astype(np.float32) * np.float32(0.9999999)
    findings = find_problems(with_data(brain, T2, labels), EENET_144)
    assert rules_of(findings) == ["label-volume"]


# Real heads


@pytest.mark.real
def test_real_heads_are_sound_and_every_wrong_order_of_their_names_is_suspected() -> None:
    for files in stripped_cases():
        images = read_case(files)
        for order in permutations(CHANNEL_ORDER):
            findings = find_problems(with_names(images, dict(zip(CHANNEL_ORDER, order, strict=True))), EENET_144)
            found = [rule for rule in rules_of(findings) if rule.endswith("exchanged")]
            assert bool(found) == (order != CHANNEL_ORDER), (files.case_id, order)


# What is left to others, and what becomes of findings


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_absurd_voxels_are_left_to_normalisation_which_names_them(brain: CaseImages, value: float) -> None:
    image = voxels(brain, T1).astype(np.float64)
    image[28, 33, 29] = value
    assert find_problems(with_data(brain, T1, image), EENET_144) == ()


@pytest.mark.parametrize("value", [0, 7])
def test_images_without_contrast_are_left_to_normalisation(brain: CaseImages, value: int) -> None:
    flat = np.where(voxels(brain, T1) != 0, value, 0)
    findings = find_problems(CaseImages("case", {T1: replace(brain.volumes[T1], data=flat)}), EENET_144)
    assert findings == ()


def test_a_volume_of_a_few_voxels_is_looked_at_without_a_crash(brain: CaseImages) -> None:
    tiny = {
        name: replace(volume, data=volume.data[:2, :1, :3], grid=replace(volume.grid, shape=(2, 1, 3)))
        for name, volume in brain.volumes.items()
    }
    assert find_problems(CaseImages("case", tiny), EENET_144) == ()
    plate = {
        name: replace(
            volume, data=volume.data[:, :, 28:31], grid=replace(volume.grid, shape=(*volume.data.shape[:2], 3))
        )
        for name, volume in brain.volumes.items()
    }
    assert rules_of(find_problems(CaseImages("case", plate), EENET_144)) == ["head-size"]


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    dtype=st.sampled_from(["int8", "uint8", "int16", ">i2", "int64", "float32", ">f4", "float64"]),
    spacing=st.sampled_from([1e-4, 0.5, 1.0, 7.0, 1e4]),
    seed=st.integers(0, 2**16),
    odd=st.sampled_from([0.0, np.nan, np.inf, -1e308, 1e-308]),
)
def test_whatever_is_in_the_files_the_checks_only_ever_answer(
    shape: tuple[int, int, int], dtype: str, spacing: float, seed: int, odd: float
) -> None:
    rng = np.random.default_rng(seed)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    volumes = {}
    for modality in CHANNEL_ORDER[: rng.integers(1, 5)]:
        data = rng.integers(0, rng.integers(1, 127), shape).astype(dtype)
        if data.dtype.kind == "f":
            data[rng.random(shape) < 0.2] = odd
        volumes[modality] = volume(f"{modality.value}.nii", data, affine)
    for finding in find_problems(CaseImages("case", volumes), EENET_144):
        assert finding.rule in RULES


CERTAIN = Finding("label-volume", Severity.CERTAIN, "a.nii: a label volume")
SUSPECTED = Finding("coverage", Severity.SUSPECTED, "b.nii: half a head")


def test_by_default_certain_findings_refuse_and_suspicions_warn() -> None:
    assert judge([SUSPECTED], CheckPolicy.DEFAULT, "A") == (Reason("coverage", "b.nii: half a head"),)
    with pytest.raises(CaseError, match=r"^case A: a\.nii: a label volume$") as refused:
        judge([CERTAIN, SUSPECTED], CheckPolicy.DEFAULT, "A")
    assert refused.value.code == "label-volume"


def test_strict_refuses_for_every_finding_and_names_them_all() -> None:
    with pytest.raises(CaseError, match=r"^case A: a\.nii: a label volume; b\.nii: half a head$"):
        judge([CERTAIN, SUSPECTED], CheckPolicy.STRICT, "A")
    with pytest.raises(CaseError, match="half a head"):
        judge([SUSPECTED], CheckPolicy.STRICT, "A")


def test_warn_refuses_nothing() -> None:
    judged = judge([CERTAIN, SUSPECTED], CheckPolicy.WARN, "A")
    assert judged == tuple(Reason(finding.rule, finding.message) for finding in (CERTAIN, SUSPECTED))


def test_a_warning_is_one_line_whatever_a_file_is_called() -> None:
    named = Finding("coverage", Severity.SUSPECTED, "a\n\x1b[2J.nii: half a head")
    assert [str(warning) for warning in judge([named], CheckPolicy.DEFAULT, "A")] == ["a\\n\\x1b[2J.nii: half a head"]


@pytest.mark.parametrize("policy", CheckPolicy)
def test_a_case_without_findings_passes_every_policy(policy: CheckPolicy) -> None:
    assert judge([], policy, "A") == ()


def test_certain_findings_are_told_first(brain: CaseImages) -> None:
    images = with_data(with_affine(brain, brain.grid.affine @ np.diag([1, 1, 1.2, 1])), T1CE, voxels(brain, T1))
    findings = find_problems(images, EENET_144)
    assert [finding.severity for finding in findings] == [Severity.CERTAIN, Severity.SUSPECTED]


def test_thick_slices_are_a_notice_and_every_other_rule_is_a_suspicion() -> None:
    found = {rule: Finding(rule, Severity.SUSPECTED, "x") for rule in RULES}
    assert [rule for rule, finding in found.items() if not finding.is_suspicion] == ["coarse-voxels"]


def test_a_finding_in_short_names_no_file() -> None:
    for rule in (*RULES, "a rule of tomorrow"):
        assert "Jane" not in Finding(rule, Severity.SUSPECTED, "Jane_Roe.nii: odd").in_short
    assert Finding("misaligned", Severity.SUSPECTED, "x").in_short == "the images may not be registered"


def test_every_suspicion_has_words_of_its_own_for_the_preview() -> None:
    found = [Finding(rule, Severity.SUSPECTED, "x") for rule in RULES]
    words = [finding.in_short for finding in found if finding.is_suspicion]
    assert [text for text in words if text.startswith("the check")] == []
    assert len(set(words)) == len(words)
