"""The gate, on arrays: what it measures and what it stops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eenet_export.parity import (
    KERAS,
    ORACLE,
    UNROUNDED,
    NamedProbabilities,
    ParityLimits,
    Volume,
    compare,
    compare_all,
    require_parity,
)
from eenet_runtime.bundle import ParityRow
from eenet_runtime.errors import ParityError

SHAPE = (8, 8, 6, 4)


def _probabilities(seed: int = 0) -> Volume:
    values = np.random.default_rng(seed).random(SHAPE).astype(np.float32)
    normalised: Volume = values / values.sum(axis=-1, keepdims=True)
    return normalised


def _row(first: Volume, second: Volume, reference: str = ORACLE) -> ParityRow:
    return compare("case", NamedProbabilities(reference, first), NamedProbabilities("onnx-fp32", second))


def test_equal_probabilities_differ_by_nothing_and_agree_fully() -> None:
    row = _row(_probabilities(), _probabilities())
    assert row.max_abs_difference == 0
    assert set(row.dice.values()) == {1.0}
    require_parity([row], ParityLimits())


def test_the_largest_difference_of_any_voxel_and_class_counts() -> None:
    changed = _probabilities()
    changed[3, 4, 5, 2] += 0.25
    assert _row(_probabilities(), changed).max_abs_difference == pytest.approx(0.25, abs=1e-6)


def test_a_probability_beyond_the_limit_is_stopped_though_the_masks_agree() -> None:
    changed = _probabilities()
    winner = np.unravel_index(changed.argmax(), changed.shape)
    changed[winner] += 0.002
    row = _row(_probabilities(), changed)
    assert set(row.dice.values()) == {1.0}
    with pytest.raises(ParityError, match=r"case case: onnx-fp32 against oracle: probabilities differ by 2\.\d+e-03"):
        require_parity([row], ParityLimits(max_abs_difference=1e-3))


def test_masks_that_disagree_are_stopped_though_probabilities_hardly_move() -> None:
    # Every voxel is a near tie between background and oedema: a hair's difference moves the whole mask.
    first = np.zeros(SHAPE, np.float32)
    first[..., 0], first[..., 2] = 0.5001, 0.4999
    second = first[..., [2, 1, 0, 3]]
    row = _row(first, second)
    assert row.max_abs_difference < 1e-3
    with pytest.raises(ParityError, match=r"Dice WT 0\.00000 found"):
        require_parity([row], ParityLimits())


def test_rounded_weights_are_held_to_the_masks_of_the_original_only() -> None:
    changed = _probabilities()
    winner = np.unravel_index(changed.argmax(), changed.shape)
    changed[winner] += 0.002
    require_parity([_row(_probabilities(), changed, reference=UNROUNDED)], ParityLimits(max_abs_difference=1e-3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_stopped(value: float) -> None:
    broken = _probabilities()
    broken[0, 0, 0, 0] = value
    with pytest.raises(ParityError, match="onnx-fp32 computed NaN or infinity"):
        _row(_probabilities(), broken)


def test_another_shape_is_stopped() -> None:
    with pytest.raises(ParityError, match="gave shape"):
        _row(_probabilities(), _probabilities()[:-1])


def test_a_difference_that_is_not_a_number_does_not_pass() -> None:
    row = replace(_row(_probabilities(), _probabilities()), max_abs_difference=float("nan"))
    with pytest.raises(ParityError):
        require_parity([row], ParityLimits())


def test_nothing_compared_is_nothing_proved() -> None:
    with pytest.raises(ParityError, match="no case was compared"):
        require_parity([], ParityLimits())


def test_every_form_is_compared_with_what_it_must_equal() -> None:
    def same(volume: Volume) -> Volume:
        return _probabilities()

    rows = compare_all(
        "case", np.zeros(SHAPE, np.float32), [(name, same) for name in (KERAS, ORACLE, "onnx", UNROUNDED)]
    )
    pairs = {(row.candidate, row.reference) for row in rows}
    assert pairs == {(KERAS, ORACLE), ("onnx", KERAS), ("onnx", ORACLE), (KERAS, UNROUNDED)}
