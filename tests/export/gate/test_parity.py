"""The comparison behind the gate, on arrays: what it measures and what it stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pytest

from eenet_export.gate.parity import (
    KERAS,
    ORACLE,
    UNROUNDED,
    FormResult,
    ParityCase,
    ParityLimits,
    Volume,
    compare,
    inner_voxels,
    parity_table,
    require_parity,
)
from eenet_runtime.bundle.manifest import ParityRow
from eenet_runtime.errors import ParityError
from eenet_runtime.volumes.labels import Label
from tests.synthetic import TINY, Head, case_files

LIMITS = ParityLimits()


@pytest.fixture(scope="module")
def case(head: Head, tmp_path_factory: pytest.TempPathFactory) -> ParityCase:
    """A head with its label, as the network reads it."""
    return ParityCase.read(case_files(tmp_path_factory.mktemp("case"), "case", head), TINY)


@pytest.fixture(scope="module")
def probabilities(case: ParityCase) -> Volume:
    """A network that is sure of four blocks of classes."""
    labels = np.zeros(case.volume.shape[:3], np.uint8)
    labels[8:40, 8:40, 6:20] = Label.ED
    labels[16:34, 16:34, 8:18] = Label.ET
    labels[20:30, 20:30, 10:16] = Label.NCR
    sure: Volume = (np.eye(4, dtype=np.float32)[labels] * 0.88 + 0.03).astype(np.float32)
    return sure


def _row(
    case: ParityCase, first: Volume, second: Volume, form: str = "onnx-fp32", reference: str = ORACLE
) -> ParityRow:
    return compare(case, FormResult.from_probabilities(reference, first), FormResult.from_probabilities(form, second))


def _flipped(probabilities: Volume, voxels: Any) -> Volume:
    """The same, but these voxels are background."""
    changed = probabilities.copy()
    changed[voxels] = [0.91, 0.03, 0.03, 0.03]
    return changed


def test_equal_forms_agree_fully(case: ParityCase, probabilities: Volume) -> None:
    row = _row(case, probabilities, probabilities.copy())
    assert (row.max_abs_difference, row.agreement, row.inner_agreement, row.ties) == (0, 1, 1, 0)
    assert set(row.dice.values()) == {1.0}
    assert set(row.hd95_mm.values()) == {0.0}
    assert row.dice_change == {"ET": 0.0, "TC": 0.0, "WT": 0.0}
    require_parity([row])


def test_the_largest_difference_of_any_voxel_and_class_counts(case: ParityCase, probabilities: Volume) -> None:
    changed = probabilities.copy()
    changed[3, 4, 5, 2] += 0.06
    row = _row(case, probabilities, changed)
    assert row.max_abs_difference == pytest.approx(0.06, abs=1e-6)
    assert row.usual_difference == 0
    with pytest.raises(ParityError, match=r"onnx-fp32 against oracle: probabilities that differ by 6\.00e-02"):
        require_parity([row])


def test_a_small_difference_in_many_voxels_is_stopped_where_it_passes_in_a_few(
    case: ParityCase, probabilities: Volume
) -> None:
    few, many = probabilities.copy(), probabilities.copy()
    few[0, 0, :, 0] += 0.004
    many[:2, :, :, 0] += 0.004
    require_parity([_row(case, probabilities, few)])
    with pytest.raises(ParityError, match=r"99\.9% of the voxels: probabilities that differ by 4\.00e-03 found"):
        require_parity([_row(case, probabilities, many)])


@pytest.mark.parametrize(
    ("form", "reference"), [("onnx-fp16", ORACLE), ("onnx-int8", ORACLE), (KERAS, ORACLE), (KERAS, UNROUNDED)]
)
def test_keras_and_other_precisions_are_held_to_the_masks_alone(
    case: ParityCase, probabilities: Volume, form: str, reference: str
) -> None:
    changed = probabilities.copy()
    changed[3, 4, 5, 2] += 0.02
    require_parity([_row(case, probabilities, changed, form, reference)])


def test_a_voxel_in_a_thousand_may_differ_at_a_border_but_not_inside(case: ParityCase, probabilities: Volume) -> None:
    border, inside = np.s_[8, 8:28, 6:16], np.s_[24, 21:29, 12:14]
    row = _row(case, probabilities, _flipped(probabilities, border), "onnx-fp16")
    assert row.inner_agreement == 1
    assert row.agreement == pytest.approx(1 - 200 / probabilities[..., 0].size)
    row = _row(case, probabilities, _flipped(probabilities, inside), "onnx-fp16")
    assert row.agreement > 0.9998
    with pytest.raises(ParityError, match=r"agreement away from borders 0\.999\d+ found, expected at least 0\.9999"):
        require_parity([row], replace(LIMITS, worst_dice=0.9))


def test_voxels_inside_have_26_neighbours_of_their_class() -> None:
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[2, 2, 2] = 1
    inner = inner_voxels(labels)
    assert not inner[1:4, 1:4, 1:4].any()
    assert inner[0].all()


def test_a_mask_that_lost_a_region_is_stopped(case: ParityCase, probabilities: Volume) -> None:
    row = _row(case, probabilities, _flipped(probabilities, np.s_[16:34, 16:34, 8:10]), "onnx-fp16")
    assert row.hd95_mm["WT"] > 0
    with pytest.raises(ParityError, match=r"Dice \w\w 0\.\d+ found, expected at least 0\.995"):
        require_parity([row])


def test_dice_that_is_low_on_every_case_is_stopped_though_no_case_is_bad(
    case: ParityCase, probabilities: Volume
) -> None:
    row = replace(_row(case, probabilities, probabilities), candidate="onnx-fp16", dice={"ET": 0.998, "TC": 1, "WT": 1})
    with pytest.raises(ParityError, match=r"mean of 2 cases: onnx-fp16 against oracle: Dice ET 0\.99800 found"):
        require_parity([row, replace(row, case_id="other")])


def test_a_change_of_dice_against_the_truth_is_stopped(case: ParityCase, probabilities: Volume) -> None:
    row = _row(case, probabilities, probabilities)
    moved = replace(row, candidate="onnx-fp16", dice_change={"ET": -0.002, "TC": 0.0, "WT": 0.0})
    with pytest.raises(ParityError, match=r"Dice ET against the truth moved by 0\.00200, expected at most 0\.001"):
        require_parity([moved])
    back = replace(moved, case_id="other", dice_change={"ET": 0.002, "TC": 0.0, "WT": 0.0})
    require_parity([moved, back])


def test_the_change_of_dice_is_measured_on_the_patients_grid(case: ParityCase, probabilities: Volume) -> None:
    assert case.truth is not None
    row = _row(case, probabilities, _flipped(probabilities, np.s_[:]), "onnx-fp16")
    assert all(change < 0 for change in row.dice_change.values())
    assert _row(replace(case, truth=None), probabilities, probabilities).dice_change == {}


def test_ties_are_counted(case: ParityCase, probabilities: Volume) -> None:
    tied = probabilities.copy()
    tied[0, 0, :4] = [0.4003, 0.4, 0.1, 0.1]
    assert _row(case, tied, tied).ties == 4


def test_an_engine_that_gives_labels_only_is_judged_by_its_labels(case: ParityCase, probabilities: Volume) -> None:
    reference = FormResult.from_probabilities(ORACLE, probabilities)
    row = compare(case, reference, FormResult("tensorrt-rtx-fp16", reference.labels.copy(), None))
    assert row.max_abs_difference is None
    require_parity([row])
    assert "labels only" in parity_table([row])
    with pytest.raises(ParityError, match="no probabilities found"):
        require_parity([replace(row, candidate="tensorrt-fp32")])


def test_the_table_shows_the_worst_figure_of_all_cases_for_each_pair_of_forms() -> None:
    rows = (
        ParityRow("A", KERAS, "onnx-fp16", 1e-3, {"ET": 0.99, "TC": 1.0}, 0.9999, 1.0, 4, {"ET": 1.0, "TC": 0.0}),
        ParityRow(
            "B", KERAS, "onnx-fp16", 3e-3, {"ET": 0.98, "TC": 0.97}, 0.9998, 0.9999, 9, {"ET": 0.0, "TC": 2.0}, {}, 5e-4
        ),
        ParityRow("B", KERAS, "onnx-fp32", 2e-6, {"ET": 1.0, "TC": 1.0}),
    )
    lines = parity_table(rows).splitlines()
    assert lines[2].split() == [
        *("onnx-fp16", "keras", "2", "5.0e-04", "3.0e-03", "0.999800", "0.999900", "13"),
        *("0.98000", "0.97000", "1.0", "2.0"),
    ]
    assert lines[3].split() == ["onnx-fp32", "keras", "1", "2.0e-06", "1.000000", "1.000000", "0", "1.00000", "1.00000"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_stopped(probabilities: Volume, value: float) -> None:
    broken = probabilities.copy()
    broken[0, 0, 0, 0] = value
    with pytest.raises(ParityError, match="onnx-fp32 computed NaN or infinity"):
        FormResult.from_probabilities("onnx-fp32", broken)


def test_another_shape_is_stopped(case: ParityCase, probabilities: Volume) -> None:
    with pytest.raises(ParityError, match="gave shape"):
        _row(case, probabilities, probabilities[:-1])


def test_a_difference_that_is_not_a_number_does_not_pass(case: ParityCase, probabilities: Volume) -> None:
    row = _row(case, probabilities, probabilities)
    nan = float("nan")
    for broken in (replace(row, max_abs_difference=nan), replace(row, usual_difference=nan)):
        with pytest.raises(ParityError, match="differ by nan"):
            require_parity([broken])


# The limits: what the gate promises. A change of one is a change of this page.


def test_the_limits_of_the_gate_are_these() -> None:
    assert asdict(ParityLimits()) == {
        "max_abs_difference": 1e-2,
        "usual_difference": 5e-4,
        "min_agreement": 0.999,
        "min_inner_agreement": 0.9999,
        "mean_dice": 0.999,
        "worst_dice": 0.995,
        "max_dice_change": 0.001,
        "allow_unproven": False,
    }


PERFECT = ParityRow(
    case_id="A",
    reference=ORACLE,
    candidate="onnx-fp32",
    max_abs_difference=0.0,
    dice={"ET": 1.0, "TC": 1.0, "WT": 1.0},
    hd95_mm={"ET": 0.0, "TC": 0.0, "WT": 0.0},
    dice_change={"ET": 0.0, "TC": 0.0, "WT": 0.0},
    usual_difference=0.0,
    region_voxels={"ET": 10, "TC": 20, "WT": 30},
)


def _with_dice(value: float) -> ParityRow:
    return replace(PERFECT, dice={**PERFECT.dice, "TC": value})


def _with_change(value: float) -> ParityRow:
    return replace(PERFECT, dice_change={**PERFECT.dice_change, "WT": value})


EDGES: dict[str, tuple[float, Callable[[float], list[ParityRow]], str]] = {
    "max_abs_difference": (
        1,
        lambda v: [replace(PERFECT, max_abs_difference=v)],
        r"probabilities that differ by 1\.00e-02",
    ),
    "usual_difference": (
        1,
        lambda v: [replace(PERFECT, usual_difference=v)],
        r"99\.9% of the voxels: prob.* by 5\.00e-04",
    ),
    "min_agreement": (
        -1,
        lambda v: [replace(PERFECT, agreement=v)],
        r": agreement 0\.99900 found, expected at least 0\.999$",
    ),
    "min_inner_agreement": (
        -1,
        lambda v: [replace(PERFECT, inner_agreement=v)],
        r"agreement away from borders 0\.99990 found, expected at least 0\.9999$",
    ),
    "mean_dice": (
        -1,
        lambda v: [_with_dice(v)],
        r"mean of 1 cases: .*: Dice TC 0\.99900 found, expected at least 0\.999$",
    ),
    # Nine perfect cases more, or the mean would stop it first.
    "worst_dice": (
        -1,
        lambda v: [_with_dice(v), *(replace(PERFECT, case_id=str(index)) for index in range(9))],
        r"case A: .*: Dice TC 0\.99500 found, expected at least 0\.995$",
    ),
    "max_dice_change": (
        1,
        lambda v: [_with_change(-v)],
        r"Dice WT against the truth moved by 0\.00100, expected at most",
    ),
}
"""For each limit: the direction in which a figure goes beyond it, rows with this figure, and what the gate says."""


def test_every_limit_has_its_edge_here() -> None:
    assert {*EDGES, "allow_unproven"} == {field.name for field in fields(ParityLimits)}
    require_parity([PERFECT])


@pytest.mark.parametrize("name", EDGES)
def test_a_figure_at_a_limit_passes_and_the_next_one_beyond_it_does_not(name: str) -> None:
    direction, rows, said = EDGES[name]
    limit = float(getattr(LIMITS, name))
    require_parity(rows(limit))
    with pytest.raises(ParityError, match=said):
        require_parity(rows(float(np.nextafter(limit, limit + direction))))


# Agreement that proves nothing


def test_where_no_case_holds_a_tumour_agreement_is_refused_as_no_proof(case: ParityCase) -> None:
    nothing = np.zeros((*case.volume.shape[:3], 4), np.float32)
    nothing[..., Label.BACKGROUND] = 1
    row = _row(case, nothing, nothing)
    assert row.region_voxels == {"ET": 0, "TC": 0, "WT": 0}
    with pytest.raises(
        ParityError, match=r"no tumour voxel found by oracle in any of 2 cases, so agreement proves noth"
    ):
        require_parity([row, replace(row, case_id="B")])
    require_parity([row], replace(LIMITS, allow_unproven=True))
    # A tumour in one of the cases will do, and one that nobody counted will not.
    require_parity([row, replace(PERFECT, case_id="B")])
    with pytest.raises(ParityError, match="no tumour voxel"):
        require_parity([replace(PERFECT, region_voxels={})])


def test_every_form_must_be_proved_by_itself() -> None:
    empty = replace(PERFECT, candidate="onnx-fp16", region_voxels={"ET": 0, "TC": 0, "WT": 0})
    with pytest.raises(ParityError, match=r"^onnx-fp16 against oracle: no tumour voxel"):
        require_parity([PERFECT, empty])


def test_voxels_are_those_of_the_reference(case: ParityCase, probabilities: Volume) -> None:
    row = _row(case, probabilities, _flipped(probabilities, np.s_[:]), "onnx-fp16")
    labels = probabilities.argmax(axis=-1)
    assert row.region_voxels["WT"] == np.count_nonzero(labels) == 32 * 32 * 14
    assert row.region_voxels["ET"] == np.count_nonzero(labels == Label.ET)


def test_the_table_calls_a_region_that_no_case_holds_not_proven() -> None:
    one = replace(PERFECT, region_voxels={"ET": 0, "TC": 0, "WT": 9})
    other = replace(PERFECT, case_id="B", region_voxels={"ET": 0, "TC": 4, "WT": 9})
    (line,) = parity_table([one, other]).splitlines()[2:]
    assert line.split()[8:12] == ["not", "proven", "1.00000", "1.00000"]
    require_parity([one, other])
    # Where the candidate finds a region that the reference has nowhere, that is no agreement.
    invented = replace(one, dice={"ET": 0.0, "TC": 1.0, "WT": 1.0})
    assert "not proven" not in parity_table([invented]).splitlines()[2].split("0.00000")[0]


def test_nothing_compared_is_nothing_proved() -> None:
    with pytest.raises(ParityError, match="no case was compared"):
        require_parity([])
